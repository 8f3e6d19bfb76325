"""How many stacks reached their thread's first function, by program: what a profile is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from universal_tracer.model.ports import Loss

_PROFILE: Final = "profile"
_MOST_PROGRAMS: Final = 4096
_TOLD: Final = 5


class StackShares:
    """Counts samples; see `model.ports.Meter`."""

    event_types: Final = frozenset({_PROFILE})

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, int]] = {}
        self._others = (0, 0)

    def measure(self, event_type: str, frame: pl.DataFrame) -> None:
        """See `Meter`."""
        if event_type != _PROFILE:
            return
        complete = pl.col("count").filter(pl.col("end") == "complete")
        groups = frame.group_by(pl.col("comm").fill_null("")).agg(
            samples=pl.col("count").sum(), complete=complete.sum()
        )
        for comm, samples, whole in groups.iter_rows():
            before = self._counts.get(comm)
            if before is not None or len(self._counts) < _MOST_PROGRAMS:
                self._counts[comm] = _sum(before or (0, 0), (samples, whole))
            else:
                self._others = _sum(self._others, (samples, whole))

    def lose(self, losses: Sequence[Loss]) -> None:
        """See `Meter`: a sample that was lost is in neither count."""

    def described(self) -> str | None:
        """The share of all, and the programs that miss most; None without a sample."""
        counts = [*self._counts.values(), self._others]
        samples, complete = sum(count for count, _ in counts), sum(count for _, count in counts)
        if not samples:
            return None
        missing = {comm: count - whole for comm, (count, whole) in self._counts.items() if whole < count}
        worst = sorted(missing, key=lambda comm: (-missing[comm], comm))
        told = [f"{comm} {_percent(*self._counts[comm])}" for comm in worst[:_TOLD]]
        more = [f"{len(worst) - _TOLD} more programs"] if len(worst) > _TOLD else []
        listed = f"; less than all of {', '.join(told + more)}" if told else ""
        return f"{samples:,} samples, {_percent(samples, complete)} complete{listed}"


def _sum(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def _percent(samples: int, complete: int) -> str:
    """Never rounded up to all."""
    tenths = complete * 1000 // samples
    return f"{tenths / 10:g} %"
