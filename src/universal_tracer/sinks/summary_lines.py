"""Summaries of intervals as lines for people: what `--metrics-only` shows as a table."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from universal_tracer.system.terminal import Style, Terminal, duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl


class SummarySink:
    """One line an interval; other events are left out."""

    def __init__(self, name: str, terminal: Terminal) -> None:
        """The terminal's descriptor stays open at the end."""
        self._name = name
        self._terminal = terminal

    @property
    def name(self) -> str:
        return self._name

    def write(self, event_type: str, frame: pl.DataFrame) -> None:
        """Raises OSError."""
        if event_type == "summary":
            lines = [summary_line(row, self._terminal.style) for row in frame.iter_rows(named=True)]
            self._terminal.write("".join(f"{line}\n" for line in lines))

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is left to do."""


def summary_line(event: dict[str, Any], style: Style) -> str:
    """`14:03:05  5.0 s  HTTP 1,200 requests (240/s), 3 errors, p50 … max …  nothing lost`."""
    seconds = event["interval_ms"] / 1000
    clock = time.strftime("%H:%M:%S", time.localtime(event["timestamp_ns"] // 1_000_000_000))
    lost = style.paint(f"{event['lost']:,} lost", "red") if event["lost"] else "nothing lost"
    return "  ".join([style.paint(clock, "dim"), f"{seconds:.1f} s", *_parts(event, seconds, style), lost])


def _parts(event: dict[str, Any], seconds: float, style: Style) -> Iterator[str]:
    if event["http"] is not None:
        yield _requests(event["http"], seconds, style)
    if event["xdp"] is not None:
        packets, size, flows = (event["xdp"][name] or 0 for name in ("packets", "bytes", "flows"))
        yield f"network {packets:,} packets ({_rate(packets, seconds)}), {size:,} bytes, {flows:,} flows"
    if event["stack"] is not None:
        samples, complete = (event["stack"][name] or 0 for name in ("samples", "complete"))
        yield f"stacks {samples:,} samples, {complete:,} complete"
        yield from (_calls(found, seconds, style) for found in event["stack"].get("functions") or ())


def _requests(http: dict[str, Any], seconds: float, style: Style) -> str:
    errors = f"{http['errors']:,} error{'' if http['errors'] == 1 else 's'}"
    told = [
        f"HTTP {http['requests']:,} requests ({_rate(http['requests'], seconds)})",
        style.paint(errors, "red") if http["errors"] else errors,
    ]
    if http["latency_ms"]["max"] is not None:
        told.append(
            " ".join(f"{name} {duration(value, style)}" for name, value in http["latency_ms"].items())
        )
    return ", ".join(told)


def _calls(found: dict[str, Any], seconds: float, style: Style) -> str:
    told = f"{found['function']} {found['calls']:,} calls ({_rate(found['calls'], seconds)})"
    latencies = [(name, value) for name, value in found["latency_ns"].items() if value is not None]
    return " ".join([told, *(f"{name} {duration(value / 1e6, style)}" for name, value in latencies)])


def _rate(count: int, seconds: float) -> str:
    return f"{count / seconds:,.0f}/s" if seconds > 0 else "-/s"
