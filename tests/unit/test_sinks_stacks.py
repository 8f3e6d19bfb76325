"""Pictures of stacks: sums that add up, whatever the names are."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import polars as pl
import pytest
from harness import event_rows as rows

from universal_tracer.model.flame_graph import placed, tree
from universal_tracer.model.stack_counts import StackCounts
from universal_tracer.sinks.flamegraph import flame_graph
from universal_tracer.sinks.folded import folded
from universal_tracer.sinks.pprof import pprof
from universal_tracer.sinks.speedscope import speedscope
from universal_tracer.sinks.stack_file import StackFileSink

if TYPE_CHECKING:
    from collections.abc import Callable
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


@pytest.mark.parametrize(
    "render", [partial(flame_graph, subject=""), folded, pprof, partial(speedscope, subject="")]
)
def test_a_file_is_whole_after_every_flush(tmp_path: Path, render: Callable[[StackCounts], bytes]) -> None:
    path = tmp_path / "out"
    sink = StackFileSink(str(path), os.open(path, os.O_WRONLY | os.O_CREAT), render)
    first = rows.shaped("profile", profile(["main", "a long name that goes away"], 1))
    second = rows.shaped("profile", profile(["main"], 1))
    sink.write("http", rows.shaped("http", rows.REQUEST))
    sink.write("profile", first)
    sink.flush()
    sums = StackCounts()
    sums.add(first)
    assert path.read_bytes() == render(sums)
    sink.write("profile", second)
    sink.close()
    sink.close()
    sums.add(second)
    assert path.read_bytes() == render(sums)


def test_a_pipe_gets_the_end_result_only() -> None:
    reader, writer = os.pipe()
    sink = StackFileSink("pipe", writer, folded)
    sink.write("profile", rows.shaped("profile", profile(["main"], 1)))
    sink.flush()
    sink.close()
    with os.fdopen(reader, "rb") as stream:
        assert stream.read() == b"worker;main 1\n"


def test_speedscope_has_every_stack_and_its_time() -> None:
    found = counts(profile(["main", "a;b"], 3, value_ns=30), profile(["main"], 1, kind="off-cpu", value_ns=7))
    content = json.loads(speedscope(found, "pid 7"))
    names = [frame["name"] for frame in content["shared"]["frames"]]
    stacks = {
        shown["name"]: [[names[index] for index in sample] for sample in shown["samples"]]
        for shown in content["profiles"]
    }
    assert stacks == {"worker (cpu)": [["main", "a;b"]], "worker (off-cpu)": [["main"]]}
    assert [shown["weights"] for shown in content["profiles"]] == [[30], [7]]
    assert json.loads(speedscope(StackCounts(), ""))["profiles"][0]["samples"] == []


def fields(message: bytes) -> list[tuple[int, int | bytes]]:
    """Return numbers and values of the fields of a protocol buffer."""
    found: list[tuple[int, int | bytes]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        value: int | bytes = varint()
        if key & 7 == 2:
            assert isinstance(value, int)
            value, at = message[at : at + value], at + value
        found.append((key >> 3, value))
    return found


def test_pprof_refers_to_what_it_has() -> None:
    found = counts(profile(["main", "a"], 3, value_ns=30), profile(["main", "b"], 2, value_ns=20))
    top = fields(gzip.decompress(pprof(found)))
    texts = [value.decode() for number, value in top if number == 6 and isinstance(value, bytes)]
    of = {kind: [dict(fields(value)) for number, value in top if number == kind] for kind in (1, 2, 3, 4, 5)}
    assert texts[0] == ""
    assert [(texts[kind[1]], texts[kind[2]]) for kind in of[1]] == [
        ("samples", "count"),
        ("cpu", "nanoseconds"),
    ]
    functions = {function[1]: texts[function[2]] for function in of[5]}
    lines = {location[1]: functions[dict(fields(location[4]))[1]] for location in of[4]}
    stacks = {tuple(lines[number] for number in sample[1]): tuple(sample[2]) for sample in of[2]}
    # the innermost first; all numbers are below 128, a byte each
    assert stacks == {("a", "main"): (3, 30), ("b", "main"): (2, 20)}
    assert texts[of[3][0][5]] == "/usr/bin/worker"


def test_the_pprof_tool_reads_it(tmp_path: Path) -> None:
    go = shutil.which("go", path=os.environ.get("PATH", "") + ":/usr/local/go/bin")
    if go is None:
        pytest.skip("needs go, whose pprof reads profiles")
    path = tmp_path / "profile.pb.gz"
    path.write_bytes(pprof(counts(profile(["main", "work"], 3, value_ns=30_000_000))))
    words = [go, "tool", "pprof", "-raw", path]
    shown = subprocess.run(words, capture_output=True, text=True, check=False)
    if "no such tool" in shown.stderr:
        pytest.skip("needs pprof, which this go lacks")
    assert shown.returncode == 0, shown.stderr
    assert "samples/count cpu/nanoseconds" in shown.stdout
    assert "work /src/worker.c:7" in shown.stdout
