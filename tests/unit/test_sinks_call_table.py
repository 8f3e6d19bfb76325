"""Traced functions on a terminal, and calls as lines without one."""

from __future__ import annotations

from typing import Any

import polars as pl
from harness import event_rows as rows

from universal_tracer.model.stack_counts import StackCounts
from universal_tracer.sinks.call_table import CallTable
from universal_tracer.sinks.flamegraph import flame_graph
from universal_tracer.sinks.folded import folded
from universal_tracer.system.terminal import Style

PLAIN = Style(color=False, only_ascii=True)
FRAME = {"module": "/bin/a", "file": None, "line": None, "inlined": False, "kind": "user"}


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def counted(function: str, calls: int, max_ns: int, *latencies: tuple[int, int]) -> pl.DataFrame:
    """Return what is new of a function."""
    told = [{"ns": ns, "count": count} for ns, count in latencies]
    return pl.DataFrame(
        [{"function": function, "module": "/bin/a", "calls": calls, "max_ns": max_ns, "latencies": told}]
    )


def call(event: str, stack: list[str], **other: Any) -> dict[str, Any]:
    """Return a row of a call."""
    frames = [{**FRAME, "name": name} for name in stack]
    common = {name: rows.PROFILE[name] for name in ("timestamp", "timestamp_ns", "pid", "tid")}
    known = {"comm": "a", "function": stack[-1], "module": "/bin/a", "event": event, "end": "complete"}
    return {**common, **known, "stack": stack, "frames": frames, "arguments": [], **other}


def test_sums_of_the_run_with_the_rate_of_late() -> None:
    clock = Clock()
    table = CallTable(PLAIN, clock)
    assert table.lines(80, 9) == []
    table.write_live("functions", counted("slow", 5, 3_000_000, (2_900_000, 5)))
    clock.seconds += 1
    table.write_live("functions", counted("fast", 1000, 2_000, (1_000, 1000)))
    table.write_live("flows", counted("other", 1, 1))
    assert table.lines(90, 9) == [
        "       CALLS   CALLS/S      P50      P99      MAX  FUNCTION",
        "       1,000     1,000     1 us     1 us     2 us  fast (a)",
        "           5         5  2.90 ms  2.90 ms  3.00 ms  slow (a)",
    ]
    assert len(table.lines(90, 2)) == 2
    assert all(len(line) <= 30 for line in table.lines(30, 9))


def test_calls_as_lines() -> None:
    table = CallTable(PLAIN)
    arguments = [
        {"name": "path", "type": "string", "value": "/etc"},
        {"name": "n", "type": "i32", "value": None},
    ]
    entry = call("entry", ["main", "f"], arguments=arguments)
    leave = call("exit", ["main", "f"], duration_ns=1_500, return_value=-1)
    frame = rows.shaped("function", entry, leave)
    assert table.write("function", frame, is_live=True) == []
    told = [line.partition(" ")[2] for line in table.write("function", frame, is_live=False)]
    tid = rows.PROFILE["tid"]
    assert told == [f'a {tid} f(path="/etc", n=?)', f"a {tid} f() = -1 after 1.5 us"]


def test_one_flame_graph_with_samples_and_calls() -> None:
    counts = StackCounts()
    sampled = {**rows.PROFILE, "comm": "a", "count": 3, "value_ns": 30_000_000}
    counts.add(rows.shaped("profile", sampled))
    exits = [
        call("exit", ["main", "f", "g"], duration_ns=4_000_000, self_ns=4_000_000),
        call("exit", ["main", "f"], duration_ns=10_000_000, self_ns=6_000_000),
    ]
    counts.add_calls(rows.shaped("function", call("entry", ["main", "f"]), *exits))
    lines = folded(counts).decode().splitlines()
    assert "a;[traced calls];main;f 6000000" in lines
    assert "a;[traced calls];main;f;g 4000000" in lines
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == 40_000_000
    picture = flame_graph(counts, "somebody").decode()
    assert "3 samples, 2 calls, " in picture
    assert "f (/bin/a): 10.000 ms, 25.00 %" in picture
