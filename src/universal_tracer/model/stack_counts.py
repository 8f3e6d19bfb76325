"""Stacks and how often they were seen over a whole run: what every picture of a profile is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import polars as pl

MAX_STACKS: Final = 200_000
"""Distinct stacks that are kept; what comes after them is counted in one that says so."""

OFF_CPU: Final = "off-cpu"
CALLS: Final = "calls"
_TOO_MANY: Final = "[more stacks than are kept]"


class Frame(NamedTuple):
    """A function of a stack; see the `frames` of a `profile` event."""

    name: str
    module: str | None
    file: str | None
    line: int | None
    inlined: bool
    kind: str


class StackKey(NamedTuple):
    """What makes two stacks equal: the thread's name, what was counted, the frames root first."""

    comm: str
    kind: str
    frames: tuple[Frame, ...]


@dataclass(slots=True)
class Sum:
    """Samples, and the time that they stand for."""

    count: int = 0
    value_ns: int = 0


@dataclass(slots=True)
class StackCounts:
    """The sums of a run, in bounded memory."""

    sums: dict[StackKey, Sum] = field(default_factory=dict)
    total: Sum = field(default_factory=Sum)
    complete: int = 0
    calls: int = 0
    complete_calls: int = 0
    first_ns: int | None = None
    last_ns: int = 0
    host: str = ""
    _frames: dict[Frame, Frame] = field(default_factory=dict)

    def add(self, profile: pl.DataFrame) -> None:
        """Add the rows of `profile` events."""
        columns = ("comm", "kind", "frames", "count", "value_ns", "end")
        for comm, kind, frames, count, value_ns, end in profile.select(columns).iter_rows():
            found = tuple(self._same(Frame(**frame)) for frame in frames)
            self._count(StackKey(comm or "", kind, found), count, value_ns)
            self.complete += count if end == "complete" else 0
        self._note_times(profile)

    def _note_times(self, events: pl.DataFrame) -> None:
        times = events["timestamp_ns"]
        first = int(times.min())  # type: ignore[arg-type]  # never empty, never null
        self.first_ns = first if self.first_ns is None else min(self.first_ns, first)
        self.last_ns = max(self.last_ns, int(times.max()))  # type: ignore[arg-type]
        self.host = events["host"][0] or self.host

    def weight(self, found: Sum) -> int:
        """How wide a stack is drawn: in samples, or, where calls were traced as well, in ns."""
        return found.value_ns if self.calls else found.count

    def add_calls(self, calls: pl.DataFrame) -> None:
        """Add the rows of `function` events: an exit stands for its own time, without traced callees."""
        columns = ("comm", "frames", "self_ns", "end")
        exits = calls.filter(event="exit")
        for comm, frames, self_ns, end in exits.select(columns).iter_rows():
            found = tuple(self._same(Frame(**frame)) for frame in frames)
            self._count(StackKey(comm or "", CALLS, found), 1, self_ns)
            self.calls += 1
            self.complete_calls += 1 if end == "complete" else 0
        self._note_times(calls)

    def _same(self, frame: Frame) -> Frame:
        """One object for equal frames: stacks share most of theirs."""
        return self._frames.setdefault(frame, frame)

    def _count(self, key: StackKey, count: int, value_ns: int) -> None:
        if key not in self.sums and len(self.sums) >= MAX_STACKS:
            key = StackKey("", key.kind, (Frame(_TOO_MANY, None, None, None, False, "user"),))
        for found in (self.sums.setdefault(key, Sum()), self.total):
            found.count += count
            found.value_ns += value_ns
