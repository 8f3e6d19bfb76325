"""What a kernel did with a tracer's programs when they were loaded and attached for a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from universal_tracer.model.errors import TracerError
    from universal_tracer.model.ports import PlannedHook


@dataclass(frozen=True, slots=True)
class TriedHook:
    """A hook, and why it cannot be used (None: it can)."""

    hook: PlannedHook
    error: TracerError | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the kernel's part and the bytes it takes there: the kernel's count, or an estimate."""

    name: str
    kind: str
    entries: int
    bytes: int
    is_estimate: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """One tracer's outcome. `programs` are the names that its programs have in the kernel.

    `has_run` tells whether they were made to run as well, and did.
    """

    hooks: Sequence[TriedHook]
    tables: Sequence[Table]
    programs: Sequence[str]
    has_run: bool = True

    @property
    def error(self) -> TracerError | None:
        """Why the tracer cannot run; None where it can."""
        return next((tried.error for tried in self.hooks if tried.error is not None), None)
