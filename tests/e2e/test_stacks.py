"""The stack tracer on programs of which it is known where they spend their time."""

from __future__ import annotations

import json
import math
import os
import subprocess
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from harness.capability import need_command, need_root
from harness.processes import APPS
from harness.tracer import Tracer, run_tracer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e]

PYTHON_PROGRAM = """
import time
def f(n): return 1 if n < 2 else f(n - 1) + f(n - 2)
while time.process_time() < 2: f(15)
"""
FUNCTIONS = ("one_part", "two_parts", "five_parts")
HZ = 499
CPU_SECONDS = 2.0
# Samples that may fall into a start on a busy machine.
STARTING = 20
# For runs that end by themselves, on a machine that is busy with something else.
PATIENCE = 110.0


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program with known shares, without frame pointers as most are."""
    need_root()
    program = tmp_path_factory.mktemp("shares") / "shares"
    words = [need_command("gcc"), "-O2", "-g", "-o", program, APPS / "shares.c"]
    subprocess.run(words, check=True)
    return program


@pytest.fixture(scope="module")
def waits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program that waits for known times."""
    need_root()
    program = tmp_path_factory.mktemp("waits") / "waits"
    words = [need_command("gcc"), "-O2", "-g", "-pthread", "-o", program, APPS / "waits.c"]
    subprocess.run(words, check=True)
    return program


def profiles(text: str) -> list[dict[str, Any]]:
    """Return the profile events of lines of JSON."""
    events = [json.loads(line) for line in text.splitlines()]
    return [event for event in events if event["type"] == "profile"]


def samples_in(events: list[dict[str, Any]], function: str) -> int:
    """Return how many samples have a function in their stack."""
    return sum(event["count"] for event in events if function in event["stack"])


def test_functions_have_their_known_shares(shares: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    words = ["--tracer", "stack", "--sampling-rate", HZ, "--output-format", "ndjson"]
    run = run_tracer(*words, "--", shares, CPU_SECONDS, truth, seconds=PATIENCE)
    assert run.returncode == 0, run.stderr
    events = profiles(run.stdout)
    seconds = json.loads(truth.read_text())
    total = sum(samples_in(events, name) for name in FUNCTIONS)
    for name in FUNCTIONS:
        share = seconds[name] / sum(seconds.values())
        three_sigma = 3 * math.sqrt(share * (1 - share) / total)
        assert abs(samples_in(events, name) / total - share) < three_sigma + 0.005, (name, share, total)
    # a busy machine may delay a sample, but the clock counts what the program had of the processor
    assert 0.9 * HZ * CPU_SECONDS <= total <= 1.1 * HZ * CPU_SECONDS
    for event in events:
        assert [frame["name"] for frame in event["frames"]] == event["stack"]
        assert event["value_ns"] == event["count"] * (1_000_000_000 // HZ)


def test_frames_say_file_and_line(shares: Path) -> None:
    run = run_tracer("--tracer", "stack", "--output-format", "ndjson", "--", shares, 0.5, seconds=PATIENCE)
    frames = [frame for event in profiles(run.stdout) for frame in event["frames"]]
    found = next(frame for frame in frames if frame["name"] == "five_parts")
    assert found["module"] == str(shares)
    assert found["file"].endswith("shares.c")
    assert found["kind"] == "user"
    assert found["inlined"] is False


def test_files_of_a_directory(shares: Path, tmp_path: Path) -> None:
    folded = tmp_path / "stacks.folded"
    run = run_tracer(
        "--tracer",
        "stack",
        "--duration",
        "20s",
        "--output",
        f"{tmp_path}/out/",
        "--output",
        folded,
        "--",
        shares,
        0.5,
        seconds=PATIENCE,
    )
    assert run.returncode == 0, run.stderr
    events = json.loads((tmp_path / "out" / "stack-events.json").read_text())
    picture = ET.parse(tmp_path / "out" / "flamegraph.svg")
    titles = [title.text or "" for title in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert any(title.startswith("five_parts") for title in titles)
    lines = folded.read_text().splitlines()
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == sum(
        event["count"] for event in events if event["type"] == "profile"
    )


def test_a_process_by_pid_and_nobody_else(shares: Path) -> None:
    with (
        subprocess.Popen([shares, "60"]) as traced,
        subprocess.Popen([shares, "60"]) as other,
    ):
        try:
            with Tracer("--pid", traced.pid, "--tracer", "stack") as tracer:
                tracer.wait_for(lambda event: event["type"] == "profile", count=3)
                run = tracer.stop()
        finally:
            traced.kill()
            other.kill()
    assert run.exit_code == 0
    assert {event["pid"] for event in run.of_type("profile")} == {traced.pid}


def test_a_process_by_name_into_a_flame_graph(shares: Path, tmp_path: Path) -> None:
    name = f"app-{os.getpid()}"
    program = tmp_path / name
    program.symlink_to(shares)
    with subprocess.Popen([program, "60"]) as traced:
        try:
            words = (
                "--tracer",
                "stack",
                "--duration",
                "2s",
                "--output",
                "flamegraph.svg",
                "--target-process",
                name,
            )
            run = run_tracer(*words, cwd=tmp_path, seconds=PATIENCE)
        finally:
            traced.kill()
    assert run.returncode == 0, run.stderr
    text = (tmp_path / "flamegraph.svg").read_text()
    assert f"processes named {name}" in text
    assert "five_parts" in text


def test_a_process_that_has_ended_is_named_all_the_same(shares: Path) -> None:
    """Many short lives; the samples are taken from the ring when most of them are over."""
    script = f"for i in $(seq 10); do {shares} 0.1; done"
    run = run_tracer(
        "--tracer",
        "stack",
        "--sampling-rate",
        499,
        "--output-format",
        "ndjson",
        "--",
        "sh",
        "-c",
        script,
        seconds=PATIENCE,
    )
    events = [event for event in profiles(run.stdout) if event["comm"] == "shares"]
    named = sum(samples_in(events, name) for name in FUNCTIONS)
    assert len({event["pid"] for event in events}) == 10
    assert named >= 0.8 * sum(event["count"] for event in events)


@pytest.mark.vm
def test_callers_are_found_without_frame_pointers(shares: Path) -> None:
    run = run_tracer(
        "--tracer", "stack", "--output-format", "ndjson", "--", shares, CPU_SECONDS, seconds=PATIENCE
    )
    events = [event for event in profiles(run.stdout) if "five_parts" in event["stack"]]
    whole = sum(event["count"] for event in events if event["stack"][:1] == ["_start"])
    assert whole >= 0.9 * sum(event["count"] for event in events)
    for event in events:
        if event["end"] == "complete":
            assert event["stack"][0] == "_start"
            assert "main" in event["stack"]
            assert event["stack"].index("main") < event["stack"].index("five_parts")


@pytest.mark.vm
def test_callers_are_found_by_frame_pointers_alone(tmp_path: Path) -> None:
    need_root()
    program = tmp_path / "framed"
    # optimised, the innermost functions of the program would have none
    words = [need_command("gcc"), "-O0", "-fno-omit-frame-pointer", "-o", program, APPS / "shares.c"]
    subprocess.run(words, check=True)
    run = run_tracer(
        *("--tracer", "stack", "--output-format", "ndjson", "--", program, CPU_SECONDS),
        env={"UT_STACK_TRACER__ENABLE_DWARF_UNWINDING": "false"},
        seconds=PATIENCE,
    )
    events = [event for event in profiles(run.stdout) if "five_parts" in event["stack"]]
    called = sum(event["count"] for event in events if "main" in event["stack"])
    assert called >= 0.9 * sum(event["count"] for event in events) > 0
    for event in events:
        assert event["end"] == "truncated", "a chain of frame pointers does not say whether it is whole"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (
            "bash",
            [
                "-c",
                "f() { if [ $1 -gt 0 ]; then f $(( $1 - 1 )); fi; }; while [ $SECONDS -lt 3 ]; do f 20; done",
            ],
        ),
        ("perl", ["-e", 'my $t=times; my %h; while (times() - $t < 2) { $h{$_ % 37} .= "x" for 1..1000; }']),
        ("openssl", ["speed", "-seconds", "1", "-bytes", "1024", "sha256"]),
        (
            "/usr/bin/python3",
            ["-c", PYTHON_PROGRAM],
        ),
    ],
)
def test_stacks_of_ordinary_programs_are_complete(name: str, arguments: list[str]) -> None:
    """Most of them: the first samples fall into the time in which libraries are mapped."""
    words = ["--tracer", "stack", "--sampling-rate", HZ, "--output-format", "ndjson", "--"]
    run = run_tracer(*words, need_command(name), *arguments, seconds=PATIENCE)
    assert run.returncode == 0, run.stderr
    events = profiles(run.stdout)
    complete = sum(event["count"] for event in events if event["end"] == "complete")
    assert complete >= 0.9 * sum(event["count"] for event in events) - STARTING > 0
    for event in events:
        assert (event["reason"] is None) == (event["end"] == "complete")


@pytest.mark.vm
def test_processes_that_live_for_a_few_milliseconds_have_whole_stacks(tmp_path: Path) -> None:
    """They are gone before anybody could look at them."""
    need_root()
    program = tmp_path / "short"
    subprocess.run([need_command("gcc"), "-O2", "-o", program, APPS / "short.c"], check=True)
    words = ["--tracer", "stack", "--sampling-rate", HZ, "--output-format", "ndjson"]
    run = run_tracer(*words, "--", program, 211, seconds=PATIENCE)
    assert run.returncode == 0, run.stderr
    assert "\nstacks: " in run.stderr
    events = profiles(run.stdout)
    in_work = [event for event in events if "short_work" in event["stack"]]
    pids = {event["pid"] for event in in_work}
    assert len(pids) > 150, "most children are met"
    whole = [event for event in in_work if event["end"] == "complete"]
    assert sum(event["count"] for event in whole) >= 0.95 * samples_in(events, "short_work")
    for event in whole:
        user = [frame["name"] for frame in event["frames"] if frame["kind"] == "user"]
        callers = user[: user.index("short_work") + 1]
        assert callers[-3:] == ["main", "short_life", "short_work"]
        assert callers[0] == "_start"


def test_waits_are_as_long_as_they_are(waits: Path) -> None:
    rounds = 40
    words = ["--tracer", "stack", "--off-cpu", "--output-format", "ndjson", "--", waits, rounds]
    run = run_tracer(*words, seconds=PATIENCE)
    assert run.returncode == 0, run.stderr
    events = [event for event in profiles(run.stdout) if event["kind"] == "off-cpu"]
    slept = [event for event in events if "sleep_a_little" in event["stack"]]
    seconds = sum(event["value_ns"] for event in slept) / 1e9
    # A period that begins in one wait and is full in another is told with the other: unbiased, and in each
    # round up to a period more or less. Three sigma of that; a busy machine makes it more.
    assert seconds >= rounds * 0.030 - 3 * math.sqrt(2 * rounds / 12) / 99
    for event in slept:
        assert event["stack"].index("main") < event["stack"].index("sleep_a_little")
        assert event["value_ns"] == event["count"] * (1_000_000_000 // 99)
        assert event["frames"][-1]["kind"] == "kernel"
    waited = [event for event in events if "wait_for_lock" in event["stack"]]
    assert sum(event["value_ns"] for event in waited) > 0


def test_a_thread_that_only_computes_does_not_sleep(shares: Path) -> None:
    words = ["--tracer", "stack", "--off-cpu", "--output-format", "ndjson", "--", shares, 1]
    run = run_tracer(*words, seconds=PATIENCE)
    events = [event for event in profiles(run.stdout) if event["comm"] == "shares"]
    assert any(event["kind"] == "cpu" for event in events)
    blocked = [
        event
        for event in events
        if event["kind"] == "off-cpu" and event["stack"][-1] != "[waiting for a CPU]"
    ]
    assert sum(event["value_ns"] for event in blocked) < 0.3e9
