"""Whose flows they are: processes by socket, whoever opened it, and whom a filter leaves."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness.network import Host, cable
from harness.tracer import Event, Tracer, TracerRun

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

# Each says when it is ready, and does one more exchange for each line that it is given.
PREAMBLE = """
import os, socket, sys
def step(words=""):
    print(words, flush=True)
    sys.stdin.readline()
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
"""
TCP_SERVER = """
import threading
def serve(connection):
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.close()
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
print("listens", flush=True)
while True:
    threading.Thread(target=serve, args=server.accept()[:1], daemon=True).start()
"""
FORKING_SERVER = """
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
worker = os.fork()
if worker == 0:
    while True:
        connection, _ = server.accept()
        while data := connection.recv(65536):
            connection.sendall(data)
        connection.close()
print(worker, flush=True)
sys.stdin.readline()
os.kill(worker, 9)
"""
TCP_CLIENT = """
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
step(connection.getsockname()[1])
for _ in range(2):
    connection.sendall(b"x" * 100)
    left = 100
    while left:
        left -= len(connection.recv(left))
    step("done")
connection.close()
"""
UDP_SERVER = """
server = socket.socket(family, socket.SOCK_DGRAM)
server.bind((sys.argv[1], int(sys.argv[2])))
print("bound", flush=True)
while True:
    server.recvfrom(65536)
"""
UDP_CLIENT = """
sender = socket.socket(family, socket.SOCK_DGRAM)
sender.connect((sys.argv[1], int(sys.argv[2])))
step(sender.getsockname()[1])
while True:
    sender.send(b"x" * 100)
    step("sent")
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with cable() as pair:
        yield pair


class Script:
    """A program of the above on a host; it ends with the test."""

    def __init__(self, host: Host, code: str, *words: object) -> None:
        command = (sys.executable, "-c", PREAMBLE + code, *words)
        self.process = host.start(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.first = self.line()
        self.comm = Path(f"/proc/{self.pid}/comm").read_text(encoding="utf-8").strip()

    @property
    def pid(self) -> int:
        """`ip netns exec` becomes the program."""
        return self.process.pid

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.line()


@contextmanager
def running(host: Host, code: str, *words: object) -> Iterator[Script]:
    script = Script(host, code, *words)
    try:
        yield script
    finally:
        script.process.kill()
        script.process.communicate()


def traced(host: Host, *words: object) -> Tracer:
    return Tracer("--tracer", "xdp", "--interface", host.interface, *map(str, words), prefix=host.prefix)


def flows(run: TracerRun, port: int, protocol: int = 6) -> list[Event]:
    def ports(event: Event) -> list[Any]:
        return [event["flow"]["source_port"], event["flow"]["destination_port"]]

    return [event for event in run.of_type("flow") if port in ports(event) and event["protocol"] == protocol]


def owners(events: list[Event]) -> set[int | None]:
    return {event["pid"] for event in events}


@pytest.mark.parametrize("version", [4, 6])
def test_who_accepts_owns_the_flow(hosts: tuple[Host, Host], version: int) -> None:
    near, far = hosts
    address = near.address if version == 4 else near.address6
    with (
        running(near, TCP_SERVER, address, 7001) as server,
        traced(near) as tracer,
        running(far, TCP_CLIENT, address, 7001) as client,
    ):
        client.go_on()
        run = tracer.stop()
    found = flows(run, 7001)
    assert {event["direction"] for event in found} == {"ingress", "egress"}
    assert owners(found) == {server.pid}
    assert {event["comm"] for event in found} == {server.comm}
    assert all(event["service"] for event in found)


def test_a_worker_that_accepts_owns_the_flow_and_not_who_listened(hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    with (
        running(near, FORKING_SERVER, near.address, 7002) as server,
        traced(near) as tracer,
        running(far, TCP_CLIENT, near.address, 7002) as client,
    ):
        client.go_on()
        client.go_on()
        run = tracer.stop()
        server.go_on()
    assert owners(flows(run, 7002)) == {int(server.first)}


def test_sockets_that_were_there_before(hosts: tuple[Host, Host]) -> None:
    """Nobody of them does anything while the tracer looks, but a packet that the other side sends."""
    near, far = hosts
    with (
        running(far, TCP_SERVER, far.address, 7003),
        running(near, TCP_CLIENT, far.address, 7003) as client,
        running(near, UDP_SERVER, near.address, 7004) as receiver,
        running(far, UDP_CLIENT, near.address, 7004) as sender,
        traced(near) as tracer,
    ):
        sender.go_on()
        client.go_on()
        run = tracer.stop()
    assert owners(flows(run, 7003)) == {client.pid}
    assert owners(flows(run, 7004, 17)) == {receiver.pid}


def test_only_flows_of_the_targets_sockets(hosts: tuple[Host, Host]) -> None:
    """Those that exist, those that are opened and accepted later; and the rest is filtered, in the kernel."""
    near, far = hosts
    with ExitStack() as stack:
        other = stack.enter_context(running(near, TCP_SERVER, near.address, 7010))
        wanted = stack.enter_context(running(near, TCP_SERVER, near.address, 7011))
        before = stack.enter_context(running(far, TCP_CLIENT, near.address, 7011))
        tracer = stack.enter_context(traced(near, "--pid", wanted.pid))
        before.go_on()
        clients = [stack.enter_context(running(far, TCP_CLIENT, near.address, port)) for port in (7010, 7011)]
        for client in clients:
            client.go_on()
        run = tracer.stop()
    assert other.pid != wanted.pid
    found = flows(run, 7011)
    assert owners(found) == {wanted.pid}
    assert {event["flow"]["source_port"] for event in found if event["direction"] == "ingress"} == {
        int(before.first),
        int(clients[1].first),
    }
    assert owners(run.of_type("flow")) == {wanted.pid}
    ledgers = [event["ledger"] for event in run.of_type("interface")]
    assert sum(ledger["filtered"] for ledger in ledgers) >= 6
    for ledger in ledgers:
        parts = ("flows", "filtered", "sampled_out", "not_ip", "malformed", "other")
        assert ledger["runs"] == sum(ledger[part] for part in parts)
    counted = sum(event["packets"] for event in run.of_type("interface"))
    assert counted == sum(event["packets"] for event in found)


def test_datagrams_of_a_target(hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    with ExitStack() as stack:
        stack.enter_context(running(near, UDP_SERVER, near.address, 7020))
        mine = stack.enter_context(running(near, UDP_SERVER, near.address6, 7021))
        other = stack.enter_context(running(far, UDP_CLIENT, near.address, 7020))
        sender = stack.enter_context(running(far, UDP_CLIENT, near.address6, 7021))
        tracer = stack.enter_context(traced(near, "--pid", mine.pid))
        for client in (other, sender):
            client.go_on()
            client.go_on()
        run = tracer.stop()
    (flow,) = run.of_type("flow")
    assert (flow["pid"], flow["flow"]["destination_port"], flow["packets"]) == (mine.pid, 7021, 2)


def test_a_command_and_nobody_else(hosts: tuple[Host, Host]) -> None:
    """A socket that the command opens, and one by which it only receives."""
    near, far = hosts
    receive = (
        "import socket, sys\n"
        "server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "server.bind((sys.argv[1], 7030))\n"
        "peer = socket.create_connection((sys.argv[2], 7031))\n"
        "peer.sendall(b'x')\n"
        "peer.recv(1)\n"
        "server.recvfrom(100)\n"
    )
    send = (
        "server = socket.create_server((sys.argv[1], 7031), family=family)\n"
        "print('listens', flush=True)\n"
        "connection, _ = server.accept()\n"
        "sender = socket.socket(family, socket.SOCK_DGRAM)\n"
        "sender.sendto(b'x' * 100, (sys.argv[2], 7030))\n"
        "sender.sendto(b'x' * 100, (sys.argv[2], 7032))\n"
        "connection.recv(1)\n"
        "connection.sendall(b'x')\n"
        "connection.recv(1)\n"
    )
    with running(far, send, far.address, near.address):
        command = ("--", sys.executable, "-c", receive, near.address, far.address)
        with traced(near, *command) as tracer:
            run = tracer.finish()
    assert run.exit_code == 0, run.stderr
    ports = {event["flow"]["destination_port"] for event in run.of_type("flow")}
    assert {7030, 7031} <= ports
    assert 7032 not in ports
    assert len(owners(run.of_type("flow"))) == 1
