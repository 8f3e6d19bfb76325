"""The events of the last seconds, so that a capture can hold what was before its trigger."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping

# Requests of ten seconds at a rate that fills a core; what is older makes room.
MAX_BYTES: Final = 32 << 20
# How long an event lasted, by the column that says it.
_LASTED_MS: Final[Mapping[str, str]] = {
    "http": "latency_ms",
    "connection": "duration_ms",
    "flow": "duration_ms",
}
_NS_PER_MS: Final = 1_000_000


def end_ns(event_type: str, frame: pl.DataFrame) -> pl.Series:
    """When each event was over (Unix): what takes no time is over at once."""
    lasted = _LASTED_MS.get(event_type)
    if lasted is None:
        return frame["timestamp_ns"]
    duration = (pl.col(lasted).fill_null(0.0) * _NS_PER_MS).round().cast(pl.Int64)
    return frame.select(pl.col("timestamp_ns") + duration).to_series()


class _Held(NamedTuple):
    arrived_s: float
    event_type: str
    frame: pl.DataFrame
    size: int


@dataclass(slots=True)
class EventRing:
    """Frames as they came, for `keep_s` seconds, `max_bytes` in all at most."""

    keep_s: float
    max_bytes: int = MAX_BYTES
    _held: deque[_Held] = field(default_factory=deque)
    _size: int = 0

    def add(self, event_type: str, frame: pl.DataFrame) -> int:
        """Returns how many events were given up for it that were not too old yet."""
        now_s = time.monotonic()
        size = int(frame.estimated_size())
        self._held.append(_Held(now_s, event_type, frame, size))
        self._size += size
        while self._held[0].arrived_s < now_s - self.keep_s:
            self._drop()
        given_up = 0
        while self._size > self.max_bytes and len(self._held) > 1:
            given_up += self._drop()
        return given_up

    def _drop(self) -> int:
        oldest = self._held.popleft()
        self._size -= oldest.size
        return oldest.frame.height

    def between(self, begin_ns: int, until_ns: int) -> dict[str, pl.DataFrame]:
        """By type, the events that lie, if only in part, between these Unix times."""
        found: dict[str, list[pl.DataFrame]] = {}
        for held in self._held:
            overlaps = (held.frame["timestamp_ns"] <= until_ns) & (
                end_ns(held.event_type, held.frame) >= begin_ns
            )
            if overlaps.any():
                found.setdefault(held.event_type, []).append(held.frame.filter(overlaps))
        return {event_type: pl.concat(frames) for event_type, frames in found.items()}
