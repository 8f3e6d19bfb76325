"""A file that shows the stacks of the whole run, in whatever format: made anew while the run goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from universal_tracer.model.stack_counts import StackCounts
from universal_tracer.system.whole_file import WholeFile

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

# Making it anew may take this share of the time at most.
_EFFORT: Final = 0.1


class StackFileSink:
    """Sums up `profile` and `function` events; other events are left out."""

    def __init__(self, name: str, descriptor: int, render: Callable[[StackCounts], bytes]) -> None:
        """Takes over the descriptor. `render` makes the file's content of the sums."""
        self._name = name
        self._file = WholeFile(descriptor)
        self._render = render
        self._counts = StackCounts()
        self._is_current = False
        self._next_s = 0.0

    @property
    def name(self) -> str:
        return self._name

    def write(self, event_type: str, frame: pl.DataFrame) -> None:
        """Nothing reaches the file before the next flush."""
        if event_type == "profile":
            self._counts.add(frame)
        elif event_type == "function":
            self._counts.add_calls(frame)
        else:
            return
        self._is_current = False

    def flush(self) -> None:
        """Raises OSError."""
        begun_s = time.monotonic()
        if not self._is_current and begun_s >= self._next_s:
            self._file.replace(self._render(self._counts))
            self._is_current = True
            now_s = time.monotonic()
            self._next_s = now_s + (now_s - begun_s) / _EFFORT

    def close(self) -> None:
        """Raises OSError."""
        if not self._file.is_closed:
            self._file.finish(self._render(self._counts))
