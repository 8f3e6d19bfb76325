"""Overwriting part of a file in one step: a process that is killed leaves the old bytes or the new ones.

SIGKILL stops a `write` between two pages of the file. It does not stop a read from a memory file, and that
can go straight into a mapping of the file.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    Parts = Sequence[bytes | memoryview]

PAGE = mmap.ALLOCATIONGRANULARITY
"""A `write` that stays between two multiples of it cannot be stopped half way."""


class OneStep:
    """Overwrites parts of a regular file.

    Where the file system cannot map files, more than a page is written as far as the kernel gets.
    """

    def __init__(self, descriptor: int) -> None:
        """The file must not be empty; `descriptor` stays the caller's. Raises OSError."""
        self._descriptor = descriptor
        self._staging = os.memfd_create("one-step", os.MFD_CLOEXEC)
        self._mappable = _reopen_for_mapping(descriptor)

    def needs_room(self, start: int, size: int) -> bool:
        """Whether the place must be written once before, so that the disk has room; not so in a page."""
        return self._mappable is not None and start // PAGE != (start + size - 1) // PAGE

    def write(self, parts: Parts, start: int) -> None:
        """Put `parts` at offset `start`, over bytes that have been written before. Raises OSError."""
        size = sum(map(len, parts))
        if self._mappable is None or not self.needs_room(start, size):
            write_at(self._descriptor, parts, start)
            return
        write_at(self._staging, parts, 0)
        page = start - start % PAGE
        with mmap.mmap(self._mappable, start + size - page, offset=page) as pages, memoryview(pages) as view:
            done = 0
            while done < size:
                with view[start - page + done : start - page + size] as rest:
                    done += os.preadv(self._staging, (rest,), done)

    def close(self) -> None:
        """Idempotent."""
        for descriptor in (self._staging, self._mappable):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._staging, self._mappable = -1, None


def write_at(descriptor: int, parts: Parts, start: int) -> None:
    """In one call where the kernel takes it whole. Raises OSError."""
    done = os.pwritev(descriptor, parts, start)
    rest = b"".join(parts)[done:] if done < sum(map(len, parts)) else b""
    while rest:
        written = os.pwrite(descriptor, rest, start + done)
        done, rest = done + written, rest[written:]


def _reopen_for_mapping(descriptor: int) -> int | None:
    """A descriptor that can be mapped for writing, which needs reading as well; None where there is none."""
    try:
        again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        mmap.mmap(again, 1).close()
    except OSError:
        os.close(again)
        return None
    return again
