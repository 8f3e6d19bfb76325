"""A JSON array in a file that can be read at any time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from universal_tracer.system.file_end import FileEnd
from universal_tracer.system.files import CLOSED, require_linked, write_whole
from universal_tracer.system.json_lines import json_lines

if TYPE_CHECKING:
    import polars as pl

_BEGIN = b"["
_END = b"\n]\n"


class JsonSink:
    """A file that is a valid array after every write, whenever the tracer is killed.

    New rows and the array's new end take the place of its old end in one step; see `system.file_end`.
    """

    def __init__(self, name: str, descriptor: int) -> None:
        """Takes over the descriptor of an empty regular file and makes it an empty array. Raises OSError."""
        self._name = name
        self._descriptor = descriptor
        write_whole(descriptor, _BEGIN + _END)
        self._file_end = FileEnd(descriptor)
        self._end = len(_BEGIN)
        self._separator = b"\n"

    @property
    def name(self) -> str:
        return self._name

    def write(self, event_type: str, frame: pl.DataFrame) -> None:  # noqa: ARG002
        """Raises OSError; the file is then valid and lacks the rows that did not fit."""
        for text in json_lines(frame):
            rows = memoryview(text.replace(b"\n", b",\n"))[: -len(b",\n")]
            self._file_end.replace((self._separator, rows, _END), self._end, old=_END)
            self._end += len(self._separator) + len(rows)
            self._separator = b",\n"

    def flush(self) -> None:
        """Nothing is held back. Raises OSError where the file has been deleted."""
        if self._descriptor != CLOSED:
            require_linked(self._descriptor)

    def close(self) -> None:
        self._file_end.close()
        if self._descriptor != CLOSED:
            os.close(self._descriptor)
        self._descriptor = CLOSED
