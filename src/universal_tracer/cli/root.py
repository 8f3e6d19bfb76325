"""`universal-tracer [FLAGS] [-- COMMAND ARGS…]`, and the subcommands beside it."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from universal_tracer import __version__
from universal_tracer.cli.flags import flag_values, options
from universal_tracer.cli.help import WIDTH, GroupedHelp, examples_text, options_text, row, usage_text
from universal_tracer.model.errors import UsageError

if TYPE_CHECKING:
    from universal_tracer.config.settings import Settings

PROGRAM: Final = "universal-tracer"
COMMAND_SEPARATOR: Final = "--"
_COMMAND_KEY: Final = "universal_tracer.command"

# name → (MODULE:COMMAND, what it does); imported when it is used.
_SUBCOMMANDS: Final = {
    "doctor": (
        "universal_tracer.cli.doctor.command:doctor",
        "Say what this machine allows and what is missing",
    ),
    "config": ("universal_tracer.cli.config_commands:config", "Check, show and describe the configuration"),
}
PURPOSE: Final = (
    "See what goes through this machine while it happens: HTTP requests with path, status and latency, who "
    "to whom; where programs spend their processor time; flows of interfaces. Nothing in them is changed, "
    "nothing is restarted. With a COMMAND: start it and trace what it does."
)
EXAMPLES: Final = (
    ("everything on this machine, until Ctrl-C", "sudo universal-tracer"),
    ("one command and what it starts", "sudo universal-tracer -- curl -s http://example.com"),
    (
        "slow requests of nginx",
        "sudo universal-tracer --target-process nginx | jq 'select(.latency_ms > 1000)'",
    ),
    ("a minute into a file", "sudo universal-tracer --duration 60s --output http-events.json"),
    ("what this machine allows, and what is missing", "sudo universal-tracer doctor"),
    ("where each setting comes from", "universal-tracer config show --duration 60s"),
)


class RootCommand(GroupedHelp, click.Group):
    """A group that also traces: what follows `--` is the command to trace, not a subcommand."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  as click has it
        """The subcommands' names, without importing them."""
        return list(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a subcommand."""
        if cmd_name not in _SUBCOMMANDS:
            return None
        module, _, attribute = _SUBCOMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Set the traced command aside, unless the separator belongs to a subcommand."""
        head, separator, command = _split(args)
        super().parse_args(ctx, head)
        if separator and ctx._protected_args:  # noqa: SLF001  click has no public name for it
            ctx.args = [*ctx.args, separator, *command]
        elif separator:
            if not command and not ctx.resilient_parsing:
                raise UsageError(
                    "no command after --", cause="there is nothing to start", hint=f"{PROGRAM} -- ls -l"
                )
            ctx.meta[_COMMAND_KEY] = command
        return ctx.args

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Usage, purpose, options by group, subcommands, examples."""
        usages = (f"{PROGRAM} [FLAGS] [-- COMMAND ARGS...]", f"{PROGRAM} SUBCOMMAND ...")
        formatter.width = WIDTH
        subcommands = "\n".join(
            ["Subcommands:", *(row(name, told) for name, (_, told) in _SUBCOMMANDS.items())]
        )
        formatter.write(usage_text(usages) + "\n\n")
        formatter.current_indent = 0
        formatter.write_text(PURPOSE)
        parts = (options_text(self, ctx), subcommands, examples_text(EXAMPLES))
        formatter.write("\n" + "\n\n".join(parts) + "\n")


def _split(args: list[str]) -> tuple[list[str], str, list[str]]:
    if COMMAND_SEPARATOR not in args:
        return args, "", []
    at = args.index(COMMAND_SEPARATOR)
    return args[:at], COMMAND_SEPARATOR, args[at + 1 :]


def settings_from(parameters: dict[str, Any], file: Path | None) -> Settings:
    """The effective settings of a command line, with the process's environment."""
    from universal_tracer.config.settings import (  # noqa: PLC0415  --help does without the tree
        load_settings,
        tracers_named,
    )

    configured = tracers_named(file, os.environ)
    return load_settings(file, os.environ, flag_values(parameters, configured))


def config_option() -> click.Option:
    """`--config FILE`."""
    return click.Option(
        ["--config"], metavar="FILE", type=click.Path(path_type=Path), help="settings from a YAML file"
    )


def _trace(**parameters: Any) -> int | None:
    context = click.get_current_context()
    if context.invoked_subcommand is not None:
        _refuse_flags_before(context)
        return None
    from universal_tracer.cli.run import trace  # noqa: PLC0415  not needed by subcommands

    settings = settings_from(parameters, parameters["config"])
    return int(trace(settings, context.meta.get(_COMMAND_KEY, [])))


def _refuse_flags_before(context: click.Context) -> None:
    given = [name for name, value in context.params.items() if value not in (None, False, ())]
    if given:
        flag = "--" + given[0].replace("_", "-")
        raise UsageError(
            f"{flag} stands before the subcommand",
            cause="flags before a subcommand would have no effect",
            hint=f"{PROGRAM} {context.invoked_subcommand} --help",
        )


root = RootCommand(
    name=PROGRAM,
    callback=_trace,
    params=[
        *options(),
        config_option(),
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            help="print the version",
            callback=lambda ctx, _param, asked: _print_version(ctx) if asked else None,
        ),
    ],
    invoke_without_command=True,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": WIDTH},
)


def _print_version(context: click.Context) -> None:
    click.echo(f"{PROGRAM} {__version__}")
    context.exit()
