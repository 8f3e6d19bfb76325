"""Writes what the build prepares: help, default settings, completion (see `cli.quick`), and the manual page.

python -m universal_tracer.cli.generate MAN_PAGE
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

from universal_tracer.cli.complete import SWITCH
from universal_tracer.cli.flags import Arity, FlagOption
from universal_tracer.cli.man import man_page
from universal_tracer.cli.quick import COMPLETION_VARIABLE, GENERATED, SHELLS
from universal_tracer.cli.root import PROGRAM, root
from universal_tracer.config.render import effective_yaml
from universal_tracer.config.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a value is, by the word that stands for it in the help.
_KINDS = {
    "PID": "pid",
    "NAME": "process",
    "NAME-OR-ID": "container",
    "IFACE": "interface",
    "PATH": "file",
    "FILE": "file",
    "DIR": "file",
}


def generated_files() -> dict[str, str]:
    """The content of every file by its name."""
    files = {
        "help.txt": help_text(),
        "config.yaml": effective_yaml(load_settings()),
        "completion.table": "".join(f"{line}\n" for line in _table(root, "")),
    }
    for shell in SHELLS:
        completion = get_completion_class(shell)
        if completion is not None:
            made = completion(root, {}, PROGRAM, COMPLETION_VARIABLE)
            # Bash's own `source` starts a bash to ask for its version.
            files[f"completion.{shell}"] = made.source_template % made.source_vars()
    return files


def help_text() -> str:
    """What `--help` prints."""
    with click.Context(root, info_name=PROGRAM, **root.context_settings) as context:
        return root.get_help(context) + "\n"


def _table(command: click.Command, name: str) -> Iterator[str]:
    yield f"command\t{name}"
    context = click.Context(command, info_name=name, help_option_names=["--help"])
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option):
            yield from _flag_lines(parameter)
        elif isinstance(parameter.type, click.Path):
            yield "argument\tfile"
    if isinstance(command, click.Group):
        inner = {one: command.get_command(context, one) for one in command.list_commands(context)}
        for one, found in inner.items():
            yield f"subcommand\t{one}\t{found.get_short_help_str(60) if found is not None else ''}"
        for one, found in inner.items():
            if found is not None:
                yield from _table(found, f"{name} {one}".strip())


def _flag_lines(option: click.Option) -> Iterator[str]:
    kind, choices = _KINDS.get((option.metavar or "").split(":")[-1], "value"), _choices(option)
    if option.is_flag:
        kind = SWITCH
    elif isinstance(option, FlagOption) and option.flag.arity is Arity.COMMAS:
        kind = "list"
    for name in option.opts:
        if name.startswith("-"):
            yield f"flag\t{name}\t{kind}\t{' '.join(choices)}\t{option.help or ''}"


def _choices(option: click.Option) -> tuple[str, ...]:
    if isinstance(option.type, click.Choice):
        return tuple(map(str, option.type.choices))
    return option.flag.values if isinstance(option, FlagOption) else ()


def write_all(man: Path, directory: Path = Path(GENERATED)) -> None:
    """Write the files beside the package's sources, and the manual page."""
    directory.mkdir(exist_ok=True)
    for name, text in generated_files().items():
        (directory / name).write_text(text, encoding="utf-8")
    man.parent.mkdir(parents=True, exist_ok=True)
    man.write_text(man_page(), encoding="utf-8")


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
