"""Replacing the end of a file in one step: a process that is killed leaves the old end or the new one.

A filling (blanks, for text) is written behind the end, where any part of it does no harm; then the whole new
end is put over the old one and the filling.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from universal_tracer.system.one_step import OneStep, write_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from universal_tracer.system.one_step import Parts

    Filling = Callable[[int, int], Iterator[bytes]]


def blanks(start: int, size: int) -> Iterator[bytes]:  # noqa: ARG001  other fillings depend on the place
    """The filling of text."""
    yield b" " * size


class FileEnd:
    """The end of a regular file to whose readers the filling at the end means nothing.

    `filling` gives, for a place and a size, the pieces to write there one after the other; the file must be
    valid after each of them, and after a part of one that is longer than what is left of its page.
    """

    def __init__(self, descriptor: int, filling: Filling = blanks) -> None:
        """The file must not be empty; `descriptor` stays the caller's. Raises OSError."""
        self._descriptor = descriptor
        self._filling = filling
        self._one_step = OneStep(descriptor)

    def replace(self, parts: Parts, start: int, *, old: bytes) -> None:
        """Put `parts` in the place of `old`: what follows offset `start`, and no longer than `parts`.

        Raises OSError (a full disk); the file is then as it was.
        """
        size = sum(map(len, parts))
        try:
            if self._one_step.needs_room(start, size):
                self._fill(start + len(old), size - len(old))
            self._one_step.write(parts, start)
        except OSError:
            self._restore(start, old)
            raise

    def close(self) -> None:
        """Idempotent."""
        self._one_step.close()

    def _fill(self, start: int, size: int) -> None:
        for piece in self._filling(start, size):
            write_at(self._descriptor, (piece,), start)
            start += len(piece)

    def _restore(self, start: int, old: bytes) -> None:
        with contextlib.suppress(OSError):  # the error that matters is the writer's
            # Not cut shorter than it was: the blocks that `old` needs must stay allocated on a full disk.
            os.ftruncate(self._descriptor, start + len(old))
            os.pwrite(self._descriptor, old, start)
