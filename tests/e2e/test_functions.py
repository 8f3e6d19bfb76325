"""Traced functions of a program that knows how often it calls them, and what comes of each call."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from harness.capability import need_command, need_root
from harness.processes import APPS
from harness.tracer import Event, run_tracer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e]

PATIENCE = 110.0
NAP_NS = 20_000_000
ADDED, NAPS, NAMED, DEPTH, TAILS, CHILD_CALLS = 97, 7, 5, 29, 11, 17
JUMPS, JUMP_DEPTH = 13, 3
THREADS, IN_THREAD = 5, 101
RETURNING = {
    "add": ADDED,
    "nap": NAPS,
    "name_it": NAMED,
    "descend": DEPTH + 2,
    "after_tail": TAILS,
    "tail": TAILS,
    "in_thread": THREADS * IN_THREAD,
    "in_child": CHILD_CALLS,
}
WAYS = ("session", "multi", "perf_event")


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program, optimised, so that its tail call is one."""
    need_root()
    program = tmp_path_factory.mktemp("calls") / "calls"
    words = [need_command("gcc"), "-O2", "-g", "-pthread", "-o", program, APPS / "calls.c"]
    subprocess.run(words, check=True)
    return program


def traced(program: Path, *functions: str, env: dict[str, str] | None = None) -> list[Event]:
    """Return the function events of a run of the program."""
    named = [word for name in functions for word in ("--trace-function", f"u:{program}:{name}")]
    words = ("--tracer", "stack", *named, "--output-format", "ndjson", "--", program)
    run = run_tracer(*words, seconds=PATIENCE, env=env)
    assert run.returncode == 0, run.stderr
    assert "lost: nothing" in run.stderr
    events: list[Event] = [json.loads(line) for line in run.stdout.splitlines()]
    return [event for event in events if event["type"] == "function"]


def numbers(events: list[Event], kind: str) -> Counter[str]:
    """Return how many events of a kind each function has."""
    return Counter(event["function"] for event in events if event["event"] == kind)


@pytest.mark.parametrize("way", WAYS)
def test_every_entry_and_exit_is_told_once(calls: Path, way: str) -> None:
    environment = {"UNIVERSAL_TRACER_ADAPTERS": f"functions={way}"}
    events = traced(calls, *RETURNING, "jump_out", env=environment)
    assert numbers(events, "entry") == {**RETURNING, "jump_out": JUMPS * JUMP_DEPTH}
    # what longjmp leaves has no exit, and takes nobody else's
    assert numbers(events, "exit") == RETURNING


def test_an_exit_tells_duration_and_result_of_its_own_entry(calls: Path) -> None:
    events = traced(calls, "nap", "descend")
    naps = [event for event in events if event["function"] == "nap" and event["event"] == "exit"]
    for event in naps:
        assert event["duration_ns"] >= NAP_NS
        assert event["return_value"] == -7
    begun = [event["timestamp_ns"] for event in events if event["function"] == "nap"]
    assert begun == sorted(begun)
    depths = [
        event["return_value"] for event in events if event["event"] == "exit" and "descend" in event["stack"]
    ]
    assert depths == [*range(1, DEPTH + 1), 1, 2]
    durations = [event["duration_ns"] for event in events if event["return_value"] in range(1, DEPTH + 1)]
    assert durations[:DEPTH] == sorted(durations[:DEPTH])


def test_arguments_are_those_of_the_call(calls: Path) -> None:
    events = traced(calls, "add", "name_it")
    added = [event for event in events if event["function"] == "add"]
    for kind in ("entry", "exit"):
        told = [event["arguments"] for event in added if event["event"] == kind]
        assert told == [
            [
                {"name": "left", "type": "i32", "value": str(-number)},
                {"name": "right", "type": "i64", "value": str(3 * number)},
            ]
            for number in range(ADDED)
        ]
    assert [event["return_value"] for event in added if event["event"] == "exit"] == [
        2 * number for number in range(ADDED)
    ]
    named = [
        event["arguments"] for event in events if event["function"] == "name_it" and event["event"] == "entry"
    ]
    assert [arguments[0]["value"] for arguments in named] == ["alpha", "beta", "gamma", "delta", 'eta "é"']
    assert [arguments[1]["value"] for arguments in named] == ["0", "1", "2", "3", "4"]


def test_threads_and_children_are_told_apart(calls: Path) -> None:
    events = traced(calls, "in_thread", "in_child", "main")
    threads = {event["tid"] for event in events if event["function"] == "in_thread"}
    assert len(threads) == THREADS
    (main,) = {event["pid"] for event in events if event["function"] == "main"}
    (child,) = {event["pid"] for event in events if event["function"] == "in_child"}
    assert main != child


def test_counts_are_exact_without_events(calls: Path) -> None:
    named = [word for name in RETURNING for word in ("--trace-function", f"u:{calls}:{name}")]
    words = ("--tracer", "stack", *named, "--metrics-only", "--interval", "1s", "--output-format", "ndjson")
    run = run_tracer(*words, "--", calls, seconds=PATIENCE)
    assert run.returncode == 0, run.stderr
    told: Counter[str] = Counter()
    longest: dict[str, int] = {}
    for line in run.stdout.splitlines():
        event = json.loads(line)
        assert (event["type"], event["lost"]) == ("summary", 0)
        for found in event["stack"]["functions"]:
            told[found["function"]] += found["calls"]
            assert found["module"] == str(calls)
            longest[found["function"]] = max(longest.get(found["function"], 0), found["latency_ns"]["max"])
    assert told == RETURNING
    assert longest["nap"] >= NAP_NS


def test_samples_and_calls_in_one_run(calls: Path, tmp_path: Path) -> None:
    program = tmp_path / "busy"
    source = tmp_path / "busy.c"
    source.write_text(
        "__attribute__((noinline)) void step(void) {"
        " for (volatile int i = 0; i < 20000000; i++) ; }\n"
        "int main(void) { for (int i = 0; i < 23; i++) step(); return 0; }\n"
    )
    subprocess.run([need_command("gcc"), "-O1", "-g", "-o", program, source], check=True)
    picture = tmp_path / "both.svg"
    words = ("--tracer", "stack", "--mode", "mixed", "--trace-function", f"u:{program}:step")
    outputs = ("--output-format", "ndjson", "--output", picture)
    run = run_tracer(*words, *outputs, "--", program, seconds=PATIENCE)
    assert run.returncode == 0, run.stderr
    events: list[Event] = [json.loads(line) for line in run.stdout.splitlines()]
    called = [event for event in events if event["type"] == "function"]
    assert numbers(called, "entry") == numbers(called, "exit") == {"step": 23}
    sampled = [event for event in events if event["type"] == "profile" and "step" in event["stack"]]
    assert sampled
    begin, end = called[0]["timestamp_ns"], called[-1]["timestamp_ns"]
    for event in sampled:
        assert begin - 2e9 <= event["timestamp_ns"] <= end
        # what the kernel put in place of the return address does not end the stack
        if event["end"] == "complete":
            assert event["stack"][-2:] == ["main", "step"] or "main" in event["stack"]
    titles = picture.read_text()
    assert "[traced calls]" in titles
    assert "23 calls" in titles


def test_contradictions_are_usage_errors(calls: Path) -> None:
    function = ("--trace-function", f"u:{calls}:add")
    for words in (("--mode", "sampling", *function), ("--mode", "tracing"), ("--mode", "mixed")):
        run = run_tracer("--tracer", "stack", *words, "--", calls, seconds=PATIENCE)
        assert run.returncode == 2, words
        assert run.stderr.startswith("error: ")
