"""Functions by name: of a command that does not run yet, of processes that see other files, of Go."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.capability import need_command, need_root
from harness.tracer import Event, Tracer, run_tracer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e]

PATIENCE = 110.0
CALLS = 17
SOURCE = f"""
#include <stdio.h>
#include <unistd.h>
__attribute__((noinline)) int counted(int number, const char *text)
{{ printf("%d%s", number, text); return number + 1; }}
int main(int count, char **words)
{{
    if (count > 1) read(0, words[1], 1);
    for (int i = 0; i < {CALLS}; i++) counted(i, "é");
    return 0;
}}
"""
DEPTH, GOROUTINES = 4999, 7
# Each goroutine's stack grows many times on the way down, in the middle of calls that are traced.
GO_SOURCE = f"""package main

import "sync"

//go:noinline
func deep(left int, text string) int {{
	var room [64]byte
	if left == 0 {{
		return int(room[0])
	}}
	return deep(left-1, text) + 1
}}

func main() {{
	var all sync.WaitGroup
	for i := 0; i < {GOROUTINES}; i++ {{
		all.Add(1)
		go func() {{
			defer all.Done()
			if deep({DEPTH - 1}, "down") != {DEPTH - 1} {{
				panic("changed")
			}}
		}}()
	}}
	all.Wait()
}}
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    need_root()
    source, made = tmp_path / "program.c", tmp_path / "program"
    source.write_text(SOURCE)
    subprocess.run([need_command("gcc"), "-g", "-O1", "-o", made, source], check=True, timeout=60)
    return made


def function_events(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["type"] == "function" and event["event"] == kind]


def assert_all(found: list[Event], module: str) -> None:
    assert [event["return_value"] for event in found] == list(range(1, CALLS + 1))
    assert {event["module"] for event in found} == {module}
    for number, event in enumerate(found):
        values = {argument["name"]: argument["value"] for argument in event["arguments"]}
        assert values["number"] == str(number)
        # in the first call nobody has read the page with the text yet: a probe does not wait for it
        assert values["text"] == "é" or number == 0


@pytest.mark.parametrize("spec", ["u:counted", "u:program:counted", "u:{program}:coun*"])
def test_of_a_command_that_does_not_run_yet(spec: str, program: Path) -> None:
    named = ("--trace-function", spec.format(program=program))
    words = ("--tracer", "stack", "--mode", "tracing", *named, "--output-format", "ndjson", "--", program)
    done = run_tracer(*words, seconds=PATIENCE)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert_all(function_events(events, "exit"), str(program))


@pytest.fixture
def contained(program: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process whose program lies where nobody else sees it; it waits for its input."""
    inside = f"mount -t tmpfs none /mnt && cp {program} /mnt/inside && exec /mnt/inside waits"
    process = subprocess.Popen(
        [need_command("unshare"), "--mount", "sh", "-c", inside],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    yield process
    process.stdin.close()
    process.kill()
    process.wait()


def runs(process: subprocess.Popen[bytes], name: str) -> bool:
    return str(Path(f"/proc/{process.pid}/exe").readlink()).endswith(name)


def test_of_a_process_that_sees_other_files(contained: subprocess.Popen[bytes]) -> None:
    while not runs(contained, "/mnt/inside"):
        assert contained.poll() is None
    for spec in ("u:/mnt/inside:counted", "u:inside:counted"):
        listed = run_tracer("--tracer", "stack", "--list", spec, "--pid", contained.pid)
        told = "u:/mnt/inside:counted (number: i32, text: string) -> i32"
        assert listed.stdout.startswith(told), listed.stderr
    words = ("--tracer", "stack", "--mode", "tracing", "--pid", contained.pid)
    with Tracer(*words, "--trace-function", "u:/mnt/inside:counted") as tracer:
        assert contained.stdin is not None
        contained.stdin.write(b"x")
        contained.stdin.flush()
        run = tracer.finish()
    assert run.exit_code == 0, run.stderr
    assert_all(function_events(run.events, "exit"), "/mnt/inside")


def test_calls_of_go_are_exact_while_stacks_grow(tmp_path: Path) -> None:
    need_root()
    source, made = tmp_path / "main.go", tmp_path / "grows"
    source.write_text(GO_SOURCE)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOCACHE": str(tmp_path / "cache")}
    subprocess.run(
        [need_command("go"), "build", "-o", made, source], check=True, env=environment, timeout=300
    )
    words = (
        "--tracer",
        "stack",
        "--mode",
        "tracing",
        "--trace-function",
        f"u:{made}:main.deep",
        "--metrics-only",
    )
    done = run_tracer(*words, "--interval", "1s", "--output-format", "ndjson", "--", made, seconds=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "command: exit code 0" in done.stderr
    counted: Counter[str] = Counter()
    for line in done.stdout.splitlines():
        for function in json.loads(line)["stack"]["functions"]:
            counted[function["function"]] += function["calls"]
    assert counted == {"main.deep": DEPTH * GOROUTINES}
