"""Calls of traced functions, as the kernel has counted them, in summaries and metrics.

The table `functions` has a row for each function and process with what is new: pid, comm, function, module,
calls, returns, total_ns, max_ns, and latencies, a list of {ns, count}.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from universal_tracer.model.latencies import CountedLatencies
from universal_tracer.model.metrics import FUNCTION_CALLS, FUNCTION_SECONDS

if TYPE_CHECKING:
    from universal_tracer.model.series import Series

FUNCTIONS: Final = "functions"
_SAMPLES: Final = {
    "samples": pl.col("count").sum(),
    "complete": pl.col("count").filter(pl.col("end") == "complete").sum(),
}


class StacksPart:
    """`stack`: samples, and calls of functions with their latencies; see `pipeline.summaries.Part`."""

    event_types = frozenset({"profile", FUNCTIONS})

    def __init__(self) -> None:
        self._samples = Counter[str]()
        self._functions: dict[tuple[str, str], CountedLatencies] = defaultdict(CountedLatencies)

    def add(self, event_type: str, frame: pl.DataFrame) -> None:
        """See `Part`."""
        if event_type == FUNCTIONS:
            for row in frame.iter_rows(named=True):
                found = self._functions[row["function"], row["module"]]
                found.add(row["calls"], row["max_ns"], row["latencies"])
        else:
            self._samples.update(frame.select(**_SAMPLES).row(0, named=True))

    def take(self) -> dict[str, Any]:
        """See `Part`; the functions with the most calls first."""
        functions = sorted(self._functions.items(), key=lambda item: (-item[1].calls, item[0]))
        samples = {name: self._samples[name] for name in _SAMPLES}
        self._samples.clear()
        self._functions.clear()
        return {**samples, "functions": [_told(*name, found) for name, found in functions]}


def _told(function: str, module: str, found: CountedLatencies) -> dict[str, Any]:
    percentiles = {f"p{percent}": found.percentile(percent) for percent in (50, 90, 99)}
    latency_ns = {**percentiles, "max": found.longest}
    return {"function": function, "module": module, "calls": found.calls, "latency_ns": latency_ns}


def add_functions(frame: pl.DataFrame, series: Series) -> Counter[str]:
    """Add to the metrics; returns how many calls of each service found no room."""
    refused: Counter[str] = Counter()
    for row in frame.iter_rows(named=True):
        labels = (row["service"] or "", row["function"], row["module"])
        if not (series.add(FUNCTION_CALLS, labels, row["calls"]) and _add_latencies(row, labels, series)):
            refused[labels[0]] += row["calls"]
    return refused


def _add_latencies(row: dict[str, Any], labels: tuple[str, ...], series: Series) -> bool:
    buckets: Counter[int] = Counter()
    for latency in row["latencies"]:
        buckets[bisect_left(FUNCTION_SECONDS.bounds, latency["ns"] / 1e9)] += latency["count"]
    seconds = row["total_ns"] / 1e9
    for bucket, count in buckets.items():
        if not series.add_durations(FUNCTION_SECONDS, labels, bucket, count, seconds):
            return False
        seconds = 0.0  # the sum is that of all buckets
    return True
