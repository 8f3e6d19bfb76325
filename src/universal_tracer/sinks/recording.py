"""A recording: Parquet files in a folder per event type, of a minute each, the oldest of which go."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from universal_tracer.system.files import require_linked
from universal_tracer.system.parquet import ParquetWriter
from universal_tracer.system.recordings import begin_part, keep_within, open_recording, publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

    from universal_tracer.model.ports import Recording

# The first files of a run are shorter, so that a look at the recording soon shows something.
_SHORTEST_FILE_S: Final = 2.0
_LONGEST_FILE_S: Final = 60.0
_LARGEST_FILE: Final = 64 << 20
_SMALLEST_FILE: Final = 64 << 10
_FILES_WITHIN_BOUND: Final = 16
_LOOK_AROUND_S: Final = 10.0


@dataclass(slots=True)
class _Part:
    path: Path
    descriptor: int
    writer: ParquetWriter
    due_s: float


class RecordingSink:
    """Writes each event type to files of its own; keeps them all within `keep_s` and `max_bytes`."""

    def __init__(
        self,
        recording: Recording,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """The directory is created, its parent is not. Raises OSError."""
        self._recording = recording
        self._clock = clock
        self._wall_clock_ns = wall_clock_ns
        self._begun_s = clock()
        self._parts: dict[str, _Part] = {}
        self._serial = 0
        self._largest = min(_LARGEST_FILE, max(recording.max_bytes // _FILES_WITHIN_BOUND, _SMALLEST_FILE))
        # A slow disk must not hold up the run: one thread waits for it.
        self._publisher = ThreadPoolExecutor(1, "recording")
        self._published: list[Future[None]] = []
        self._looked_at = float("-inf")
        self._bytes = 0
        open_recording(recording.directory)
        self._look_around()

    @property
    def name(self) -> str:
        return str(self._recording.directory)

    def write(self, event_type: str, frame: pl.DataFrame) -> None:
        """Raises OSError; all files are then valid."""
        if event_type not in self._parts:
            self._parts[event_type] = self._begin(event_type)
        self._parts[event_type].writer.write(frame)

    def flush(self) -> None:
        """Let readers see what came, complete what is old or large enough, delete what is too much."""
        for event_type, part in list(self._parts.items()):
            part.writer.flush()
            if self._clock() >= part.due_s or part.writer.size >= self._largest:
                self._complete(event_type)
        self._take_failures()
        parts = sum(part.writer.size for part in self._parts.values())
        is_too_much = self._bytes + parts > self._recording.max_bytes
        if is_too_much or self._clock() - self._looked_at >= _LOOK_AROUND_S:
            self._look_around()

    def close(self) -> None:
        """Complete every file. Raises OSError; what was written is then valid. Idempotent."""
        failures: list[OSError] = []
        for event_type in list(self._parts):
            try:
                self._complete(event_type)
            except OSError as error:
                failures.append(error)
        self._publisher.shutdown()
        self._take_failures()
        if failures:
            raise failures[0]
        self._look_around()

    def _begin(self, event_type: str) -> _Part:
        self._serial += 1
        path, descriptor = begin_part(
            self._recording.directory, event_type, self._wall_clock_ns(), self._serial
        )
        now_s = self._clock()
        lasting_s = min(max(now_s - self._begun_s, _SHORTEST_FILE_S), _LONGEST_FILE_S)
        # The writer closes its descriptor; the lock lasts until the other one is closed.
        return _Part(path, os.dup(descriptor), ParquetWriter(descriptor, event_type), now_s + lasting_s)

    def _complete(self, event_type: str) -> None:
        part = self._parts.pop(event_type)
        try:
            require_linked(part.descriptor)
            part.writer.close()
        finally:
            self._bytes += part.writer.size
            self._published.append(self._publisher.submit(publish, part.path, part.descriptor))

    def _take_failures(self) -> None:
        """Raises what went wrong in the other thread."""
        done = [future for future in self._published if future.done()]
        self._published = [future for future in self._published if future not in done]
        for future in done:
            future.result()

    def _look_around(self) -> None:
        self._looked_at = self._clock()
        with suppress(OSError):  # what cannot be deleted now can be later
            self._bytes = keep_within(
                self._recording.directory,
                self._recording.keep_s,
                self._recording.max_bytes,
                self._wall_clock_ns() / 1e9,
            ) - sum(part.writer.size for part in self._parts.values())
