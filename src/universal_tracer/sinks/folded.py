"""Folded stacks: a line per distinct stack, functions parted by semicolons, then the number of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from universal_tracer.model.flame_graph import boxes
from universal_tracer.model.stack_counts import StackCounts
from universal_tracer.system.whole_file import WholeFile

if TYPE_CHECKING:
    import polars as pl

# What parts functions and lines cannot be in a name.
_FORBIDDEN = str.maketrans({";": ":", "\n": " ", "\r": " "})


class FoldedSink:
    """The sums of the whole run; the file is written anew while they grow."""

    def __init__(self, name: str, descriptor: int) -> None:
        """Takes over the descriptor."""
        self._name = name
        self._file = WholeFile(descriptor)
        self._counts = StackCounts()
        self._is_current = True

    @property
    def name(self) -> str:
        return self._name

    def write(self, event_type: str, frame: pl.DataFrame) -> None:
        """Other events than profiles are left out."""
        if event_type == "profile":
            self._counts.add(frame)
            self._is_current = False

    def flush(self) -> None:
        """Raises OSError."""
        if not self._is_current:
            self._file.replace(folded(self._counts))
            self._is_current = True

    def close(self) -> None:
        self._file.finish(folded(self._counts))


def folded(counts: StackCounts) -> bytes:
    """The lines, in the order of their text: the same stacks make the same file."""
    sums: dict[str, int] = {}
    for key, found in counts.sums.items():
        text = ";".join(box.name.translate(_FORBIDDEN) for box in boxes(key))
        sums[text] = sums.get(text, 0) + found.count
    lines = [f"{text} {count}\n" for text, count in sorted(sums.items()) if count]
    return "".join(lines).encode(errors="replace")
