"""The series of all metrics and their values since the start of the run, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Final

from universal_tracer.model.metrics import (
    DURATION_BOUNDS_S,
    MAX_SERIES,
    METRICS,
    SERIES_CAPPED,
    Kind,
    Metric,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Mapping

    Labels = tuple[str, ...]

# What the uncapped metrics may need: own cost, tracers, places of losses, services that hit a cap.
_RESERVED_SERIES: Final = 500
_MAX_CAPPED_SERVICES: Final = 400
_OTHER_SERVICES: Final = "other"
_SERIES_OF: Final = {Kind.COUNTER: 1, Kind.GAUGE: 1, Kind.HISTOGRAM: len(DURATION_BOUNDS_S) + 3}


@dataclass(slots=True)
class Durations:
    """A histogram's series: counts per bucket (not cumulative; the last one has no bound), and the sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS_S) + 1))
    sum_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with its series by the values of its labels."""

    metric: Metric
    series: Mapping[Labels, float | Durations]


class Series:
    """Values by metric and labels. One thread adds, others may read; counters only ever grow.

    Once one series was refused all new ones are: a request's counter and its histogram are both there or both
    missing, but for a new status of a route that is known.
    """

    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self._lock = Lock()
        self._left = max_series - _RESERVED_SERIES
        self._values: dict[str, dict[Labels, float]] = {}
        self._durations: dict[str, dict[Labels, Durations]] = {}
        self._asked: list[tuple[Metric, Callable[[], float | None]]] = []
        for metric in METRICS.values():
            kind = self._durations if metric.kind is Kind.HISTOGRAM else self._values
            kind[metric.name] = {}

    def add(self, metric: Metric, labels: Labels, amount: float) -> bool:
        """Add to a counter; False where there is no room for its series."""
        series = self._values[metric.name]
        with self._lock:
            if labels not in series and not self._admits(metric):
                return False
            series[labels] = series.get(labels, 0) + amount
        return True

    def add_durations(self, metric: Metric, labels: Labels, bucket: int, count: int, sum_s: float) -> bool:
        """Add `count` durations to the bucket of this index; False where there is no room."""
        series = self._durations[metric.name]
        with self._lock:
            if labels not in series:
                if not self._admits(metric):
                    return False
                series[labels] = Durations()
            found = series[labels]
            found.counts[bucket] += count
            found.sum_s += sum_s
        return True

    def count_capped(self, services: Counter[str]) -> None:
        """Tell that so many events of these services hit a cap."""
        known = self._values[SERIES_CAPPED.name]
        for service, count in services.items():
            has_room = (service,) in known or len(known) < _MAX_CAPPED_SERVICES
            self.add(SERIES_CAPPED, (service if has_room else _OTHER_SERVICES,), count)

    def ask(self, metric: Metric, value: Callable[[], float | None]) -> None:
        """Have a metric without labels read when it is served; it is absent where that gives None."""
        self._asked.append((metric, value))

    def families(self) -> Iterator[Family]:
        """All metrics in the order of `METRICS`, also those without a value; each as it is at one moment."""
        asked = {metric.name: value() for metric, value in self._asked}
        for name, metric in METRICS.items():
            series = self._copy(name)
            value = asked.get(name)
            if value is not None:
                series[()] = value
            yield Family(metric, series)

    def _copy(self, name: str) -> dict[Labels, float | Durations]:
        with self._lock:
            if name in self._durations:
                return {
                    labels: Durations(found.counts.copy(), found.sum_s)
                    for labels, found in self._durations[name].items()
                }
            return dict(self._values[name])

    def _admits(self, metric: Metric) -> bool:
        if not metric.is_capped:
            return True
        self._left -= _SERIES_OF[metric.kind]
        if self._left >= 0:
            return True
        self._left = 0
        return False
