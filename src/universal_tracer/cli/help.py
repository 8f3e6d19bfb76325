"""The text of `--help`: options grouped by purpose, at most 80 columns, examples at the end."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

import click

from universal_tracer.cli.flags import GROUPS, HOW, FlagOption

if TYPE_CHECKING:
    from collections.abc import Iterable


WIDTH: Final = 80
_COLUMN: Final = 27


class GroupedHelp(click.Command):
    """A command whose help groups the options by purpose."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group."""
        formatter.write("\n" + options_text(self, ctx) + "\n")

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Click's own option, described like the others."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.help = "show this help"
        return option


def usage_text(usages: Iterable[str]) -> str:
    """The usage lines, one below the other."""
    first, *others = usages
    return "\n".join([f"Usage: {first}", *(f"       {usage}" for usage in others)])


def options_by_group(command: click.Command, context: click.Context) -> dict[str, list[tuple[str, str]]]:
    """(Names, meaning) of every option, by group; those without a group come last, under how it runs."""
    by_group: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            group = parameter.flag.group if isinstance(parameter, FlagOption) else HOW
            by_group[group].append(record)
    return {group: records for group, records in by_group.items() if records}


def options_text(command: click.Command, context: click.Context) -> str:
    """Every option of the command, group by group."""
    groups = options_by_group(command, context).items()
    return "\n\n".join(
        "\n".join([f"{group}:", *(row(*record) for record in records)]) for group, records in groups
    )


def row(left: str, right: str) -> str:
    """One entry: the name, and beside it (below it where the name is long) what it means."""
    lines = textwrap.wrap(right, WIDTH - _COLUMN, break_long_words=False, break_on_hyphens=False)
    if len(left) > _COLUMN - 4:
        return "\n".join([f"  {left}", *(f"{'':{_COLUMN}}{line}" for line in lines)])
    first, *others = lines or [""]
    return "\n".join(
        [f"  {left:<{_COLUMN - 2}}{first}".rstrip(), *(f"{'':{_COLUMN}}{line}" for line in others)]
    )


def examples_text(examples: Iterable[tuple[str, str]]) -> str:
    """Commands that work as they stand, each under what it is for."""
    return "\n".join(["Examples:", *(f"  # {purpose}\n  {command}" for purpose, command in examples)])
