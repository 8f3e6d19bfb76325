"""The functions that take most of the time, on a terminal and without one."""

from __future__ import annotations

from typing import Any

from harness import event_rows as rows

from universal_tracer.sinks.function_table import FunctionTable
from universal_tracer.sinks.table import Panels
from universal_tracer.system.terminal import Style

PLAIN = Style(color=False, only_ascii=True)


def profile(stack: list[str], count: int, **other: Any) -> dict[str, Any]:
    """Return a row of a stack."""
    frames = [{**rows.PROFILE["frames"][0], "name": name} for name in stack]
    return {**rows.PROFILE, "stack": stack, "frames": frames, "count": count, **other}


def test_own_time_and_that_of_callees() -> None:
    table = FunctionTable(PLAIN)
    events = [profile(["main", "a"], 6), profile(["main"], 2), profile(["main", "a", "a"], 2)]
    assert table.write("profile", rows.shaped("profile", *events), is_live=True) == []
    assert table.lines(80, 10) == [
        "   SELF   TOTAL  FUNCTION",
        " 80.0 %  80.0 %  a (worker)",
        " 20.0 % 100.0 %  main (worker)",
    ]
    assert len(table.lines(80, 2)) == 2
    assert all(len(line) <= 12 for line in table.lines(12, 9))


def test_waits_are_not_processor_time() -> None:
    table = FunctionTable(PLAIN)
    table.write("profile", rows.shaped("profile", profile(["main"], 5, kind="off-cpu")), is_live=True)
    assert table.lines(80, 10) == []


def test_a_line_per_interval_without_a_terminal() -> None:
    panels = Panels((FunctionTable(PLAIN),))
    frame = rows.shaped("profile", profile(["main", "a\x1b[2J"], 3), profile(["main"], 1))
    assert panels.takes("profile")
    assert not panels.takes("flow")
    (line,) = panels.write("profile", frame, is_live=False)
    assert line.startswith("4 samples: 75 % a")
    assert line.isprintable()
