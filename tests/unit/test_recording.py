"""Recordings: what can be read and when, what is deleted, what a killed tracer left."""

from __future__ import annotations

import fcntl
import os
import shutil
from typing import TYPE_CHECKING

import polars as pl
import pytest
from harness import event_rows as rows
from harness.small_disk import files_no_larger_than

from universal_tracer.model.ports import Recording
from universal_tracer.model.schema import schema
from universal_tracer.sinks.recording import RecordingSink
from universal_tracer.system.recordings import begin_part, recorded_files

if TYPE_CHECKING:
    from pathlib import Path

BEGUN_NS = 1_764_040_000_000_000_000
DAY_S = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def unix_ns(self) -> int:
        return BEGUN_NS + round(self.seconds * 1e9)


def recording(
    directory: Path, clock: Clock | None = None, keep_s: float = 7 * DAY_S, max_bytes: int = 10**10
) -> RecordingSink:
    clock = clock or Clock()
    return RecordingSink(Recording(directory, keep_s, max_bytes), clock=clock, wall_clock_ns=clock.unix_ns)


def requests(*paths: str) -> pl.DataFrame:
    return rows.shaped("http", *[{**rows.REQUEST, "path": path} for path in paths])


def paths_in(directory: Path) -> list[str]:
    return sorted(pl.scan_parquet(f"{directory}/http/**/*.parquet").collect()["path"].to_list())


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def stamp(sink: RecordingSink, clock: Clock, path: Path) -> None:
    """Give a file the time that the sink's clock shows."""
    os.utime(path, ns=(clock.unix_ns(), clock.unix_ns()))


def test_event_types_have_folders_and_times_have_folders(tmp_path: Path) -> None:
    directory = tmp_path / "kept"
    sink = recording(directory)
    sink.write("http", requests("/1", "/2"))
    sink.write("loss", rows.shaped("loss", rows.LOSS))
    sink.flush()
    sink.close()
    sink.close()
    pid = os.getpid()
    assert names(directory) == [
        f"http/2025-11-25/03/20251125T030640.000000Z-{pid}-1.parquet",
        f"loss/2025-11-25/03/20251125T030640.000000Z-{pid}-2.parquet",
    ]
    assert paths_in(directory) == ["/1", "/2"]
    assert pl.scan_parquet(f"{directory}/http/**/*.parquet").collect_schema() == schema("http")


def test_files_are_completed_by_time_the_first_ones_soon(tmp_path: Path) -> None:
    clock = Clock()
    sink = recording(tmp_path, clock)
    for second in range(300):
        clock.seconds = second
        sink.write("http", requests(f"/{second}"))
        sink.flush()
    sink.close()
    _, second, *_ = names(tmp_path)
    assert second.startswith(("http/2025-11-25/03/20251125T030642", "http/2025-11-25/03/20251125T030643"))
    assert 8 <= len(names(tmp_path)) <= 12
    assert len(paths_in(tmp_path)) == 300


def test_files_are_completed_by_size(tmp_path: Path) -> None:
    sink = recording(tmp_path, max_bytes=1 << 20)
    for number in range(20):
        sink.write("http", requests(*[os.urandom(50).hex() for _ in range(500)]))
        sink._parts["http"].writer.tell()
        sink.flush()
        assert max(file.size for file in recorded_files(tmp_path)) < 200_000, number
    sink.close()
    assert len(names(tmp_path)) > 5


def test_the_oldest_go_when_it_is_too_much(tmp_path: Path) -> None:
    clock = Clock()
    foreign = tmp_path / "http" / "2025-11-25" / "03" / "mine.parquet"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"x" * 100_000)
    sink = recording(tmp_path, clock, max_bytes=1 << 20)
    for number in range(200):
        clock.seconds += 10
        sink.write("http", requests(*[f"/{number:04}/{os.urandom(50).hex()}" for _ in range(200)]))
        sink._parts["http"].writer.tell()
        sink.flush()
        assert sum(file.size for file in recorded_files(tmp_path)) <= 1.2 * (1 << 20)
    sink.close()
    kept = {int(path.split("/")[1]) for path in paths_in_ours(tmp_path)}
    assert kept == set(range(min(kept), 200)), "the latest are there, without a gap"
    assert min(kept) > 50
    assert foreign.exists()


def paths_in_ours(directory: Path) -> list[str]:
    files = [file.path for file in recorded_files(directory)]
    return pl.scan_parquet(files).collect()["path"].to_list()


def test_what_is_too_old_goes_with_its_folders(tmp_path: Path) -> None:
    clock = Clock()
    sink = recording(tmp_path, clock, keep_s=60.0)
    sink.write("http", requests("/old"))
    sink.close()
    [old] = [file.path for file in recorded_files(tmp_path)]
    stamp(sink, clock, old)
    clock.seconds = 59
    recording(tmp_path, clock, keep_s=60.0).close()
    assert old.exists()
    clock.seconds = 4000
    sink = recording(tmp_path, clock, keep_s=60.0)
    assert not old.exists()
    assert not old.parent.exists()
    sink.write("http", requests("/new"))
    sink.close()


@pytest.mark.parametrize(
    "name",
    [
        "http/2025-11-25/03/other.parquet",
        "http/2025-11-25/03/20251125T030640.000000Z-1-1.parquet.bak",
        "http/20251125T030640.000000Z-1-1.parquet",
        "http/2025-11-25/other/20251125T030640.000000Z-1-1.parquet",
        "mine/2025-11-25/03/20251125T030640.000000Z-1-1.parquet",
        "notes.txt",
    ],
)
def test_what_others_wrote_stays(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 2_000_000)
    os.utime(path, (1, 1))
    recording(tmp_path, max_bytes=1_000_000, keep_s=60.0).close()
    assert path.exists()


def test_links_are_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "03"
    elsewhere.mkdir(parents=True)
    precious = elsewhere / "20251125T030640.000000Z-1-1.parquet"
    precious.write_bytes(b"x")
    os.utime(precious, (1, 1))
    directory = tmp_path / "kept"
    (directory / "http").mkdir(parents=True)
    (directory / "http" / "2025-11-25").symlink_to(elsewhere.parent)
    recording(directory, keep_s=60.0).close()
    assert precious.exists()


def test_what_a_killed_tracer_left_is_taken_over(tmp_path: Path) -> None:
    killed = recording(tmp_path)
    killed.write("http", requests("/1"))
    killed.flush()
    left = killed._parts["http"]
    (half,) = [file.path for file in recorded_files(tmp_path)]
    broken = half.with_name(half.name.replace("-1.parquet", "-9.parquet"))
    broken.write_bytes(b"PAR1 and no more")
    recording(tmp_path).close()
    assert half.exists(), "it is still being written"
    assert not broken.exists()
    fcntl.flock(left.descriptor, fcntl.LOCK_UN)
    recording(tmp_path).close()
    assert not half.exists()
    assert paths_in(tmp_path) == ["/1"]


def test_a_directory_whose_parent_is_missing_or_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        recording(tmp_path / "missing" / "kept")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        recording(tmp_path / "file")


def test_a_directory_that_goes_away_is_told(tmp_path: Path) -> None:
    directory = tmp_path / "kept"
    sink = recording(directory)
    sink.write("http", requests("/1"))
    sink.flush()
    shutil.rmtree(directory)
    with pytest.raises(FileNotFoundError, match="it was deleted"):
        sink.flush()
    with pytest.raises(FileNotFoundError):
        sink.close()
    sink = recording(directory)
    shutil.rmtree(directory)
    with pytest.raises(FileNotFoundError):
        sink.write("http", requests("/1"))
    sink.close()


def test_a_full_disk_leaves_files_that_can_be_read(tmp_path: Path) -> None:
    clock = Clock()
    sink = recording(tmp_path, clock)
    for _ in range(3):
        clock.seconds += 10
        sink.write("http", requests("/1"))
        sink.flush()
    with files_no_larger_than(6_000):
        sink.write("http", requests("/2"))
        with pytest.raises(OSError, match="File too large"):
            sink._parts["http"].writer.tell()
        sink.close()
    assert paths_in(tmp_path) == ["/1"] * 3


def test_parts_of_one_instant_have_names_of_their_own(tmp_path: Path) -> None:
    first, one = begin_part(tmp_path, "http", BEGUN_NS, 1)
    second, two = begin_part(tmp_path, "http", BEGUN_NS, 2)
    assert first != second
    os.close(one)
    os.close(two)
