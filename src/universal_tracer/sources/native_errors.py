"""The native core's errors as those that carry an exit code."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from universal_tracer import _native
from universal_tracer.model.errors import (
    BugError,
    KernelError,
    PrivilegeError,
    RunFailedError,
    TargetError,
    TracerError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ERRORS: Final[Mapping[str, type[TracerError]]] = {
    "privilege": PrivilegeError,
    "kernel": KernelError,
    "target": TargetError,
    "usage": UsageError,
    "failed": RunFailedError,
    "bug": BugError,
}


_WHERE_TO_LOOK: Final = "universal-tracer doctor says what this machine allows"


def tracer_error(error: _native.NativeError) -> TracerError:
    """The same error with its exit code."""
    what, cause, hint = error.args
    return _ERRORS[error.kind](what, cause=cause, hint=hint or _WHERE_TO_LOOK, details=error.log)


@contextmanager
def told_errors() -> Iterator[None]:
    """Raises the core's errors as TracerError."""
    try:
        yield
    except _native.NativeError as error:
        raise tracer_error(error) from error


def panics() -> list[str]:
    """The places in the core's sources where a thread of it gave up so far."""
    return _native.panics()
