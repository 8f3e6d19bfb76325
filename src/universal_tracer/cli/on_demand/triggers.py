"""What fires: each watches one condition and says when it has become true."""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from universal_tracer.config.trigger import SIGNAL

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from universal_tracer.config.trigger import Level

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": lambda value, limit: value > limit,
    ">=": lambda value, limit: value >= limit,
    "<": lambda value, limit: value < limit,
    "<=": lambda value, limit: value <= limit,
    "==": lambda value, limit: value == limit,
    "!=": lambda value, limit: value != limit,
}
_LEVEL_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Fired:
    """When (Unix) and why; `event` is the row that met the condition, `measured` the figure that did."""

    at_ns: int
    condition: str
    event: pl.DataFrame | None = None
    measured: float | None = None


class Watch(Protocol):
    """One condition."""

    def tick(self, now_s: float) -> list[Fired]:
        """What has fired since the last call, in order; `now_s` on the monotonic clock."""


@dataclass(slots=True)
class SignalWatch:
    """SIGUSR1, which the thread of signals notes."""

    _arrived_ns: deque[int] = field(default_factory=deque)

    def arrived(self) -> None:
        """Note it; called from another thread."""
        self._arrived_ns.append(time.time_ns())

    def tick(self, now_s: float) -> list[Fired]:  # noqa: ARG002
        """See `Watch`."""
        fired = []
        while self._arrived_ns:
            fired.append(Fired(self._arrived_ns.popleft(), SIGNAL))
        return fired


class FileWatch:
    """A file that appears; one that is there already has to go and come again."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.was_there = self._is_there()

    def _is_there(self) -> bool:
        return os.path.lexists(self.path)

    def tick(self, now_s: float) -> list[Fired]:  # noqa: ARG002
        """See `Watch`."""
        before, self.was_there = self.was_there, self._is_there()
        return [Fired(time.time_ns(), f"file:{self.path}")] if self.was_there and not before else []


class LevelWatch:
    """A figure of the last second that crosses its limit; fires again once it has been back."""

    def __init__(self, level: Level, measure: Callable[[], float]) -> None:
        """`measure` gives the figure since its last call, per second."""
        self._level = level
        self._measure = measure
        self._was_met = False
        self._due_s = 0.0

    def tick(self, now_s: float) -> list[Fired]:
        """See `Watch`."""
        if now_s < self._due_s:
            return []
        is_first = not self._due_s
        self._due_s = now_s + _LEVEL_EVERY_S
        value = self._measure()
        if is_first:  # there is no last second yet
            return []
        before, self._was_met = self._was_met, _COMPARE[self._level.operator](value, self._level.limit)
        if before or not self._was_met:
            return []
        return [Fired(time.time_ns(), self._level.text, measured=value)]
