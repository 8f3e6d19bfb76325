"""The command as its users meet it: pipes, signals, files, exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness.capability import REPOSITORY, missing, need_command, need_tracer
from harness.processes import APPS, wait_until
from harness.traced import holds, unique
from harness.tracer import (
    Tracer,
    kernel_objects_of,
    living_kernel_objects,
    run_tracer,
    tracer_environment,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

pytestmark = pytest.mark.e2e

NOBODY = 65_534
SHELL_SECONDS = 60.0


def traffic(*options: str) -> list[str]:
    """Return the words of a command that makes requests to itself."""
    return [sys.executable, str(APPS / "traffic.py"), *options]


def shell(script: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which ``$tracer`` is the command; the words after it are up to the line."""
    environment = {**tracer_environment(), "tracer": str(need_tracer())}
    return subprocess.run(
        ["/bin/bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=SHELL_SECONDS,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        **settings,
    )


def quoted(words: Sequence[str]) -> str:
    """Return *words* for a line of shell."""
    return shlex.join(words)


def start(*words: str | Path, env: Mapping[str, str] | None = None, **streams: Any) -> subprocess.Popen[str]:
    """Start the command with streams of the test's own."""
    return subprocess.Popen(
        [str(need_tracer()), *map(str, words)],
        stdin=subprocess.DEVNULL,
        text=True,
        env=tracer_environment(env),
        **streams,
    )


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


# --- ends ---


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
