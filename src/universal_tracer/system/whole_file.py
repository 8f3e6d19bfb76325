"""A file that is written as a whole, again and again: what it shows is made anew while more is known."""

from __future__ import annotations

import os

from universal_tracer.system.files import CLOSED, is_regular, write_whole


class WholeFile:
    """A regular file is replaced each time; a pipe or device gets the last version only."""

    def __init__(self, descriptor: int) -> None:
        """Takes over the descriptor."""
        self._descriptor = descriptor
        self._is_regular = is_regular(descriptor)

    @property
    def is_closed(self) -> bool:
        """Whether it is finished."""
        return self._descriptor == CLOSED

    def replace(self, content: bytes) -> None:
        """Show `content` instead of what was there before. Raises OSError."""
        if not self._is_regular:
            return
        done = 0
        while done < len(content):
            done += os.pwrite(self._descriptor, memoryview(content)[done:], done)
        os.ftruncate(self._descriptor, len(content))

    def finish(self, content: bytes) -> None:
        """Write the last version and close. Raises OSError; closed all the same."""
        if self._descriptor == CLOSED:
            return
        try:
            if self._is_regular:
                self.replace(content)
            else:
                write_whole(self._descriptor, content)
        finally:
            os.close(self._descriptor)
            self._descriptor = CLOSED
