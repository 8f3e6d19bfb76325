"""The entry point: runs the command line; every end is an exit code and, where it failed, three lines."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from universal_tracer.cli.root import PROGRAM, root
from universal_tracer.model.errors import BugError, ExitCode, TracerError

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130


def main() -> NoReturn:
    """Run `sys.argv` and leave the process."""
    code = run_command_line(sys.argv[1:])
    sys.exit(code)


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code. Errors are printed here and nowhere else."""
    _fill_missing_descriptors()
    try:
        code = root.main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Abort:
        return INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return ExitCode.OK
    except (SystemExit, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001  the last resort: a bug, too, ends in three lines; PyO3's are no Exception
        return _report(_as_tracer_error(error, arguments), error, is_verbose=_is_verbose(arguments))
    return int(code or ExitCode.OK)


def _as_tracer_error(error: BaseException, arguments: Sequence[str]) -> TracerError:
    if isinstance(error, TracerError) and not isinstance(error, BugError):
        return error
    if isinstance(error, click.UsageError):
        from universal_tracer.cli.usage import usage_error  # noqa: PLC0415  only errors pay for it

        return usage_error(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT):
        from universal_tracer.sinks import STDOUT_NAME, output_error  # noqa: PLC0415  only errors pay for it

        _abandon_stdout()
        return output_error(STDOUT_NAME, error)
    return _bug(error, arguments)


def _bug(error: BaseException, arguments: Sequence[str]) -> BugError:
    """Three lines, and a file with the rest."""
    from universal_tracer.cli.bug_report import summary, write_report  # noqa: PLC0415  only bugs pay for it

    path = write_report(error, arguments, _known_words())
    hint = "run it again with -v and report what it says"
    if path is not None:
        hint = f"report it with {path}, which tells versions, plan and place, and no secrets"
    if isinstance(error, BugError):
        return BugError(error.what, cause=error.cause, hint=hint)
    return BugError("something went wrong that should not have", cause=summary(error), hint=hint)


def _known_words() -> frozenset[str]:
    """Words of the command line that are the program's own: flags, what they choose among, subcommands."""
    context = click.Context(root)
    names = [name for parameter in root.params for name in parameter.opts]
    choices = [
        choice
        for parameter in root.params
        if isinstance(parameter.type, click.Choice)
        for choice in parameter.type.choices
    ]
    return frozenset([*names, *choices, *root.list_commands(context), "--help", "-h", "--json"])


def _report(told: TracerError, raised: BaseException, *, is_verbose: bool) -> int:
    from universal_tracer.system.terminal import visible  # noqa: PLC0415  only errors pay for it

    lines = [*(told.details if is_verbose else ()), *told.lines()]
    try:
        if is_verbose and told.exit_code == ExitCode.FAILED:
            import traceback  # noqa: PLC0415

            traceback.print_exception(raised)
        print("\n".join(map(visible, lines)), file=sys.stderr, flush=True)  # noqa: T201  the one place that prints errors
    except OSError:
        # Nobody listens; the exit code still tells.
        _redirect_to_null(2)
    return told.exit_code


def _is_verbose(arguments: Sequence[str]) -> bool:
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "-v" in own or "--verbose" in own


def _fill_missing_descriptors() -> None:
    """Open what a parent closed, so that no file of ours becomes standard output by accident."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Opened the wrong way round: using it fails, as it would on a closed one.
            os.open(os.devnull, os.O_WRONLY if descriptor == 0 else os.O_RDONLY)
            if descriptor == 1:
                sys.stdout = open(descriptor, "w", closefd=False)  # noqa: SIM115  stays open


def _abandon_stdout() -> None:
    """Let the interpreter's last flush go nowhere, instead of failing after the fact."""
    _redirect_to_null(1)


def _redirect_to_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
