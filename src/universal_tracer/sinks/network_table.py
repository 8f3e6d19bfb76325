"""What the live table shows of the network: interfaces, protocols, who talks most, the largest flows.

Not an output of its own: `table` shows it below its lines, or, where there is no terminal, as lines.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from universal_tracer.system.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from universal_tracer.system.terminal import Style

EVENT_TYPES: Final = ("interface", "flow", "packet")
_MOST_INTERFACES: Final = 8
_MOST_TOP: Final = 5
_ARROWS: Final = {"ingress": "in", "egress": "out"}
_NAMES_OF_PROTOCOLS: Final = {
    1: "icmp",
    2: "igmp",
    4: "ipip",
    6: "tcp",
    17: "udp",
    41: "ipv6",
    47: "gre",
    50: "esp",
    58: "icmp6",
    132: "sctp",
}
_PREFIXES: Final = ("", "k", "M", "G", "T")


_FIGURES: Final = f"{'PACKETS/S':>10} {'BIT/S':>9} {'PACKETS':>12} {'BYTES':>9}"
_HEAD: Final = f"{'INTERFACE':<15} {'WAY':<3} {'MODE':<7} {_FIGURES}"


class NetworkTable:
    """Keeps the latest figures; bounded by the interfaces of the run."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._interfaces: dict[tuple[str, str], dict[str, Any]] = {}
        self._flows: list[dict[str, Any]] = []
        self._talkers: list[dict[str, Any]] = []

    def takes(self, event_type: str) -> bool:
        """Whether these events are shown here."""
        return event_type in EVENT_TYPES

    def write(self, event_type: str, frame: pl.DataFrame, *, is_live: bool) -> list[str]:
        """Take the rows of an event type; returns what is to be told of them line by line."""
        if event_type == "packet":
            return [self._packet(row) for row in frame.iter_rows(named=True)]
        if event_type == "flow":
            ended = frame.filter(pl.col("state") != "active")
            return [] if is_live else [self._flow_line(row) for row in ended.iter_rows(named=True)]
        if is_live:
            return []  # `interfaces` come each second
        return [self._interface_line(row) for row in frame.iter_rows(named=True)]

    def write_live(self, table: str, frame: pl.DataFrame) -> None:
        """Take figures of the last second: `interfaces`, `flows` or `talkers`, the largest first."""
        rows = frame.rows(named=True)
        match table:
            case "interfaces":
                self._interfaces = {(row["interface"], row["direction"]): row for row in rows}
            case "flows":
                self._flows = rows
            case "talkers":
                self._talkers = rows

    def lines(self, width: int, height: int) -> list[str]:
        """The panel: at most so many lines of at most so many columns."""
        if not self._interfaces:
            return []
        sections = (
            (_HEAD, list(self._interface_lines())),
            ("PROTOCOLS", list(self._protocols())),
            ("TOP TALKERS", [self._talker_line(row) for row in self._talkers[:_MOST_TOP]]),
            ("TOP FLOWS", [self._rate_line(row) for row in self._flows[:_MOST_TOP]]),
        )
        lines: list[str] = []
        for title, rows in sections:
            if rows:
                lines.append(self._style.paint(self._style.clip(title, width), "bold"))
                lines += [self._style.clip(row, width) for row in rows]
        return lines[: max(height, 1)]

    def _interface_lines(self) -> Iterator[str]:
        rows = sorted(self._interfaces.values(), key=lambda row: -row["bits_per_second"])
        yield from (self._interface_line(row) for row in rows[:_MOST_INTERFACES])
        if len(rows) > _MOST_INTERFACES:
            yield f" {len(rows) - _MOST_INTERFACES} more"

    def _interface_line(self, row: dict[str, Any]) -> str:
        dropped = f"  {row['dropped']:,} dropped" if row.get("dropped") else ""
        return (
            f"{_clean(row['interface'], self._style):<15} {_ARROWS[row['direction']]:<3} {row['mode']:<7}"
            f" {row['packets_per_second']:>10,.0f} {scaled(row['bits_per_second']):>9}"
            f" {row['packets']:>12,} {scaled(row['bytes']):>9}{dropped}"
        )

    def _protocols(self) -> Iterator[str]:
        """Shares of the bytes."""
        shares: dict[str, int] = {}
        for row in self._interfaces.values():
            for protocol in row["protocols"] or ():
                name = protocol["protocol"]
                shares[name] = shares.get(name, 0) + protocol["bytes"]
        total = sum(shares.values())
        if total:
            largest = sorted(shares.items(), key=lambda share: -share[1])
            yield " " + "  ".join(f"{name} {count / total:.1%}" for name, count in largest)

    def _talker_line(self, row: dict[str, Any]) -> str:
        return f" {_rates(row)}  {row['address']}"

    def _rate_line(self, row: dict[str, Any]) -> str:
        return f" {_rates(row)}  {self._ends(row)}  {row['interface']} {_ARROWS[row['direction']]}"

    def _flow_line(self, row: dict[str, Any]) -> str:
        return (
            f"{self._where(row)} {self._ends(row['flow'])}"
            f"  {row['packets']:,} packets  {row['bytes']:,} bytes  {row['state']}"
        )

    def _packet(self, row: dict[str, Any]) -> str:
        flow = self._ends(row["flow"]) if row["flow"] else "-"
        flags = ",".join(row["tcp_flags"] or ())
        parts = (self._where(row), flow, flags, f"{row['length']} bytes", _payload(row, self._style))
        return " ".join(part for part in parts if part)

    def _where(self, row: dict[str, Any]) -> str:
        interface = _clean(row["interface"], self._style)
        return f"{_time_of_day(row['timestamp_ns'])} {interface} {_ARROWS[row['direction']]:<3}"

    def _ends(self, flow: dict[str, Any]) -> str:
        protocol = _NAMES_OF_PROTOCOLS.get(flow["protocol"], str(flow["protocol"]))
        source = _end(flow["source"], flow["source_port"])
        destination = _end(flow["destination"], flow["destination_port"])
        return f"{protocol} {source} {self._style.arrow_right} {destination}"


def _rates(row: dict[str, Any]) -> str:
    return f"{row['packets_per_second']:>10,.0f} packets/s {scaled(row['bits_per_second']):>9} bit/s"


def _payload(row: dict[str, Any], style: Style) -> str:
    http, tls, dns = row["http"], row["tls"], row["dns"]
    words: Sequence[object] = ()
    if http is not None:
        words = (http["kind"], http["method"], http["path"], http["status"])
    elif tls is not None:
        words = ("tls", tls["sni"])
    elif dns is not None:
        words = ("dns", dns["type"], dns["name"])
    return " ".join(_clean(str(word), style) for word in words if word is not None)


def _end(address: str | None, port: int | None) -> str:
    if address is None:
        return "-"
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _clean(text: str, style: Style) -> str:
    return visible(text, only_ascii=style.only_ascii)


def _time_of_day(unix_ns: int) -> str:
    seconds, nanoseconds = divmod(unix_ns, 1_000_000_000)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{nanoseconds // 1_000_000:03}"


def scaled(value: float) -> str:
    """Three digits and a decimal prefix: `12.3 M`."""
    for prefix in _PREFIXES:
        if value < 999.5 or prefix == _PREFIXES[-1]:
            digits = 0 if prefix == "" or value >= 100 else 1 if value >= 10 else 2
            return f"{value:.{digits}f} {prefix}".rstrip()
        value /= 1000
    return ""
