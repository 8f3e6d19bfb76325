"""Packets as pcapng.

The native core makes the blocks; here they are written so that a file is valid at any time.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final

from universal_tracer.system.file_end import FileEnd
from universal_tracer.system.files import CLOSED, is_regular, write_whole
from universal_tracer.system.one_step import PAGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

_STDERR: Final = 2
# A block: its type, its length, whole words, its length again.
_SMALLEST_BLOCK: Final = 12
_LENGTH_AT: Final = 4
# Types from here on are for local use: readers pass over them.
_FILLING: Final = 0x8000_0000
# A list of names with nothing in it but its end.
_NO_NAMES: Final = struct.pack("=IIII", 4, 16, 0, 16)


class PcapngSink:
    """A file or a pipe of packets; events of other kinds are no concern of it.

    A regular file is valid pcapng after every write, whenever the tracer is killed; see `system.file_end`.
    """

    def __init__(self, name: str, descriptor: int) -> None:
        """Takes over `descriptor`, which is empty where it is a regular file; standard output stays open."""
        self._name = name
        self._descriptor = descriptor
        self._file_end: FileEnd | None = None
        self._size = os.fstat(descriptor).st_size
        self._can_go_back = is_regular(descriptor) and self._size == 0

    @property
    def name(self) -> str:
        return self._name

    def write(self, event_type: str, frame: pl.DataFrame) -> None:
        """Events are not for packet files."""

    def write_packets(self, blocks: Sequence[bytes]) -> None:
        """Each item is a number of whole blocks. Raises OSError; what was written before is valid."""
        for some in blocks:
            if self._can_go_back:
                self._append(some)
            else:
                write_whole(self._descriptor, some)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        if self._file_end is not None:
            self._file_end.close()
        if self._descriptor > _STDERR:
            os.close(self._descriptor)
        self._descriptor = CLOSED

    def _append(self, blocks: bytes) -> None:
        if self._file_end is None:
            # the first block is far shorter than a page: it is written at once, or not at all
            (length,) = struct.unpack_from("=I", blocks, _LENGTH_AT)
            write_whole(self._descriptor, blocks[:length])
            self._file_end = FileEnd(self._descriptor, _filling)
            self._size, blocks = length, blocks[length:]
        padding = _padding(self._size + len(blocks))
        self._file_end.replace((blocks, padding), self._size, old=b"")
        self._size += len(blocks) + len(padding)


def _filling(start: int, size: int) -> Iterator[bytes]:
    """Blocks without meaning, none beyond the end of its page."""
    while size:
        length = min(size, PAGE - start % PAGE)
        yield (
            struct.pack("=II", _FILLING, length) + bytes(length - _SMALLEST_BLOCK) + struct.pack("=I", length)
        )
        start, size = start + length, size - length


def _padding(end: int) -> bytes:
    """What brings the end of the file to a place from where, and to where, whole blocks can fill a page."""
    padding = b""
    while 0 < (end + len(padding)) % PAGE < _SMALLEST_BLOCK or -(end + len(padding)) % PAGE in (4, 8):
        padding += _NO_NAMES
    return padding
