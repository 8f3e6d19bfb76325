"""Events of one type as Parquet, in a file that can be read at any time.

Rows are gathered to row groups, which polars encodes; where they stand is in the file's index (its footer).
"""

from __future__ import annotations

import io
import os
import time
from typing import TYPE_CHECKING, Final

import polars as pl

from universal_tracer.model.schema import schema
from universal_tracer.system.files import CLOSED, is_regular, require_linked, write_whole
from universal_tracer.system.growing_file import GrowingFile
from universal_tracer.system.parquet_footer import MAGIC, Footer

if TYPE_CHECKING:
    from collections.abc import Callable

_GROUP_BYTES: Final = 16 << 20
_TELL_EVERY_S: Final = 0.9
# Each row group makes the index longer, and the index is written whole: in a file of very many row groups
# they come less often, so that indexes never are most of what is written.
_MORE_PER_GROUP_S: Final = 0.02
_STDERR: Final = 2


class ParquetWriter:
    """Frames of one event type into a file; a pipe gets the same, with the index at its end only."""

    def __init__(
        self, descriptor: int, event_type: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Takes over the descriptor of an empty file, or of a pipe. Raises OSError."""
        self._clock = clock
        self._frames: list[pl.DataFrame] = []
        self._waiting_bytes = 0
        self._footer = Footer.of(_encoded(pl.DataFrame(schema=schema(event_type))))
        self._is_told = True
        self._told_at: float = float("-inf")
        self._descriptor = descriptor
        self._file = _file(descriptor, self._footer)

    @property
    def rows(self) -> int:
        """How many are in the file, whether or not they can be read already."""
        return self._footer.rows

    @property
    def size(self) -> int:
        """Bytes of the file's data so far."""
        return self._file.data_end

    def write(self, frame: pl.DataFrame) -> None:
        """Take rows; all must have the columns of the event type. Raises OSError; the file stays valid."""
        self._frames.append(frame)
        self._waiting_bytes += int(frame.estimated_size())
        if self._waiting_bytes >= _GROUP_BYTES:
            self._add_group()

    def flush(self) -> None:
        """Let readers see what was written, if that is due. Raises OSError; the file stays valid."""
        if self._descriptor > _STDERR:
            require_linked(self._descriptor)
        pause_s = max(_TELL_EVERY_S, len(self._footer.groups) * _MORE_PER_GROUP_S)
        if self._clock() - self._told_at >= pause_s:
            self.tell()

    def tell(self) -> None:
        """Let readers see all that was written. Raises OSError; the file stays valid."""
        self._add_group()
        if not self._is_told:
            self._file.tell(self._footer.encoded())
            self._is_told = True
            self._told_at = self._clock()

    def close(self) -> None:
        """Write the rest and close the file. Raises OSError; the file stays valid. Idempotent."""
        if self._descriptor == CLOSED:
            return
        self._descriptor = CLOSED
        try:
            self.tell()
        finally:
            self._frames.clear()
            self._file.finish()

    def _add_group(self) -> None:
        if not self._frames:
            return
        rows = pl.concat(self._frames, rechunk=False)
        self._frames.clear()
        self._waiting_bytes = 0
        group, rows_before = len(self._footer.groups), self._footer.rows
        data = self._footer.add(_encoded(rows), self._file.data_end)
        try:
            self._file.add(data)
        except OSError:
            del self._footer.groups[group:]
            self._footer.rows = rows_before
            raise
        self._is_told = False


class _Pipe:
    """Where one cannot go back: the index is kept until the end."""

    def __init__(self, descriptor: int, head: bytes, index: bytes) -> None:
        write_whole(descriptor, head)
        self._descriptor = descriptor
        self._index = index
        self.data_end = len(head)

    def add(self, data: bytes) -> None:
        write_whole(self._descriptor, data)
        self.data_end += len(data)

    def tell(self, index: bytes) -> None:
        self._index = index

    def finish(self) -> None:
        try:
            write_whole(self._descriptor, self._index)
        finally:
            if self._descriptor > _STDERR:
                os.close(self._descriptor)


def _file(descriptor: int, footer: Footer) -> GrowingFile | _Pipe:
    # Where standard output leads to, others may write as well.
    kind = GrowingFile if descriptor > _STDERR and is_regular(descriptor) else _Pipe
    return kind(descriptor, MAGIC, footer.encoded())


def _encoded(frame: pl.DataFrame) -> bytes:
    """A whole Parquet file of at most one row group."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=1, row_group_size=max(frame.height, 1))
    return buffer.getvalue()
