"""`--dry-run` with a made-up source: what it says, and that it touches nothing."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

import pytest
from unit.cli_runs import run

if TYPE_CHECKING:
    from pathlib import Path


def test_the_plan_says_hook_adapter_reason_cost_and_whom(tmp_path: Path) -> None:
    log, file = tmp_path / "log", tmp_path / "events.json"
    done = run({"log": str(log)}, "--dry-run", "--pid", os.getpid(), "--duration", "1m30s", "--output", file)
    assert (done.returncode, done.stderr) == (0, "")
    first, hook, cost, whom, *rest = done.stdout.splitlines()
    assert first == "attach: http: 1 hook, 8.0 KiB of the kernel in 1 table"
    assert hook == "  sock_send_length  by tp_btf: the kernel has it"
    assert cost == "                    cost: 0.1 us"
    assert whom.startswith(f"whom: pid {os.getpid()} (")
    assert str(file) in done.stdout.split()
    assert "until: 1m30s have passed or every pid is gone or Ctrl-C" in rest
    assert [json.loads(line)[0] for line in log.read_text().splitlines()] == ["open", "close"]
    assert not file.exists()


def test_an_existing_file_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "events.json"
    file.write_text("[1]")
    assert run({}, "--dry-run", "--output", file).returncode == 0
    assert file.read_text() == "[1]"


def test_a_command_is_not_started(tmp_path: Path) -> None:
    done = run({}, "--dry-run", "--", "touch", tmp_path / "made")
    assert done.returncode == 0
    assert "whom: the command touch and its children" in done.stdout
    assert not (tmp_path / "made").exists()


def test_it_ends_as_the_run_would() -> None:
    assert run({"fails": "trial"}, "--dry-run").returncode == 5
    assert run({}, "--dry-run", "--pid", 4_194_305).returncode == 6
    assert run({}, "--dry-run", "--", "no-such-command").returncode == 6
    assert run({}, "--dry-run", "--duration", "soon").returncode == 2


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("missing/events.json", "no such file or directory"),
        ("missing/folder/", "no such file or directory"),
        ("file/events.json", "not a directory"),
        ("json:folder", "is a directory"),
    ],
)
def test_an_output_that_the_run_could_not_open(tmp_path: Path, path: str, cause: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    done = run({}, "--dry-run", "--output", path, cwd=tmp_path)
    assert done.returncode == 1
    assert f"cause: {cause}\n" in done.stderr


def test_a_recording_that_the_run_could_not_make(tmp_path: Path) -> None:
    done = run({}, "--dry-run", "--record", tmp_path / "missing" / "recording")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        1,
        f"error: cannot write {tmp_path}/missing/recording",
    )
    assert run({}, "--dry-run", "--record", tmp_path / "recording").returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"127.0.0.1:{server.getsockname()[1]}/metrics"
        assert run({}, "--dry-run", "--prometheus-endpoint", endpoint).returncode == 7
    done = run({}, "--dry-run", "--prometheus-endpoint", "127.0.0.1:0/metrics")
    assert done.returncode in (0, 2)


def test_a_directory_that_the_run_would_make_is_not_made(tmp_path: Path) -> None:
    done = run({}, "--dry-run", "--output", f"{tmp_path}/new/")
    assert done.returncode == 0
    assert f"{tmp_path}/new/http-events.json" in done.stdout.split()
    assert list(tmp_path.iterdir()) == []


def test_terminals_that_know_ascii_only_get_that() -> None:
    done = run({}, "--dry-run", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert done.stdout.isascii()
