"""`-- COMMAND`: started held back, let go once it is a target, reaped when it ends.

It is forked early, while this process is small and has one thread, and waits before its first instruction. It keeps
its standard input, directory, environment, umask, process group and signals; it is who stands behind sudo.
"""

from __future__ import annotations

import errno
import os
import pwd
import signal
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from universal_tracer.model.errors import TargetError

if TYPE_CHECKING:
    from universal_tracer.cli.signals import StopRequest

_READY: Final = 0
_REPORT: Final = struct.Struct("=i")
_NOT_STARTED: Final = 127
# Python ignores these for itself; a command expects them as they come.
_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)
# Seconds after the end of the run was asked for: who got the signal as well has gone by the first.
_OWN_END_S: Final = 0.3
_TERMINATE_S: Final = 2.0
_KILL_S: Final = 5.0


class TracedCommand:
    """A child process that runs `arguments`."""

    def __init__(self, arguments: Sequence[str], *, stdout_to_stderr: bool, signal_mask: set[int]) -> None:
        """Fork and hold. Raises TargetError where the command is not there or not executable."""
        self._arguments = list(arguments)
        self.status: int | None = None
        self._ending: list[tuple[float, int]] | None = None
        self._asked_at = 0.0
        reports, child_reports = os.pipe()
        child_orders, orders = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reports)
            os.close(orders)
            _become(self._arguments, child_reports, child_orders, stdout_to_stderr, signal_mask)
        os.close(child_reports)
        os.close(child_orders)
        self._reports, self._orders = reports, orders
        self._await_report(expects_silence=False)

    def release(self) -> None:
        """Let it run; returns once it does. Raises TargetError where the kernel refuses to execute it."""
        with suppress(BrokenPipeError):  # it was killed; its report says so
            os.write(self._orders, b"!")
        os.close(self._orders)
        self._await_report(expects_silence=True)
        os.close(self._reports)

    def has_ended(self) -> bool:
        """Whether it is over; `status` then holds its exit code, or minus the signal that ended it."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def ask_to_end(self, request: StopRequest | None) -> None:
        """Begin to end it: by the signal that the run got, if it did not get that itself, then by stronger ones."""
        self._asked_at = time.monotonic()
        later = [(_TERMINATE_S, signal.SIGTERM), (_KILL_S, signal.SIGKILL)]
        if request is None:
            self._ending = [(0.0, signal.SIGTERM), later[1]]
        elif request.from_terminal:
            self._ending = list(later)
        else:
            self._ending = [(_OWN_END_S, request.number), *later]

    @property
    def is_ending(self) -> bool:
        """Whether it was asked to end."""
        return self._ending is not None

    def keep_ending(self) -> None:
        """Send what is due."""
        elapsed = time.monotonic() - self._asked_at
        while self._ending and elapsed >= self._ending[0][0]:
            self.kill(self._ending.pop(0)[1])

    def kill(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal, if it still runs."""
        if not self.has_ended():
            os.kill(self.pid, number)

    def abandon(self) -> None:
        """The run does not take place: a command that was held never starts."""
        if self.status is None:
            self.kill(signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.status = -signal.SIGKILL

    def _await_report(self, *, expects_silence: bool) -> None:
        report = os.read(self._reports, _REPORT.size)
        if not report and expects_silence:
            return
        number = _REPORT.unpack(report)[0] if report else errno.ECHILD
        if number != _READY:
            os.waitpid(self.pid, 0)
            self.status = _NOT_STARTED
            raise _cannot_start(self._arguments[0], number)


def _cannot_start(name: str, number: int) -> TargetError:
    hints = {
        errno.ENOENT: f"command -v {name} shows whether the shell finds it" if "/" not in name else f"ls -l {name}",
        errno.EACCES: f"ls -l {name} shows who may execute it",
        errno.ENOEXEC: f"file {name} shows what it is; a script needs #! in its first line",
    }
    return TargetError(
        f"cannot start {name!r}",
        cause=os.strerror(number) if number != errno.ENOENT else "there is no such command",
        hint=hints.get(number, f"{name} without the tracer shows whether it starts"),
    )


def _become(
    arguments: list[str], reports: int, orders: int, stdout_to_stderr: bool, signal_mask: set[int]
) -> NoReturn:
    """The child's whole life in Python."""
    try:
        _take_off_privilege()
        path = _executable(arguments[0])
        os.write(reports, _REPORT.pack(_READY))
        if os.read(orders, 1):
            _restore_signals(signal_mask)
            if stdout_to_stderr:
                os.dup2(2, 1)
            os.execv(path, arguments)
    except OSError as error:
        with suppress(OSError):
            os.write(reports, _REPORT.pack(error.errno or errno.EIO))
    finally:
        os._exit(_NOT_STARTED)


def _take_off_privilege() -> None:
    """Become the user who called sudo, with that user's groups."""
    identity = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() != 0 or not all(number.isdecimal() for number in identity):
        return
    uid, gid = int(identity[0]), int(identity[1])
    if uid == 0:
        return
    try:
        groups = os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        groups = [gid]
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _executable(name: str) -> str:
    """What the shell would run; OSError with ENOENT or EACCES where there is nothing to run."""
    if "/" in name:
        os.stat(name)
        candidates = [name]
    else:
        candidates = [os.path.join(directory, name) for directory in os.get_exec_path()]  # noqa: PTH118  bytes too
    files = [candidate for candidate in candidates if os.path.isfile(candidate)]  # noqa: PTH113
    for candidate in files:
        if os.access(candidate, os.X_OK):
            return candidate
    number = errno.EACCES if files or "/" in name else errno.ENOENT
    raise OSError(number, os.strerror(number), name)


def _restore_signals(mask: set[int]) -> None:
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
