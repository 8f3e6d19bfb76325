"""What a run says: summary, explanations of silence, errors, the way to start it with privilege."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from universal_tracer.cli.preflight import own_command, require_kernel
from universal_tracer.cli.silence import Silence
from universal_tracer.cli.talk import listed, plural, summary_lines
from universal_tracer.model import errors
from universal_tracer.model.errors import ConfigError, ExitCode, KernelError, TracerError
from universal_tracer.model.ports import RunSummary


def test_lists_and_numbers_are_english() -> None:
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        *("nothing", "a", "a and b", "a, b and c"),
    ]
    assert [plural(n, "event") for n in (0, 1, 2000)] == ["0 events", "1 event", "2,000 events"]
    assert plural(2, "process", "processes") == "2 processes"


def test_a_summary_tells_counts_losses_command_and_files() -> None:
    summary = RunSummary(
        "Ctrl-C",
        61.04,
        events={"http": 1200, "connection": 1},
        lost={("http", "ring_full"): 2, ("http", "backlog"): 1},
        command_status=-15,
        files=[Path("a.json"), Path("b.ndjson")],
    )
    assert summary_lines(summary) == [
        (
            "summary: 1,201 events in 61.0 s (connection 1, http 1,200), "
            "lost: 3 events (http backlog 1, http ring_full 2); ended by Ctrl-C"
        ),
        "command: ended by SIGTERM",
        "written: a.json",
        "written: b.ndjson",
    ]


QUIET = "sent and received nothing over TCP or Unix sockets so far"


@pytest.mark.parametrize(
    ("hits", "processes", "reason"),
    [
        ({}, None, f"the whole machine {QUIET}"),
        ({"operations": 0}, 2, f"2 processes {QUIET}"),
        ({"samples": 0}, 1, "1 process used no CPU so far"),
        ({"operations": 4}, 0, "nothing that is traced (pid 7 (nginx)) runs at the moment"),
        (
            {"operations": 3},
            2,
            "3 socket operations of 2 processes, none on a connection that speaks HTTP/1",
        ),
        (
            {"operations": 1000, "not_http": 5},
            1,
            (
                "1,000 socket operations of 1 process, none on a connection that speaks HTTP/1 "
                "(5 connections with something else; TLS and HTTP/2 cannot be read)"
            ),
        ),
        (
            {"operations": 1, "sockets": 1},
            None,
            "1 socket operation of the whole machine, 1 connection that may speak HTTP/1, no request yet",
        ),
        (
            {"operations": 1, "sockets": 1, "requests": 1},
            None,
            "1 request of the whole machine, none complete yet",
        ),
        (
            {"operations": 9, "sockets": 1, "requests": 3, "sampled_out": 2},
            2,
            "3 requests of 2 processes, none complete yet, 2 left out by sampling",
        ),
        (
            {"operations": 9, "sockets": 1, "requests": 3, "sampled_out": 3},
            2,
            "3 requests of 2 processes, all left out by sampling",
        ),
    ],
)
def test_silence_has_reasons(hits: dict[str, int], processes: int | None, reason: str) -> None:
    silence = Silence("pid 7 (nginx)", started_s=100)
    assert not silence.is_due(104.9)
    assert silence.is_due(105)
    assert silence.explanation(hits, processes) == f"note: no event in 5 s: {reason}"
    assert not silence.is_due(200)


def test_an_event_breaks_the_silence() -> None:
    silence = Silence("the whole machine", started_s=0)
    silence.broken()
    assert not silence.is_due(100)


def test_the_command_is_told_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "universal-tracer"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for started in ("universal-tracer", "./universal-tracer", str(program)):
        monkeypatch.setattr(sys, "argv", [started])
        assert own_command() == [str(program)]
    monkeypatch.setattr(sys, "argv", ["/x/universal_tracer/__main__.py"])
    assert own_command() == [sys.executable, "-m", "universal_tracer"]


def test_a_kernel_without_types_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="built without BTF") as raised:
        require_kernel(tmp_path / "vmlinux")
    assert raised.value.exit_code == ExitCode.KERNEL
    require_kernel(tmp_path)


def test_every_error_has_its_documented_exit_code() -> None:
    codes = {
        name: cls.exit_code.value
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, TracerError)
    }
    assert codes == {
        "TracerError": 1,
        "RunFailedError": 1,
        "OutputError": 1,
        "BugError": 1,
        "UsageError": 2,
        "ConfigError": 2,
        "EventsLostError": 3,
        "PrivilegeError": 4,
        "KernelError": 5,
        "TargetError": 6,
        "EndpointError": 7,
    }


def test_an_error_is_three_lines() -> None:
    error = KernelError("what", cause="why", hint="do this")
    assert error.lines() == ["error: what", "cause: why", "hint: do this"]
    assert str(error) == "what: why"
    several = ConfigError("what", ["a", "b"], hint="do this")
    assert several.lines() == ["error: what", "cause: a", "cause: b", "hint: do this"]
