"""The files of a recording: their names, what may be deleted, what a killed tracer left.

    DIR/http/2026-01-31/14/20260131T140500.000000Z-4711-3.parquet

A file that is being written has `.part` behind its name and is locked. Only files of such names are touched.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from universal_tracer.model.events import EVENT_TYPES
from universal_tracer.system.parquet_footer import has_footer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PART: Final = ".part"
_NAME: Final = re.compile(r"\d{8}T\d{6}\.\d{6}Z-\d+-\d+\.parquet(\.part)?")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_HOUR: Final = re.compile(r"\d{2}")
_BLOCK: Final = 512


@dataclass(frozen=True, slots=True, order=True)
class RecordedFile:
    """One file of ours; `size` is what it takes on the disk, in bytes."""

    changed_s: float
    path: Path
    size: int

    @property
    def is_part(self) -> bool:
        return self.path.name.endswith(PART)


def open_recording(directory: Path) -> None:
    """Make it where it is missing, not its parent; take over what a killed tracer left. Raises OSError."""
    with suppress(FileExistsError):
        directory.mkdir()
    if not directory.is_dir():
        raise NotADirectoryError(20, os.strerror(20), str(directory))
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(13, os.strerror(13), str(directory))
    for file in recorded_files(directory):
        if file.is_part:
            _adopt(file.path)


def begin_part(directory: Path, event_type: str, unix_ns: int, serial: int) -> tuple[Path, int]:
    """The path and the descriptor of a new, locked part. Raises OSError, also where `directory` has gone."""
    seconds, rest_ns = divmod(unix_ns, 1_000_000_000)
    at = time.gmtime(seconds)
    folder = directory / event_type
    for name in ("", time.strftime("%Y-%m-%d", at), time.strftime("%H", at)):
        folder /= name
        with suppress(FileExistsError):
            folder.mkdir()
    instant = f"{time.strftime('%Y%m%dT%H%M%S', at)}.{rest_ns // 1000:06d}Z"
    path = folder / f"{instant}-{os.getpid()}-{serial}.parquet{PART}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return path, descriptor


def publish(part: Path, descriptor: int) -> None:
    """Put a complete part on the disk, and give it its name; closes the descriptor. Raises OSError."""
    try:
        os.fsync(descriptor)
        part.rename(part.with_name(part.name.removesuffix(PART)))
    finally:
        os.close(descriptor)


def keep_within(directory: Path, keep_s: float, max_bytes: int, now_s: float) -> int:
    """Delete what is too old, then the oldest of what is too much; returns the bytes that are left."""
    files = sorted(recorded_files(directory))
    left = sum(file.size for file in files)
    for file in files:
        if file.is_part:
            continue
        if file.changed_s < now_s - keep_s or left > max_bytes:
            _delete(file.path)
            left -= file.size
    return left


def recorded_files(directory: Path) -> Iterator[RecordedFile]:
    """All files of the recording, in no order; what goes meanwhile is left out."""
    for event_type in EVENT_TYPES:
        for date in _matching(directory / event_type, _DATE):
            for hour in _matching(date, _HOUR):
                for path in _matching(hour, _NAME):
                    with suppress(OSError):
                        status = path.lstat()
                        size = min(status.st_size, status.st_blocks * _BLOCK or status.st_size)
                        yield RecordedFile(status.st_mtime, path, size)


def _matching(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Entries that are no links; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            names = [found.name for found in entries if not found.is_symlink()]
    except OSError:
        return []
    return [folder / name for name in names if pattern.fullmatch(name)]


def _delete(path: Path) -> None:
    """And the folders that are empty without it."""
    with suppress(OSError):
        path.unlink()
        path.parent.rmdir()
        path.parent.parent.rmdir()


def _adopt(part: Path) -> None:
    """Nobody writes it any more: it gets its name, or goes where nothing in it can be read."""
    with suppress(OSError), part.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if has_footer(file.fileno()):
            publish(part, os.dup(file.fileno()))
        else:
            part.unlink()
