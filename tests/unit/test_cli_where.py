"""`--where` from the command line to the outputs, with a made-up source."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from unit.cli_runs import run

from universal_tracer.cli.app import run_command_line

if TYPE_CHECKING:
    from pathlib import Path


def test_only_matching_events_come_out(tmp_path: Path) -> None:
    file = tmp_path / "all.ndjson"
    done = run(
        {"rows": 3, "lose": 2}, "--duration", "200ms", "--where", "pid IS NULL AND false", "--output", file
    )
    assert done.returncode == 0, done.stderr
    assert file.read_text() == ""
    assert "summary: 0 events in" in done.stderr
    assert "lost: 2 events" in done.stderr


def test_losses_can_be_chosen() -> None:
    done = run({"rows": 3, "lose": 2}, "--duration", "200ms", "--where", "count > 1", "--events", "loss,http")
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == ["loss"]


def test_silence_is_explained() -> None:
    done = run({"rows": 1, "ticks": 1}, "--duration", "5500ms", "--where", "false")
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert notes[0].endswith("came, none meets --where")


@pytest.mark.parametrize("source", ["flag", "file"])
def test_a_wrong_expression_is_told_before_privileges(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, source: str
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("output:\n  events: [http]\n  where: statuss > 1\n")
    arguments = ["--where", "statuss > 1"] if source == "flag" else ["--config", str(file)]
    assert run_command_line([*arguments, "--pid", "2147483647"]) == 2
    what, cause, hint = capsys.readouterr().err.splitlines()
    place = "--where" if source == "flag" else f"{file}:3: output.where"
    assert what == f"error: {place}: there is no column 'statuss' (did you mean 'status'?)"
    assert cause == "cause: -->statuss<-- > 1"
    assert hint.startswith("hint: the columns are type, timestamp, ")
    if source == "file":
        assert run_command_line(["config", "check", str(file)]) == 2


def test_a_column_of_other_events_only_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["--events", "connection", "--where", "status > 1"]) == 2
    assert "there is no column 'status'" in capsys.readouterr().err


def test_with_metrics_only_it_chooses_among_summaries(capsys: pytest.CaptureFixture[str]) -> None:
    summaries = ("--metrics-only", "--duration", "200ms", "--where")
    assert '"requests":6' in run({"rows": 3}, *summaries, "http.requests > 5").stdout
    assert run({"rows": 3}, *summaries, "http.requests > 6").stdout == ""
    assert run_command_line(["--metrics-only", "--where", "status > 1"]) == 2
    assert "there is no column 'status'" in capsys.readouterr().err
