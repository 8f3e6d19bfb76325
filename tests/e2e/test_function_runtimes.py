"""Traced functions where somebody else reads the stack, in scripts, and in the kernel."""

from __future__ import annotations

import json
import shutil
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
GO = {"main.Add": 97, "main.Deep": 11 * 501, "main.Panics": 13, "main.Greet": 7}
THROWN = {"tail(int)": 31, "passes(int)": 31, "thrower(int)": 31, "leaf(int)": 20}
# What is left by an exception has no exit; tail() ends where it jumps to passes().
RETURNED = {"tail(int)": 31, "passes(int)": 20, "thrower(int)": 20, "leaf(int)": 20}
FUNCTION_OF_EXTENSION = """
#include <Python.h>
__attribute__((noinline)) long doubled(long value) { __asm__ volatile(""); return 2 * value; }
static PyObject *call(PyObject *self, PyObject *given)
{ return PyLong_FromLong(doubled(PyLong_AsLong(given))); }
static PyMethodDef methods[] = {{"doubled", call, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "twice", NULL, -1, methods};
PyMODINIT_FUNC PyInit_twice(void) { return PyModule_Create(&module); }
"""


def events_of(*words: str | Path) -> list[Event]:
    """Return the function events of a run that lost nothing, and whose command succeeded."""
    run = run_tracer("--tracer", "stack", *words, seconds=PATIENCE)
    assert run.returncode == 0, run.stderr
    assert "lost: nothing" in run.stderr
    assert "command: exit code 0" in run.stderr
    events: list[Event] = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    return [event for event in events if event["type"] == "function"]


def named(path: Path, functions: list[str]) -> list[str]:
    """Return the flags that name functions of a file."""
    return [word for name in functions for word in ("--trace-function", f"u:{path}:{name}")]


def numbers(events: list[Event], kind: str) -> Counter[str]:
    """Return how many events of a kind each function has."""
    return Counter(event["function"] for event in events if event["event"] == kind)


def test_go_is_exact_while_stacks_grow(tmp_path: Path) -> None:
    need_root()
    program = tmp_path / "gocalls"
    words = [need_command("go"), "build", "-o", program, APPS / "gocalls.go"]
    subprocess.run(words, check=True, cwd=tmp_path)
    flags = [*named(program, list(GO)), "--output-format", "ndjson"]
    events = events_of(*flags, "--", program)
    assert numbers(events, "entry") == GO
    assert numbers(events, "exit") == {name: count for name, count in GO.items() if name != "main.Panics"}
    deepest = max(
        (event for event in events if event["function"] == "main.Deep"), key=lambda e: len(e["stack"])
    )
    assert deepest["stack"].count("main.Deep") > 100


def test_exceptions_arrive_whatever_is_traced(tmp_path: Path) -> None:
    need_root()
    program = tmp_path / "throws"
    words = [need_command("g++"), "-O2", "-g", "-o", program, APPS / "throws.cpp"]
    subprocess.run(words, check=True)
    flags = [*named(program, [name.partition("(")[0] for name in THROWN]), "--output-format", "ndjson"]
    events = events_of(*flags, "--", program)
    assert numbers(events, "entry") == THROWN
    assert numbers(events, "exit") == RETURNED


def test_functions_of_an_extension_of_python(tmp_path: Path) -> None:
    need_root()
    config = shutil.which("python3.11-config") or shutil.which("python3-config")
    if config is None:
        pytest.skip("python3-config is missing (apt install python3-dev)")
    includes = subprocess.run(
        [config, "--includes"], check=True, capture_output=True, text=True
    ).stdout.split()
    source, module = tmp_path / "twice.c", tmp_path / "twice.so"
    source.write_text(FUNCTION_OF_EXTENSION)
    build = [need_command("gcc"), "-O2", "-g", "-shared", "-fPIC", *includes, "-o", module, source]
    subprocess.run(build, check=True)
    script = (
        f"import sys, time; sys.path.insert(0, {str(tmp_path)!r}); import twice\n"
        "for number in range(101):\n  twice.doubled(number)\n  time.sleep(0.3 if number % 50 == 0 else 0)"
    )
    flags = ["--trace-function", f"u:{module}:doubled", "--output-format", "ndjson"]
    events = events_of(*flags, "--", "/usr/bin/python3", "-c", script)
    assert numbers(events, "entry") == numbers(events, "exit") == {"doubled": 101}
    complete = [event["stack"] for event in events if event["end"] == "complete"]
    assert complete
    assert all(any("Py" in frame for frame in stack) for stack in complete)


def test_tracepoints_tell_what_their_record_holds() -> None:
    need_root()
    flags = ["--trace-function", "t:sched:sched_process_exec", "--output-format", "ndjson"]
    events = events_of(*flags, "--", "/bin/sh", "-c", "/bin/true; /bin/true; exec /bin/true")
    told = [{found["name"]: found["value"] for found in event["arguments"]} for event in events]
    assert [one["filename"] for one in told].count("/bin/true") == 3
    for event, one in zip(events, told, strict=True):
        assert one["pid"] == str(event["pid"])
        assert (event["function"], event["event"]) == ("sched:sched_process_exec", "entry")
        assert event["frames"][-1]["kind"] == "kernel"


def test_an_event_of_the_scheduler_is_counted_for_targets_only() -> None:
    need_root()
    words = ("--tracer", "stack", "--trace-function", "t:sched:sched_process_fork", "--metrics-only")
    run = run_tracer(
        *words,
        "--output-format",
        "ndjson",
        "--",
        "/bin/sh",
        "-c",
        "/bin/true; /bin/true; :",
        seconds=PATIENCE,
    )
    assert run.returncode == 0, run.stderr
    counted = sum(
        found["calls"] for line in run.stdout.splitlines() for found in json.loads(line)["stack"]["functions"]
    )
    assert counted == 2
