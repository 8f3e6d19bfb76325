"""`-- COMMAND`: started held back, let go once it is a target, reaped when it ends.

It is forked early, while this process is small and has one thread, and waits before its first instruction.
What the child does until then is in `launch`.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from universal_tracer.cli.launch import (
    NOT_STARTED,
    REPORT,
    Launch,
    become,
    find_executable,
    original_environment,
)
from universal_tracer.model.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from universal_tracer.cli.signals import StopRequest

# Seconds from when the run is to end. Who got the signal as well, as part of a process group, is mostly gone
# after the first.
_FORWARD_S: Final = 0.3
_TERMINATE_S: Final = 2.0
_KILL_S: Final = 5.0
_POLL_S: Final = 0.02


class TracedCommand:
    """A child process that runs `arguments`."""

    def __init__(self, arguments: Sequence[str], *, stdout_to_stderr: bool, signal_mask: set[int]) -> None:
        """Fork and hold. Raises TargetError where the command is not there or not executable."""
        self.status: int | None = None
        self._name = arguments[0]
        self._is_released = False
        self._due: list[tuple[float, int]] | None = None
        self._asked_at_s = 0.0
        # Who ignores SIGCHLD never learns how a child ended.
        child_handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._reports, child_reports = os.pipe()
        child_orders, self._orders = os.pipe()
        launch = Launch(
            list(arguments), child_reports, child_orders, stdout_to_stderr, signal_mask, child_handler
        )
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._reports)
            os.close(self._orders)
            become(launch)
        os.close(child_reports)
        os.close(child_orders)
        self._await_report(silence_is_success=False)

    def release(self) -> None:
        """Let it run; returns once it does. Raises TargetError where the kernel refuses to execute it."""
        with suppress(BrokenPipeError):  # it was killed meanwhile: that it has ended is told by its status
            os.write(self._orders, b"!")
        os.close(self._orders)
        self._is_released = True
        self._await_report(silence_is_success=True)
        os.close(self._reports)

    def has_ended(self) -> bool:
        """Whether it is over; `status` then holds its exit code, or minus the signal that ended it."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    @property
    def is_ending(self) -> bool:
        """Whether it was asked to end."""
        return self._due is not None

    def ask_to_end(self, request: StopRequest | None) -> None:
        """Begin to end it: by the signal that the run got, unless it got that too, then by stronger ones."""
        self._asked_at_s = time.monotonic()
        if request is None:
            self._due = [(0.0, signal.SIGTERM)]
        elif request.from_terminal:
            self._due = [(_TERMINATE_S, signal.SIGTERM)]
        else:
            self._due = [(_FORWARD_S, request.number), (_TERMINATE_S, signal.SIGTERM)]
        self._due.append((_KILL_S, signal.SIGKILL))

    def keep_ending(self) -> None:
        """Send what is due by now."""
        elapsed_s = time.monotonic() - self._asked_at_s
        while self._due and elapsed_s >= self._due[0][0]:
            self.kill(self._due.pop(0)[1])

    def kill(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal, if it still runs."""
        if not self.has_ended():
            os.kill(self.pid, number)

    def abandon(self) -> None:
        """End it for good: one that was held never starts, one that runs is asked first. Idempotent."""
        if not self._is_released:
            self.kill(signal.SIGKILL)
        elif not self.is_ending:
            self.ask_to_end(None)
        while not self.has_ended():
            self.keep_ending()
            time.sleep(_POLL_S)

    def _await_report(self, *, silence_is_success: bool) -> None:
        report = os.read(self._reports, REPORT.size)
        if not report and silence_is_success:
            return
        number = REPORT.unpack(report)[0] if report else errno.ESRCH
        if number:
            os.waitpid(self.pid, 0)
            self.status = NOT_STARTED
            raise _cannot_start(self._name, number)


def require_startable(arguments: Sequence[str]) -> None:
    """Raises TargetError where the command is not there or not executable; starts nothing."""
    try:
        find_executable(arguments[0], original_environment())
    except OSError as error:
        raise _cannot_start(arguments[0], error.errno or errno.EIO) from error


def program_of(arguments: Sequence[str]) -> str | None:
    """The absolute path of what a command would run; None where it cannot be started."""
    with suppress(OSError):
        found = find_executable(arguments[0], original_environment())
        return os.path.abspath(found)  # noqa: PTH100  links are kept: a program may look at its name
    return None


def _cannot_start(name: str, number: int) -> TargetError:
    where = name if "/" in name else f'"$(command -v {name})"'
    hints = {
        errno.ENOENT: f"ls -l {name}" if "/" in name else f"command -v {name}",
        errno.EACCES: f"ls -l {where}",
        errno.ENOEXEC: f"file {where}",
    }
    cause = "there is no such command" if number == errno.ENOENT else os.strerror(number).lower()
    return TargetError(
        f"cannot start {name!r}", cause=cause, hint=hints.get(number, f"{name}, without the tracer")
    )
