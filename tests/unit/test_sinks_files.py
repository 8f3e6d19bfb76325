"""Files: what they hold after every write, on a full disk, and when the tracer is killed at any point."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import event_rows as rows
from harness.small_disk import files_no_larger_than
from hypothesis import given, settings
from hypothesis import strategies as st

from universal_tracer.model.errors import OutputError
from universal_tracer.model.ports import OutputFile, StandardOutput
from universal_tracer.sinks import open_sinks, output_error
from universal_tracer.sinks.ndjson import NdjsonSink
from universal_tracer.system import file_end, one_step
from universal_tracer.system.files import open_for_writing

if TYPE_CHECKING:
    from universal_tracer.model.ports import Sink

PAGE = one_step.PAGE
NO_STDOUT = StandardOutput("none", is_terminal=False, color=False)


def open_descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def open_one(path: Path, format_name: str, **more: Any) -> Sink:
    [sink] = open_sinks([OutputFile(format_name, path, **more)], NO_STDOUT)
    return sink


def test_ndjson_has_an_object_a_line_at_once(tmp_path: Path) -> None:
    sink = open_one(path := tmp_path / "events.ndjson", "ndjson")
    sink.write("http", rows.shaped("http", rows.REQUEST, rows.REQUEST))
    sink.write("loss", rows.shaped("loss", rows.LOSS))
    assert [json.loads(line)["type"] for line in path.read_text().splitlines()] == ["http", "http", "loss"]
    sink.close()
    sink.close()


def test_json_is_a_valid_array_after_every_write(tmp_path: Path) -> None:
    sink = open_one(path := tmp_path / "http-events.json", "json")
    assert json.loads(path.read_text()) == []
    for count in range(1, 4):
        sink.write("http", rows.shaped("http", rows.REQUEST))
        sink.flush()
        assert len(json.loads(path.read_text())) == count
    sink.close()
    sink.close()
    assert path.read_text().endswith("}\n]\n")


def test_json_keeps_one_event_a_line(tmp_path: Path) -> None:
    sink = open_one(path := tmp_path / "events.json", "json")
    sink.write("loss", rows.shaped("loss", rows.LOSS, rows.LOSS))
    sink.close()
    first, *events, last, end = path.read_text().split("\n")
    assert (first, last, end) == ("[", "]", "")
    assert [json.loads(event.rstrip(","))["count"] for event in events] == [3, 3]


@pytest.mark.parametrize("format_name", ["json", "ndjson"])
def test_existing_files_are_replaced(tmp_path: Path, format_name: str) -> None:
    path = tmp_path / "events"
    path.write_text("old " * 1000)
    sink = open_one(path, format_name)
    sink.write("loss", rows.shaped("loss", rows.LOSS))
    sink.close()
    assert "old" not in path.read_text()


def test_only_the_wanted_types_are_written(tmp_path: Path) -> None:
    sink = open_one(path := tmp_path / "events.ndjson", "ndjson", event_types=("loss",))
    sink.write("http", rows.shaped("http", rows.REQUEST))
    sink.write("loss", rows.shaped("loss", rows.LOSS))
    sink.flush()
    sink.close()
    assert [json.loads(line)["type"] for line in path.read_text().splitlines()] == ["loss"]


def test_directories_are_made_where_asked_for(tmp_path: Path) -> None:
    sink = open_one(tmp_path / "out" / "http-events.json", "json", create_directory=True)
    sink.close()
    sink = open_one(tmp_path / "out" / "http-events.json", "json", create_directory=True)
    sink.close()
    with pytest.raises(OutputError, match="no such file"):
        open_one(tmp_path / "no" / "parent" / "http-events.json", "json", create_directory=True)


@pytest.mark.parametrize(
    ("path", "cause", "hint"),
    [
        ("missing/events.json", "no such file or directory", "mkdir -p {}/missing"),
        ("a-directory", "is a directory", "write {}/a-directory/ "),
        ("a-file/events.json", "not a directory", "--output PATH"),
    ],
)
def test_outputs_that_cannot_be_opened(tmp_path: Path, path: str, cause: str, hint: str) -> None:
    (tmp_path / "a-directory").mkdir()
    (tmp_path / "a-file").touch()
    with pytest.raises(OutputError) as raised:
        open_one(tmp_path / path, "json")
    assert raised.value.what == f"cannot write {tmp_path / path}"
    assert raised.value.cause == cause
    assert hint.format(tmp_path) in raised.value.hint
    assert raised.value.exit_code == 1


def test_forbidden_places_have_a_hint() -> None:
    told = output_error("/etc/x/events.json", PermissionError(errno.EACCES, "Permission denied"))
    assert (told.cause, told.hint) == ("permission denied", "ls -ld /etc/x shows who may write there")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_has_a_hint(number: int) -> None:
    told = output_error("standard output", OSError(number, os.strerror(number)))
    assert told.lines() == [
        "error: cannot write standard output",
        f"cause: {os.strerror(number).lower()}",
        "hint: df -h shows which disk is full; what was written before is valid",
    ]


def test_what_was_opened_before_a_failure_is_closed(tmp_path: Path) -> None:
    before = open_descriptors()
    good, bad = OutputFile("json", tmp_path / "good.json"), OutputFile("json", tmp_path / "no" / "bad.json")
    with pytest.raises(OutputError):
        open_sinks([good, bad], NO_STDOUT)
    assert open_descriptors() == before
    assert json.loads(good.path.read_text()) == []


def test_json_into_a_pipe_is_lines(tmp_path: Path) -> None:
    os.mkfifo(path := tmp_path / "pipe.json")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = open_one(path, "json")
    sink.write("loss", rows.shaped("loss", rows.LOSS))
    sink.close()
    assert json.loads(os.read(reader, 65536))["count"] == 3
    os.close(reader)


def test_a_closed_pipe_is_told() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sink = NdjsonSink("standard output", writer)
    with pytest.raises(BrokenPipeError):
        sink.write("loss", rows.shaped("loss", rows.LOSS))
    sink.close()


def test_a_full_non_blocking_pipe_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    frame = rows.shaped("loss", *[rows.LOSS] * 4000)
    with subprocess.Popen(["wc", "-l"], stdin=reader, stdout=subprocess.PIPE) as counter:
        os.close(reader)
        sink = NdjsonSink("pipe", writer)
        sink.write("loss", frame)
        sink.close()
        assert counter.stdout is not None
        assert int(counter.stdout.read()) == 4000


def write_losses(sink: Sink, count: int) -> None:
    for _ in range(count):
        sink.write("loss", rows.shaped("loss", rows.LOSS))


@pytest.mark.parametrize("size", [700, 701, 1500, 2000])
@pytest.mark.parametrize("format_name", ["json", "ndjson"])
def test_a_full_disk_leaves_whole_events(tmp_path: Path, format_name: str, size: int) -> None:
    sink = open_one(path := tmp_path / "events", format_name)
    with files_no_larger_than(size), pytest.raises(OSError, match="File too large"):
        write_losses(sink, 100)
    sink.close()
    text = path.read_text()
    events = json.loads(text) if format_name == "json" else [json.loads(line) for line in text.splitlines()]
    assert len(events) >= 1
    assert {event["where"] for event in events} == {"ring_full"}


def test_appending_to_a_users_file_never_cuts_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("theirs\n" * 100)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    sink = NdjsonSink("standard output", descriptor)
    with files_no_larger_than(900), pytest.raises(OSError, match="File too large"):
        write_losses(sink, 3)
    sink.close()
    assert path.read_text().startswith("theirs\n" * 100)
    assert path.read_text().endswith("\n")


class KilledAtAnyPoint:
    """Keeps what the file holds at every point at which a killed process may leave it.

    That is after every system call, and within a write between any two pages.
    """

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.states: list[bytes] = []
        self.write_at = one_step.write_at
        for module in (one_step, file_end):
            monkeypatch.setattr(module, "write_at", self.write_page_by_page)

    def write_page_by_page(self, descriptor: int, parts: Any, start: int) -> None:
        rest = b"".join(parts)
        while rest:
            in_page = PAGE - start % PAGE
            self.write_at(descriptor, (rest[:in_page],), start)
            start, rest = start + in_page, rest[in_page:]
            self.note()

    def note(self) -> None:
        self.states.append(self.path.read_bytes())


short_and_long_paths = st.text() | st.integers(0, 3 * PAGE).map(lambda length: "x" * length)
batches = st.lists(st.lists(short_and_long_paths, min_size=1, max_size=4), max_size=6)


@given(batches)
@settings(max_examples=60, deadline=None)
def test_json_is_valid_whenever_the_tracer_is_killed(written: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        sink = open_one(path := Path(directory, "events.json"), "json")
        killed = KilledAtAnyPoint(path, patch)
        expected: list[str] = []
        for paths in written:
            sink.write("http", rows.shaped("http", *[rows.REQUEST | {"path": path} for path in paths]))
            killed.note()
            expected += paths
            assert [event["path"] for event in json.loads(killed.states[-1])] == expected
        sink.close()
    for state in killed.states:
        found = [event["path"] for event in json.loads(state)]
        assert found == expected[: len(found)]


def test_json_on_file_systems_without_mappings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_step, "_reopen_for_mapping", lambda _: None)
    sink = open_one(path := tmp_path / "events.json", "json")
    for count in (1, 100, 2):
        sink.write("http", rows.shaped("http", *[rows.REQUEST] * count))
    sink.close()
    assert len(json.loads(path.read_text())) == 103


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from harness import event_rows as rows
from harness.small_disk import files_no_larger_than
from universal_tracer.model.ports import OutputFile, StandardOutput
from universal_tracer.sinks import open_sinks
frame = rows.shaped("loss", *[rows.LOSS] * 500)
[sink] = open_sinks([OutputFile("json", Path(sys.argv[1]))], StandardOutput("none", False, False))
print("ready", flush=True)
while True:
    sink.write("loss", frame)
"""


def test_json_of_a_killed_process_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    tests = Path(__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", KILLED, path, tests], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while path.stat().st_size < 2_000_000:
            pass
        process.kill()
    assert len(json.loads(path.read_text())) % 500 == 0


def test_terminals_get_no_control_characters() -> None:
    leader, follower = os.openpty()
    sink = NdjsonSink("standard output", follower)
    sink.write("http", rows.shaped("http", rows.REQUEST | {"path": "/\x1b[2J\x9b31m\x7f\r\n\x00é"}))
    shown = os.read(leader, 65536)
    os.close(follower)
    os.close(leader)
    assert shown.endswith(b"\r\n")
    line = shown[:-2].decode()
    assert all(char.isprintable() for char in line)
    assert json.loads(line)["path"] == "/\x1b[2J\x9b31m\x7f\r\n\x00é"


def test_without_a_standard_output_files_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    open_one(tmp_path / "events.json", "json").close()


def test_descriptors_are_not_inherited(tmp_path: Path) -> None:
    descriptor = open_for_writing(tmp_path / "file")
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
