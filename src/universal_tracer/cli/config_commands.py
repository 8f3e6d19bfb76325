"""`config check`, `config show`, `config schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from universal_tracer.cli.flags import options
from universal_tracer.cli.help import GroupedHelp
from universal_tracer.cli.root import config_option, settings_from
from universal_tracer.model.errors import UsageError

_FILE = click.Path(path_type=Path)


@click.group(no_args_is_help=True)
def config() -> None:
    """Check, show and describe the configuration."""


@config.command()
@click.argument("file", type=_FILE)
def check(file: Path) -> None:
    """Say whether FILE is a valid configuration; all faults at once."""
    from universal_tracer.config.settings import load_settings  # noqa: PLC0415  --help does without the tree

    settings = load_settings(file)
    if settings.config.output.where is not None:
        from universal_tracer.cli.outputs import condition  # noqa: PLC0415  loads polars
        from universal_tracer.model.events import EVENT_TYPES  # noqa: PLC0415

        named: tuple[str, ...] = settings.config.output.events or tuple(EVENT_TYPES)
        condition(settings, [event_type for event_type in named if event_type in EVENT_TYPES])
    click.echo(f"{file}: valid")


def _show(file: Path | None, **parameters: Any) -> None:
    """Print the effective configuration and where each value came from.

    Takes the flags of a run; the output is a valid configuration itself.
    """
    from universal_tracer.config.render import effective_yaml  # noqa: PLC0415  beside its only use

    named = parameters.pop("config")
    if file is not None and named is not None:
        raise UsageError(
            "two configuration files", cause="both FILE and --config are given", hint="give one of them"
        )
    click.echo(effective_yaml(settings_from(parameters, file or named)), nl=False)


config.add_command(
    GroupedHelp(
        "show",
        callback=_show,
        params=[click.Argument(["file"], required=False, type=_FILE), *options(), config_option()],
        help=_show.__doc__,
    )
)


@config.command()
def schema() -> None:
    """Print the JSON Schema of configuration files, for editors and checks."""
    from universal_tracer.config.schema import json_schema  # noqa: PLC0415  beside its only use

    click.echo(json_schema())
