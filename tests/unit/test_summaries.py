"""`--metrics-only`: intervals, their figures, the line for people."""

from __future__ import annotations

import random
import statistics

import polars as pl
import pytest
from harness import event_rows as rows

from universal_tracer.model.events import EVENT_TYPES
from universal_tracer.model.figures import EXACT_LATENCIES, ExactLatencies
from universal_tracer.model.ports import Loss
from universal_tracer.model.schema import schema
from universal_tracer.pipeline.summaries import PARTS, IntervalSummary
from universal_tracer.sinks.summary_lines import summary_line
from universal_tracer.system.terminal import Style

BEGUN_NS = 1_764_040_000_000_000_000


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds

    def unix_ns(self) -> int:
        return BEGUN_NS + round((self.seconds - 100) * 1e9)


def summary(clock: Clock, *tracers: str) -> IntervalSummary:
    return IntervalSummary(tracers, 5.0, clock=clock, wall_clock_ns=clock.unix_ns)


def requests(latencies_ms: list[float | None], **columns: object) -> pl.DataFrame:
    events = [{**rows.REQUEST, "latency_ms": latency, **columns} for latency in latencies_ms]
    return pl.DataFrame(events, schema=schema("http"))


def interpolated(values: list[float], percent: int) -> float:
    """As numpy's default has it."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = ordered[int(place)]
    return low + (ordered[min(int(place) + 1, len(ordered) - 1)] - low) * (place - int(place))


def test_an_interval_tells_what_came_in_it() -> None:
    clock = Clock()
    told = summary(clock, "http")
    assert told.due_s == 105.0
    told.measure("http", requests([1.0, 3.0, 2.0]))
    told.measure("http", requests([9.0], status=500))
    told.measure("http", requests([None], error="timeout"))
    told.measure("loss", pl.DataFrame({"count": [1]}))
    told.lose([Loss("http", "ring_full", 4), Loss("http", "gaps", 1)])
    clock.seconds = 105.2
    event_type, frame = told.tell(clock.seconds)
    (row,) = frame.to_dicts()
    assert event_type == "summary"
    assert (row["timestamp"], row["timestamp_ns"]) == ("2025-11-25T03:06:40.000000Z", BEGUN_NS)
    assert (row["interval_ms"], row["lost"]) == (5200.0, 5)
    latency = row["http"].pop("latency_ms")
    assert row["http"] == {"requests": 5, "errors": 2}
    assert latency["max"] == 9.0
    assert latency["p50"] == 2.5
    assert told.due_s == 110.0


def test_the_next_interval_begins_anew() -> None:
    clock = Clock()
    told = summary(clock, "http")
    told.measure("http", requests([1.0]))
    told.lose([Loss("http", "ring_full", 4)])
    told.tell(105.0)
    clock.seconds = 105.0
    (row,) = told.tell(117.0)[1].to_dicts()
    nothing = dict.fromkeys(("p50", "p90", "p99", "max"))
    assert row["http"] == {"requests": 0, "errors": 0, "latency_ms": nothing}
    assert row["lost"] == 0
    assert told.due_s == 120.0, "what is late does not move the intervals"


def test_a_tracer_that_does_not_run_is_null() -> None:
    told = summary(Clock())
    assert told.event_types == frozenset()
    assert "http" not in told.tell(105.0)[1].columns


def test_packets_flows_and_stacks() -> None:
    told = summary(Clock(), "xdp", "stack")
    assert told.event_types == {"network", "flow", "profile", "functions"}
    told.measure("network", pl.DataFrame({"packets": [1, 2], "bytes": [10, 20]}))
    told.measure("flow", pl.DataFrame({"state": ["fin", "active", "idle"]}))
    told.measure("profile", pl.DataFrame({"count": [5, 2], "end": ["complete", "truncated"]}))
    (row,) = told.tell(105.0)[1].to_dicts()
    assert row["xdp"] == {"packets": 3, "bytes": 30, "flows": 3}
    assert row["stack"] == {"samples": 7, "complete": 5, "functions": []}
    (row,) = told.tell(110.0)[1].to_dicts()
    assert row["xdp"] == {"packets": 0, "bytes": 0, "flows": 0}


def test_parts_are_columns_of_the_event() -> None:
    assert set(PARTS) <= {column.name for column in EVENT_TYPES["summary"].columns}


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_percentiles_are_exact(count: int) -> None:
    dice = random.Random(count)
    values = [dice.lognormvariate(1, 2) for _ in range(count)]
    latencies = ExactLatencies()
    for start in range(0, count, 300):
        latencies.add(pl.Series([None, *values[start : start + 300]], dtype=pl.Float64))
    for percent in (50, 90, 99):
        assert latencies.percentile(percent) == pytest.approx(interpolated(values, percent))
    assert (latencies.count, latencies.max_ms) == (count, max(values))
    if count > 1:
        assert latencies.percentile(50) == pytest.approx(statistics.median(values))


def test_percentiles_of_very_many_are_right_within_a_bucket() -> None:
    dice = random.Random(1)
    values = [dice.lognormvariate(1, 2) for _ in range(EXACT_LATENCIES + 1)]
    latencies = ExactLatencies()
    latencies.add(pl.Series(values[:60_000]))
    latencies.add(pl.Series(values[60_000:]))
    latencies.add(pl.Series([1.0]))
    assert latencies.count == EXACT_LATENCIES + 2
    for percent in (50, 90, 99):
        assert latencies.percentile(percent) == pytest.approx(interpolated(values, percent), rel=0.01)


def test_a_line_for_people() -> None:
    event = {
        "timestamp_ns": BEGUN_NS,
        "interval_ms": 5000.0,
        "http": {
            "requests": 1200,
            "errors": 1,
            "latency_ms": {"p50": 1.0, "p90": 2.0, "p99": 20.0, "max": 1500.0},
        },
        "xdp": {"packets": 5000, "bytes": 1_000_000, "flows": 3},
        "stack": {"samples": 99, "complete": 98},
        "lost": 7,
    }
    line = summary_line(event, Style(color=False, only_ascii=False))
    assert line.split("  ")[1:] == [
        "5.0 s",
        "HTTP 1,200 requests (240/s), 1 error, p50 1.00 ms p90 2.00 ms p99 20.0 ms max 1.50 s",
        "network 5,000 packets (1,000/s), 1,000,000 bytes, 3 flows",
        "stacks 99 samples, 98 complete",
        "7 lost",
    ]
    silent = {**event, "interval_ms": 0.0, "http": None, "xdp": None, "stack": None, "lost": 0}
    assert summary_line(silent, Style(color=False, only_ascii=False)).split("  ")[1:] == [
        "0.0 s",
        "nothing lost",
    ]


def calls(function: str, count: int, max_ns: int, *latencies: tuple[int, int]) -> pl.DataFrame:
    row = {"function": function, "module": "/bin/a", "calls": count, "max_ns": max_ns}
    return pl.DataFrame([{**row, "latencies": [{"ns": ns, "count": number} for ns, number in latencies]}])


def test_calls_of_functions_are_those_of_the_interval() -> None:
    clock = Clock()
    told = summary(clock, "stack")
    told.measure("functions", calls("f", 90, 2_000, (1_000, 50), (1_900, 40)))
    told.measure("functions", calls("f", 11, 9_000, (9_500, 10)))
    told.measure("functions", calls("g", 3, 0))
    clock.seconds = 105.0
    _, frame = told.tell(clock())
    found, without_return = frame.row(0, named=True)["stack"]["functions"]
    assert (found["function"], found["module"], found["calls"]) == ("f", "/bin/a", 101)
    assert found["latency_ns"] == {"p50": 1_000, "p90": 1_900, "p99": 9_000, "max": 9_000}
    assert without_return["latency_ns"] == {"p50": None, "p90": None, "p99": None, "max": None}
    event = {**frame.row(0, named=True), "http": None, "xdp": None}
    line = summary_line(event, Style(color=False, only_ascii=True))
    assert "f 101 calls (20/s) p50 1 us p90 1.9 us p99 9 us max 9 us" in line
    _, frame = told.tell(clock())
    assert frame.row(0, named=True)["stack"]["functions"] == []
