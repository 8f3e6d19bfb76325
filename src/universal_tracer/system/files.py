"""Writing to descriptors so that nothing is left half written where that can be helped."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CLOSED = -1
"""What holders of a descriptor keep once they have closed it; the kernel refuses it."""


def open_for_writing(path: Path) -> int:
    """A descriptor of the new, empty file at `path`; an existing file is emptied. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)


def is_regular(descriptor: int) -> bool:
    """Whether one can seek in it and cut it: not so for pipes, terminals and devices."""
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def write_whole(descriptor: int, data: bytes) -> None:
    """Write everything, waiting where a pipe is full. Raises OSError.

    What was written before an error is cut off a regular file again, so that a full disk leaves no half line.
    """
    done = 0
    try:
        while done < len(data):
            done += _write_some(descriptor, memoryview(data)[done:])
    except OSError:
        if done:
            _take_back(descriptor, done)
        raise


def _write_some(descriptor: int, data: memoryview) -> int:
    try:
        return os.write(descriptor, data)
    except BlockingIOError:  # somebody who shares the pipe made it non-blocking
        select.select([], [descriptor], [])
        return 0


def _take_back(descriptor: int, size: int) -> None:
    """Cut the last `size` bytes that were written, unless somebody else has written behind them."""
    with contextlib.suppress(OSError):  # the error that matters is the writer's
        end = os.fstat(descriptor).st_size
        if is_regular(descriptor) and os.lseek(descriptor, 0, os.SEEK_CUR) == end:
            os.ftruncate(descriptor, end - size)
            os.lseek(descriptor, end - size, os.SEEK_SET)


def require_linked(descriptor: int) -> None:
    """Raises FileNotFoundError where a regular file has been deleted: what is written to it would be lost."""
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and not status.st_nlink:
        raise FileNotFoundError(errno.ENOENT, "it was deleted while it was written")
