"""Every error that a user can meet, each with its cause, its remedy and its exit code.

    TracerError ─┬─ RunFailedError     1  an output cannot be written, a program failed
                 │   ├─ OutputError
                 │   └─ BugError          what should never happen; leaves a report file
                 ├─ UsageError         2  wrong flags or configuration
                 │   └─ ConfigError       … with every fault of the file
                 ├─ EventsLostError    3  `--strict`, and something was not recorded
                 ├─ PrivilegeError     4
                 ├─ KernelError        5  the kernel lacks something needed
                 ├─ TargetError        6  nobody there to trace
                 └─ EndpointError      7  an endpoint cannot be reached at the start

Only the command line prints them. Sentences begin in lower case and have no full stop; the hint is something
to do, where possible a command to run.
"""

from __future__ import annotations

from enum import IntEnum, unique
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Sequence


@unique
class ExitCode(IntEnum):
    """What the shell sees."""

    OK = 0
    FAILED = 1
    USAGE = 2
    LOST = 3
    PRIVILEGE = 4
    KERNEL = 5
    TARGET = 6
    ENDPOINT = 7


EXIT_MEANINGS: Final = {
    ExitCode.OK: "fine; also when the traced COMMAND failed, whose code is in the summary",
    ExitCode.FAILED: "failed: an output cannot be written, for instance; what was written stays valid",
    ExitCode.USAGE: "wrong usage or configuration",
    ExitCode.LOST: "events were lost and --strict was given",
    ExitCode.PRIVILEGE: "a privilege is missing",
    ExitCode.KERNEL: "the kernel lacks something needed",
    ExitCode.TARGET: "nobody there to trace, no such interface, or COMMAND cannot be started",
    ExitCode.ENDPOINT: "an endpoint cannot be reached, or its port is in use",
}
"""For the manual page; 130 is a second Ctrl-C."""


class TracerError(Exception):
    """An error with a cause and a remedy. `what`, `cause` and `hint` are single lines.

    `details` are further lines for `-v`, such as the whole log of the kernel's verifier.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, what: str, *, cause: str, hint: str, details: Sequence[str] = ()) -> None:
        super().__init__(what, cause, hint)
        self.what = what
        self.cause = cause
        self.hint = hint
        self.details = tuple(details)

    def __str__(self) -> str:
        return f"{self.what}: {self.cause}"

    def lines(self) -> list[str]:
        """The three lines that a user sees."""
        return [f"error: {self.what}", f"cause: {self.cause}", f"hint: {self.hint}"]


class RunFailedError(TracerError):
    """The run cannot go on, though it was set up rightly."""


class OutputError(RunFailedError):
    """An output cannot be opened or written."""


class BugError(RunFailedError):
    """The fault is the tracer's own."""


class UsageError(TracerError):
    """Flags that are wrong or contradict each other."""

    exit_code = ExitCode.USAGE


class ConfigError(UsageError):
    """A configuration that is wrong; tells all faults at once, each as `WHERE: KEY: …`."""

    def __init__(self, what: str, faults: Sequence[str], *, hint: str) -> None:
        super().__init__(what, cause=faults[0], hint=hint)
        self.faults = tuple(faults)

    def lines(self) -> list[str]:
        """One `cause:` line per fault."""
        causes = [f"cause: {fault}" for fault in self.faults]
        return [f"error: {self.what}", *causes, f"hint: {self.hint}"]


class EventsLostError(TracerError):
    """Events were lost and `--strict` was given."""

    exit_code = ExitCode.LOST


class PrivilegeError(TracerError):
    """The process may not do what was asked."""

    exit_code = ExitCode.PRIVILEGE


class KernelError(TracerError):
    """The kernel lacks something that the tracer needs."""

    exit_code = ExitCode.KERNEL


class TargetError(TracerError):
    """What should be traced is not there."""

    exit_code = ExitCode.TARGET


class EndpointError(TracerError):
    """An endpoint cannot be reached, or its port is in use."""

    exit_code = ExitCode.ENDPOINT
