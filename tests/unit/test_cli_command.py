"""The traced command: as if it had been started without a tracer, and ended together with it."""

from __future__ import annotations

import errno
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from unit.cli_runs import Running, command_line, run

from universal_tracer.cli.launch import find_executable

if TYPE_CHECKING:
    from collections.abc import Callable

# Everything that a program can see of how it was started, but for its pids, as JSON.
STATE = """
import json, os, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
directory = os.getcwd()
os.chdir("/proc/self/fd")
print(json.dumps({
    "arguments": sys.argv[1:],
    "environment": sorted(open("/proc/self/environ", "rb").read().split(b"\\0")).__repr__(),
    "directory": directory,
    "umask": os.umask(0),
    "ids": [os.getresuid(), os.getresgid(), sorted(os.getgroups())],
    "signals": [status[name].strip() for name in ("SigBlk", "SigIgn", "SigCgt")],
    "files": {n: os.readlink(n) for n in os.listdir(".") if int(n) > 2 and os.path.exists(n)},
    "stdin": sys.stdin.read(),
    "group": [os.getpgrp() == int(os.environ["GROUP"]), os.getsid(0) == int(os.environ["SESSION"])],
}))
"""


def state_program(tmp_path: Path) -> list[str]:
    file = tmp_path / "state.py"
    file.write_text(STATE)
    return [sys.executable, "-S", str(file), "a b", "--output"]


def seen_state(command: list[str], tmp_path: Path, **options: Any) -> dict[str, Any]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "GROUP": str(os.getpgrp()),
        "SESSION": str(os.getsid(0)),
        "BYTES": "\udcff",
        **options.pop("env", {}),
    }
    done = subprocess.run(
        command,
        input="typed",
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=tmp_path,
        **options,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_starts_as_it_would_without_the_tracer(tmp_path: Path) -> None:
    inherited = os.open("/dev/null", os.O_RDONLY)

    def be_special() -> None:
        os.umask(0o027)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})

    options: dict[str, Any] = {"preexec_fn": be_special, "pass_fds": (inherited,)}
    alone = seen_state(state_program(tmp_path), tmp_path, **options)
    tracer = command_line({}, "--output-format", "none", "--", *state_program(tmp_path))
    traced = seen_state(tracer, tmp_path, **options)
    os.close(inherited)
    assert traced == alone
    assert traced["stdin"] == "typed"
    assert traced["umask"] == 0o027


def test_the_launcher_may_keep_the_environment_in_a_file(tmp_path: Path) -> None:
    original = os.memfd_create("environment", 0)
    os.write(original, b"KEPT=1\0GROUP=0\0SESSION=0\0PATH=/usr/bin:/bin\0EMPTY=\0")
    tracer = command_line({}, "--output-format", "none", "--", *state_program(tmp_path))
    variable = {"UNIVERSAL_TRACER_ENVIRONMENT_FD": str(original)}
    traced = seen_state(tracer, tmp_path, pass_fds=(original,), env=variable)
    os.close(original)
    assert "b'KEPT=1'" in traced["environment"]
    assert "b'EMPTY='" in traced["environment"]
    assert "BYTES" not in traced["environment"]
    assert "ENVIRONMENT_FD" not in traced["environment"]
    assert traced["files"] == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_it_runs_as_who_called_sudo() -> None:
    sudo = {**os.environ, "SUDO_UID": "65534", "SUDO_GID": "65534"}
    done = run({}, "--output-format", "none", "--", "id", env=sudo, cwd="/")
    assert done.stdout == subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--init-groups", "id"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    unknown = {**os.environ, "SUDO_UID": "54321", "SUDO_GID": "54322"}
    done = run({}, "--output-format", "none", "--", "id", env=unknown, cwd="/")
    assert done.stdout == "uid=54321 gid=54322 groups=54322\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to hand capabilities on")
def test_it_does_not_inherit_capabilities() -> None:
    # Root without root's rights stands for a user: it can read this tree wherever it is.
    capabilities = ["--inh-caps=-all,+bpf,+perfmon", "--ambient-caps=+bpf,+perfmon"]
    handing_on = ["setpriv", "--securebits=+noroot", *capabilities, "--"]
    command = command_line({}, "-q", "--output-format", "none", "--", "grep", "Cap", "/proc/self/status")
    done = subprocess.run([*handing_on, *command], capture_output=True, text=True, check=True)
    sets = dict(line.split() for line in done.stdout.splitlines())
    assert {name: int(sets[name], 16) for name in ("CapInh:", "CapPrm:", "CapEff:", "CapAmb:")} == {
        "CapInh:": 0,
        "CapPrm:": 0,
        "CapEff:": 0,
        "CapAmb:": 0,
    }


def test_its_output_goes_to_stderr_where_events_go_to_stdout() -> None:
    done = run({"rows": 1}, "--", "sh", "-c", "echo from the command; sleep 0.1")
    assert "from the command\n" in done.stderr
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == ["http", "http"]
    done = run({"rows": 1}, "--output-format", "none", "--", "echo", "from the command")
    assert done.stdout == "from the command\n"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 3", "exit code 3"),
        ("exit 0", "exit code 0"),
        ("kill -9 $$", "ended by SIGKILL"),
        ("kill -40 $$", "ended by signal 40"),
    ],
)
def test_its_end_is_the_end_and_its_code_is_told(script: str, told: str) -> None:
    done = run({}, "--", "sh", "-c", script)
    assert done.returncode == 0
    assert f"ended by the end of the command\ncommand: {told}\n" in done.stderr


def test_it_is_a_target_before_it_runs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run({"log": str(log)}, "--", "sh", "-c", f'echo "[\\"ran\\", $$]" >> {log}')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line[0] for line in lines] == ["open", "start", "ran", "stop", "close"]
    assert lines[0][1]["pids"] == [lines[2][1]]
    assert lines[0][1]["filter"] is True


def test_only_it_and_whom_flags_name_are_traced(tmp_path: Path) -> None:
    log, config = tmp_path / "log", tmp_path / "config.yaml"
    config.write_text("targets: {processes: [nobody-of-this-name]}\n")
    done = run({"log": str(log)}, "--config", config, "--pid", os.getpid(), "--", "true")
    opened = json.loads(log.read_text().splitlines()[0])[1]
    assert opened["names"] == []
    assert opened["pids"][0] == os.getpid()
    assert len(opened["pids"]) == 2
    assert "and the command and its children into" in done.stderr
    assert "warning" not in done.stderr


def test_a_script_without_an_interpreter_line_runs_in_a_shell(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$0 $1"\n')
    script.chmod(0o755)
    done = run({}, "--output-format", "none", "--", script, "x y")
    assert done.stdout == f"{script} x y\n"


def test_the_search_goes_on_behind_what_cannot_be_executed(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for directory, mode in ((first, 0o644), (second, 0o755)):
        directory.mkdir()
        (directory / "tool").write_text("")
        (directory / "tool").chmod(mode)
    path = {b"PATH": f"{first}:{second}".encode()}
    assert find_executable("tool", path) == str(second / "tool")
    with pytest.raises(OSError, match="Permission denied") as raised:
        find_executable("tool", {b"PATH": bytes(first)})
    assert raised.value.errno == errno.EACCES
    with pytest.raises(FileNotFoundError):
        find_executable("tool", {b"PATH": b"/nonexistent"})
    assert find_executable("true", {}).endswith("/true")


# Tells which signals reach it, and ends by the first unless told to stay.
LISTENER = """
import os, signal, sys, time
def told(number, frame):
    os.write(2, f"got {signal.Signals(number).name}\\n".encode())
    if "stay" not in sys.argv:
        sys.exit(5)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, told)
os.write(2, b"ready\\n")
while True:
    time.sleep(0.05)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_for_the_tracer_alone_is_passed_on(number: signal.Signals) -> None:
    running = Running({}, "--", sys.executable, "-c", LISTENER)
    running.line("ready")
    running.process.send_signal(number)
    code, _, said = running.end()
    assert code == 0
    assert said.count("got ") == 1
    assert f"got {number.name}\n" in said
    assert "command: exit code 5\n" in said


def test_a_duration_ends_the_command_as_well() -> None:
    done = run({}, "--duration", "1s", "--", sys.executable, "-c", LISTENER)
    assert "got SIGTERM\n" in done.stderr
    assert "ended by its duration\ncommand: exit code 5\n" in done.stderr


def test_a_command_that_will_not_end_is_killed() -> None:
    started = time.monotonic()
    done = run({}, "--duration", "1s", "--", sys.executable, "-c", LISTENER, "stay")
    assert "command: ended by SIGKILL\n" in done.stderr
    assert done.returncode == 0
    assert time.monotonic() - started > 5


def in_terminal(command: list[str], when: Callable[[bytes], bytes]) -> tuple[int, bytes]:
    """Run in the foreground of a terminal; `when` gets all that was shown so far and returns what to type."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    shown, deadline = b"", time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # that is how the other end of a terminal closes
            break
        typed = when(shown)
        if typed:
            os.write(terminal, typed)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


class Once:
    """Types something once, when a text has appeared."""

    def __init__(self, text: bytes, typed: bytes) -> None:
        self._text, self._typed = text, typed

    def __call__(self, shown: bytes) -> bytes:
        if self._text not in shown:
            return b""
        typed, self._typed = self._typed, b""
        return typed


def test_ctrl_c_reaches_both_once() -> None:
    command = command_line({}, "--output-format", "none", "--", sys.executable, "-c", LISTENER)
    code, shown = in_terminal(command, Once(b"ready", b"\x03"))
    assert code == 0
    assert shown.count(b"got SIGINT") == 1
    assert b"got SIGTERM" not in shown
    assert b"ended by Ctrl-C" in shown


def test_a_command_that_ignores_ctrl_c_is_ended() -> None:
    script = "trap '' INT; echo ready >&2; sleep 60 & wait"
    code, shown = in_terminal(
        command_line({}, "--output-format", "none", "--", "sh", "-c", script), Once(b"ready", b"\x03")
    )
    assert code == 0
    assert b"command: ended by SIGTERM" in shown


def test_a_terminal_gets_a_table_and_a_plain_one_no_escape_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    command = command_line({"rows": 1}, "--duration", "300ms")
    code, shown = in_terminal(command, Once(b"", b""))
    assert code == 0
    assert b"METHOD" in shown
    assert b"\x1b[" in shown
    monkeypatch.setenv("TERM", "dumb")
    code, shown = in_terminal(command, Once(b"", b""))
    assert code == 0
    assert b"GET" in shown
    assert b"\x1b" not in shown


def test_no_color_means_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for arguments, environment in ((["--no-color"], ""), ([], "1")):
        monkeypatch.setenv("NO_COLOR", environment)
        _, shown = in_terminal(command_line({"rows": 1}, "--duration", "300ms", *arguments), Once(b"", b""))
        assert b"METHOD" in shown
        assert b"m" not in [part[:1] for part in shown.split(b"\x1b[")[1:] if part[:1].isdigit()]
        assert b"\x1b[1m" not in shown
        assert b"\x1b[3" not in shown


def test_no_process_is_left(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    done = run({}, "--duration", "300ms", "--", "sh", "-c", f"echo $$ > {note}; exec sleep 60")
    assert done.returncode == 0
    assert "command: ended by SIGTERM\n" in done.stderr
    assert not Path("/proc", note.read_text().strip()).exists()
