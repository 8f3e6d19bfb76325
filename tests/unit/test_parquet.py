"""Parquet files: what is read back, and when; what a killed process or a full disk leaves."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from harness import event_rows as rows
from harness.small_disk import files_no_larger_than
from hypothesis import given, settings
from hypothesis import strategies as st

from universal_tracer.model.schema import schema
from universal_tracer.sinks.parquet import ParquetSink
from universal_tracer.system import growing_file, one_step
from universal_tracer.system.files import open_for_writing
from universal_tracer.system.growing_file import GrowingFile
from universal_tracer.system.one_step import PAGE
from universal_tracer.system.parquet import ParquetWriter
from universal_tracer.system.parquet_footer import MAGIC, Footer, has_footer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HARNESS = Path(__file__).parents[1]


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def requests(*paths: str) -> pl.DataFrame:
    return rows.shaped("http", *[{**rows.REQUEST, "path": path} for path in paths])


def whole_file(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("groups", [0, 1, 14, 15, 300])
def test_files_are_joined(groups: int) -> None:
    footer = Footer.of(whole_file(requests("/").clear()))
    joined = bytearray(MAGIC)
    frames = [requests(*[f"/{group}/{number}" for number in range(group % 3 + 1)]) for group in range(groups)]
    for frame in frames:
        joined += footer.add(whole_file(frame), len(joined))
    joined += footer.encoded()
    read = pl.read_parquet(bytes(joined))
    assert read.schema == schema("http")
    assert footer.rows == read.height
    if frames:
        assert read.equals(pl.concat(frames))
        needle = pl.scan_parquet(bytes(joined)).filter(pl.col("path") == f"/{groups - 1}/0")
        assert needle.collect().height == 1


def test_columns_that_have_changed_are_refused() -> None:
    footer = Footer.of(whole_file(pl.DataFrame({"a": [1]})))
    with pytest.raises(ValueError, match="columns have changed"):
        footer.add(whole_file(pl.DataFrame({"a": ["1"]})), 4)


@pytest.mark.parametrize(
    ("content", "answer"), [(b"", False), (b"PAR1", False), (b"PAR1\xff\xff\0\0PAR1", False), (None, True)]
)
def test_whether_a_file_can_be_read(tmp_path: Path, content: bytes | None, answer: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(whole_file(requests("/1")) if content is None else content)
    with path.open("rb") as file:
        assert has_footer(file.fileno()) is answer


def test_a_file_is_valid_from_its_start_on(tmp_path: Path) -> None:
    path = tmp_path / "http.parquet"
    writer = ParquetWriter(open_for_writing(path), "http")
    assert pl.read_parquet(path).schema == schema("http")
    writer.close()
    assert pl.read_parquet(path).schema == schema("http")
    writer.close()


def test_rows_can_be_read_after_a_flush_and_the_end_is_compact(tmp_path: Path) -> None:
    path = tmp_path / "http.parquet"
    clock = Clock()
    writer = ParquetWriter(open_for_writing(path), "http", clock=clock)
    for number in range(10):
        writer.write(requests(f"/{number}"))
        writer.flush()
        assert pl.read_parquet(path)["path"].to_list() == [f"/{seen}" for seen in range(number + 1)]
        clock.seconds += 1
    assert path.stat().st_size > path.stat().st_blocks * 512, "a hole takes no room"
    writer.write(requests("/last"))
    writer.close()
    assert pl.read_parquet(path)["path"].to_list() == [*(f"/{seen}" for seen in range(10)), "/last"]
    assert path.stat().st_size <= path.stat().st_blocks * 512


def test_a_file_of_many_groups_gets_fewer_of_them(tmp_path: Path) -> None:
    clock = Clock()
    writer = ParquetWriter(open_for_writing(tmp_path / "loss.parquet"), "loss", clock=clock)
    for _ in range(3000):
        writer.write(rows.shaped("loss", rows.LOSS))
        writer.flush()
        clock.seconds += 1
    groups = len(writer._footer.groups)
    assert 400 < groups < 600
    writer.close()
    assert pl.read_parquet(tmp_path / "loss.parquet").height == 3000


def test_other_event_types_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "http.parquet"
    sink = ParquetSink(str(path), open_for_writing(path), "http")
    sink.write("http", requests("/1"))
    sink.write("loss", rows.shaped("loss", rows.LOSS))
    sink.close()
    assert pl.read_parquet(path)["path"].to_list() == ["/1"]


def test_a_pipe_gets_a_whole_file() -> None:
    reading, writing = os.pipe()
    writer = ParquetWriter(writing, "loss")
    for _ in range(3):
        writer.write(rows.shaped("loss", rows.LOSS))
        writer.tell()
    writer.close()
    with os.fdopen(reading, "rb") as pipe:
        assert pl.read_parquet(pipe.read()).height == 3


def test_a_file_that_is_deleted_is_told(tmp_path: Path) -> None:
    path = tmp_path / "http.parquet"
    writer = ParquetWriter(open_for_writing(path), "http")
    writer.flush()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="it was deleted while it was written"):
        writer.flush()
    writer.close()


def fill(writer: ParquetWriter, told: list[int]) -> None:
    while True:
        writer.write(rows.shaped("loss", *[{**rows.LOSS, "count": len(told)}] * 100))
        writer.tell()
        told.append(len(told))


@pytest.mark.parametrize("size", [6_000, 20_000, 60_000, 200_000])
def test_a_full_disk_leaves_what_was_told(tmp_path: Path, size: int) -> None:
    path = tmp_path / "loss.parquet"
    clock = Clock()
    writer = ParquetWriter(open_for_writing(path), "loss", clock=clock)
    told: list[int] = []
    with files_no_larger_than(size), pytest.raises(OSError, match="File too large"):
        fill(writer, told)
    assert pl.read_parquet(path)["count"].unique(maintain_order=True).to_list() == told
    writer.close()
    # The last rows may have found room, but not their index.
    assert pl.read_parquet(path).height - 100 * len(told) in (0, 100)


def moving_end(killed: KilledAtAnyPoint) -> Callable[[GrowingFile, int], None]:
    """A method of the file, as one attribute of its class must be."""

    def move(file: GrowingFile, size: int) -> None:
        killed.move(file, size)

    return move


class KilledAtAnyPoint:
    """Keeps what the file holds wherever a killed process may leave it: between any two pages of a write.

    Moving the end is taken for one step; see `system.growing_file`.
    """

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.states: list[bytes] = []
        self.is_moving = False
        self.write_at = one_step.write_at
        self.move_end = GrowingFile._move_end
        monkeypatch.setattr(GrowingFile, "_move_end", moving_end(self))
        for module in (one_step, growing_file):
            monkeypatch.setattr(module, "write_at", self.write_page_by_page)

    def move(self, file: GrowingFile, size: int) -> None:
        self.is_moving = True
        self.move_end(file, size)
        self.is_moving = False
        self.note()

    def write_page_by_page(self, descriptor: int, parts: Sequence[bytes], start: int) -> None:
        rest = b"".join(parts)
        while rest:
            in_page = PAGE - start % PAGE
            self.write_at(descriptor, (rest[:in_page],), start)
            start, rest = start + in_page, rest[in_page:]
            self.note()

    def note(self) -> None:
        if not self.is_moving:
            self.states.append(self.path.read_bytes())


def index_of(data: bytes, number: int) -> bytes:
    """An index that can be checked: how much data there is and what they add up to, at any length."""
    told = f"{len(data)} {sum(data)} {number}".encode()
    return told.rjust(number) + len(told.rjust(number)).to_bytes(4, "little")


def is_valid(state: bytes) -> bool:
    size = int.from_bytes(state[-4:], "little")
    length, total, _ = map(int, state[-4 - size : -4].split())
    return sum(state[:length]) == total


@given(st.lists(st.tuples(st.integers(1, 4 * PAGE), st.integers(30, 3 * PAGE)), max_size=8))
@settings(max_examples=40, deadline=None)
def test_a_growing_file_is_valid_wherever_its_writer_is_killed(steps: list[tuple[int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        path = Path(f"/dev/shm/ut-test-{os.getpid()}-{time.monotonic_ns()}")
        patch.setattr(growing_file, "_FIRST_HOLE", PAGE)
        patch.setattr(growing_file, "_LARGEST_HOLE", 3 * PAGE)
        data, longest = b"head", 30
        try:
            growing = GrowingFile(open_for_writing(path), data, index_of(data, longest))
            killed = KilledAtAnyPoint(path, patch)
            for size, more in steps:
                piece = bytes([size % 251 + 1]) * size
                growing.add(piece)
                data, longest = data + piece, longest + more
                growing.tell(index_of(data, longest))
            growing.finish()
            killed.note()
        finally:
            path.unlink()
    assert all(is_valid(state) for state in killed.states)
    assert killed.states[-1].startswith(data)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from harness import event_rows as rows
from universal_tracer.system.files import open_for_writing
from universal_tracer.system.parquet import ParquetWriter
frame = rows.shaped("http", *[rows.REQUEST] * 50)
writer = ParquetWriter(open_for_writing(Path(sys.argv[1])), "http")
for number in range(1000):
    writer.write(frame)
    writer.tell()
    if number == 2:
        print("ready", flush=True)
"""


def test_a_killed_process_leaves_a_file_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "http.parquet"
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), str(HARNESS)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()
        process.wait()
        process.stdout.close()
        assert pl.read_parquet(path).height % 50 == 0
        assert pl.read_parquet(path).height >= 150
