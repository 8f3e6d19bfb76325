"""A live table: one request a line, and on a terminal a footer of running figures that stays below.

Figures of other events come from a panel, which is told apart so that this file knows requests only.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from universal_tracer.model.figures import RequestFigures, has_failed
from universal_tracer.system.terminal import Style, Terminal, cells, duration, visible

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

_FOOTER_EVERY_S = 0.25
_RATE_OVER_S = 2.0
_FEWEST_ROWS = 10
_ROWS_FOR_FOOTER = 4
_ROWS_ABOVE_PANEL = 3

# Nested columns that would be turned into Python objects for nothing.
_NEVER_SHOWN = ("container", "request_headers", "response_headers", "breakdown", "tcp", "tls", "local")

_ERASE_BELOW = "\r\x1b[J"
_COLOR_OF_STATUS_CLASS = {2: "green", 3: "cyan", 4: "yellow", 5: "red"}


@dataclass(frozen=True, slots=True)
class Layout:
    """Widths of the columns; 0 where there is no room for one."""

    time: int
    method: int
    path: int
    status: int
    latency: int
    who: int

    @classmethod
    def for_width(cls, width: int) -> Layout:
        """What fits into `width` columns: narrow terminals lose the processes first, then the time."""
        clock = 12 if width >= 100 else 8 if width >= 56 else 0
        status = 9 if width >= 100 else 7
        method, latency = 7, 8
        fixed = sum(column + 1 for column in (clock, method, status, latency) if column)
        who = min((width - fixed) // 2, 48) if width >= 70 else 0
        path = width - fixed - (who + 1 if who else 0)
        return cls(clock, method, max(path, 1), status, latency, who)


class Panel(Protocol):
    """Figures of other events, shown below those of requests."""

    def takes(self, event_type: str) -> bool:
        """Whether events of this type are for it."""

    def write(self, event_type: str, frame: pl.DataFrame, *, is_live: bool) -> list[str]:
        """Take rows; returns what is to be told of them line by line."""

    def write_live(self, table: str, frame: pl.DataFrame) -> None:
        """Take the figures of the last second."""

    def lines(self, width: int, height: int) -> list[str]:
        """The panel, not larger than this."""


@dataclass(frozen=True, slots=True)
class Panels:
    """Several panels, one below the other."""

    panels: tuple[Panel, ...]

    def takes(self, event_type: str) -> bool:
        """See `Panel`."""
        return any(panel.takes(event_type) for panel in self.panels)

    def write(self, event_type: str, frame: pl.DataFrame, *, is_live: bool) -> list[str]:
        """See `Panel`."""
        taking = [panel for panel in self.panels if panel.takes(event_type)]
        return [line for panel in taking for line in panel.write(event_type, frame, is_live=is_live)]

    def write_live(self, table: str, frame: pl.DataFrame) -> None:
        """See `Panel`."""
        for panel in self.panels:
            panel.write_live(table, frame)

    def lines(self, width: int, height: int) -> list[str]:
        """See `Panel`; the first ones have the room."""
        lines: list[str] = []
        for panel in self.panels:
            if len(lines) < height:
                lines += panel.lines(width, height - len(lines))
        return lines


@dataclass(frozen=True, slots=True)
class Contents:
    """What a table is about."""

    requests: bool = True
    connections: bool = False
    panel: Panel | None = None


class TableSink:
    """Requests (and connections, where asked for) as lines; losses and figures in the footer.

    Where more comes than one can read, failed requests and the latest ones are shown, and a line counts the
    rest. Without a terminal there is no footer, nothing is shortened and no escape code is written. The
    cursor rests above the footer, so that what others write to the terminal appears there, harming nothing.
    """

    def __init__(
        self,
        name: str,
        terminal: Terminal,
        *,
        contents: Contents = Contents(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The terminal's descriptor stays open at the end."""
        self._name = name
        self._terminal = terminal
        self._style = terminal.style
        self._contents = contents
        self._panel = contents.panel
        self._clock = clock
        self._footer = Footer(terminal.style, clock, with_requests=contents.requests)
        self._header_width = 0
        self._footer_drawn_at = float("-inf")
        self._is_closed = False

    @property
    def name(self) -> str:
        return self._name

    def write(self, event_type: str, frame: pl.DataFrame) -> None:
        """Raises OSError."""
        if event_type == "loss":
            self._footer.lost += int(frame["count"].sum())
        elif event_type == "http":
            self._footer.figures.add(frame)
            self._show(frame, _request_cells)
        elif event_type == "connection" and self._contents.connections:
            self._show(frame, _connection_cells)
        elif self._panel is not None and self._panel.takes(event_type):
            self._tell(self._panel.write(event_type, frame, is_live=self._terminal.is_live))

    def write_live(self, table: str, frame: pl.DataFrame) -> None:
        """Figures of the last second, for the panel; they are seen when the footer is drawn next."""
        if self._panel is not None:
            self._panel.write_live(table, frame)

    def flush(self) -> None:
        """Brings the footer up to date."""
        if self._terminal.is_live and self._clock() - self._footer_drawn_at >= _FOOTER_EVERY_S:
            self._draw([])

    def close(self) -> None:
        """Leaves the last figures as ordinary lines."""
        if self._terminal.is_live and not self._is_closed:
            lines = self._below(self._terminal.size())
            self._terminal.write(_ERASE_BELOW + "".join(f"{line}\n" for line in lines))
        self._is_closed = True

    def _show(self, frame: pl.DataFrame, cells_of: Callable[[dict[str, Any], Style], Row]) -> None:
        layout = Layout.for_width(self._terminal.size().columns)
        limit = self._most_lines() if self._terminal.is_live else frame.height
        shown = _most_telling(frame.drop(_NEVER_SHOWN, strict=False), limit)
        lines = [] if shown.height == frame.height else [f"{frame.height - shown.height:,} more, not shown"]
        lines += [self._line(cells_of(row, self._style), layout) for row in shown.iter_rows(named=True)]
        self._draw(lines)

    def _tell(self, lines: list[str]) -> None:
        """Lines of the panel: of too many the latest."""
        limit = self._most_lines()
        if self._terminal.is_live and len(lines) > limit:
            lines = [f"{len(lines) - limit:,} more, not shown", *lines[-limit:]]
        if lines:
            width = self._terminal.size().columns
            self._draw([self._style.clip(line, width) for line in lines] if self._terminal.is_live else lines)

    def _most_lines(self) -> int:
        return max(self._terminal.size().lines - _ROWS_FOR_FOOTER, _FEWEST_ROWS)

    def _below(self, size: os.terminal_size) -> list[str]:
        """What stays below the lines; on a small terminal a part of it."""
        footer = self._footer.lines(size.columns)
        if self._panel is not None:
            footer += self._panel.lines(size.columns, size.lines - len(footer) - _ROWS_ABOVE_PANEL)
        return footer

    def _draw(self, lines: Iterable[str]) -> None:
        if not self._terminal.is_live:
            self._terminal.write("".join(f"{line}\n" for line in lines))
            return
        width = self._terminal.size().columns
        footer = self._below(self._terminal.size())
        rows = "".join(f"{line}\n" for line in (*self._header(width), *lines))
        back = f"\x1b[{len(footer)}A\r"
        self._terminal.write(_ERASE_BELOW + rows + "".join(f"\n{line}" for line in footer) + back)
        self._footer_drawn_at = self._clock()

    def _header(self, width: int) -> Iterator[str]:
        """Again where the width has changed: the columns have moved."""
        if self._contents.requests and width != self._header_width:
            self._header_width = width
            names = Row("TIME", "METHOD", "PATH", "STATUS", None, "LATENCY", "PROCESS AND PEER")
            yield self._style.paint(self._line(names, Layout.for_width(width)), "bold")

    def _line(self, row: Row, layout: Layout) -> str:
        fit = self._style.fit if self._terminal.is_live else self._style.pad
        status = fit(row.status, layout.status)
        parts = [
            fit(row.time[: layout.time], layout.time),
            fit(row.method, layout.method),
            fit(row.path, layout.path),
            self._style.paint(status, row.color) if row.color else status,
            fit(row.latency, -layout.latency),
            fit(row.who, layout.who),
        ]
        return " ".join(part for part in parts if part).rstrip()


@dataclass(frozen=True, slots=True)
class Row:
    """What one line tells, as visible text."""

    time: str
    method: str
    path: str
    status: str
    color: str | None
    latency: str
    who: str


class Footer:
    """Running figures in as many lines as they need."""

    def __init__(self, style: Style, clock: Callable[[], float], *, with_requests: bool) -> None:
        self.figures = RequestFigures()
        self._with_requests = with_requests
        self.lost = 0
        self._style = style
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque([(clock(), 0)])

    def lines(self, width: int) -> list[str]:
        """The figures as lines of at most `width` columns."""
        lines: list[str] = []
        used = 0
        for text, color in self._parts():
            needed = cells(text) + 2
            if lines and used + needed <= width:
                lines[-1] += "  "
            else:
                lines.append("")
                used = 0
            lines[-1] += self._style.paint(text, color)
            used += needed
        return lines

    def _parts(self) -> Iterator[tuple[str, str]]:
        lost = (f"{self.lost:,} lost", "red" if self.lost else "dim")
        if not self._with_requests:
            yield lost
            return
        yield from self._of_requests()
        yield lost
        yield f"{self.figures.served:,} served, {self.figures.made:,} made", "dim"

    def _of_requests(self) -> Iterator[tuple[str, str]]:
        figures = self.figures
        yield f"{self._rate():,.0f} requests/s", "bold"
        for name, percent in (("p50", 50), ("p90", 90), ("p99", 99)):
            milliseconds = figures.latency.percentile(percent)
            yield f"{name} {duration(milliseconds, self._style)}", "dim"
        yield _counted(figures.errors, "error"), "red" if figures.errors else "dim"

    def _rate(self) -> float:
        """Requests per second of late."""
        now = self._clock()
        self._seen.append((now, self.figures.requests))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _RATE_OVER_S:
            self._seen.popleft()
        since, count = self._seen[0]
        return (self.figures.requests - count) / (now - since) if now > since else 0.0


def _most_telling(frame: pl.DataFrame, limit: int) -> pl.DataFrame:
    """At most `limit` rows in their order: of too many the failed ones, then the latest."""
    if frame.height <= limit:
        return frame
    if "error" not in frame.columns:
        return frame.tail(limit)
    failures = frame.select(has_failed()).to_series()
    failed = frame.filter(failures).tail(limit)
    others = frame.filter(~failures).tail(limit - failed.height)
    return pl.concat([failed, others]).sort("timestamp_ns", maintain_order=True)


def _request_cells(event: dict[str, Any], style: Style) -> Row:
    status, error = event["status"], event["error"]
    color = "red" if error else _COLOR_OF_STATUS_CLASS.get((status or 0) // 100)
    return Row(
        _time_of_day(event["timestamp_ns"]),
        _text(event["method"], style),
        _text(event["path"], style),
        _text(error or status, style),
        color,
        duration(event["latency_ms"], style),
        _who(event, style),
    )


def _connection_cells(event: dict[str, Any], style: Style) -> Row:
    told = [_counted(event["requests"], "request")] if event["requests"] is not None else []
    told += [
        f"{event[f'{what}_bytes']:,} bytes {what}"
        for what in ("sent", "received")
        if event[f"{what}_bytes"] is not None
    ]
    return Row(
        _time_of_day(event["timestamp_ns"]),
        _text(event["event"], style),
        ", ".join(told),
        "",
        None,
        duration(event["duration_ms"], style),
        _who(event, style),
    )


def _who(event: dict[str, Any], style: Style) -> str:
    """The process and its peer; the arrow points to the side that serves."""
    arrow = style.arrow_right if event["role"] == "client" else style.arrow_left
    process = _text(event["service"] or event["comm"], style)
    return f"{process} {event['pid'] or ''} {arrow} {_text(_address(event['peer']), style)}"


def _address(peer: dict[str, Any] | None) -> str | None:
    if peer is None:
        return None
    if peer["address"] is None:
        return peer["path"] or "unix socket"
    host = f"[{peer['address']}]" if ":" in peer["address"] else peer["address"]
    return f"{host}:{peer['port']}"


def _text(value: object, style: Style) -> str:
    return "-" if value is None else visible(str(value), only_ascii=style.only_ascii)


def _time_of_day(unix_ns: int) -> str:
    """Local time with milliseconds."""
    seconds, nanoseconds = divmod(unix_ns, 1_000_000_000)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{nanoseconds // 1_000_000:03}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
