"""Wrong command lines end in three lines and exit code 2."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest

from universal_tracer.cli import run as run_module
from universal_tracer.cli.app import run_command_line
from universal_tracer.cli.flags import flag_values
from universal_tracer.model.errors import PrivilegeError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def three_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["error", *["cause"] * (len(lines) - 2), "hint"]
    return [line.partition(": ")[2] for line in lines]


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ["--pidd", "5"],
            [
                "unknown flag '--pidd'",
                "there is no such flag (did you mean '--pid'?)",
                "universal-tracer --help",
            ],
        ),
        (
            ["--pid"],
            ["--pid is not used rightly", "option '--pid' requires an argument", "universal-tracer --help"],
        ),
        (
            ["--output-format", "xml"],
            [
                "--output-format has a wrong value",
                "'xml' is not one of table, json, ndjson, none",
                "universal-tracer --help",
            ],
        ),
        (
            ["--tracer", "dns"],
            [
                "--tracer has a wrong value",
                "'dns' is not one of http, xdp, stack",
                "universal-tracer --help",
            ],
        ),
        (["--"], ["no command after --", "there is nothing to start", "universal-tracer -- ls -l"]),
        (
            ["confg"],
            [
                "unknown subcommand 'confg'",
                "there is no such subcommand (did you mean 'config'?)",
                "universal-tracer --help",
            ],
        ),
        (
            ["sh", "-c", "true"],
            ["unknown subcommand 'sh'", "a command to trace stands behind --", "universal-tracer -- sh"],
        ),
        (
            ["config"],
            [
                "config needs a subcommand",
                "it can do several things: check, schema, show",
                "universal-tracer config --help",
            ],
        ),
        (
            ["config", "check"],
            ["FILE is missing", "it must be given", "universal-tracer config check --help"],
        ),
        (
            ["config", "chek"],
            [
                "unknown subcommand 'chek'",
                "there is no such subcommand (did you mean 'check'?)",
                "universal-tracer config --help",
            ],
        ),
        (
            ["--strict", "config", "show"],
            [
                "--strict stands before the subcommand",
                "flags before a subcommand would have no effect",
                "universal-tracer config --help",
            ],
        ),
        (
            ["--config", "/nonexistent/a b.yaml"],
            [
                "cannot read the configuration '/nonexistent/a b.yaml'",
                "no such file or directory",
                "ls -l /nonexistent",
            ],
        ),
        (
            ["config", "show", "a.yaml", "--config", "b.yaml"],
            ["two configuration files", "both FILE and --config are given", "give one of them"],
        ),
        (
            ["-q", "-v"],
            [
                "the settings have a fault",
                "--quiet and --verbose: contradict each other; give one of them",
                "universal-tracer --help",
            ],
        ),
        (
            ["--tracer", "http", "--sampling-rate", "0.5", "--http-sampling-rate", "0.5"],
            [
                "the settings have a fault",
                "--http-sampling-rate and --sampling-rate: contradict each other; give one of them",
                "universal-tracer --help",
            ],
        ),
        (
            ["--tracer", "http", "--output", "a.svg"],
            [
                "nothing would be in 'a.svg': it shows stacks",
                "what runs (http) takes none",
                "universal-tracer --tracer stack --output a.svg",
            ],
        ),
        (
            ["--tracer", "http", "--events", "flow"],
            [
                "nothing makes 'flow' events",
                "what runs (http) makes http, connection, loss",
                "universal-tracer --events http,connection,loss",
            ],
        ),
        (
            ["--duration", "5", "--http-sampling-rate", "2"],
            [
                "the settings have 2 faults",
                "--http-sampling-rate: must be a number from 0 to 1, not 2",
                (
                    "--duration: must be a duration with its unit, such as 500ms or 1m30s, from 1ms to 365d "
                    "or null, not the text '5'"
                ),
                "universal-tracer --help",
            ],
        ),
    ],
)
def test_what_is_wrong_is_told(
    capsys: pytest.CaptureFixture[str], arguments: list[str], lines: list[str]
) -> None:
    assert run_command_line(arguments) == 2
    assert three_lines(capsys) == lines


def test_a_configuration_that_asks_for_too_much_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("UT_RUN__TRACERS")
    file = tmp_path / "c.yaml"
    file.write_text(
        "export:\n  otlp_endpoint: http://h:1\nstack_tracer: {enable_deadlock_detection: true}\n"
        "run: {tracers: [http]}\n"
        "http_tracer: {protocols: [https]}\n"
    )
    assert run_command_line(["--config", str(file)]) == 2
    assert three_lines(capsys)[1:] == [
        f"{file}:2: export.otlp_endpoint: this version cannot do that yet",
        f"{file}:3: stack_tracer.enable_deadlock_detection: this version cannot do that yet",
        f"{file}:5: http_tracer.protocols: this version looks for http only",
        "leave these keys out",
    ]
    assert run_command_line(["config", "check", str(file)]) == 0


def test_a_file_of_a_directory_is_not_written_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["--output", "out/", "--output", "out/../out/http-events.json"]) == 2
    assert three_lines(capsys) == [
        "the same output is named twice: 'out/../out/http-events.json'",
        "it is in a directory whose files are named by --output DIR/",
        "leave one of the two out",
    ]


def test_a_flag_of_a_tracer_that_does_not_run_is_refused() -> None:
    assert flag_values({"tracer": ("http",), "sampling_rate": "0.5"}).keys() == {
        "run.tracers",
        "http_tracer.sampling_rate",
    }
    with pytest.raises(UsageError, match="only xdp is chosen"):
        flag_values({"tracer": ("xdp",), "http_sampling_rate": "0.5"})
    with pytest.raises(UsageError, match="several tracers are chosen: http, xdp"):
        flag_values({"tracer": ("http", "xdp"), "sampling_rate": "0.5"})


def test_usage_comes_before_privilege(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_privilege(command: list[str], _also: list[str]) -> None:
        raise PrivilegeError("none", cause="none", hint=f"sudo {len(command)}")

    monkeypatch.setattr(run_module, "require_tracing", no_privilege)
    assert run_command_line(["--events", "flow"]) == 2
    assert run_command_line(["--pid", "999999999", "--output", "/nonexistent/a.json"]) == 4
    assert "\x1b" not in capsys.readouterr().err


def test_a_bug_ends_in_three_lines_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def bug(*_: object) -> None:
        raise KeyError("x\ny")

    monkeypatch.setattr(run_module, "require_tracing", bug)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert run_command_line([]) == 1
    (report,) = tmp_path.iterdir()
    assert three_lines(capsys) == [
        "something went wrong that should not have",
        "KeyError: '***'",
        f"report it with {report}, which tells versions, plan and place, and no secrets",
    ]
    assert run_command_line(["-v"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert run_command_line(["--", "x", "-v"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_names_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["--config", "\x1b[2J\n"]) == 2
    assert three_lines(capsys)[0] == r"cannot read the configuration '\x1b[2J\n'"


def test_show_takes_the_flags_of_a_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("http_tracer: {sampling_rate: 0.5}\noutput: {duration: 5s}\n")
    monkeypatch.setenv("UT_RUN__STRICT", "true")
    arguments = [
        "config",
        "show",
        str(file),
        "--tracer",
        "http",
        "--sampling-rate",
        "0.25",
        "--events",
        "http,loss",
        "--pid",
        "1",
    ]
    assert run_command_line([*arguments, "--pid", "2", "--no-color", "-q"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "  sampling_rate: 0.25  # --sampling-rate",
        "  events: [http, loss]  # --events",
        "  pids: [1, 2]  # --pid",
        f"  duration: 5s  # {file}:2",
        "  strict: true  # UT_RUN__STRICT",
        "  color: false  # --no-color",
        "  verbosity: quiet  # --quiet",
    ):
        assert line in lines
