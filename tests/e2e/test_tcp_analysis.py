"""What is told of TCP connections, compared with what tshark makes of the same packets."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from harness.dissection import dissected
from harness.network import Host, cable
from harness.tracer import Event, Tracer, TracerRun
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from scapy.packet import Packet

pytestmark = pytest.mark.kernel

# Each line: whose end sends, milliseconds to wait before, the frame.
BOTH_ENDS = """
import ctypes, os, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
ends = []
for name in sys.argv[2:]:
    with open(f"/run/netns/{name}") as namespace:
        assert libc.setns(namespace.fileno(), 0x40000000) == 0
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    end.bind((sys.argv[1], 0))
    ends.append(end)
for line in sys.stdin:
    end, milliseconds, frame = line.split()
    time.sleep(int(milliseconds) / 1000)
    ends[int(end)].send(bytes.fromhex(frame))
"""
PORTS = (40123, 8123)
RESENT = ("retransmission", "fast_retransmission", "spurious_retransmission")
ANALYSES = (*RESENT, "out_of_order", "zero_window", "keep_alive", "ack_rtt")
FIELDS = ("tcp.srcport", "tcp.flags", *(f"tcp.analysis.{name}" for name in ANALYSES))
Step = tuple[int, int, "Packet"]


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with cable() as pair:
        yield pair


class Script:
    """A conversation, frame by frame: 0 is who connects, 1 who answers."""

    def __init__(self, version: int) -> None:
        self.steps: list[Step] = []
        self._version = version
        self._sequence = [1000, 5000]

    def send(
        self, end: int, flags: str, *, data: int = 0, at: int | None = None, wait: int = 1, window: int = 8000
    ) -> None:
        """`data` bytes at sequence `at` (None: the next); all that the other end has sent is acknowledged."""
        addresses = [f"10.9.0.{one}" if self._version == 4 else f"fd09::{one}" for one in (1, 2)]
        network = IP if self._version == 4 else IPv6
        sequence = self._sequence[end] if at is None else at
        header = TCP(
            sport=PORTS[end],
            dport=PORTS[1 - end],
            flags=flags,
            seq=sequence,
            ack=self._sequence[1 - end] if "A" in flags else 0,
            window=window,
        )
        ether = Ether(src=f"02:00:00:00:00:0{end + 1}", dst=f"02:00:00:00:00:0{2 - end}")
        ip = network(src=addresses[end], dst=addresses[1 - end])
        frame = ether / ip / header / Raw(b"d" * data)
        self.steps.append((end, wait, frame))
        after = sequence + data + ("S" in flags) + ("F" in flags)
        self._sequence[end] = max(self._sequence[end], after)

    def open(self, round_trip_ms: int) -> None:
        self.send(0, "S")
        self.send(1, "SA", wait=round_trip_ms)
        self.send(0, "A")

    def close(self) -> None:
        self.send(0, "FA")
        self.send(1, "FA")
        self.send(0, "A")

    def next(self, end: int) -> int:
        return self._sequence[end]


def undisturbed(script: Script) -> None:
    for _ in range(4):
        script.send(0, "PA", data=100)
        script.send(1, "PA", data=300)


def resent(script: Script) -> None:
    """After a time-out, and what was lost before the capture."""
    first = script.next(0)
    script.send(0, "PA", data=100)
    script.send(0, "PA", data=100, at=first, wait=200)
    script.send(1, "A")
    lost = script.next(1)
    script.send(1, "PA", data=200, at=lost + 200)
    script.send(1, "PA", data=200, at=lost, wait=150)
    script.send(0, "A")


def overtaken(script: Script) -> None:
    """Two segments change places on the way, twice."""
    for _ in range(2):
        first = script.next(0)
        script.send(0, "PA", data=100)
        script.send(0, "PA", data=100, at=first + 200)
        script.send(0, "PA", data=100, at=first + 100)
        script.send(1, "A")


def stopped(script: Script) -> None:
    """The receiver has no room; the sender asks whether it has some by now."""
    script.send(0, "PA", data=100)
    for _ in range(3):
        script.send(1, "A", window=0)
    script.send(0, "A", at=script.next(0) - 1, wait=40)
    script.send(1, "A")
    script.send(0, "PA", data=50)
    script.send(1, "A")


def run_script(hosts: Sequence[Host], script: Script, tracer: Tracer) -> TracerRun:
    names = [host.namespace for host in hosts]
    text = "".join(f"{end} {wait} {bytes(frame).hex()}\n" for end, wait, frame in script.steps)
    with tracer:
        hosts[0].run(sys.executable, "-c", BOTH_ENDS, hosts[0].interface, *names, input=text)
        return tracer.stop()


def by_source(run: TracerRun) -> dict[int, Event]:
    return {event["flow"]["source_port"]: event for event in run.of_type("flow") if event["protocol"] == 6}


def counted(rows: Sequence[dict[str, str]], port: int, *names: str) -> int:
    mine = [row for row in rows if row["tcp.srcport"] == str(port)]
    return sum(any(row[f"tcp.analysis.{name}"] for name in names) for row in mine)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("happens", [undisturbed, resent, overtaken, stopped])
@pytest.mark.parametrize("connects", [0, 1])
def test_it_is_told_as_tshark_tells_it(
    tmp_path: Path, hosts: tuple[Host, Host], happens: object, connects: int, version: int
) -> None:
    """Seen from the end that connects, and from the other one."""
    assert callable(happens)
    script = Script(version)
    script.open(round_trip_ms=20)
    happens(script)
    script.close()
    capture = tmp_path / "conversation.pcapng"
    watched = hosts[connects]
    words = ("--tracer", "xdp", "--interface", watched.interface, "--output-format", "ndjson")
    tracer = Tracer(*words, "--output", str(capture), prefix=watched.prefix)
    run = run_script(hosts, script, tracer)
    rows = [row for row in dissected(capture, FIELDS) if row["tcp.srcport"] in map(str, PORTS)]
    flows = by_source(run)
    if happens is resent:
        assert sum(flow["retransmits"] for flow in flows.values()) == 2
    if happens is overtaken:
        assert flows[PORTS[0]]["out_of_order"] == 2
    for port in PORTS:
        flow = flows[port]
        assert flow["packets"] == sum(row["tcp.srcport"] == str(port) for row in rows)
        assert flow["retransmits"] == counted(rows, port, *RESENT), port
        assert flow["out_of_order"] == counted(rows, port, "out_of_order"), port
        assert flow["zero_window"] == counted(rows, port, "zero_window"), port
        assert flow["state"] in ("fin", "shutdown")
    # the answer to the first packet is the second one
    handshake = float(rows[1]["tcp.analysis.ack_rtt"]) * 1e6
    assert flows[PORTS[0]]["rtt_us"] == pytest.approx(handshake, abs=1000)
