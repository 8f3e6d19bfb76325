"""What ends a run, and what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from harness.commands import quoted, shell, start, traffic
from harness.processes import wait_until
from harness.traced import holds, unique
from harness.tracer import (
    Tracer,
    kernel_objects_of,
    living_kernel_objects,
    run_tracer,
)

pytestmark = pytest.mark.e2e


def children_of(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    try:
        return [
            int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        ]
    except FileNotFoundError:
        return []


def runs(pid: int) -> bool:
    """Tell whether *pid* is a process that has not ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_closed_pipe_ends_the_run_well() -> None:
    before = time.monotonic()
    done = shell(f"$tracer -- {quoted(traffic('--forever'))} | head -1; echo ${{PIPESTATUS[0]}}")
    event, code = done.stdout.splitlines()
    assert json.loads(event)["type"] in {"http", "connection"}
    assert code == "0", done.stderr
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert time.monotonic() - before < 15


def test_a_json_array_is_whole_at_any_time_and_after_sigkill(tmp_path: Path) -> None:
    output = tmp_path / "events.json"
    process = start("--output", output, "--", *traffic("--forever"), stderr=subprocess.DEVNULL)
    try:
        sizes: list[int] = []
        deadline = time.monotonic() + 20
        while len(set(sizes)) < 6 and time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                sizes.append(len(read_array(output)))
            time.sleep(0.05)
        command = children_of(process.pid)
    finally:
        process.kill()
        process.wait()
    events = read_array(output)
    assert len(events) >= max(sizes) > 0
    assert any(event["type"] == "http" for event in events)
    for pid in command:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def read_array(path: Path) -> list[dict[str, Any]]:
    """Read a JSON array; who reads during a flush reads again."""
    for attempt in range(5):
        text = path.read_text(encoding="utf-8")
        try:
            events: list[dict[str, Any]] = json.loads(text)
        except ValueError:
            if attempt == 4:
                raise
            time.sleep(0.01)
        else:
            return events
    raise AssertionError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_run_and_its_command(number: signal.Signals) -> None:
    tracer = Tracer("--", *traffic("--forever"))
    with tracer:
        tracer.wait_for(lambda event: event["type"] == "http", count=4)
        (command,) = children_of(tracer.pid)
        run = tracer.stop(number)
    assert run.exit_code == 0, run.stderr
    assert not runs(command)
    assert "summary:" in run.stderr
    assert "lost" in run.stderr


def test_nothing_is_left_out_at_the_end() -> None:
    """What the command did just before its end is told: the run drains."""
    for _ in range(3):
        word = unique()
        done = run_tracer("--", *traffic("--word", word, "--requests", "211"))
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert len([event for event in events if holds(word, event)]) == 422


def test_a_second_ctrl_c_ends_at_once() -> None:
    ignoring = "import signal,time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    with Tracer("--", sys.executable, "-c", ignoring) as tracer:
        (command,) = children_of(tracer.pid)
        held = kernel_objects_of(tracer.pid)
        time.sleep(0.5)
        tracer.process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        tracer.process.send_signal(signal.SIGINT)
        tracer.process.wait(3)
    with contextlib.suppress(ProcessLookupError):
        os.kill(command, signal.SIGKILL)
    assert_gone(held)


def test_the_duration_ends_the_run() -> None:
    before = time.monotonic()
    with Tracer("--tracer", "http", "--pid", os.getpid(), "--duration", "1s500ms") as tracer:
        started = time.monotonic()
        run = tracer.finish(15)
    assert run.exit_code == 0, run.stderr
    assert 1.3 <= time.monotonic() - started < 8
    assert time.monotonic() - before < 20


def test_the_end_of_the_command_ends_the_run_whatever_its_code() -> None:
    done = run_tracer("--", *traffic("--exit", "37"))
    assert done.returncode == 0, done.stderr
    assert "37" in done.stderr.split("summary:")[1]


def test_a_command_that_dies_by_a_signal() -> None:
    done = run_tracer("--", "/bin/sh", "-c", "kill -SEGV $$")
    assert done.returncode == 0, done.stderr
    assert "SIGSEGV" in done.stderr or "11" in done.stderr


def test_strict_is_content_when_nothing_was_lost() -> None:
    done = run_tracer("--strict", "--", *traffic())
    assert done.returncode == (3 if '"loss"' in done.stdout else 0)


def test_quiet_says_nothing_when_all_is_well() -> None:
    done = run_tracer("-q", "--", *traffic())
    assert done.returncode == 0
    if '"loss"' not in done.stdout:
        assert done.stderr == "done 10\n"


def assert_gone(held: dict[str, set[int]]) -> None:
    """Fail unless the kernel lets go of all that was *held*."""
    assert held["prog"], "the tracer held programs while it ran"

    def probe() -> bool:
        living = living_kernel_objects()
        return not any(held[kind] & living[kind] for kind in held)

    wait_until(probe, "the kernel to let go of programs, maps and links", 10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays_in_the_kernel(number: signal.Signals) -> None:
    with Tracer("--tracer", "http", "--pid", os.getpid()) as tracer:
        held = kernel_objects_of(tracer.pid)
        tracer.stop(number)
    assert_gone(held)
