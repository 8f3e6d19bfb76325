"""One `summary` per interval instead of events: how much there was, how long it took, what was lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import polars as pl

from universal_tracer.model.counted_calls import StacksPart
from universal_tracer.model.figures import ExactLatencies, RequestFigures
from universal_tracer.model.schema import schema
from universal_tracer.model.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from universal_tracer.model.ports import Loss

_SUMMARY: Final = "summary"


class Part(Protocol):
    """What a summary tells of one tracer, in the column of its name."""

    event_types: frozenset[str]

    def add(self, event_type: str, frame: pl.DataFrame) -> None:
        """Count rows of these types."""

    def take(self) -> dict[str, Any]:
        """The members of the column since the last time."""


class RequestsPart:
    """`http`: requests, failures and latencies; percentiles are exact up to 100,000 requests an interval."""

    event_types = frozenset({"http"})

    def __init__(self) -> None:
        self._figures = _request_figures()

    def add(self, event_type: str, frame: pl.DataFrame) -> None:  # noqa: ARG002
        """See `Part`."""
        self._figures.add(frame)

    def take(self) -> dict[str, Any]:
        """See `Part`."""
        figures, self._figures = self._figures, _request_figures()
        latency = figures.latency
        told = {f"p{percent}": latency.percentile(percent) for percent in (50, 90, 99)}
        longest = latency.max_ms if latency.count else None
        return {
            "requests": figures.requests,
            "errors": figures.errors,
            "latency_ms": {**told, "max": longest},
        }


class SumsPart:
    """Members that are sums over the rows of some types; `sums` gives a type's, by member."""

    def __init__(self, sums: Mapping[str, Mapping[str, pl.Expr]]) -> None:
        self.event_types = frozenset(sums)
        self._sums = sums
        self._counts = self._nothing()

    def add(self, event_type: str, frame: pl.DataFrame) -> None:
        """See `Part`."""
        for name, value in frame.select(**self._sums[event_type]).row(0, named=True).items():
            self._counts[name] += value

    def take(self) -> dict[str, Any]:
        """See `Part`."""
        counts, self._counts = self._counts, self._nothing()
        return counts

    def _nothing(self) -> dict[str, int]:
        return {name: 0 for sums in self._sums.values() for name in sums}


# The table `network` is described in `pipeline.aggregate`.
_NETWORK = {
    "network": {"packets": pl.col("packets").sum(), "bytes": pl.col("bytes").sum()},
    "flow": {"flows": pl.len()},
}


def _request_figures() -> RequestFigures:
    return RequestFigures(latency=ExactLatencies())


# By tracer. A tracer that has no part here is null in every summary.
PARTS: Final[Mapping[str, Callable[[], Part]]] = {
    "http": RequestsPart,
    "xdp": lambda: SumsPart(_NETWORK),
    "stack": StacksPart,
}


class IntervalSummary:
    """Counts for `interval_s`, tells, and begins anew; see `model.ports.PeriodicMeter`."""

    def __init__(
        self,
        tracers: Collection[str],
        interval_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """The first interval begins now."""
        self._parts = {name: make() for name, make in PARTS.items() if name in tracers}
        self._interval_s = interval_s
        self._wall_clock_ns = wall_clock_ns
        self._begun_s = clock()
        self._begun_ns = wall_clock_ns()
        self._lost = 0
        self.due_s = self._begun_s + interval_s

    @property
    def event_types(self) -> frozenset[str]:
        """See `Meter`."""
        return frozenset().union(*(part.event_types for part in self._parts.values()))

    def measure(self, event_type: str, frame: pl.DataFrame) -> None:
        """See `Meter`."""
        for part in self._parts.values():
            if event_type in part.event_types:
                part.add(event_type, frame)

    def lose(self, losses: Sequence[Loss]) -> None:
        """See `Meter`."""
        self._lost += sum(loss.count for loss in losses)

    def tell(self, now_s: float) -> tuple[str, pl.DataFrame]:
        """The interval up to now; a late one does not move those that follow."""
        row = {
            "timestamp": rfc3339(self._begun_ns),
            "timestamp_ns": self._begun_ns,
            "interval_ms": round((now_s - self._begun_s) * 1000, 3),
            "lost": self._lost,
            **{name: part.take() for name, part in self._parts.items()},
        }
        self._lost = 0
        self._begun_s, self._begun_ns = now_s, self._wall_clock_ns()
        while self.due_s <= now_s:
            self.due_s += self._interval_s
        types = schema(_SUMMARY)
        return _SUMMARY, pl.DataFrame([row], schema={name: types[name] for name in row})
