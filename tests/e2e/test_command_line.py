"""The command as its users meet it: pipes, signals, files, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from harness.capability import REPOSITORY, missing, need_command, need_tracer
from harness.commands import quoted, shell, start, traffic
from harness.processes import wait_until
from harness.traced import holds, unique
from harness.tracer import (
    Tracer,
    run_tracer,
)

pytestmark = pytest.mark.e2e

NOBODY = 65_534


def error_lines(text: str) -> list[str]:
    """Return what begins the lines of an error message."""
    return [line.split(":", 1)[0] for line in text.strip().splitlines()]


# --- output ---


def test_json_into_jq() -> None:
    word = unique()
    done = shell(
        f"set -o pipefail; $tracer --output-format json -- {quoted(traffic('--word', word))} | jq -c ."
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert len([event for event in events if holds(word, event)]) == 20
    assert "done 10" in done.stderr, "the command's own output stands where it spoils no events"


def test_ndjson_is_what_a_pipe_gets() -> None:
    done = run_tracer("--", *traffic())
    assert done.returncode == 0, done.stderr
    assert {json.loads(line)["type"] for line in done.stdout.splitlines()} >= {"http", "connection"}
    assert "\x1b" not in done.stdout + done.stderr


def test_the_json_file_of_the_handbook(tmp_path: Path) -> None:
    done = run_tracer("--output", "http-events.json", "--", *traffic("--requests", "11"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done 11\n", "with --output nothing but the command writes to a pipe"
    for selection, count in (('.method=="POST"', 10), (".latency_ms > 1000", 0), (".latency_ms > 0", 22)):
        script = f'.[] | select(.type == "http") | select({selection}) | .latency_ms'
        jq = subprocess.run(
            [need_command("jq"), script, "http-events.json"], capture_output=True, cwd=tmp_path, check=True
        )
        assert len(jq.stdout.splitlines()) == count, selection


def test_a_directory_has_its_files_named(tmp_path: Path) -> None:
    done = run_tracer("--tracer", "http", "--output", f"{tmp_path}/run/", "--", *traffic())
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["http-events.json"]
    assert len(json.loads((tmp_path / "run" / "http-events.json").read_text())) >= 20


def test_several_outputs_hold_the_same(tmp_path: Path) -> None:
    outputs = [tmp_path / "a.json", tmp_path / "b.ndjson"]
    words = [word for output in outputs for word in ("--output", output)]
    done = run_tracer(*words, "--output-format", "ndjson", "--", *traffic())
    assert done.returncode == 0, done.stderr
    array = json.loads(outputs[0].read_text())
    lines = [json.loads(line) for line in outputs[1].read_text().splitlines()]
    assert array == lines == [json.loads(line) for line in done.stdout.splitlines()]


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    output = tmp_path / "events.json"
    output.write_text("old" * 100_000)
    assert run_tracer("--output", output, "--", *traffic()).returncode == 0
    assert "old" not in {key for event in json.loads(output.read_text()) for key in event}


def test_a_full_disk_is_exit_1() -> None:
    with Path("/dev/full").open("w") as full:
        process = start(
            "--output-format", "ndjson", "--", *traffic("--forever"), stdout=full, stderr=subprocess.PIPE
        )
        _, talk = process.communicate(timeout=30)
    assert process.returncode == 1, talk
    assert error_lines(talk)[-3:] == ["error", "cause", "hint"] or "error:" in talk


def test_an_output_without_its_directory_is_exit_1(tmp_path: Path) -> None:
    done = run_tracer("--output", tmp_path / "none" / "events.json", "--", *traffic())
    assert done.returncode == 1
    assert error_lines(done.stderr) == ["error", "cause", "hint"]


# --- ends ---


# --- the command ---


def test_the_command_inherits_everything(tmp_path: Path) -> None:
    script = (
        f"cd {tmp_path}; umask 027; export GIVEN_VARIABLE=given; unset SUDO_UID SUDO_GID SUDO_USER; "
        f"echo input | $tracer --output {tmp_path}/events.json -- {quoted(traffic('--describe'))}"
    )
    done = shell(script)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[0])
    assert told == {
        "directory": str(tmp_path),
        "umask": 0o027,
        "variable": "given",
        "stdin": "input\n",
        "uid": os.getuid(),
    }


def test_under_sudo_the_command_runs_as_the_user_behind_it() -> None:
    environment = {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY), "SUDO_USER": "nobody"}
    done = run_tracer("--output-format", "none", "--", "/usr/bin/id", "-u", env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{NOBODY}\n"


def test_a_command_that_is_not_there_is_exit_6() -> None:
    done = run_tracer("--", "/nowhere/to/be/found")
    assert done.returncode == 6
    assert error_lines(done.stderr) == ["error", "cause", "hint"]


def test_the_first_request_of_a_command_is_told() -> None:
    """The command starts when everything is attached, not before."""
    word = unique()
    done = run_tracer("--", *traffic("--word", word, "--requests", "1"))
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(event["role"] for event in events if holds(word, event)) == ["client", "server"]


# --- refusals ---


@pytest.mark.parametrize(
    "words",
    [
        ["--no-such-flag"],
        ["--duration", "soon"],
        ["--pid", "none"],
        ["-q", "-v"],
        ["--tracer", "http", "--sampling-rate", "2"],
        ["--sampling-rate", "0.1", "--http-sampling-rate", "0.1"],
        ["--output", "a.json", "--output", "a.json"],
        ["--output", "a.unknown"],
        ["--config", "/nowhere.yaml"],
    ],
)
def test_wrong_usage_is_exit_2(words: list[str], tmp_path: Path) -> None:
    done = run_tracer(*words, "--", "/bin/true", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert error_lines(done.stderr)[0] == "error"
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_capabilities_is_exit_4_with_the_way_out() -> None:
    prefix = [need_command("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]
    done = run_tracer("--", "/bin/true", prefix=prefix)
    assert done.returncode == 4, done.stderr
    assert error_lines(done.stderr) == ["error", "cause", "hint"]


def test_an_ordinary_user_is_exit_4_with_the_command_to_run() -> None:
    identity = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    prefix = [need_command("setpriv"), *identity]
    reach = subprocess.run([*prefix, "/usr/bin/test", "-x", str(need_tracer())], check=False)
    if reach.returncode:
        pytest.skip("this checkout lies in a directory that other users may not enter")
    done = run_tracer("--pid", os.getpid(), prefix=prefix)
    assert done.returncode == 4, done.stderr
    assert error_lines(done.stderr) == ["error", "cause", "hint"]
    assert "sudo" in done.stderr.splitlines()[2]


# --- what stays ---


# --- the launcher ---


def launcher() -> Path:
    """Return the launcher, or end the test."""
    path = REPOSITORY / "build" / "universal-tracer"
    if not path.exists():
        missing("build/universal-tracer (make build)")
    return path


def test_the_launcher_runs_from_any_directory(tmp_path: Path) -> None:
    word = unique()
    done = subprocess.run(
        [launcher(), "--output-format", "ndjson", "--", *traffic("--word", word)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if word in line]) == 20
    with launcher().open("rb") as binary:
        assert binary.read(4) == b"\x7fELF"


# --- talk ---


def test_the_start_line_says_what_and_whom() -> None:
    with Tracer("--tracer", "http", "--pid", os.getpid()) as tracer:
        (line,) = (line for line in tracer.stderr.splitlines() if line.startswith("tracing:"))
        assert "HTTP" in line
        assert str(os.getpid()) in line
        tracer.stop()


def test_silence_is_explained() -> None:
    with Tracer("--tracer", "http", "--pid", os.getpid()) as tracer:
        quiet = tracer.stderr
        wait_until(lambda: len(tracer.stderr) > len(quiet), "a word about the silence", 12)
        said = tracer.stderr[len(quiet) :]
        assert "process" in said or "socket" in said
        tracer.stop()
