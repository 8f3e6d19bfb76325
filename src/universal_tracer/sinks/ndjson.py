"""JSON, one object a line."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from universal_tracer.system.files import CLOSED, require_linked, write_whole
from universal_tracer.system.json_lines import json_lines

if TYPE_CHECKING:
    import polars as pl

# JSON escapes the control characters below 32 by itself. Terminals obey these others, too.
STDERR = 2
_TERMINAL_CONTROLS = re.compile(rb"\x7f|\xc2[\x80-\x9f]")


class NdjsonSink:
    """Writes each batch at once, so that readers see it without a flush."""

    def __init__(self, name: str, descriptor: int) -> None:
        """Takes over `descriptor`, which may be a file, a pipe or a terminal; standard output stays open."""
        self._name = name
        self._descriptor = descriptor
        self._is_terminal = os.isatty(descriptor)

    @property
    def name(self) -> str:
        return self._name

    def write(self, event_type: str, frame: pl.DataFrame) -> None:  # noqa: ARG002
        """Raises OSError; a regular file then ends with the last complete chunk of rows."""
        for text in json_lines(frame):
            write_whole(self._descriptor, _visible(text) if self._is_terminal else text)

    def flush(self) -> None:
        """Nothing is held back. Raises OSError where the file has been deleted."""
        if self._descriptor > STDERR:
            require_linked(self._descriptor)

    def close(self) -> None:
        if self._descriptor > STDERR:
            os.close(self._descriptor)
        self._descriptor = CLOSED


def _visible(text: bytes) -> bytes:
    return _TERMINAL_CONTROLS.sub(lambda found: b"\\u%04x" % ord(found[0].decode()), text)
