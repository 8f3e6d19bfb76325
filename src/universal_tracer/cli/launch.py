"""What a forked child does until it is the traced command.

The command keeps its standard input, directory, umask, process group, environment and signals as they were
when the tracer was started. It is the user who called sudo, where there is one, and lacks our capabilities.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import signal
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

REPORT: Final = struct.Struct("=i")  # an errno; 0 = ready to go
NOT_STARTED: Final = 127
# The launcher keeps the environment that it was given in a file, where it had to clean its own.
ENVIRONMENT_DESCRIPTOR: Final = "UNIVERSAL_TRACER_ENVIRONMENT_FD"
_SHELL: Final = "/bin/sh"
_STATUS: Final = Path("/proc/self/status")
_INITIAL_ENVIRONMENT: Final = Path("/proc/self/environ")
# Python ignores these for itself; a command expects them as they come.
_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAPABILITY_SETS_SIZE: Final = 24  # two times three sets of 32 bits


@dataclass(frozen=True, slots=True)
class Launch:
    """What to become, and how to talk to the parent: reports go out, one byte comes in when it may go."""

    arguments: list[str]
    reports: int
    orders: int
    stdout_to_stderr: bool
    signal_mask: set[int]
    child_handler: Any


def become(launch: Launch) -> NoReturn:
    """Report readiness or an error; wait for the order; execute. Never returns, never raises."""
    try:
        environment = original_environment()
        _take_off_privilege()
        path = find_executable(launch.arguments[0], environment)
        os.write(launch.reports, REPORT.pack(0))
        # No byte but an end: the tracer has gone.
        if os.read(launch.orders, 1):
            _restore_signals(launch)
            if launch.stdout_to_stderr:
                os.dup2(2, 1)
            _execute(path, launch.arguments, environment)
    except OSError as error:
        with suppress(OSError):
            os.write(launch.reports, REPORT.pack(error.errno or errno.EIO))
    finally:
        os._exit(NOT_STARTED)


def original_environment() -> dict[bytes, bytes]:
    """The environment that the tracer was started with; Python and the launcher change their own."""
    descriptor = os.environ.get(ENVIRONMENT_DESCRIPTOR)
    if descriptor is not None:
        with open(int(descriptor), "rb") as stream:  # noqa: PTH123  a descriptor; closed, so that it is not inherited
            stream.seek(0)
            block = stream.read()
    else:
        block = _INITIAL_ENVIRONMENT.read_bytes()
    entries = (entry.partition(b"=") for entry in block.split(b"\0") if b"=" in entry[1:])
    return {name: value for name, _, value in entries}


def find_executable(name: str, environment: dict[bytes, bytes]) -> str:
    """What a shell would run; OSError with ENOENT or EACCES where there is nothing to run."""
    search_path = os.fsdecode(environment.get(b"PATH", os.fsencode(os.defpath)))
    directories = [""] if "/" in name else search_path.split(os.pathsep)
    candidates = [os.path.join(directory, name) for directory in directories]  # noqa: PTH118  may be relative
    existing = [candidate for candidate in candidates if os.path.lexists(candidate)]
    for candidate in existing:
        if Path(candidate).is_file() and os.access(candidate, os.X_OK):
            return candidate
    number = errno.EACCES if existing else errno.ENOENT
    raise OSError(number, os.strerror(number), name)


def _take_off_privilege() -> None:
    """Become the user who called sudo, with that user's groups, and drop inherited capabilities."""
    identity = [os.environ.get(name, "") for name in ("SUDO_UID", "SUDO_GID")]
    if os.geteuid() == 0 and all(number.isdecimal() for number in identity):
        uid, gid = map(int, identity)
        os.setgroups(_groups(uid, gid))
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if _has_ambient_capabilities():
        _drop_all_capabilities()


def _groups(uid: int, gid: int) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return [gid]


def _has_ambient_capabilities() -> bool:
    lines = _STATUS.read_text().splitlines()
    return any(int(line.split()[1], 16) for line in lines if line.startswith("CapAmb:"))


def _drop_all_capabilities() -> None:
    """Ambient ones go with those that they rest on."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, bytes(_CAPABILITY_SETS_SIZE)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _restore_signals(launch: Launch) -> None:
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, launch.child_handler)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, launch.signal_mask)


def _execute(path: str, arguments: list[str], environment: dict[bytes, bytes]) -> NoReturn:
    try:
        os.execve(path, arguments, environment)  # noqa: S606  no shell is wanted
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    # A script without #!, run as shells run it.
    os.execve(_SHELL, [_SHELL, path, *arguments[1:]], environment)  # noqa: S606
