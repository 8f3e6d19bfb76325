"""Whole runs on a made-up source: what ends them, what they leave, what they say."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from unit.cli_runs import FAKES, Running, calls, command_line, run


def settings_given(log: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(log.read_text().splitlines()[0])[1]
    return found


def test_a_run_of_a_given_duration(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = run({"rows": 2, "log": str(log)}, "--duration", "300ms")
    assert done.returncode == 0
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["type"] for event in events] == ["http"] * 4
    first, second = done.stderr.splitlines()
    assert first == "tracing: HTTP (sock_send_length) of the whole machine into standard output; for 300ms"
    assert second.startswith("summary: 4 events in 0.")
    assert second.endswith(" s (http 4), lost: nothing; ended by its duration")
    assert calls(log) == ["open", "start", "stop", "close"]
    assert not settings_given(log)["filter"]


@pytest.mark.parametrize(("given", "threads"), [({}, 1), ({"POLARS_MAX_THREADS": "2"}, 2)])
def test_polars_gets_one_thread_unless_the_user_says_otherwise(
    tmp_path: Path, given: dict[str, str], threads: int
) -> None:
    log = tmp_path / "log"
    inherited = {name: value for name, value in os.environ.items() if name != "POLARS_MAX_THREADS"}
    run({"rows": 1, "log": str(log)}, "--duration", "100ms", env={**inherited, **given})
    assert ["stop", threads] in [json.loads(line) for line in log.read_text().splitlines()]


def test_losses_are_events_and_part_of_the_summary() -> None:
    done = run({"lose": 7}, "--duration", "200ms")
    assert done.returncode == 0
    (event,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (event["type"], event["tracer"], event["where"], event["count"]) == (
        "loss",
        "http",
        "ring_full",
        7,
    )
    assert event["timestamp"].endswith("Z")
    assert "lost: 7 events (http ring_full 7)" in done.stderr


def test_strict_fails_when_something_was_lost() -> None:
    done = run({"rows": 1, "lose": 7}, "--duration", "200ms", "--strict")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-3:] == [
        "error: events were lost",
        "cause: ring_full 7",
        "hint: record fewer: --http-sampling-rate 0.1, or name targets with --pid or --target-process",
    ]
    assert run({"rows": 1}, "--duration", "200ms", "--strict").returncode == 0


def test_only_the_chosen_event_types_go_on() -> None:
    done = run({"rows": 1, "lose": 1}, "--duration", "200ms", "--events", "connection,loss")
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == ["loss"]


def test_quiet_says_nothing_but_losses() -> None:
    assert run({"rows": 1}, "--duration", "100ms", "-q").stderr == ""
    assert run({"lose": 2}, "--duration", "100ms", "-q").stderr == "lost: 2 events (http ring_full 2)\n"


def test_verbose_says_which_hooks_and_why() -> None:
    said = run({}, "--duration", "100ms", "-v").stderr
    assert "hook: http sock_send_length by tp_btf: the kernel has it (0.1 us)\n" in said


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")]
)
def test_signals_end_a_run_well(tmp_path: Path, number: int, name: str) -> None:
    file = tmp_path / "http-events.json"
    running = Running({"rows": 1}, "--output", file)
    running.line("tracing: ")
    running.process.send_signal(number)
    code, out, said = running.end()
    assert (code, out) == (0, "")
    assert f"ended by {name}\nwritten: {file}\n" in said
    assert len(json.loads(file.read_text())) == 2


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    file = tmp_path / "http-events.json"
    running = Running({"rows": 1, "stop_s": 60, "log": str(tmp_path / "log")}, "--output", file)
    running.line("tracing: ")
    running.process.send_signal(signal.SIGINT)
    while "stop" not in calls(tmp_path / "log"):
        time.sleep(0.01)
    running.process.send_signal(signal.SIGTERM)
    running.process.send_signal(signal.SIGINT)
    assert running.end()[0] == 130
    assert len(json.loads(file.read_text())) == 1


def test_nohup_is_honoured() -> None:
    def ignore_hangups() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    running = Running({}, "--duration", "800ms", preexec_fn=ignore_hangups)
    running.line("tracing: ")
    running.process.send_signal(signal.SIGHUP)
    assert "ended by its duration" in running.end()[2]


def test_a_killed_run_leaves_a_valid_array(tmp_path: Path) -> None:
    file = tmp_path / "http-events.json"
    running = Running({"rows": 3, "ticks": 1000}, "--output", file)
    running.line("tracing: ")
    time.sleep(0.3)
    running.process.kill()
    assert running.end()[0] == -signal.SIGKILL
    assert len(json.loads(file.read_text())) >= 3


@pytest.mark.parametrize("rows", [1, 0])
def test_a_closed_pipe_is_the_end_also_while_nothing_is_written(rows: int) -> None:
    running = Running({"rows": rows, "ticks": 100_000}, "--output-format", "ndjson")
    running.line("tracing: ")
    assert running.process.stdout is not None
    running.process.stdout.close()
    assert running.line("summary: ").endswith("ended by closed pipe\n")
    assert running.process.wait(timeout=20) == 0
    assert running.process.stderr is not None
    running.process.stderr.close()


def test_a_closed_standard_error_harms_nothing() -> None:
    closing = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command_line({"rows": 1}, "--duration", "100ms")]
    done = subprocess.run(closing, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--pid", "2147483647"], "no process 2147483647 to trace"),
        (["--target-process", "no such name"], "no process named 'no such name' to trace"),
        (["--cgroup", "/no/such/group"], "no process in cgroup '/no/such/group' to trace"),
        (["--", "no-such-command"], "cannot start 'no-such-command'"),
        (["--", "/no/such/command"], "cannot start '/no/such/command'"),
        (["--", "/etc/passwd"], "cannot start '/etc/passwd'"),
        (["--", "/etc"], "cannot start '/etc'"),
    ],
)
def test_who_is_named_and_not_there(tmp_path: Path, arguments: list[str], what: str) -> None:
    file = tmp_path / "kept.json"
    file.write_text("kept")
    done = run({}, "--output", file, "--output", "/nonexistent/x.json", *arguments)
    assert done.returncode == 6
    assert done.stderr.splitlines()[0] == f"error: {what}"
    assert file.read_text() == "kept"


def test_a_command_that_the_kernel_refuses(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    done = run({}, "--", broken)
    assert done.returncode == 6
    assert done.stderr.splitlines()[0] == f"error: cannot start '{broken}'"
    assert "tracing:" not in done.stderr


def test_a_pid_that_ends_is_the_end(tmp_path: Path) -> None:
    target = subprocess.Popen(["sleep", "60"])
    other = subprocess.Popen(["sleep", "60"])
    log = tmp_path / "log"
    running = Running({"log": str(log)}, "--pid", target.pid, "--pid", other.pid)
    assert f"of pid {target.pid} (sleep) and pid {other.pid} (sleep)" in running.line("tracing: ")
    target.kill()
    target.wait()
    time.sleep(0.5)
    assert running.process.poll() is None
    other.kill()
    code, _, said = running.end()  # `other` is a zombie: it has ended, too
    other.wait()
    assert code == 0
    assert "ended by the end of every traced pid" in said
    assert settings_given(log)["pids"] == [target.pid, other.pid]
    assert settings_given(log)["filter"]


def test_a_zombie_and_a_thread_are_no_processes() -> None:
    zombie = subprocess.Popen(["true"])
    time.sleep(0.2)
    done = run({}, "--pid", zombie.pid)
    zombie.wait()
    assert done.returncode == 6
    assert "cause: it has ended and waits for its parent\n" in done.stderr
    threads = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()",
        ]
    )
    while len(tasks := list(Path(f"/proc/{threads.pid}/task").iterdir())) < 2:
        time.sleep(0.01)
    thread = max(int(task.name) for task in tasks)
    done = run({}, "--pid", thread)
    threads.kill()
    threads.wait()
    assert done.returncode == 6
    assert f"cause: {thread} is a thread of process {threads.pid}\n" in done.stderr


def test_whoever_is_there_by_name_is_traced(tmp_path: Path) -> None:
    program = tmp_path / "named-for-test"
    program.symlink_to("/bin/sleep")
    target = subprocess.Popen([program, "60"])
    log = tmp_path / "log"
    time.sleep(0.1)
    done = run({"log": str(log)}, "--target-process", "named-for-test", "--duration", "100ms")
    target.kill()
    target.wait()
    assert "of processes named named-for-test into" in done.stderr
    assert ["add_target", target.pid] in [json.loads(line) for line in log.read_text().splitlines()]
    assert settings_given(log)["names"] == ["named-for-test"]


def test_whom_the_configuration_names_may_come_later(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("targets: {processes: [late-for-test], pids: [2147483647], cgroups: [/no/such]}\n")
    done = run({}, "--config", config, "--duration", "1200ms")
    assert done.returncode == 0
    assert done.stderr.splitlines()[0] == (
        "warning: waiting for pid 2147483647, a process named late-for-test and cgroup /no/such: "
        "named by the configuration, not there yet"
    )


def test_silence_is_explained_once() -> None:
    done = run({"hits": {"operations": 5, "sockets": 0}}, "--duration", "5500ms")
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert notes == [
        (
            "note: no event in 5 s: 5 socket operations of the whole machine, "
            "none on a connection that speaks HTTP/1"
        )
    ]


def test_a_tracer_that_cannot_run_is_left_out_with_a_warning() -> None:
    unnamed = {name: value for name, value in os.environ.items() if name != "UT_RUN__TRACERS"}
    done = run({"rows": 1, "cannot": ["stack", "start"]}, "--duration", "200ms", env=unnamed)
    assert done.returncode == 0, done.stderr
    assert "warning: left out: cannot start" in done.stderr
    assert "tracing: HTTP (" in done.stderr
    assert "stacks" not in done.stderr
    assert done.stdout


def test_a_tracer_that_is_named_and_cannot_run_is_an_error() -> None:
    both = {**os.environ, "UT_RUN__TRACERS": "[http, stack]"}
    done = run({"cannot": ["stack", "start"]}, "--duration", "200ms", env=both)
    assert done.returncode == 5
    assert done.stderr.splitlines()[0] == "error: cannot start"
    assert not done.stdout


def test_an_error_where_no_tracer_is_left() -> None:
    done = run({"cannot": ["stack", "start"], "fails": "start"}, "--duration", "200ms")
    assert done.returncode == 5


@pytest.mark.parametrize("call", ["start", "tick"])
def test_a_source_that_fails_is_closed_again(tmp_path: Path, call: str) -> None:
    log = tmp_path / "log"
    done = run({"fails": call, "log": str(log)}, "--", "sleep", "60")
    assert done.returncode == 5
    assert done.stderr.endswith(
        f"error: cannot {call}\ncause: it was told to fail\nhint: tell it otherwise\n"
    )
    assert calls(log)[-1] == "close"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give up capabilities")
@pytest.mark.parametrize(
    ("who", "hint"),
    [
        ("user", f"sudo {FAKES} --pid 1 -- ls 'a b'"),
        ("root", "run it on the host, or start this container with --privileged --pid=host"),
    ],
)
def test_without_privilege_the_way_to_get_it_is_told(tmp_path: Path, who: str, hint: str) -> None:
    def give_up() -> None:
        for capability in (21, 38, 39):  # CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP

    sudo = tmp_path / "sudo"
    sudo.write_text("")
    sudo.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = run({"privilege": who}, "--pid", "1", "--", "ls", "a b", preexec_fn=give_up, env=environment)
    assert done.returncode == 4
    assert done.stderr.splitlines() == [
        "error: tracing needs more privilege",
        "cause: CAP_PERFMON and CAP_BPF are missing",
        f"hint: {hint}",
    ]
