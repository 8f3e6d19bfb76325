"""Flows and interfaces between two hosts on a cable, compared with what was sent."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from harness.network import Host, cable
from harness.tracer import Event, Tracer, TracerRun, run_tracer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

LEDGER_PARTS = ("flows", "filtered", "sampled_out", "not_ip", "malformed", "other")
ECHO = """
import socket, sys
server = socket.create_server((sys.argv[1], 0))
print(server.getsockname()[1], flush=True)
while True:
    connection, _ = server.accept()
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.close()
"""
CLIENT = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
for message in sys.argv[3:]:
    connection.sendall(message.encode())
    left = len(message)
    while left:
        left -= len(connection.recv(left))
connection.shutdown(socket.SHUT_WR)
connection.recv(1)
"""
DATAGRAMS = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in range(int(sys.argv[2]), int(sys.argv[3])):
    sender.sendto(b"x" * 100, (sys.argv[1], port))
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with cable() as pair:
        yield pair


@contextmanager
def echo_server(host: Host) -> Iterator[int]:
    """Yield the port of a TCP server that sends everything back."""
    server = host.start(sys.executable, "-c", ECHO, host.address, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.communicate()


def traced(host: Host, *words: object) -> Tracer:
    return Tracer("--tracer", "xdp", "--interface", host.interface, *map(str, words), prefix=host.prefix)


def flows(run: TracerRun, **wanted: Any) -> list[Event]:
    def value(event: Event, name: str) -> Any:
        return event[name] if name in event else event["flow"][name]

    found = run.of_type("flow")
    return [event for event in found if all(value(event, name) == wanted[name] for name in wanted)]


def check_ledgers(run: TracerRun) -> None:
    """Every program run is in exactly one place."""
    for event in run.of_type("interface"):
        ledger = event["ledger"]
        assert ledger["runs"] == sum(ledger[part] for part in LEDGER_PARTS), ledger


@pytest.mark.parametrize("mode", ["generic", "native"])
def test_a_connection_is_two_flows_of_one_conversation(hosts: tuple[Host, Host], mode: str) -> None:
    near, far = hosts
    with echo_server(far) as port, traced(near, "--xdp-mode", mode) as tracer:
        near.run(sys.executable, "-c", CLIENT, far.address, port, "a" * 100, "b" * 50)
        tracer.wait_for(lambda event: event["type"] == "flow" and event["flow"]["destination_port"] == port)
        run = tracer.stop()
    assert run.exit_code == 0, run.stderr
    (sent,) = flows(run, destination_port=port)
    (received,) = flows(run, source_port=port)
    assert (sent["direction"], received["direction"]) == ("egress", "ingress")
    assert sent["conversation"] == received["conversation"]
    assert (sent["state"], received["state"]) == ("fin", "fin")
    assert (sent["flow"]["source"], sent["flow"]["destination"]) == (near.address, far.address)
    for event in (sent, received):
        assert event["comm"].startswith("python")
        assert event["pid"] > 0
        assert event["protocol"] == event["flow"]["protocol"] == socket.IPPROTO_TCP
        assert {"syn", "ack", "fin", "psh"} <= set(event["tcp_flags"])
        assert event["rtt_us"] > 0
        assert event["bytes"] >= 150 + 54 * event["packets"]
        assert event["retransmits"] == event["zero_window"] == 0
    check_ledgers(run)
    assert {event["mode"] for event in run.of_type("interface")} == {mode, "tc"}


def test_what_finds_no_room_is_counted_and_balances(hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    with traced(far, "--flow-table-size", 64) as tracer:
        near.run(sys.executable, "-c", DATAGRAMS, far.address, 20000, 21000)
        run = tracer.stop()
    check_ledgers(run)
    received = [event for event in run.of_type("interface") if event["direction"] == "ingress"]
    counted = flows(run, direction="ingress", protocol=17)
    unflowed = sum(event["ledger"]["other"] for event in received)
    assert 0 < len(counted) <= 64
    assert unflowed > 0
    udp = [item for event in received for item in event["protocols"] if item["protocol"] == "udp"]
    assert sum(item["packets"] for item in udp) == 1000
    assert run.lost >= unflowed


def test_metrics_count_what_the_interfaces_count(hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    with traced(far, "--metrics-only", "--interval", "1s") as tracer:
        near.run(sys.executable, "-c", DATAGRAMS, far.address, 20000, 20100)
        run = tracer.stop()
    told = [event["xdp"] for event in run.of_type("summary")]
    # the datagrams, what says that nobody is there, and questions for addresses
    assert sum(xdp["packets"] for xdp in told) >= 100
    assert sum(xdp["bytes"] for xdp in told) >= 100 * 142
    assert sum(xdp["flows"] for xdp in told) >= 100


def test_an_unknown_interface_is_exit_6() -> None:
    done = run_tracer("--tracer", "xdp", "--interface", "no-such-if", "--duration", "1s")
    assert done.returncode == 6
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "cause", "hint"]


def test_without_a_default_route_there_is_nothing_to_trace(hosts: tuple[Host, Host]) -> None:
    done = run_tracer("--tracer", "xdp", "--duration", "1s", prefix=hosts[0].prefix)
    assert done.returncode == 6
    assert "default route" in done.stderr
