"""What runs on a made-up source leave in files, and what happens when one cannot be written."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import polars as pl
import pytest
from harness.small_disk import file_system_of
from unit.cli_runs import Running, command_line, run


def test_a_full_disk_ends_the_run_and_keeps_the_other_files(tmp_path: Path) -> None:
    file = tmp_path / "http-events.json"
    done = run({"rows": 1, "ticks": 1000}, "--output", "json:/dev/full", "--output", file)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-3:] == [
        "error: cannot write /dev/full",
        "cause: no space left on device",
        "hint: df -h shows which disk is full; what was written before is valid",
    ]
    assert len(json.loads(file.read_text())) >= 1


def test_standard_output_that_cannot_be_written() -> None:
    with Path("/dev/full").open("w") as full:
        done = run({"rows": 1, "ticks": 1000}, stdout=full)
    assert done.returncode == 1
    assert "error: cannot write standard output\ncause: no space left on device\n" in done.stderr
    with Path("/dev/null").open() as unwritable:
        done = run({"rows": 1}, "--duration", "100ms", stdout=unwritable)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: cannot write standard output\ncause: it is closed, or open for reading only\n"
    )
    closing = ["sh", "-c", 'exec "$@" >&-', "sh", *command_line({"rows": 1}, "--duration", "100ms")]
    assert subprocess.run(closing, capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("/nonexistent/events.json", "no such file or directory"),
        ("/proc/nothing/here/", "no such file or directory"),
        ("json:/proc", "is a directory"),
    ],
)
def test_outputs_that_cannot_be_opened(output: str, cause: str) -> None:
    done = run({}, "--output", output)
    assert done.returncode == 1
    assert f"cause: {cause}\n" in done.stderr
    assert "tracing:" not in done.stderr


def test_a_directory_gets_its_files_named(tmp_path: Path) -> None:
    done = run({"rows": 1, "lose": 1}, "--duration", "100ms", "--output", f"{tmp_path}/new/")
    assert done.returncode == 0
    assert [event["type"] for event in json.loads((tmp_path / "new/http-events.json").read_text())] == [
        *("http", "loss", "http"),
    ]
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["--output-format", "json"], ["--output", "ndjson:-"]])
def test_stdout_can_be_chosen_beside_a_file(tmp_path: Path, arguments: list[str]) -> None:
    done = run({"rows": 1}, "--duration", "100ms", "--output", tmp_path / "a.ndjson", *arguments)
    lines = done.stdout.splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["http", "http"]
    assert (tmp_path / "a.ndjson").read_text().splitlines() == lines


def test_packets_need_a_tracer_that_captures_them() -> None:
    for output in ("a.pcapng", "pcapng:-"):
        done = run({}, "--tracer", "http", "--output", output)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: no packets come to '{output}'\n")


def rows_of(*files: Path | str) -> int:
    return sum(pl.read_parquet(file).height for file in files)


def test_one_event_type_as_a_parquet_file(tmp_path: Path) -> None:
    file = tmp_path / "http.parquet"
    done = run({"rows": 2, "lose": 1}, "--duration", "200ms", "--events", "http", "--output", file)
    assert done.returncode == 0, done.stderr
    assert pl.read_parquet(file)["path"].to_list()[0] == "/1"
    assert rows_of(file) == 4
    assert f"written: {file}\n" in done.stderr


def test_parquet_into_a_pipe() -> None:
    done = subprocess.run(
        command_line({"rows": 2}, "--duration", "200ms", "--events", "http", "--output", "parquet:-"),
        capture_output=True,
        check=True,
    )
    assert rows_of(io.BytesIO(done.stdout)) == 4


@pytest.mark.parametrize("arguments", [[], ["--events", "http,connection"]])
@pytest.mark.parametrize("output", ["a.parquet", "parquet:-", "parquet:/dev/null"])
def test_a_parquet_file_holds_one_event_type(tmp_path: Path, output: str, arguments: list[str]) -> None:
    done = run({}, "--output", output, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    what, cause, hint = done.stderr.splitlines()
    assert what == f"error: {output!r} can hold one event type only"
    assert cause.startswith("cause: a Parquet file is one table, and these are chosen: http, connection")
    assert hint.startswith("hint: choose one: --events http;")
    assert list(tmp_path.iterdir()) == []


def test_several_outputs_at_once(tmp_path: Path) -> None:
    outputs = [tmp_path / "a.parquet", tmp_path / "b.json", tmp_path / "c.ndjson", f"{tmp_path}/new/"]
    (tmp_path / "b.json").write_text("an old file")
    flags = [word for output in outputs for word in ("--output", str(output))]
    done = run({"rows": 3}, "--duration", "200ms", "--events", "http", *flags, "--record", tmp_path / "kept")
    assert done.returncode == 0, done.stderr
    assert rows_of(tmp_path / "a.parquet") == 6
    assert len(json.loads((tmp_path / "b.json").read_text())) == 6
    assert len((tmp_path / "c.ndjson").read_text().splitlines()) == 6
    assert len(json.loads((tmp_path / "new" / "http-events.json").read_text())) == 6
    assert pl.scan_parquet(f"{tmp_path}/kept/http/**/*.parquet").collect().height == 6


def test_a_recording_beside_what_goes_to_standard_output(tmp_path: Path) -> None:
    done = run({"rows": 1, "lose": 1}, "--duration", "200ms", "--record", tmp_path / "kept")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["http", "loss"]
    assert f"into standard output and {tmp_path}/kept; for" in done.stderr
    assert f"written: {tmp_path}/kept\n" in done.stderr


def test_a_recording_that_cannot_be_written(tmp_path: Path) -> None:
    done = run({}, "--record", tmp_path / "missing" / "kept")
    assert done.returncode == 1
    assert f"hint: mkdir -p {tmp_path}/missing\n" in done.stderr
    (tmp_path / "file").write_text("")
    done = run({}, "--record", tmp_path / "file")
    assert done.returncode == 1
    assert f"error: cannot write {tmp_path}/file\ncause: not a directory\n" in done.stderr
    done = run({}, "--record", tmp_path, "--metrics-only")
    assert done.returncode == 2


@pytest.mark.parametrize("output", ["events.json", "events.ndjson", "http.parquet", "record"])
def test_a_directory_that_goes_away_ends_the_run(tmp_path: Path, output: str) -> None:
    directory = tmp_path / "gone"
    directory.mkdir()
    flags = ["--record", directory] if output == "record" else ["--output", directory / output]
    running = Running({"rows": 1, "ticks": 100_000}, "--events", "http", *flags, "--output-format", "none")
    running.line("tracing: ")
    time.sleep(1.5)
    shutil.rmtree(directory)
    code, _, said = running.end()
    assert code == 1
    assert "error: cannot write " in said
    assert "no such file" in said or "it was deleted while it was written" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a file system")
@pytest.mark.parametrize(
    ("output", "size", "rows"),
    [
        ("events.json", "300k", 20),
        ("events.ndjson", "300k", 20),
        ("http.parquet", "64k", 300),
        ("record", "64k", 300),
    ],
)
def test_a_full_file_system_ends_the_run_and_what_was_written_is_valid(
    tmp_path: Path, output: str, size: str, rows: int
) -> None:
    with file_system_of(tmp_path / "small", size) as small:
        flags = ["--record", small] if output == "record" else ["--output", small / output]
        done = run({"rows": rows, "ticks": 100_000}, "--events", "http", *flags, "--output-format", "none")
        assert done.returncode == 1, done.stderr
        assert "cause: no space left on device\n" in done.stderr
        assert "hint: df -h shows which disk is full; what was written before is valid\n" in done.stderr
        if output == "events.json":
            assert json.loads((small / output).read_text())
        elif output == "events.ndjson":
            assert [json.loads(line) for line in (small / output).read_text().splitlines()]
        elif output == "record":
            assert pl.scan_parquet(f"{small}/http/**/*.parquet").collect().height > 0
        else:
            assert rows_of(small / output) > 0
