"""Pictures of stacks: sums that add up, whatever the names are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import polars as pl
import pytest
from harness import event_rows as rows

from universal_tracer.model.flame_graph import placed, tree
from universal_tracer.model.stack_counts import StackCounts
from universal_tracer.sinks.flamegraph import FlameGraphSink, flame_graph
from universal_tracer.sinks.folded import FoldedSink, folded

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    "a;b",
    "<script>alert(1)</script>",
    "line\nbreak\r",
    "\x00\x1b[2J\x7f",
    "]]>",
    "\ufffe",
    "é\U0001f525",
    '"&',
)


def profile(stack: list[str], count: int = 5, **other: Any) -> dict[str, Any]:
    """Return a row of a stack; `inlined` and `kind` of all its frames can be given."""
    frame = {**rows.PROFILE["frames"][0], **{name: other.pop(name) for name in ("inlined",) if name in other}}
    kind = other.pop("frame_kind", "user")
    frames = [{**frame, "name": name, "kind": kind} for name in stack]
    return {**rows.PROFILE, "stack": stack, "frames": frames, "count": count, **other}


def counts(*events: dict[str, Any]) -> StackCounts:
    """Return the sums of rows."""
    found = StackCounts()
    found.add(rows.shaped("profile", *events))
    return found


def boxes(picture: bytes) -> dict[str, ET.Element]:
    """Return the boxes of a picture by their names."""
    root = ET.fromstring(picture)
    return {box.attrib["data-n"]: box for box in root.iter(f"{SVG}g") if box.get("class") == "b"}


def test_equal_stacks_are_one_line() -> None:
    found = counts(profile(["main", "a"], 3), profile(["main", "a"], 4), profile(["main"], 1))
    assert folded(found) == b"worker;main 1\nworker;main;a 7\n"


def test_waiting_has_a_box_of_its_own() -> None:
    found = counts(profile(["main"], 2), profile(["main"], 3, kind="off-cpu"))
    assert folded(found) == b"worker;[off-cpu];main 3\nworker;main 2\n"


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_breaks_an_output(name: str) -> None:
    found = counts(profile(["main", name], 5, comm=name))
    lines = folded(found).decode().split("\n")
    assert len(lines) == 2
    stack, _, count = lines[0].rpartition(" ")
    assert (stack.count(";"), count) == (2, "5")
    picture = flame_graph(found, subject=name)
    assert len(boxes(picture)) == 3 or name == "main"
    assert b"<script>alert" not in picture


def test_widths_are_shares() -> None:
    found = counts(profile(["main", "a"], 75), profile(["main", "b"], 25))
    shown = boxes(flame_graph(found, "pid 7"))
    assert float(shown["a"].attrib["data-w"]) == 0.75
    assert float(shown["b"].attrib["data-x"]) == 0.75
    assert shown["a"][0].text == "a (/usr/bin/worker): 75 samples, 75.00 %"


def test_children_never_leave_their_parents() -> None:
    events = [profile([f"f{depth % 7}" for depth in range(number)], number) for number in range(1, 40)]
    ends: dict[int, float] = {}
    for box in placed(tree(counts(*events)), 0):
        if box.depth:
            assert box.start + box.width <= ends[box.depth - 1] + 1e-9
        ends[box.depth] = box.start + box.width


def test_the_title_says_host_time_target_and_samples() -> None:
    found = StackCounts()
    found.add(rows.shaped("profile", profile(["main"], 1000)).with_columns(host=pl.lit("box7")))
    found.add(rows.shaped("profile", profile(["main"], 1000, end="truncated")))
    text = "".join(ET.fromstring(flame_graph(found, "pid 7 (worker)")).itertext())
    for part in (
        "box7",
        "pid 7 (worker)",
        "2025-11-25 03:06:41 UTC",
        "2,000 samples, 1,000 complete (50.0 %)",
    ):
        assert part in text


def test_a_picture_of_nothing_says_so() -> None:
    assert b"no samples" in flame_graph(StackCounts(), "")
    assert folded(StackCounts()) == b""


@pytest.mark.parametrize("sink_type", [FlameGraphSink, FoldedSink])
def test_a_file_is_whole_after_every_flush(tmp_path: Path, sink_type: type[Any]) -> None:
    path = tmp_path / "out"
    sink = sink_type(str(path), os.open(path, os.O_WRONLY | os.O_CREAT))
    sink.write("http", rows.shaped("http", rows.REQUEST))
    sink.write("profile", rows.shaped("profile", profile(["main", "a long name that goes away"], 1)))
    sink.flush()
    first = path.read_bytes()
    sink.write("profile", rows.shaped("profile", profile(["main"], 1)))
    sink.close()
    sink.close()
    assert len(first) > 0
    last = path.read_bytes()
    if sink_type is FlameGraphSink:
        ET.fromstring(first)
        assert set(boxes(last)) == {"all", "worker", "main", "a long name that goes away"}
    else:
        assert last == b"worker;main 1\nworker;main;a long name that goes away 1\n"


def test_a_pipe_gets_the_end_result_only() -> None:
    reader, writer = os.pipe()
    sink = FoldedSink("pipe", writer)
    sink.write("profile", rows.shaped("profile", profile(["main"], 1)))
    sink.flush()
    sink.close()
    with os.fdopen(reader, "rb") as stream:
        assert stream.read() == b"worker;main 1\n"
