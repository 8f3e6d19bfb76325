"""Without a filter: all processes of the machine, never the tracer itself, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import messages
from harness.capability import need_command
from harness.network import Host, ip
from harness.peers import Peer, connect
from harness.processes import APPS, ProcessTree, free_port, wait_until
from harness.traced import holds, unique
from harness.tracer import Tracer, kernel_objects_of, living_kernel_objects

from vm import expected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.tracer import Event, TracerRun

pytestmark = [pytest.mark.vm]

NEAR, FAR = "10.78.0.1", "10.78.0.2"
WIRE = "wire0"
PORT = 20_211
DATAGRAMS = 211
DATAGRAM_BYTES = 100
# Ethernet, IPv4 and UDP
HEADER_BYTES = 42
SCRAPES = 5
QUIET_SECONDS = 5.0
WORK = {"one_part", "two_parts", "five_parts"}
HAS_PACKETS = expected.version_of(os.uname().release) >= expected.TCX


@pytest.fixture
def wire() -> Iterator[str]:
    """Yield an interface of the machine's own namespace, with a host at the other end."""
    far = Host(f"far{os.getpid()}", "wire", FAR, "")
    ip("netns", "add", far.namespace)
    try:
        ip("link", "add", WIRE, "type", "veth", "peer", "name", far.interface, "netns", far.namespace)
        ip("addr", "add", f"{NEAR}/24", "dev", WIRE)
        ip("link", "set", WIRE, "up")
        ip("-n", far.namespace, "addr", "add", f"{FAR}/24", "dev", far.interface)
        ip("-n", far.namespace, "link", "set", far.interface, "up")
        yield WIRE
    finally:
        ip("netns", "del", far.namespace)


def all_tracers(wire: str) -> list[str]:
    """Return the words that ask for every tracer that this kernel must have."""
    words = ["--tracer", "http", "--tracer", "stack"]
    return [*words, "--tracer", "xdp", "--interface", wire] if HAS_PACKETS else words


@contextmanager
def busy(directory: Path, count: int) -> Iterator[list[int]]:
    """Yield the pids of *count* processes that compute."""
    program = directory / "shares"
    subprocess.run([need_command("gcc"), "-O2", "-g", "-o", program, APPS / "shares.c"], check=True)
    with ExitStack() as stack:
        started = [subprocess.Popen([program, "600"]) for _ in range(count)]
        for process in started:
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield [process.pid for process in started]


def talk(directory: Path) -> str:
    """Do one request between two processes that nobody has named to the tracer; return its word."""
    word = unique()
    directory.mkdir()
    with ProcessTree(directory) as tree:
        client, server = Peer(tree), Peer(tree)
        # the HTTP tracer, too, keeps to the interface that is named
        connection = connect(client, server, listen=NEAR)
        connection.exchange(messages.request(f"/{word}"), messages.response())
        connection.close()
        client.close()
        server.close()
    return word


def scrape(port: int) -> None:
    """Fetch the tracer's metrics, as Prometheus does."""
    for _ in range(SCRAPES):
        with urllib.request.urlopen(f"http://{NEAR}:{port}/metrics") as answer:
            assert answer.status == 200
            answer.read()


def send_datagrams() -> None:
    """Send DATAGRAMS over the wire."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(DATAGRAMS):
            sender.sendto(b"x" * DATAGRAM_BYTES, (FAR, PORT))
            time.sleep(0.001)


def count_of(tracer: Tracer, *kinds: str) -> int:
    return len(tracer.events(lambda event: event["type"] in kinds))


def test_everybody_is_traced_but_the_tracer(wire: str, tmp_path: Path) -> None:
    port, told = free_port(), ("http", "connection")
    words = [*all_tracers(wire), "--prometheus-endpoint", f"{NEAR}:{port}/metrics"]
    with Tracer(*words, "--output", tmp_path / "events.ndjson") as tracer:
        spoken = [talk(tmp_path / name) for name in ("one", "two")]
        scrape(port)
        for word in spoken:
            tracer.wait_for(lambda event, word=word: holds(word, event), count=2)
        # each scrape is a connection that is opened and closed, and a request; closing may be told before it
        tracer.wait_for(lambda event: event.get("pid") == os.getpid() and event["type"] in told, 3 * SCRAPES)
        before = count_of(tracer, *told)
        time.sleep(QUIET_SECONDS)
        assert count_of(tracer, *told) == before, "nobody has said anything"
        with busy(tmp_path, 2) as burners:
            for pid in burners:
                tracer.wait_for(lambda event, pid=pid: event["type"] == "profile" and event["pid"] == pid, 9)
        send_datagrams()
        run = tracer.stop()
    assert run.exit_code == 0, run.stderr
    assert [event for event in run.events if event.get("pid") == tracer.pid] == []
    for word in spoken:
        assert sorted(event["role"] for event in run.events if holds(word, event)) == ["client", "server"]
    scraped = [event for event in run.of_type("http") if event["path"] == "/metrics"]
    assert [(event["role"], event["pid"]) for event in scraped] == [("client", os.getpid())] * SCRAPES
    check_stacks(run, burners)
    if HAS_PACKETS:
        check_flow(run)


def check_stacks(run: TracerRun, burners: list[int]) -> None:
    """Nearly all samples of the burners have their callers down to the first function."""
    for pid in burners:
        told = [event for event in run.of_type("profile") if event["pid"] == pid]
        # not those of its start
        events = [event for event in told if WORK & set(event["stack"])]
        known = [event for event in events if event["stack"][:1] == ["_start"] and "main" in event["stack"]]
        assert total(known) >= 0.9 * total(events) > 0, told


def total(events: list[Event]) -> int:
    return sum(int(event["count"]) for event in events)


def check_flow(run: TracerRun) -> None:
    """The datagrams are one flow, to the packet and to the byte."""
    (flow,) = [event for event in run.of_type("flow") if event["flow"]["destination_port"] == PORT]
    size = DATAGRAM_BYTES + HEADER_BYTES
    assert (flow["packets"], flow["bytes"], flow["direction"]) == (DATAGRAMS, DATAGRAMS * size, "egress")
    for event in run.of_type("interface"):
        ledger: dict[str, Any] = event["ledger"]
        assert ledger["runs"] == sum(count for part, count in ledger.items() if part != "runs"), ledger


def test_nothing_stays_after_a_kill(wire: str) -> None:
    with Tracer(*all_tracers(wire)) as tracer:
        held = kernel_objects_of(tracer.pid)
        assert all(held.values()), held
        tracer.stop(signal.SIGKILL)

    def gone() -> bool:
        living = living_kernel_objects()
        return not any(held[kind] & living[kind] for kind in held) and traces_on(wire) == ""

    wait_until(gone, f"the kernel to let go; left: {traces_on(wire)}")
    assert list(Path("/sys/fs/bpf").iterdir()) == []


def traces_on(wire: str) -> str:
    """Return what is attached to an interface: XDP programs, and what TC's programs hang on."""
    lines: list[str] = []
    for words in ("ip", "link", "show", wire), ("tc", "qdisc", "show", "dev", wire):
        command = [need_command(words[0]), *words[1:]]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        lines += [line for line in done.stdout.splitlines() if "xdp" in line or "clsact" in line]
    return "\n".join(lines)
