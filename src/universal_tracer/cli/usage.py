"""Click's complaints in this program's words."""

from __future__ import annotations

import re
import shutil

import click

from universal_tracer.cli.root import PROGRAM
from universal_tracer.config.suggest import did_you_mean
from universal_tracer.model.errors import UsageError

_NOT_ONE_OF = re.compile(r"'(.*)' is not (?:one of )?'", re.DOTALL)
_HELP = f"{PROGRAM} --help"


def usage_error(error: click.UsageError) -> UsageError:  # noqa: PLR0911  one answer per complaint
    """The same complaint with cause and hint."""
    match error:
        case click.NoSuchOption():
            return _no_such_option(error)
        case click.exceptions.NoSuchCommand():
            return _no_such_command(error)
        case click.exceptions.NoArgsIsHelpError():
            return _no_subcommand(error)
        case click.MissingParameter():
            name = (
                error.param.make_metavar(error.ctx) if error.param is not None and error.ctx else "something"
            )
            return UsageError(f"{name} is missing", cause="it must be given", hint=_help(error))
        case click.BadOptionUsage():
            return UsageError(
                f"{error.option_name} is not used rightly", cause=_sentence(error), hint=_help(error)
            )
        case click.BadParameter():
            name = error.param.opts[0] if error.param is not None else "an argument"
            return UsageError(f"{name} has a wrong value", cause=_wrong_value(error), hint=_help(error))
        case _:
            return UsageError("the command line is not understood", cause=_sentence(error), hint=_help(error))


def _no_subcommand(error: click.exceptions.NoArgsIsHelpError) -> UsageError:
    group, context = error.ctx.command, error.ctx
    names = ", ".join(group.list_commands(context)) if isinstance(group, click.Group) else ""
    what = f"{group.name} needs a subcommand"
    return UsageError(what, cause=f"it can do several things: {names}", hint=_help(error))


def _no_such_option(error: click.NoSuchOption) -> UsageError:
    known: list[str] = []
    if error.ctx is not None:
        known = [name for param in error.ctx.command.get_params(error.ctx) for name in param.opts]
    meant = did_you_mean(error.option_name, known)
    return UsageError(
        f"unknown flag {error.option_name!r}", cause=f"there is no such flag{meant}", hint=_help(error)
    )


def _no_such_command(error: click.exceptions.NoSuchCommand) -> UsageError:
    name = error.command_name
    known = (
        error.ctx.command.list_commands(error.ctx)
        if error.ctx and isinstance(error.ctx.command, click.Group)
        else ()
    )
    meant = did_you_mean(name, known)
    if not meant and error.ctx is not None and error.ctx.parent is None and shutil.which(name):
        return UsageError(
            f"unknown subcommand {name!r}",
            cause="a command to trace stands behind --",
            hint=f"{PROGRAM} -- {name}",
        )
    return UsageError(
        f"unknown subcommand {name!r}", cause=f"there is no such subcommand{meant}", hint=_help(error)
    )


def _wrong_value(error: click.BadParameter) -> str:
    choice = error.param.type if error.param is not None else None
    value = _NOT_ONE_OF.match(error.message)
    if not isinstance(choice, click.Choice) or value is None:
        return _sentence(error)
    known = list(map(str, choice.choices))
    return f"{value[1]!r} is not one of {', '.join(known)}{did_you_mean(value[1], known)}"


def _sentence(error: click.UsageError) -> str:
    text = error.format_message().rstrip(".").replace("\n", " ")
    return text[:1].lower() + text[1:]


def _help(error: click.UsageError) -> str:
    return f"{error.ctx.command_path} --help" if error.ctx is not None else _HELP
