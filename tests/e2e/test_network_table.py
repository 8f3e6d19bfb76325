"""The live table of the network, on a terminal."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
from harness.network import Host, cable
from harness.terminal import COLUMNS, ESCAPE, on_a_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

# Two flows, one of them ten times the other.
SENDER = """
import socket, sys, time
small = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
large = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
until = time.monotonic() + 20
while time.monotonic() < until:
    small.sendto(b"x" * 100, (sys.argv[1], 9001))
    large.sendto(b"x" * 1000, (sys.argv[1], 9002))
    time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with cable() as pair:
        yield pair


def test_a_terminal_shows_rates_of_each_second(hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    sender = far.start(sys.executable, "-c", SENDER, near.address)
    try:
        words = ("--tracer", "xdp", "--interface", near.interface, "--duration", "4s", "--interval", "1h")
        screen, code = on_a_terminal(*words, env={"TERM": "xterm"}, prefix=near.prefix)
    finally:
        sender.kill()
        sender.wait()
    assert code == 0, screen
    lines = ESCAPE.sub("", screen).splitlines()
    assert max(len(line) for line in lines if not line.startswith(("tracing:", "summary:"))) <= COLUMNS
    row = re.compile(rf"{near.interface} +in +generic +([\d,]+) +[\d.]+(?: [kM])? +([\d,]+) ")
    found = filter(None, map(row.match, lines))
    figures = [[int(text.replace(",", "")) for text in match.groups()] for match in found]
    # nobody waits for the interval of the events
    assert len({packets for _, packets in figures}) >= 2, "the figures change"
    assert any(rate > 0 for rate, _ in figures)
    assert any(re.match(r" udp \d+\.\d%", line) for line in lines)
    top = lines.index("TOP FLOWS")
    flow = rf"udp {re.escape(far.address)}:\d+ → {re.escape(near.address)}"
    assert re.search(rf"{flow}:9002  {near.interface} in", lines[top + 1]), lines[top : top + 4]
    talkers = lines.index("TOP TALKERS")
    assert re.search(rf"packets/s +\S+( [kM])? bit/s  {re.escape(far.address)}$", lines[talkers + 1])
