"""What the live table shows of stacks: the functions that took most of the processor's time so far.

Not an output of its own: `table` shows it below its lines, or, where there is no terminal, as lines.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import polars as pl

from universal_tracer.system.terminal import visible

if TYPE_CHECKING:
    from universal_tracer.system.terminal import Style

EVENT_TYPES: Final = ("profile",)
_MOST_FUNCTIONS: Final = 12
_MOST_IN_LINE: Final = 3
_MOST_KEPT: Final = 50_000
_HEAD: Final = f"{'SELF':>7} {'TOTAL':>7}  FUNCTION"


class FunctionTable:
    """Shares of the samples on a CPU: at work in a function (self), or in what it called as well (total)."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._samples = 0
        self._own: Counter[tuple[str, str]] = Counter()
        self._all: Counter[tuple[str, str]] = Counter()

    def takes(self, event_type: str) -> bool:
        """Whether these events are shown here."""
        return event_type in EVENT_TYPES

    def write(self, event_type: str, frame: pl.DataFrame, *, is_live: bool) -> list[str]:  # noqa: ARG002
        """Take rows; returns what is to be told of them line by line."""
        seen: Counter[tuple[str, str]] = Counter()
        rows = frame.filter(pl.col("kind") == "cpu").select("frames", "count")
        for frames, count in rows.iter_rows():
            functions = [(found["name"], found["module"] or "") for found in frames]
            self._samples += count
            if functions:
                seen[functions[-1]] += count
            for function in set(functions):
                self._all[function] += count
        self._own += seen
        if len(self._all) > _MOST_KEPT:
            self._all = Counter(dict(self._all.most_common(_MOST_KEPT // 2)))
        return [] if is_live else self._line_of(seen)

    def write_live(self, table: str, frame: pl.DataFrame) -> None:
        """Nothing comes this way."""

    def lines(self, width: int, height: int) -> list[str]:
        """The panel: at most so many lines of at most so many columns."""
        if not self._samples:
            return []
        lines = [self._style.paint(self._style.clip(_HEAD, width), "bold")]
        for function, own in self._own.most_common(_MOST_FUNCTIONS):
            shares = f"{self._share(own):>7} {self._share(self._all[function]):>7}"
            lines.append(self._style.clip(f"{shares}  {self._named(function)}", width))
        return lines[: max(height, 1)]

    def _line_of(self, seen: Counter[tuple[str, str]]) -> list[str]:
        total = sum(seen.values())
        if not total:
            return []
        parts = [
            f"{100 * count / total:.0f} % {self._named(function)}"
            for function, count in seen.most_common(_MOST_IN_LINE)
        ]
        return [f"{total:,} samples: {', '.join(parts)}"]

    def _share(self, count: int) -> str:
        return f"{100 * count / self._samples:.1f} %"

    def _named(self, function: tuple[str, str]) -> str:
        name, module = function
        place = f" ({module.rpartition('/')[2]})" if module else ""
        return visible(f"{name}{place}", only_ascii=self._style.only_ascii)
