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


def test_threads_and_children_are_told_apart(calls: Path) -> None:
    events = traced(calls, "in_thread", "in_child", "main")
    threads = {event["tid"] for event in events if event["function"] == "in_thread"}
    assert len(threads) == THREADS
    (main,) = {event["pid"] for event in events if event["function"] == "main"}
    (child,) = {event["pid"] for event in events if event["function"] == "in_child"}
    assert main != child
