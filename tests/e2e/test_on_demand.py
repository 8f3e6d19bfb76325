"""Captures on demand: real programs, signals and files, and what is in the capture."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from harness.capability import need_root
from harness.captures import (
    WINDOW_S,
    captures_in,
    compiled,
    fire,
    running,
    wait_for_captures,
)
from harness.small_disk import file_system_of
from harness.tracer import Tracer, run_tracer

pytestmark = [pytest.mark.e2e]

HZ = 199
EARLY, LATE = "compute_early", "compute_late"


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program that does one thing after the other."""
    need_root()
    return compiled("phases", tmp_path_factory.mktemp("phases"))


def on_demand(pid: int, directory: Path, *more: str | float) -> Tracer:
    """Start a tracer on demand."""
    words = ["--tracer", "stack", "--mode", "on-demand", "--sampling-rate", HZ, "--pid", pid]
    return Tracer(*words, "--output", f"{directory}/", *more)


def function_names(picture: Path) -> set[str]:
    """Return the functions in a flame graph."""
    titles = ET.parse(picture).iter("{http://www.w3.org/2000/svg}title")
    return {(title.text or "").split(":")[0].split(" (")[0] for title in titles}


def test_a_capture_holds_what_was_before_the_signal(phases: Path, tmp_path: Path) -> None:
    """One function ran only before the trigger, the other one only behind it."""
    out = tmp_path / "out"
    with running(phases, "early", "late") as program, on_demand(program.pid, out) as tracer:
        time.sleep(WINDOW_S + 1)
        program.send_signal(signal.SIGUSR2)
        fire(tracer)
        (capture,) = wait_for_captures(out, 1, tracer)
        assert tracer.stop().exit_code == 0
    at_ns = capture.trigger["timestamp_ns"]
    assert capture.trigger["condition"] == "SIGUSR1"
    early, late = capture.times_of(EARLY), capture.times_of(LATE)
    assert early[0] == at_ns - int(WINDOW_S * 1e9)
    assert len(early) >= WINDOW_S
    assert late[-1] == at_ns + int((WINDOW_S - 1) * 1e9)
    # the two signals are no two instants, but near
    assert early[-1] <= at_ns <= late[0] + 1_000_000_000
    assert {EARLY, LATE} <= function_names(capture.path / "flamegraph.svg")
    assert sum(event["count"] for event in capture.stacks) == capture.trigger["samples"]
    assert capture.trigger["lost"] == []


def test_two_triggers_within_a_second_make_one_capture(phases: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with running(phases, "early") as program, on_demand(program.pid, out) as tracer:
        fire(tracer)
        time.sleep(0.3)
        fire(tracer)
        wait_for_captures(out, 1, tracer)
        run = tracer.stop()
    (capture,) = captures_in(out)
    assert capture.trigger["further_triggers"] == 1
    assert "captures: 1 capture, 1 further trigger within a second of one" in run.stderr


def test_without_a_trigger_nothing_is_written(phases: Path, tmp_path: Path) -> None:
    with running(phases, "early") as program:
        words = ["--tracer", "stack", "--trigger", "cpu>100000%", "--pid", program.pid, "--duration", "3s"]
        run = run_tracer(*words, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
    assert "captures: no capture" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_directory_captures_go_into_one_by_default(phases: Path, tmp_path: Path) -> None:
    with running(phases, "early") as program:
        words = ["--tracer", "stack", "--mode", "on-demand", "--pid", program.pid]
        with Tracer(*words, cwd=tmp_path) as tracer:
            assert "universal-tracer-captures/" in tracer.stderr
            fire(tracer)
            time.sleep(1)
            run = tracer.stop()
    (capture,) = captures_in(tmp_path / "universal-tracer-captures")
    assert f"capture: universal-tracer-captures/{capture.path.name}/ (SIGUSR1" in run.stderr
    # under way at the end: it ends there
    assert capture.trigger["window"]["after_ms"] < WINDOW_S * 1000
    assert run.of_type("profile") == capture.stacks
    assert {event["capture"] for event in capture.stacks} == {1}


def test_a_process_that_is_gone_has_names(phases: Path, tmp_path: Path) -> None:
    """It ends before the trigger; its parent goes on."""
    out, begin = tmp_path / "out", tmp_path / "begin"
    wait = f"while [ ! -e {begin} ]; do sleep 0.1; done"
    script = f"{wait}; timeout -s USR2 2 {phases} early; exec sleep 60"
    with running("/bin/sh", "-c", script) as shell, on_demand(shell.pid, out) as tracer:
        begin.touch()
        time.sleep(3)
        fire(tracer)
        tracer.stop()
    (capture,) = captures_in(out)
    stacks = [event for event in capture.stacks if event["comm"] == "phases"]
    assert stacks
    assert not any(Path(f"/proc/{event['pid']}").exists() for event in stacks)
    named = sum(event["count"] for event in stacks if EARLY in event["stack"])
    assert named >= 0.8 * sum(event["count"] for event in stacks)


def test_a_file_that_appears(phases: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "now", tmp_path / "out"
    with (
        running(phases, "early") as program,
        on_demand(program.pid, out, "--trigger", f"file:{file}") as tracer,
    ):
        time.sleep(1)
        file.touch()
        (capture,) = wait_for_captures(out, 1, tracer)
        tracer.stop()
    assert capture.trigger["condition"] == f"file:{file}"
    assert capture.times_of(EARLY)


def test_a_program_that_begins_to_compute(phases: Path, tmp_path: Path) -> None:
    """The limit is low, because other tests may leave it little of the CPUs."""
    out = tmp_path / "out"
    with (
        running(phases, "idle", "early") as program,
        on_demand(program.pid, out, "--trigger", "cpu>5%") as tracer,
    ):
        time.sleep(3)
        assert captures_in(out) == []
        before_ns = time.time_ns()
        program.send_signal(signal.SIGUSR2)
        (capture,) = wait_for_captures(out, 1, tracer)
        tracer.stop()
    assert capture.trigger["condition"] == "cpu>5%"
    assert capture.trigger["measured"] > 5
    assert capture.trigger["timestamp_ns"] > before_ns
    assert capture.times_of(EARLY)


def test_threads_that_wait_for_a_cpu(phases: Path, tmp_path: Path) -> None:
    """Two programs share one CPU: each waits for half of the time."""
    out = tmp_path / "out"
    with (
        running(phases, "early", cpus=[0]) as program,
        running(phases, "idle", "late", cpus=[0]) as other,
        on_demand(program.pid, out, "--trigger", "runqueue_ms>50") as tracer,
    ):
        other.send_signal(signal.SIGUSR2)
        (capture,) = wait_for_captures(out, 1, tracer)
        tracer.stop()
    assert capture.trigger["measured"] > 50


def test_what_is_killed_leaves_valid_files(phases: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with running(phases, "early") as program, on_demand(program.pid, out) as tracer:
        fire(tracer)
        time.sleep(2)
        fire(tracer)
        wait_for_captures(out, 1, tracer)
        tracer.process.kill()
        tracer.process.wait()
    for file in out.glob("*/*"):
        ET.parse(file) if file.suffix == ".svg" else json.loads(file.read_text())
    assert captures_in(out)[0].times_of(EARLY)


def test_triggers_beyond_the_bound_are_lost(phases: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    env = {"UT_STACK_TRACER__MAX_CAPTURES": "1"}
    with running(phases, "early") as program:
        words = ["--tracer", "stack", "--mode", "on-demand", "--pid", program.pid, "--strict"]
        with Tracer(*words, "--output", f"{out}/", env=env) as tracer:
            fire(tracer)
            time.sleep(1.5)
            fire(tracer)
            time.sleep(1)
            run = tracer.stop()
    assert run.exit_code == 3
    assert "1 trigger beyond max_captures" in run.stderr
    assert [(event["where"], event["count"]) for event in run.of_type("loss")] == [("captures", 1)]
    assert len(captures_in(out)) == 1


def test_a_full_disk_ends_the_run(phases: Path, tmp_path: Path) -> None:
    with file_system_of(tmp_path / "small", "64k") as small, running(phases, "early") as program:
        (small / "filling").write_bytes(bytes(60 << 10))
        with on_demand(program.pid, small / "out") as tracer:
            fire(tracer)
            run = tracer.finish()
    assert run.exit_code == 1
    assert f"error: cannot write {small}" in run.stderr
    assert "no space left on device" in run.stderr


def test_a_directory_that_cannot_be_is_told_before_anything_is_attached(phases: Path, tmp_path: Path) -> None:
    with running(phases, "early") as program:
        words = ["--tracer", "stack", "--mode", "on-demand", "--pid", program.pid]
        run = run_tracer(*words, "--output", f"{tmp_path}/none/out/")
    assert run.returncode == 1
    assert run.stderr.startswith(f"error: cannot write {tmp_path}/none/out/")
    assert "tracing:" not in run.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--trigger", "http.latncy_ms>5"], "http.-->latncy_ms<-->5"),
        (["--trigger", "http.latency_ms>"], "this is not SQL"),
        (["--trigger", "http.latency_ms"], "gives a number, not true or false"),
        (["--trigger", "http.path>5"], "does not fit http events"),
        (["--trigger", "flow.packets>5"], "--tracer xdp"),
        (["--trigger", "cpu>80%", "--mode", "sampling"], "of the mode on-demand"),
        (["--trigger", "cpu>80%", "--tracer", "http"], None),
        (["--mode", "on-demand", "--metrics-only"], "no events to capture"),
    ],
)
def test_what_is_wrong_is_exit_2(words: list[str], told: str | None) -> None:
    tracers = [] if told is None else ["--tracer", "stack"]
    run = run_tracer(*tracers, *words, "--pid", os.getpid())
    assert run.returncode == 2, run.stderr
    assert [line.split(":")[0] for line in run.stderr.splitlines()] == ["error", "cause", "hint"]
    assert (told or "--trigger is a flag of a tracer that does not run") in run.stderr


def test_a_dry_run_tells_the_trigger(phases: Path, tmp_path: Path) -> None:
    with running(phases, "early") as program:
        words = ["--tracer", "stack", "--trigger", "http.status>=500", "--pid", program.pid, "--dry-run"]
        run = run_tracer(*words, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    plan = " ".join(run.stdout.split())
    assert "5 s before and 5 s after http.status>=500 or SIGUSR1" in plan
    assert "attach: http:" in plan
    assert list(tmp_path.iterdir()) == []


def test_calls_of_functions_are_in_captures_alone(tmp_path: Path) -> None:
    need_root()
    waits, out = compiled("waits", tmp_path), tmp_path / "out"
    words = ["--trigger", "SIGUSR1", "--trace-function", f"u:{waits}:sleep_a_little"]
    with (
        running(waits, "2000") as program,
        Tracer("--tracer", "stack", *words, "--pid", program.pid, "--output", f"{out}/") as tracer,
    ):
        time.sleep(2)
        fire(tracer)
        time.sleep(1)
        run = tracer.stop()
    (capture,) = captures_in(out)
    calls = [event for event in capture.json("stack-events.json") if event["type"] == "function"]
    at_ns = capture.trigger["timestamp_ns"]
    assert {event["function"] for event in calls} == {"sleep_a_little"}
    assert (
        min(event["timestamp_ns"] for event in calls) < at_ns < max(event["timestamp_ns"] for event in calls)
    )
    assert capture.trigger["events"]["function"] == len(calls)
    assert run.of_type("function") == []
