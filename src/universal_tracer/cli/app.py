"""The entry point: runs the command line; every end is an exit code and, where it failed, three lines."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from universal_tracer.cli.root import PROGRAM, root
from universal_tracer.model.errors import ExitCode, RunFailedError, TracerError

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
    except Exception as error:  # noqa: BLE001  the last resort: a bug, too, ends in three lines
        is_verbose = _is_verbose(arguments)
        told = _as_tracer_error(error, is_verbose=is_verbose)
        return _report(told, error, with_traceback=is_verbose and told.exit_code == ExitCode.FAILED)
    return int(code or ExitCode.OK)


def _as_tracer_error(error: Exception, *, is_verbose: bool) -> TracerError:
    if isinstance(error, TracerError):
        return error
    if isinstance(error, click.UsageError):
        from universal_tracer.cli.usage import usage_error  # noqa: PLC0415  only errors pay for it

        return usage_error(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT):
        from universal_tracer.sinks import STDOUT_NAME, output_error  # noqa: PLC0415  only errors pay for it

        _abandon_stdout()
        return output_error(STDOUT_NAME, error)
    return RunFailedError(
        "something went wrong that should not have",
        cause=f"{type(error).__name__}: {error}",
        hint="report it with the lines above"
        if is_verbose
        else "run it again with -v and report what it says",
    )


def _report(told: TracerError, raised: Exception, *, with_traceback: bool) -> int:
    from universal_tracer.system.terminal import visible  # noqa: PLC0415  only errors pay for it

    if with_traceback:
        import traceback  # noqa: PLC0415

        traceback.print_exception(raised)
    try:
        print("\n".join(map(visible, told.lines())), file=sys.stderr, flush=True)  # noqa: T201  the one place that prints errors
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
