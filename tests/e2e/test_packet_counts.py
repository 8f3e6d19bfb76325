"""Packets and bytes equal what the kernel's interfaces count; nothing stays after many runs."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib import import_module, resources
from typing import TYPE_CHECKING

import pytest
from harness.network import Host, cable, ip
from harness.tracer import Tracer, living_kernel_objects

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

TRANSFER = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
block = b"x" * 262144
for _ in range(int(sys.argv[3])):
    connection.sendall(block)
connection.shutdown(socket.SHUT_WR)
connection.recv(1)
"""
SINK = """
import socket, sys
server = socket.create_server((sys.argv[1], 0))
print(server.getsockname()[1], flush=True)
connection, _ = server.accept()
while connection.recv(1 << 20):
    pass
"""
ATTACH_OFTEN = """
import os, sys
from universal_tracer import _native
settings = {
    "object_path": sys.argv[1], "interfaces": [sys.argv[2]], "mode": None, "egress": True,
    "flow_table_size": 1024, "flow_timeout_ns": 10**9, "sampling": 1, "expression": None,
    "detect_payload": True, "track_flows": True,
    "packet_events": False, "capture_bytes": 0, "interval_ns": 10**9, "ring_bytes": 4096, "processes": [],
    "waits": False, "is_watched": False, "self_pid": os.getpid(), "filter": False, "pids": [], "cgroups": [],
    "names": [], "privacy": {"enable_pii_filtering": True, "mask_sensitive_headers": True,
                             "exclude_patterns": [], "max_payload_capture": 0},
}
for _ in range(int(sys.argv[3])):
    session = _native.XdpSession(settings)
    session.attach()
    held = []
    for number in os.listdir("/proc/self/fdinfo"):
        if os.path.exists(f"/proc/self/fdinfo/{number}"):
            held.append(open(f"/proc/self/fdinfo/{number}").read().split())
    session.close()
    assert len(os.listdir("/proc/self/fd")) < 60
for kind in ("prog", "map", "link"):
    print(*{words[words.index(f"{kind}_id:") + 1] for words in held if f"{kind}_id:" in words})
"""
MEBIBYTES = 64
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with cable() as pair:
        yield pair


def counters(host: Host) -> dict[str, tuple[int, int]]:
    """Packets and bytes by direction, as the interface counts them."""
    values = [
        int(host.run("cat", f"/sys/class/net/{host.interface}/statistics/{way}_{what}").stdout)
        for way in ("rx", "tx")
        for what in ("packets", "bytes")
    ]
    return {"ingress": (values[0], values[1]), "egress": (values[2], values[3])}


@pytest.mark.parametrize("mode", ["generic", "native"])
@pytest.mark.parametrize("segments", [1, 65535])
def test_a_large_transfer_counts_as_the_interface_counts_it(
    hosts: tuple[Host, Host], mode: str, segments: int
) -> None:
    """The kernel's own counter takes a buffer of 64 KB for one packet: without such ones it is the wire's."""
    near, far = hosts
    for host in hosts:
        ip("-n", host.namespace, "link", "set", "dev", host.interface, "gso_max_segs", segments)
    sink = near.start(sys.executable, "-c", SINK, near.address, stdout=subprocess.PIPE)
    try:
        assert sink.stdout is not None
        port = int(sink.stdout.readline())
        words = ("--tracer", "xdp", "--interface", near.interface, "--xdp-mode", mode)
        with Tracer(*words, prefix=near.prefix) as tracer:
            before = counters(near)
            far.run(sys.executable, "-c", TRANSFER, near.address, port, MEBIBYTES * 4)
            after = counters(near)
            run = tracer.stop()
    finally:
        sink.kill()
        sink.communicate()
    (received,) = [event for event in run.of_type("flow") if event["flow"]["destination_port"] == port]
    assert received["bytes"] - received["packets"] * 66 >= MEBIBYTES << 20
    assert received["packets"] >= (MEBIBYTES << 20) // 1500
    for way, (packets, size) in after.items():
        told = [event for event in run.of_type("interface") if event["direction"] == way]
        counted = (packets - before[way][0], size - before[way][1])
        buffers = sum(event["ledger"]["runs"] for event in told)
        # one or two packets of the kernel's own may come between the two looks
        assert buffers == pytest.approx(counted[0], abs=4)
        if segments == 1:
            assert sum(event["packets"] for event in told) == pytest.approx(counted[0], abs=4)
            # veth leaves the Ethernet header out of what native XDP receives
            left_out = 14 * counted[0] if (mode, way) == ("native", "ingress") else 0
            assert sum(event["bytes"] for event in told) == pytest.approx(counted[1] + left_out, abs=4 * 1514)


@pytest.mark.timeout(600)
def test_attaching_a_hundred_times_leaves_nothing(hosts: tuple[Host, Host]) -> None:
    near, _ = hosts
    program = resources.files(import_module("universal_tracer")) / "objects" / "xdp_tracer.o"
    told = near.run(sys.executable, "-c", ATTACH_OFTEN, program, near.interface, 100).stdout.splitlines()
    held = {
        kind: set(map(int, line.split())) for kind, line in zip(("prog", "map", "link"), told, strict=True)
    }
    assert all(held.values())
    deadline = time.monotonic() + PATIENCE_S  # the kernel frees a moment later
    while any(held[kind] & ids for kind, ids in living_kernel_objects().items()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    shown = near.run("ip", "-details", "link", "show", "dev", near.interface).stdout
    assert "xdp" not in shown
