"""From rows to metrics: rows are grouped by their labels in polars, groups are added to series.

A tracer's metrics are described in `model.metrics`; here each gets a `Measure`: which rows it is made of, and
what their labels and values are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from universal_tracer.model.counted_calls import FUNCTIONS, add_functions
from universal_tracer.model.metrics import (
    DURATION_BOUNDS_S,
    EVENTS,
    EVENTS_LOST,
    IP_PROTOCOLS,
    METHODS,
    METRICS,
    OTHER_METHOD,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from universal_tracer.model.ports import Loss
    from universal_tracer.model.series import Series

_BOUNDS: Final = pl.Series("bounds", DURATION_BOUNDS_S, dtype=pl.Float64)
_OTHER_ROUTE: Final = "other"
_AMOUNT, _BUCKET, _SUM = "amount:", "bucket", "sum_s"


@dataclass(frozen=True, slots=True)
class Measure:
    """How rows become metrics: their `labels`, the `counters` that a group of them adds to, its `durations`.

    Counters' expressions give a group's amount. A row's duration is in seconds; where it is null the row is
    counted, but measured nowhere.
    """

    labels: Mapping[str, pl.Expr]
    counters: Mapping[str, pl.Expr]
    durations: tuple[str, pl.Expr] | None = None


def _text(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String).fill_null("")


_HTTP = Measure(
    labels={
        **{name: _text(name) for name in ("service", "role", "protocol", "route", "status")},
        "method": pl.when(pl.col("method").fill_null("").is_in(["", *METHODS]))
        .then(_text("method"))
        .otherwise(pl.lit(OTHER_METHOD)),
    },
    counters={"http_requests_total": pl.len()},
    durations=(
        "http_request_duration_seconds",
        pl.when("streaming").then("ttfb_ms").otherwise("latency_ms") / 1000,
    ),
)

# Of the table `network`, which the packets' source gives: interface, direction, protocol (the IP protocol's
# number, null where a packet is not IP), packets, bytes.
_NETWORK = Measure(
    labels={
        "interface": _text("interface"),
        "direction": _text("direction"),
        "protocol": pl.when(pl.col("protocol").is_null())
        .then(pl.lit("non-ip"))
        .otherwise(pl.col("protocol").replace_strict(IP_PROTOCOLS, default="other", return_dtype=pl.String)),
    },
    counters={
        "network_packets_total": pl.col("packets").sum(),
        "network_bytes_total": pl.col("bytes").sum(),
    },
)

_STACKS = Measure(
    labels={"service": _text("service"), "kind": _text("kind")},
    counters={
        "stack_samples_total": pl.col("count").sum(),
        "stack_samples_complete_total": pl.col("count").filter(pl.col("end") == "complete").sum(),
    },
)

# By event type, or by the name of a table that a source gives for metrics only (`Batches.totals`).
MEASURES: Final[Mapping[str, Measure]] = {"http": _HTTP, "network": _NETWORK, "profile": _STACKS}


@dataclass(slots=True)
class Metrics:
    """Adds what was seen to the series; see `model.ports.Meter`.

    `tracers` tells whose an event type is.
    """

    series: Series
    tracers: Mapping[str, str]
    event_types: frozenset[str] = field(default=frozenset((*MEASURES, FUNCTIONS)), init=False)

    def measure(self, event_type: str, frame: pl.DataFrame) -> None:
        """Take rows that have passed all stages."""
        if event_type in self.tracers:
            self.series.add(EVENTS, (self.tracers[event_type],), frame.height)
        if event_type == FUNCTIONS:
            self.series.count_capped(add_functions(frame, self.series))
        elif event_type in MEASURES:
            capped = _add(MEASURES[event_type], frame, self.series)
            self.series.count_capped(capped + _folded(frame))

    def lose(self, losses: Sequence[Loss]) -> None:
        """Take losses."""
        for loss in losses:
            self.series.add(EVENTS_LOST, (loss.tracer, loss.where), loss.count)


def _add(measure: Measure, frame: pl.DataFrame, series: Series) -> Counter[str]:
    """Returns how many rows per service found no room."""
    refused: Counter[str] = Counter()
    for group in _groups(measure, frame).iter_rows(named=True):
        _add_durations(measure, group, series)
        added = [
            series.add(METRICS[name], _values(name, group), group[_AMOUNT + name])
            for name in measure.counters
        ]
        if not all(added):
            refused[group.get("service", "")] += group["rows"]
    return refused


def _add_durations(measure: Measure, group: dict[str, Any], series: Series) -> None:
    if measure.durations is not None and group[_BUCKET] is not None:
        name = measure.durations[0]
        labels = _values(name, group)
        series.add_durations(METRICS[name], labels, group[_BUCKET], group["rows"], group[_SUM])


def _groups(measure: Measure, frame: pl.DataFrame) -> pl.DataFrame:
    """One row per distinct labels and bucket: the amounts of its counters, the sum of its durations."""
    by = [value.alias(name) for name, value in measure.labels.items()]
    amounts = [value.alias(_AMOUNT + name) for name, value in measure.counters.items()]
    if measure.durations is not None:
        seconds = measure.durations[1]
        bucket = pl.lit(_BOUNDS).search_sorted(seconds, side="left")
        by.append(pl.when(seconds.is_not_null()).then(bucket).alias(_BUCKET))
        amounts.append(seconds.sum().alias(_SUM))
    return frame.group_by(by).agg(pl.len().alias("rows"), *amounts)


def _values(metric: str, group: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(group[name] for name in METRICS[metric].labels)


def _folded(frame: pl.DataFrame) -> Counter[str]:
    """How many rows of each service had their route replaced, as one too many."""
    if not {"service", "route"} <= set(frame.columns):
        return Counter()
    others = frame.filter(pl.col("route") == _OTHER_ROUTE)["service"].fill_null("")
    return Counter(dict(others.value_counts().iter_rows()))
