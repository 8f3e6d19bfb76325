"""The manual page, made of the same options, purpose and examples as `--help`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Final

import click

from universal_tracer import __date__, __version__
from universal_tracer.cli.help import options_by_group
from universal_tracer.cli.root import EXAMPLES, PROGRAM, PURPOSE, root
from universal_tracer.model.errors import EXIT_MEANINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILES: Final = (
    ("config/production.yaml", "every setting with its default and what it does"),
    ("docs/CONFIG.md, docs/EVENTS.md", "settings and events, in full"),
)
_ENVIRONMENT: Final = (
    (
        "UT_SECTION__KEY",
        "sets a key of the configuration, such as UT_HTTP_TRACER__SAMPLING_RATE=0.1; values are YAML",
    ),
    ("NO_COLOR, TERM=dumb", "no colours; without a terminal there are none either"),
    (
        "_UNIVERSAL_TRACER_COMPLETE",
        "bash_source, zsh_source or fish_source prints the completion for that shell",
    ),
)


def man_page() -> str:
    """The page as roff."""
    return "\n".join([*_head(), *_options(), *_subcommands(), *_tail()]) + "\n"


def _head() -> Iterator[str]:
    yield f'.TH "{PROGRAM.upper()}" "8" "{__date__}" "{PROGRAM} {__version__}" "System administration"'
    yield ".SH NAME"
    yield rf"{_text(PROGRAM)} \- see what programs say to each other and what they spend their time on"
    yield ".SH SYNOPSIS"
    yield rf".B {_text(PROGRAM)}"
    yield r"[\fIFLAGS\fR] [\-\- \fICOMMAND\fR \fIARGS\fR...]"
    yield ".br"
    yield rf".B {_text(PROGRAM)}"
    yield r"\fISUBCOMMAND\fR ..."
    yield ".SH DESCRIPTION"
    yield _text(PURPOSE)


def _options() -> Iterator[str]:
    context = click.Context(root, info_name=PROGRAM)
    yield ".SH OPTIONS"
    for group, records in options_by_group(root, context).items():
        yield f".SS {_text(group)}"
        for names, told in records:
            yield from _entry(names, told)


def _entry(names: str, told: str) -> Iterator[str]:
    yield ".TP"
    yield rf"\fB{_text(names)}\fR"
    yield _text(told)


def _subcommands() -> Iterator[str]:
    yield ".SH SUBCOMMANDS"
    context = click.Context(root, info_name=PROGRAM)
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        if command is not None:
            yield from _subcommand(command, name, context)


def _subcommand(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None:
                yield from _subcommand(found, f"{name} {inner}", context)
        return
    pieces = " ".join(command.collect_usage_pieces(context))
    yield ".TP"
    yield rf"\fB{_text(name)}\fR {_text(pieces)}".rstrip()
    yield _text(" ".join(inspect.cleandoc(command.help or "").split()))


def _tail() -> Iterator[str]:
    yield ".SH EXIT STATUS"
    for code, meaning in EXIT_MEANINGS.items():
        yield from _entry(str(int(code)), meaning)
    yield ".SH ENVIRONMENT"
    for name, told in _ENVIRONMENT:
        yield from _entry(name, told)
    yield ".SH FILES"
    for name, told in _FILES:
        yield from _entry(name, told)
    yield ".SH EXAMPLES"
    for number, (purpose, command) in enumerate(EXAMPLES):
        if number:
            yield ".PP"
        yield f"{_text(purpose[:1].upper() + purpose[1:])}:"
        yield ".PP"
        yield ".nf"
        yield ".RS"
        yield _text(command)
        yield ".RE"
        yield ".fi"


def _text(text: str) -> str:
    """Nothing in it means anything to roff; dashes can be copied."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped
