"""A file that must always end with its index, though data are added before it.

The index stands at the very end, the data grow towards it through a hole that takes no room on the disk:

    data … │ hole │ index

Data that were added are not in the index, so that nobody misses what is only half there. Then the index is
replaced in one step. Where the hole is used up, the index is first written once more, further behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Final

from universal_tracer.system.one_step import PAGE, OneStep, write_at

_FIRST_HOLE: Final = 1 << 20
_LARGEST_HOLE: Final = 256 << 20


class GrowingFile:
    """A regular file with an index at its end, valid at any time, also after SIGKILL and on a full disk."""

    def __init__(self, descriptor: int, head: bytes, index: bytes) -> None:
        """Takes over the descriptor of an empty file and makes it `head` and `index`. Raises OSError."""
        self._descriptor = descriptor
        write_at(descriptor, (head, index), 0)
        self._data_end = len(head)
        self._index = index
        self._end = len(head) + len(index)
        self._one_step = OneStep(descriptor)

    @property
    def data_end(self) -> int:
        """Where the next data will stand."""
        return self._data_end

    def add(self, data: bytes) -> None:
        """Write data that the index does not tell of yet. Raises OSError; the file is valid then."""
        self._make_room(len(data), len(self._index))
        write_at(self._descriptor, (data,), self._data_end)
        self._data_end += len(data)

    def tell(self, index: bytes) -> None:
        """Replace the index. Raises OSError; the old one stands there then."""
        self._make_room(0, len(index))
        start, old_start = self._end - len(index), self._end - len(self._index)
        if start < old_start:  # have room on the disk
            write_at(self._descriptor, (index[: old_start - start],), start)
        self._one_step.write((index,), start)
        self._index = index

    def finish(self) -> None:
        """Take the hole out and close. What was told stays, whatever fails. Idempotent."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):  # the index at the end remains
            end = self._data_end + len(self._index)
            if end <= self._end - len(self._index):
                write_at(self._descriptor, (self._index,), self._data_end)
                os.ftruncate(self._descriptor, end)
        self._one_step.close()
        os.close(self._descriptor)
        self._descriptor = -1

    def _make_room(self, data_size: int, index_size: int) -> None:
        """Have room for more data, or a longer index, before the index, and on the disk.

        Of an index there is room for a copy right behind the data: on a full disk the hole can still go.
        """
        size = data_size + index_size
        if self._data_end + size + index_size > self._end:
            self._widen_hole(size + index_size)
        os.posix_fallocate(self._descriptor, self._data_end, size)

    def _widen_hole(self, size: int) -> None:
        hole = min(max(_FIRST_HOLE, self._data_end), _LARGEST_HOLE)
        try:
            self._move_end(size + hole)
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise
            self._move_end(size)  # files may not be that long, but perhaps long enough

    def _move_end(self, size: int) -> None:
        end = -(-(self._end + size + len(self._index)) // PAGE) * PAGE
        try:
            # Of more than a page a kill within these microseconds could leave half.
            write_at(self._descriptor, (self._index,), end - len(self._index))
        except OSError:
            os.ftruncate(self._descriptor, self._end)
            raise
        self._end = end
