"""What headers say, compared field by field with tshark on frames that scapy made."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from harness import frames
from harness.dissection import dissected
from harness.network import Host, cable
from harness.tracer import Tracer, TracerRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.kernel

# Each line is a frame in hexadecimal digits.
SENDER = """
import socket, sys
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind((sys.argv[1], 0))
for line in sys.stdin:
    sender.send(bytes.fromhex(line))
"""
RECEIVER = """
import socket, sys
receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
receiver.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
receiver.bind((sys.argv[1], 0))
print("receives", flush=True)
last = bytes.fromhex(sys.argv[2])
frame = b""
while frame != last:
    frame, address = receiver.recvfrom(65536)
    if address[2] != 4:  # sent from here
        print(frame.hex(), flush=True)
"""
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58}
WITH_PORTS = ("tcp", "udp", "sctp")
TUNNELS = {"vxlan": "vxlan.vni", "geneve": "geneve.vni", "gre": "gre.key"}
FIELDS = (
    *("frame.protocols", "vlan.id", "ieee8021ad.id", "ip.src", "ip.dst", "ip.proto", "ipv6.src", "ipv6.dst"),
    *(f"{name}.{end}port" for name in WITH_PORTS for end in ("src", "dst")),
    *("icmp.type", "icmp.code", "icmpv6.type", "icmpv6.code", *TUNNELS.values(), "tcp.flags"),
)
EVERY_WORD_ALONE = ("-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE")
TAGS = (b"\x81\x00", b"\x88\xa8")
LAST = b"\x02" * 12 + b"\x88\xb5" + b"the last one"
LEDGER_PARTS = ("flows", "filtered", "sampled_out", "not_ip", "malformed", "other")


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with cable() as pair:
        yield pair


def send(host: Host, sent: Sequence[bytes]) -> None:
    text = "".join(f"{frame.hex()}\n" for frame in sent)
    host.run(sys.executable, "-c", SENDER, host.interface, input=text)


def traced(host: Host, *words: object) -> Tracer:
    common = ("--tracer", "xdp", "--interface", host.interface)
    return Tracer(*common, *map(str, words), prefix=host.prefix)


class Dissected:
    """A packet as tshark reads it: values of a field in the order of the layers."""

    def __init__(self, row: dict[str, str]) -> None:
        self._values = {name: value.split(",") if value else [] for name, value in row.items()}
        self.layers = self._values["frame.protocols"][0].split(":")

    def first(self, name: str) -> Any:
        return self._values[name].pop(0) if self._values[name] else None

    def number(self, name: str) -> int | None:
        value = self.first(name)
        return None if value is None else int(value, 0)

    def flow(self) -> dict[str, Any] | None:
        """The contract's `flow`; `inner` for what is within a tunnel."""
        tags: list[int | None] = []
        ends = self._ends(tags)
        if ends is None:
            return None
        outer, inner, *_ = (*tags, None, None)
        return {**ends, "vlan": outer, "inner_vlan": inner}

    def _ends(self, tags: list[int | None]) -> dict[str, Any] | None:
        """What the next layer of IP says; `tags` get those before it."""
        while self.layers:
            layer = self.layers.pop(0)
            if layer in ("ip", "ipv6"):
                return self._ends_of(layer)
            if layer in ("vlan", "ieee8021ad"):
                tags.append(self.number(f"{layer}.id"))
        return None

    def _ends_of(self, version: str) -> dict[str, Any]:
        ends = {"source": self.first(f"{version}.src"), "destination": self.first(f"{version}.dst")}
        told = self.number("ip.proto") if version == "ip" else None
        inner: dict[str, Any] | None = None
        found: dict[str, Any] = {
            "protocol": told,
            "source_port": None,
            "destination_port": None,
            "icmp": None,
        }
        while self.layers:
            layer = self.layers.pop(0)
            if layer in WITH_PORTS:
                found["protocol"] = PROTOCOLS[layer]
                found["source_port"] = self.number(f"{layer}.srcport")
                found["destination_port"] = self.number(f"{layer}.dstport")
            elif layer in ("icmp", "icmpv6"):
                code = {"type": self.number(f"{layer}.type"), "code": self.number(f"{layer}.code")}
                found |= {"protocol": PROTOCOLS[layer], "icmp": code}
                self.layers.clear()  # what it is about is quoted behind it
            elif layer in TUNNELS:
                inner = {"tunnel": layer, "id": self.number(TUNNELS[layer])} | (self._ends([]) or {})
            elif layer in ("ip", "ipv6"):
                inner = {"tunnel": "ipip", "id": None} | self._ends_of(layer)
                found["protocol"] = 4 if layer == "ip" else 41
        if inner is not None and inner["tunnel"] == "gre":
            found["protocol"] = 47
            inner["id"] = inner["id"] or 0
        return {**ends, **found, "inner": inner}


def of_inner(flow: dict[str, Any] | None) -> dict[str, Any] | None:
    """Comparable: an inner flow has no `icmp` and no tags of its own."""
    if flow is None or flow["inner"] is None:
        return flow
    members = ("tunnel", "id", "source", "destination", "source_port", "destination_port", "protocol")
    return flow | {"inner": {name: flow["inner"].get(name) for name in members}}


@pytest.mark.parametrize("way", ["generic", "native", "egress"])
def test_every_header_reads_as_tshark_reads_it(tmp_path: Path, hosts: tuple[Host, Host], way: str) -> None:
    near, far = hosts
    capture = tmp_path / "frames.pcapng"
    sent = [bytes(frame) for frame in (*frames.plain(), *frames.tunnels())]
    watched, mode = (far, ()) if way == "egress" else (near, ("--xdp-mode", way))
    with traced(watched, *mode, "--events", "packet", "--output", capture) as tracer:
        send(far, sent)
        run = tracer.stop()
    events = sorted(run.of_type("packet"), key=lambda event: int(event["timestamp_ns"]))
    rows = dissected(capture, FIELDS, *EVERY_WORD_ALONE)
    assert len(events) == len(rows) >= len(sent)
    for event, row in zip(events, rows, strict=True):
        expected = of_inner(Dissected(row).flow())
        assert of_inner(event["flow"]) == expected, row
        assert event["protocol"] == (expected and expected["protocol"])
    assert malformed(run) == 0


def malformed(run: TracerRun) -> int:
    return sum(event["ledger"]["malformed"] for event in run.of_type("interface"))


def test_fragments_have_the_ports_of_the_first(hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    datagrams = [[bytes(part) for part in parts] for parts in frames.fragments()]
    assert [len(parts) for parts in datagrams] == [3, 3]
    with traced(near) as tracer:
        for parts in datagrams:
            send(far, parts)
        run = tracer.stop()
    for port, parts in zip((1021, 1022), datagrams, strict=True):
        (flow,) = [event for event in run.of_type("flow") if event["flow"]["source_port"] == port]
        assert flow["packets"] == len(parts)
        assert flow["bytes"] == sum(map(len, parts))


def broken(seed: int) -> list[bytes]:
    """Frames that are cut off anywhere, changed anywhere, or nothing at all."""
    chance = random.Random(seed)
    whole = [bytes(frame) for frame in (*frames.plain(), *frames.tunnels())]
    cut = [frame[:length] for frame in whole for length in range(14, len(frame), 3)]
    changed = []
    for frame in whole * 8:
        noisy = bytearray(frame)
        for _ in range(chance.randrange(1, 8)):
            noisy[chance.randrange(12, len(noisy))] = chance.randrange(256)
        changed.append(bytes(noisy))
    long = [frame.ljust(1500, b"\xff") for frame in whole]
    noise = [chance.randbytes(chance.randrange(14, 1500)) for _ in range(500)]
    return [b"\x02" * 12 + frame[12:] for frame in (*cut, *changed, *long, *noise)]


@pytest.mark.parametrize("mode", ["generic", "native"])
def test_broken_frames_pass_unchanged_and_are_counted(hosts: tuple[Host, Host], mode: str) -> None:
    near, far = hosts
    sent = broken(seed=20)
    command = (sys.executable, "-c", RECEIVER, near.interface, LAST.hex())
    receiver = near.start(*command, stdout=subprocess.PIPE)
    try:
        assert receiver.stdout is not None
        receiver.stdout.readline()
        with traced(near, "--xdp-mode", mode) as tracer:
            send(far, [*sent, LAST])
            received = {bytes.fromhex(line) for line in receiver.stdout}
            run = tracer.stop()
    finally:
        receiver.kill()
        receiver.communicate()
    # the kernel takes tags out of frames before a program sees them, and drops what is no whole tag
    assert {frame for frame in sent if frame[12:14] not in TAGS} <= received
    ledgers = [event["ledger"] for event in run.of_type("interface") if event["direction"] == "ingress"]
    assert sum(ledger["runs"] for ledger in ledgers) >= len(received)
    for ledger in ledgers:
        assert ledger["runs"] == sum(ledger[part] for part in LEDGER_PARTS)
    assert malformed(run) > 100
