"""Running figures of requests: how many, how many failed, how long they took, in bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import polars as pl

_BUCKETS_PER_DOUBLING = 64
_SHORTEST_MS = 0.001
_LONGEST_MS = 1e9
_FIRST_SERVER_ERROR = 500
EXACT_LATENCIES = 100_000


def has_failed() -> pl.Expr:
    """Whether an `http` row tells of a failure: a status from 500 on, or an `error`. Never null."""
    return pl.col("error").is_not_null() | (pl.col("status") >= _FIRST_SERVER_ERROR).fill_null(value=False)


@dataclass(slots=True)
class LatencyHistogram:
    """Counts in buckets that each are 1.1 % wider than the one before: percentiles are right within 0.6 %.

    From a microsecond to eleven days, so that there are at most 2552 buckets.
    """

    counts: Counter[int] = field(default_factory=Counter)
    count: int = 0
    max_ms: float = 0.0

    def add(self, latencies_ms: pl.Series) -> None:
        """Nulls are left out."""
        known = latencies_ms.drop_nulls()
        if known.is_empty():
            return
        exponents = known.clip(_SHORTEST_MS, _LONGEST_MS).log(2) * _BUCKETS_PER_DOUBLING
        buckets = exponents.floor().cast(pl.Int32).alias("bucket").value_counts()
        self.counts.update(dict(buckets.iter_rows()))
        self.count += len(known)
        self.max_ms = max(self.max_ms, float(known.max()))  # type: ignore[arg-type]

    def merge(self, other: LatencyHistogram) -> None:
        """Afterwards as if both had been one from the start."""
        self.counts.update(other.counts)
        self.count += other.count
        self.max_ms = max(self.max_ms, other.max_ms)

    def percentile(self, percent: float) -> float | None:
        """The latency in ms that `percent` of the requests do not exceed; None where there are none yet."""
        wanted = math.ceil(self.count * percent / 100)
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return min(2 ** ((bucket + 0.5) / _BUCKETS_PER_DOUBLING), self.max_ms)
        return None


@dataclass(slots=True)
class ExactLatencies:
    """Keeps the latencies themselves (8 bytes each) up to `EXACT_LATENCIES`, buckets from then on."""

    count: int = 0
    max_ms: float = 0.0
    _kept: list[pl.Series] = field(default_factory=list)
    _buckets: LatencyHistogram | None = None

    def add(self, latencies_ms: pl.Series) -> None:
        """Nulls are left out."""
        known = latencies_ms.drop_nulls()
        if known.is_empty():
            return
        self.count += len(known)
        self.max_ms = max(self.max_ms, float(known.max()))  # type: ignore[arg-type]
        if self._buckets is not None:
            self._buckets.add(known)
            return
        self._kept.append(known)
        if self.count > EXACT_LATENCIES:
            self._buckets = LatencyHistogram()
            for kept in self._kept:
                self._buckets.add(kept)
            self._kept.clear()

    def percentile(self, percent: float) -> float | None:
        """The latency in ms below which `percent` of the requests are; between two of them, in proportion.

        None where there are no requests. In buckets as `LatencyHistogram` has it.
        """
        if self._buckets is not None:
            return self._buckets.percentile(percent)
        if not self._kept:
            return None
        self._kept = [pl.concat(self._kept)]
        return self._kept[0].quantile(percent / 100, "linear")


@dataclass(slots=True)
class RequestFigures:
    """Figures of `http` events. A request traced at both ends counts twice: once `served`, once `made`."""

    served: int = 0
    made: int = 0
    errors: int = 0
    latency: LatencyHistogram | ExactLatencies = field(default_factory=LatencyHistogram)

    @property
    def requests(self) -> int:
        return self.served + self.made

    def add(self, frame: pl.DataFrame) -> None:
        """Take the rows of an `http` frame. Errors are what `has_failed` says.

        Of streaming requests the time to the first byte counts: their latency is a lifetime.
        """
        counted = frame.select(
            is_client=pl.col("role") == "client",
            is_error=has_failed(),
            latency_ms=pl.when("streaming").then("ttfb_ms").otherwise("latency_ms"),
        )
        made = int(counted["is_client"].sum())
        self.made += made
        self.served += frame.height - made
        self.errors += int(counted["is_error"].sum())
        self.latency.add(counted["latency_ms"])
