"""`--interface` for http: connections by their local address, in a network namespace of the test's own."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from harness import messages
from harness.capability import need_command, need_root
from harness.peers import Peer, connect
from harness.processes import ProcessTree, wait_until
from harness.traced import holds, unique
from harness.tracer import Tracer, run_tracer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

FIRST, SECOND = "10.87.0.1", "10.87.0.2"


class Network:
    """A namespace with a loopback interface, and a veth pair whose end `wire` has addresses."""

    def __init__(self, name: str) -> None:
        self.prefix = [need_command("nsenter"), f"--net=/run/netns/{name}"]
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "add", "wire", "type", "veth", "peer", "name", "far")
        self.run("ip", "link", "set", "far", "up")
        self.run("ip", "link", "set", "wire", "up")
        self.run("ip", "address", "add", f"{FIRST}/24", "dev", "wire")

    def run(self, *command: str) -> str:
        """Run a command in it."""
        done = subprocess.run([*self.prefix, *command], check=True, capture_output=True, text=True)
        return done.stdout

    def link_local(self) -> str:
        """The link-local address of `wire`, once it is usable."""

        def look() -> str | None:
            told = self.run("ip", "-6", "-oneline", "address", "show", "dev", "wire", "scope", "link")
            return told.split()[3].partition("/")[0] if told and "tentative" not in told else None

        return wait_until(look, "a link-local address")


@pytest.fixture
def network() -> Iterator[Network]:
    """Yield a network namespace."""
    need_root()
    ip, name = need_command("ip"), f"ut-{unique()}"
    subprocess.run([ip, "netns", "add", name], check=True)
    try:
        yield Network(name)
    finally:
        subprocess.run([ip, "netns", "delete", name], check=True)


class Traffic:
    """Two peers in a namespace, and two outside of it."""

    def __init__(self, directory: Path, network: Network, stack: ExitStack) -> None:
        self.tree = stack.enter_context(ProcessTree(directory))
        inside, outside = {"prefix": network.prefix}, {}
        self.inside = [Peer(self.tree, **inside), Peer(self.tree, **inside)]
        self.outside = [Peer(self.tree, **outside), Peer(self.tree, **outside)]
        for peer in (*self.inside, *self.outside):
            stack.callback(peer.close)

    def exchange(self, word: str, address: str, *, outside: bool = False, **how: Any) -> None:
        """Do one request whose path is *word* over a connection to *address*."""
        connection = connect(*(self.outside if outside else self.inside), listen=address, **how)
        connection.exchange(messages.request(f"/{word}"), messages.response())
        connection.close()


def told(tracer: Tracer, word: str) -> list[str]:
    """Return the ends of the paths told, sorted."""
    return sorted(str(event["path"]).rpartition("-")[2] for event in tracer.events(lambda e: holds(word, e)))


def is_served(tracer: Tracer, word: str) -> bool:
    """Tell whether the server's end told of *word*; a client may have another address of the interface."""
    return bool(tracer.events(lambda event: holds(word, event) and event["role"] == "server"))


def test_only_connections_of_the_interface(tmp_path: Path, network: Network) -> None:
    """By IPv4, IPv6 and v4-mapped; not those of loopback, and not those of another namespace's lo."""
    word = unique()
    network.run("ip", "address", "add", "fd00:87::1/64", "dev", "wire", "nodad")
    with ExitStack() as stack:
        traffic = Traffic(tmp_path, network, stack)
        tracer = stack.enter_context(
            Tracer("--pid", traffic.tree.pid, "--interface", "wire", prefix=network.prefix)
        )
        assert " on wire" in tracer.stderr
        traffic.exchange(f"{word}-loop", "127.0.0.1")
        traffic.exchange(f"{word}-four", FIRST)
        traffic.exchange(f"{word}-six", "fd00:87::1", family="inet6")
        traffic.exchange(f"{word}-mapped", "::", target=FIRST, family="inet6", only_v6=False)
        traffic.exchange(f"{word}-loopsix", "::1", family="inet6")
        traffic.exchange(f"{word}-outside", "127.0.0.1", outside=True)
        traffic.exchange(f"{word}-last", FIRST)
        tracer.wait_for(lambda event: holds(f"{word}-last", event), count=2)
        run = tracer.stop()
        assert told(tracer, word) == ["four", "four", "last", "last", "mapped", "mapped", "six", "six"]
        assert {event["local"]["address"] for event in run.of_type("connection")} <= {FIRST, "fd00:87::1"}


def test_loopback_is_a_whole_network_and_each_namespace_has_its_own(tmp_path: Path, network: Network) -> None:
    word = unique()
    with ExitStack() as stack:
        traffic = Traffic(tmp_path, network, stack)
        tracer = stack.enter_context(
            Tracer("--pid", traffic.tree.pid, "--interface", "lo", prefix=network.prefix)
        )
        traffic.exchange(f"{word}-wire", FIRST)
        traffic.exchange(f"{word}-outside", "127.0.0.1", outside=True)
        traffic.exchange(f"{word}-second", "127.0.0.2")
        traffic.exchange(f"{word}-six", "::1", family="inet6")
        tracer.wait_for(lambda event: holds(f"{word}-six", event), count=2)
        tracer.stop()
        assert told(tracer, word) == ["second", "second", "six", "six"]


def test_several_interfaces_and_unix_sockets(tmp_path: Path, network: Network) -> None:
    word = unique()
    with ExitStack() as stack:
        traffic = Traffic(tmp_path, network, stack)
        both = ("--interface", "wire", "--interface", "lo")
        tracer = stack.enter_context(Tracer("--pid", traffic.tree.pid, *both, prefix=network.prefix))
        traffic.exchange(f"{word}-unix", str(tmp_path / "socket"), family="unix")
        traffic.exchange(f"{word}-loop", "127.0.0.1")
        traffic.exchange(f"{word}-wire", FIRST)
        tracer.wait_for(lambda event: holds(f"{word}-wire", event), count=2)
        tracer.stop()
        assert told(tracer, word) == ["loop", "loop", "wire", "wire"]


def test_addresses_that_change_are_followed(tmp_path: Path, network: Network) -> None:
    word = unique()
    with ExitStack() as stack:
        traffic = Traffic(tmp_path, network, stack)
        tracer = stack.enter_context(
            Tracer("--pid", traffic.tree.pid, "--interface", "wire", prefix=network.prefix)
        )
        network.run("ip", "address", "add", f"{SECOND}/24", "dev", "wire")
        connection = connect(*traffic.inside, listen=SECOND)
        # The tracer hears of the address at its next tick; until then the connection is passed over.
        deadline = time.monotonic() + 20
        while not is_served(tracer, f"{word}-new"):
            assert time.monotonic() < deadline
            connection.exchange(messages.request(f"/{word}-new"), messages.response())
            time.sleep(0.1)
        connection.close()
        network.run("ip", "address", "del", f"{SECOND}/24", "dev", "wire")
        network.run("ip", "address", "add", f"{SECOND}/32", "dev", "lo")
        network.run("ip", "address", "add", "10.87.0.3/24", "dev", "wire")
        while not is_served(tracer, f"{word}-third"):
            assert time.monotonic() < deadline + 20
            traffic.exchange(f"{word}-third", "10.87.0.3")
        traffic.exchange(f"{word}-gone", SECOND)
        traffic.exchange(f"{word}-last", FIRST)
        tracer.wait_for(lambda event: holds(f"{word}-last", event), count=2)
        tracer.stop()
        assert "gone" not in told(tracer, word)


def test_link_local_addresses(tmp_path: Path, network: Network) -> None:
    word, address = unique(), network.link_local()
    with ExitStack() as stack:
        traffic = Traffic(tmp_path, network, stack)
        tracer = stack.enter_context(
            Tracer("--pid", traffic.tree.pid, "--interface", "wire", prefix=network.prefix)
        )
        url = f"http://[{address}%25wire]"
        program = (
            "import http.server, threading, socket, sys\n"
            "class Server(http.server.ThreadingHTTPServer): address_family = socket.AF_INET6\n"
            "server = Server((sys.argv[1], 0, 0, socket.if_nametoindex('wire')),"
            " http.server.SimpleHTTPRequestHandler)\n"
            "print(server.server_address[1], flush=True); server.serve_forever()\n"
        )
        server = traffic.tree.spawn(["/usr/bin/env", *network.prefix, "python3", "-c", program, address])
        port = server.first_line()
        curl = [*network.prefix, need_command("curl"), "-s", "-o", "/dev/null", f"{url}:{port}/{word}-link"]
        traffic.tree.spawn(curl).succeed()
        tracer.wait_for(lambda event: holds(f"{word}-link", event), count=2)
        tracer.stop()
        assert told(tracer, word) == ["link", "link"]


def test_an_interface_that_nobody_has_is_exit_6(network: Network) -> None:
    done = run_tracer("--interface", "wirre", "--duration", "1s", prefix=network.prefix)
    assert done.returncode == 6
    what, cause, hint = done.stderr.splitlines()
    assert what == "error: no interface 'wirre'"
    assert cause.startswith("cause: this machine has lo, ")
    assert cause.endswith("(did you mean 'wire'?)")
    assert hint.startswith("hint: ip link")


def test_an_interface_of_the_configuration_is_waited_for(tmp_path: Path, network: Network) -> None:
    word = unique()
    with ExitStack() as stack:
        traffic = Traffic(tmp_path, network, stack)
        named = {"UT_HTTP_TRACER__INTERFACES": "[late]"}
        tracer = stack.enter_context(Tracer("--pid", traffic.tree.pid, prefix=network.prefix, env=named))
        assert "warning: waiting for interface late: " in tracer.stderr
        network.run("ip", "link", "set", "far", "down")
        network.run("ip", "link", "set", "far", "name", "late")
        network.run("ip", "link", "set", "late", "up")
        network.run("ip", "address", "add", f"{SECOND}/24", "dev", "late")
        deadline = time.monotonic() + 20
        while not is_served(tracer, f"{word}-late"):
            assert time.monotonic() < deadline
            traffic.exchange(f"{word}-late", SECOND)
            traffic.exchange(f"{word}-wire", FIRST)
        tracer.stop()
        assert set(told(tracer, word)) == {"late"}
