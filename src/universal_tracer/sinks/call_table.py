"""What the live table shows of traced functions: how often they are called, and how long that takes.

Not an output of its own: `table` shows it below its lines, or, where there is no terminal, tells each call in
a line.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Final

from universal_tracer.model.latencies import CountedLatencies
from universal_tracer.system.terminal import duration, visible

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from universal_tracer.system.terminal import Style

EVENT_TYPES: Final = ("function",)
_TABLE: Final = "functions"
_MOST_FUNCTIONS: Final = 16
_RATE_OVER_S: Final = 2.0
_HEAD: Final = f"{'CALLS':>12} {'CALLS/S':>9} {'P50':>8} {'P99':>8} {'MAX':>8}  FUNCTION"
_NS_PER_MS: Final = 1e6


class CallTable:
    """Sums of the run by function, as the kernel has counted them: also of calls whose events were lost."""

    def __init__(self, style: Style, clock: Callable[[], float] = time.monotonic) -> None:
        self._style = style
        self._clock = clock
        self._functions: dict[tuple[str, str], CountedLatencies] = defaultdict(CountedLatencies)
        self._seen: deque[tuple[float, dict[tuple[str, str], int]]] = deque([(clock(), {})])

    def takes(self, event_type: str) -> bool:
        """Whether these events are shown here."""
        return event_type in EVENT_TYPES

    def write(self, event_type: str, frame: pl.DataFrame, *, is_live: bool) -> list[str]:  # noqa: ARG002
        """Take rows; returns a line for each where nothing else shows them."""
        if is_live:
            return []
        columns = (
            "timestamp_ns",
            "comm",
            "tid",
            "function",
            "event",
            "duration_ns",
            "arguments",
            "return_value",
        )
        return [self._line(row) for row in frame.select(columns).iter_rows(named=True)]

    def write_live(self, table: str, frame: pl.DataFrame) -> None:
        """Take what is new of `functions`."""
        if table != _TABLE:
            return
        for row in frame.iter_rows(named=True):
            found = self._functions[row["function"], row["module"]]
            found.add(row["calls"], row["max_ns"], row["latencies"])
        now_s = self._clock()
        self._seen.append((now_s, {name: found.calls for name, found in self._functions.items()}))
        while len(self._seen) > 2 and self._seen[1][0] <= now_s - _RATE_OVER_S:
            self._seen.popleft()

    def lines(self, width: int, height: int) -> list[str]:
        """The panel: at most so many lines of at most so many columns, the most calls first."""
        if not self._functions:
            return []
        most = sorted(self._functions.items(), key=lambda item: (-item[1].calls, item[0]))
        lines = [self._style.paint(self._style.clip(_HEAD, width), "bold")]
        for name, found in most[: min(_MOST_FUNCTIONS, max(height - 1, 0))]:
            lines.append(self._style.clip(self._row(name, found), width))
        return lines[: max(height, 1)]

    def _row(self, name: tuple[str, str], found: CountedLatencies) -> str:
        latencies = (found.percentile(50), found.percentile(99), found.longest)
        told = " ".join(f"{duration(_milliseconds(latency), self._style):>8}" for latency in latencies)
        function, module = name
        named = visible(f"{function} ({module.rpartition('/')[2]})", only_ascii=self._style.only_ascii)
        return f"{found.calls:>12,} {self._rate(name):>9,.0f} {told}  {named}"

    def _rate(self, name: tuple[str, str]) -> float:
        since, calls = self._seen[0]
        passed_s = self._clock() - since
        return (self._functions[name].calls - calls.get(name, 0)) / passed_s if passed_s > 0 else 0.0

    def _line(self, row: dict[str, Any]) -> str:
        seconds, nanoseconds = divmod(row["timestamp_ns"], 1_000_000_000)
        clock = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{nanoseconds // 1000:06}"
        given = ", ".join(f"{found['name']}={_shown(found)}" for found in row["arguments"] or ())
        call = f"{row['comm']} {row['tid']} {row['function']}({given})"
        if row["event"] == "exit":
            result = "" if row["return_value"] is None else f" = {row['return_value']}"
            call = f"{call}{result} after {duration(_milliseconds(row['duration_ns']), self._style)}"
        return f"{clock} {visible(call, only_ascii=self._style.only_ascii)}"


def _milliseconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / _NS_PER_MS


def _shown(argument: dict[str, Any]) -> str:
    value = argument["value"]
    if value is None:
        return "?"
    return f'"{value}"' if argument["type"] == "string" else str(value)
