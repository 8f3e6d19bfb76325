"""Replacing the end of a file in one step: a process that is killed leaves the old end or the new one.

SIGKILL stops a `write` between two pages of the file. It does not stop a read from a memory file, and that
can go straight into a mapping of the file. So a filling (blanks, for text) is written behind the end, where
any part of it does no harm; then the whole new end is read over the old one and the filling.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Parts = Sequence[bytes | memoryview]
    Filling = Callable[[int, int], Iterator[bytes]]

PAGE = mmap.ALLOCATIONGRANULARITY
"""A `write` that stays between two multiples of it cannot be stopped half way."""


def blanks(start: int, size: int) -> Iterator[bytes]:  # noqa: ARG001  other fillings depend on the place
    """The filling of text."""
    yield b" " * size


class FileEnd:
    """The end of a regular file to whose readers the filling at the end means nothing.

    `filling` gives, for a place and a size, the pieces to write there one after the other; the file must be
    valid after each of them, and after a part of one that is longer than what is left of its page.

    Where the file system cannot map files, ends of more than a page are written as far as the kernel gets.
    """

    def __init__(self, descriptor: int, filling: Filling = blanks) -> None:
        """The file must not be empty; `descriptor` stays the caller's. Raises OSError."""
        self._descriptor = descriptor
        self._filling = filling
        self._staging = os.memfd_create("file-end", os.MFD_CLOEXEC)
        self._mappable = _reopen_for_mapping(descriptor)

    def replace(self, parts: Parts, start: int, *, old: bytes) -> None:
        """Put `parts` in the place of `old`: what follows offset `start`, and no longer than `parts`.

        Raises OSError (a full disk); the file is then as it was.
        """
        size = sum(map(len, parts))
        try:
            if self._mappable is None or start // PAGE == (start + size - 1) // PAGE:
                _write_at(self._descriptor, parts, start)
            else:
                self._fill(start + len(old), size - len(old))
                self._read_over(self._mappable, parts, start)
        except OSError:
            self._restore(start, old)
            raise

    def close(self) -> None:
        """Idempotent."""
        for descriptor in (self._staging, self._mappable):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._staging, self._mappable = -1, None

    def _fill(self, start: int, size: int) -> None:
        for piece in self._filling(start, size):
            _write_at(self._descriptor, (piece,), start)
            start += len(piece)

    def _read_over(self, mappable: int, parts: Parts, start: int) -> None:
        _write_at(self._staging, parts, 0)
        size = sum(map(len, parts))
        page = start - start % PAGE
        with mmap.mmap(mappable, start + size - page, offset=page) as pages, memoryview(pages) as view:
            done = 0
            while done < size:
                with view[start - page + done :] as rest:
                    done += os.preadv(self._staging, (rest,), done)

    def _restore(self, start: int, old: bytes) -> None:
        with contextlib.suppress(OSError):  # the error that matters is the writer's
            # Not cut shorter than it was: the blocks that `old` needs must stay allocated on a full disk.
            os.ftruncate(self._descriptor, start + len(old))
            os.pwrite(self._descriptor, old, start)


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


def _write_at(descriptor: int, parts: Parts, start: int) -> None:
    """In one call where the kernel takes it whole."""
    done = os.pwritev(descriptor, parts, start)
    rest = b"".join(parts)[done:] if done < sum(map(len, parts)) else b""
    while rest:
        written = os.pwrite(descriptor, rest, start + done)
        done, rest = done + written, rest[written:]
