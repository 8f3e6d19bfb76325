"""What the live table shows of the network."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from unit.test_sinks_table import Shown, utc

from universal_tracer.sinks.network_table import scaled
from universal_tracer.system.terminal import cells

__all__ = ["utc"]  # a fixture for all tests here


def interface(direction: str, **changes: Any) -> dict[str, Any]:
    shares = [
        {"protocol": "tcp", "packets": 900, "bytes": 1_350_000},
        {"protocol": "udp", "packets": 1, "bytes": 9},
    ]
    row = {
        "interface": "veth0",
        "direction": direction,
        "mode": "tc" if direction == "egress" else "generic",
        "packets": 1234,
        "bytes": 1_350_009,
        "packets_per_second": 1234.0,
        "bits_per_second": 10_800_072.0,
        "dropped": 0,
        "protocols": shares,
    }
    return row | changes


FLOW = {
    "source": "10.0.0.1",
    "destination": "2001:db8::2",
    "source_port": 40000,
    "destination_port": 80,
    "protocol": 6,
}
RATES = {"packets_per_second": 100.0, "bits_per_second": 1.2e9}
NO_PAYLOAD = {"http": None, "tls": None, "dns": None}


def packet(**changes: Any) -> dict[str, Any]:
    told = {"interface": "veth0", "direction": "ingress", "timestamp_ns": 1_000_000, "tcp_flags": ["syn"]}
    return {**told, **NO_PAYLOAD, "flow": FLOW, "length": 74} | changes


def test_a_panel_shows_interfaces_protocols_talkers_and_flows() -> None:
    shown = Shown(width=101, network=True, requests=False)
    rows = [interface("egress"), interface("ingress", bits_per_second=2e7)]
    shown.table.write_live("interfaces", pl.DataFrame(rows))
    shown.table.write_live("talkers", pl.DataFrame([{"address": "10.0.0.1", **RATES}]))
    top = {**FLOW, **RATES, "interface": "veth0", "direction": "egress"}
    shown.table.write_live("flows", pl.DataFrame([top]))
    shown.table.flush()
    lines = [line for line in shown.lines() if line]
    assert lines == [
        "0 lost",
        "INTERFACE       WAY MODE     PACKETS/S     BIT/S      PACKETS     BYTES",
        "veth0           in  generic      1,234    20.0 M        1,234    1.35 M",
        "veth0           out tc           1,234    10.8 M        1,234    1.35 M",
        "PROTOCOLS",
        " tcp 100.0%  udp 0.0%",
        "TOP TALKERS",
        "        100 packets/s    1.20 G bit/s  10.0.0.1",
        "TOP FLOWS",
        "        100 packets/s    1.20 G bit/s  tcp 10.0.0.1:40000 → [2001:db8::2]:80  veth0 out",
    ]
    shown.close()


def test_a_panel_keeps_within_a_small_terminal() -> None:
    shown = Shown(width=40, lines=8, network=True, requests=False)
    rows_of_many = [interface("ingress", interface=f"veth{number}") for number in range(20)]
    shown.table.write_live("interfaces", pl.DataFrame(rows_of_many))
    shown.table.flush()
    lines = [line for line in shown.lines() if line]
    assert len(lines) <= 6
    assert all(cells(line) < 40 for line in lines)
    shown.close()


def test_packets_are_lines_and_names_command_nothing() -> None:
    shown = Shown(width=140, network=True, requests=False)
    http = {"kind": "request", "method": "GET", "path": "/\x1b[2J", "status": None}
    dns = {"name": "example.com", "type": "AAAA", "latency_ms": None}
    shown.table.write(
        "packet", pl.DataFrame([packet(http=http), packet(dns=dns), packet(flow=None)], strict=False)
    )
    first, second, third, *_ = [line for line in shown.lines() if line]
    ends = "tcp 10.0.0.1:40000 → [2001:db8::2]:80"
    assert first == f"00:00:00.001 veth0 in  {ends} syn 74 bytes request GET /\\x1b[2J"
    assert second == f"00:00:00.001 veth0 in  {ends} syn 74 bytes dns AAAA example.com"
    assert third == "00:00:00.001 veth0 in  - syn 74 bytes"
    shown.close()


def test_without_a_terminal_interfaces_and_ended_flows_are_lines() -> None:
    shown = Shown(network=True, requests=False, is_live=False)
    flow = {**packet(), "packets": 12, "bytes": 3456, "state": "fin"}
    shown.table.write("interface", pl.DataFrame([interface("ingress", dropped=3)]))
    shown.table.write("flow", pl.DataFrame([flow, flow | {"state": "active"}]))
    assert shown.lines() == [
        "veth0           in  generic      1,234    10.8 M        1,234    1.35 M  3 dropped",
        "00:00:00.001 veth0 in  tcp 10.0.0.1:40000 → [2001:db8::2]:80  12 packets  3,456 bytes  fin",
        "",
    ]
    shown.close()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (12_345, "12.3 k"),
        (999_600, "1.00 M"),
        (1e12, "1.00 T"),
        (1e16, "10000 T"),
    ],
)
def test_large_numbers_have_three_digits_and_a_prefix(value: float, text: str) -> None:
    assert scaled(value) == text
