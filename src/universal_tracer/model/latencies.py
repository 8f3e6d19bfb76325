"""Latencies that the kernel has counted in buckets: their percentiles, in bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(slots=True)
class CountedLatencies:
    """Counts by the middle of their bucket in ns; a bucket is an eighth of its lower end wide at most."""

    counts: Counter[int] = field(default_factory=Counter)
    calls: int = 0
    max_ns: int = 0

    def add(self, calls: int, max_ns: int, latencies: Iterable[Mapping[str, int]]) -> None:
        """Add a row of the table `functions`."""
        self.calls += calls
        self.max_ns = max(self.max_ns, max_ns)
        for latency in latencies:
            self.counts[latency["ns"]] += latency["count"]

    def percentile(self, percent: float) -> int | None:
        """The latency in ns that `percent` of the calls do not exceed, within 6 %; None where none is."""
        wanted = math.ceil(self.counts.total() * percent / 100)
        seen = 0
        for middle, count in sorted(self.counts.items()):
            seen += count
            if seen >= wanted:
                return min(middle, self.max_ns)
        return None

    @property
    def longest(self) -> int | None:
        """In ns; None where none has returned."""
        return self.max_ns if self.counts else None
