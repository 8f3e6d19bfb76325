"""Running figures: counts are exact, percentiles within the promised error."""

from __future__ import annotations

import math

import polars as pl
import pytest
from harness import event_rows as rows
from hypothesis import given, settings
from hypothesis import strategies as st

from universal_tracer.model.figures import LatencyHistogram, RequestFigures

latencies = st.lists(st.floats(min_value=0.001, max_value=1e6), min_size=1, max_size=200)


def histogram(values: list[float]) -> LatencyHistogram:
    made = LatencyHistogram()
    made.add(pl.Series(values, dtype=pl.Float64))
    return made


@given(latencies, st.sampled_from([50, 90, 99, 100]))
@settings(deadline=None)
def test_percentiles_are_right_within_a_bucket(values: list[float], percent: int) -> None:
    exact = sorted(values)[math.ceil(len(values) * percent / 100) - 1]
    assert histogram(values).percentile(percent) == pytest.approx(exact, rel=0.006)


@given(latencies, latencies)
@settings(deadline=None)
def test_merged_parts_are_the_whole(first: list[float], second: list[float]) -> None:
    merged = histogram(first)
    merged.merge(histogram(second))
    assert merged == histogram(first + second)


def test_no_latencies_have_no_percentile() -> None:
    assert LatencyHistogram().percentile(50) is None
    assert histogram([]).percentile(99) is None


def test_absurd_latencies_stay_in_bounds() -> None:
    made = histogram([-1.0, 0.0, 1e300, math.inf])
    assert made.count == 4
    assert len(made.counts) == 2


def test_figures_count_sides_and_errors() -> None:
    figures = RequestFigures()
    figures.add(
        rows.shaped(
            "http",
            rows.REQUEST,
            rows.REQUEST | {"role": "client", "status": 404},
            rows.REQUEST | {"status": 503},
            rows.REQUEST | {"status": None, "error": "timeout", "latency_ms": None},
            rows.REQUEST | {"status": None},
        )
    )
    assert (figures.served, figures.made, figures.requests, figures.errors) == (4, 1, 5, 2)
    assert figures.latency.count == 4


def test_streaming_requests_count_with_their_first_byte() -> None:
    figures = RequestFigures()
    figures.add(
        rows.shaped("http", rows.REQUEST | {"streaming": True, "latency_ms": 60_000.0, "ttfb_ms": 2.0})
    )
    assert figures.latency.max_ms == 2.0
