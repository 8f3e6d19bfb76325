"""One event type as a Parquet file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from universal_tracer.system.parquet import ParquetWriter

if TYPE_CHECKING:
    import polars as pl


class ParquetSink:
    """A file that is valid from the start and after every flush; see `system.parquet`."""

    def __init__(self, name: str, descriptor: int, event_type: str) -> None:
        """Takes over `descriptor`: an empty file, or a pipe; standard output stays open. Raises OSError."""
        self._name = name
        self._event_type = event_type
        self._writer = ParquetWriter(descriptor, event_type)

    @property
    def name(self) -> str:
        return self._name

    def write(self, event_type: str, frame: pl.DataFrame) -> None:
        """Other event types are left out. Raises OSError; the file is then valid."""
        if event_type == self._event_type:
            self._writer.write(frame)

    def flush(self) -> None:
        """Let readers see what came; less often where the file has very many row groups. Raises OSError."""
        self._writer.flush()

    def close(self) -> None:
        """Raises OSError; the file is then valid, and lacks what did not fit."""
        self._writer.close()
