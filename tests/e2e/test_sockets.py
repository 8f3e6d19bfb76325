"""Whichever call moves the bytes, whatever socket they go through, and whoever holds it."""

from __future__ import annotations

import itertools
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from harness import messages
from harness.capability import need_command, need_known_uring_requests, need_root
from harness.messages import HOST, head
from harness.peers import End, Peer, connect
from harness.processes import wait_until
from harness.traced import Dialogue, Traced, unique

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("sockets")]

SENDING_CALLS = ("write", "send", "writev", "sendmsg", "sendmmsg")
RECEIVING_CALLS = ("read", "recv", "recvfrom", "recvmsg", "readv", "recvmmsg")
URING_SENDS = ("uring_send", "uring_write", "uring_sendmsg", "uring_send_zc", "uring_send_sqpoll")
URING_RECEIVES = ("uring_recv", "uring_read", "uring_recvmsg", "recv", "uring_recv_sqpoll")


@pytest.fixture(scope="module")
def uring_traced(
    tmp_path_factory: pytest.TempPathFactory, uring: Path
) -> Iterator[tuple[Traced, Peer, Peer]]:
    """Yield a traced tree with two peers that can use io_uring."""
    need_known_uring_requests()
    with Traced(tmp_path_factory.mktemp("uring-traced")) as traced:
        yield traced, traced.peer(uring=uring), traced.peer(uring=uring)


def converse(dialogue: Dialogue, sending: str, receiving: str) -> None:
    """Exchange a few messages by the calls that are named, and fail unless all are told."""
    how = {"via": sending, "receive_via": receiving}
    for number in range(3):
        path = dialogue.path()
        request = messages.request(path, method="POST", body=b"r" * (number * 3_000 + 1))
        response = messages.response(201, body=b"s" * (number * 4_000 + 1))
        dialogue.connection.request(request, **how)
        dialogue.connection.response(response, **how)
        dialogue.expect("POST", path, 201, request_bytes=len(request), response_bytes=len(response))
    dialogue.close()
    dialogue.verify()


@pytest.mark.parametrize(("sending", "receiving"), list(itertools.product(SENDING_CALLS, RECEIVING_CALLS)))
def test_every_call(traced: Traced, sending: str, receiving: str) -> None:
    converse(traced.dialogue(), sending, receiving)


@pytest.mark.vm
@pytest.mark.parametrize(
    ("sending", "receiving"),
    [*zip(URING_SENDS, URING_RECEIVES, strict=True), ("uring_send", "recv"), ("send", "uring_recv")],
)
def test_io_uring(uring_traced: tuple[Traced, Peer, Peer], sending: str, receiving: str) -> None:
    traced, client, server = uring_traced
    converse(Dialogue(traced, connect(client, server)), sending, receiving)


@pytest.mark.vm
def test_io_uring_buffers_that_the_kernel_chooses(uring_traced: tuple[Traced, Peer, Peer]) -> None:
    """Which buffer it chose is out of reach: the bytes received are counted as lost, not passed over."""
    traced, client, server = uring_traced
    dialogue = Dialogue(traced, connect(client, server))
    for _ in range(3):
        how = {"receive_via": "uring_recv_provided"}
        dialogue.connection.request(messages.request(dialogue.path()), **how)
        dialogue.connection.response(messages.response(), **how)
    dialogue.close()
    traced.settle()

    def accounted() -> bool:
        whole = [event for event in traced.requests(dialogue.word) if event["error"] is None]
        losses = traced.tracer.events(lambda event: event["type"] == "loss")
        return len(whole) + sum(event["count"] for event in losses) >= 6

    wait_until(accounted, "each receive to be told or counted", 5)


@pytest.mark.vm
@pytest.mark.parametrize("via", ["sendfile", "splice"])
def test_a_body_that_the_kernel_copies(traced: Traced, via: str) -> None:
    dialogue = traced.dialogue()
    for size in (1, 4_097, 50_000):
        path = dialogue.path()
        request = messages.request(path)
        response_head = head("HTTP/1.1 200 OK", [("Content-Length", str(size))])
        dialogue.connection.request(request)
        dialogue.connection.response(response_head, via="send_more")
        dialogue.connection.response(b"f" * size, via=via)
        dialogue.expect("GET", path, 200, response_bytes=len(response_head) + size)
    dialogue.exchange()
    dialogue.close()
    dialogue.verify()


@pytest.mark.vm
def test_a_body_spliced_out_of_the_socket(traced: Traced) -> None:
    dialogue = traced.dialogue()
    for size in (10, 30_000):
        path = dialogue.path()
        response_head = head("HTTP/1.1 200 OK", [("Content-Length", str(size))])
        dialogue.connection.request(messages.request(path))
        dialogue.connection.response(response_head)
        dialogue.connection.response(b"s" * size, receive_via="splice")
        dialogue.expect("GET", path, 200)
    dialogue.exchange()
    dialogue.close()
    dialogue.verify()


@pytest.mark.vm
def test_peeking_counts_nothing_twice(traced: Traced) -> None:
    dialogue = traced.dialogue()
    ends = dialogue.connection
    for _ in range(3):
        path = dialogue.path()
        request, response = messages.request(path), messages.response()
        ends.client.send(request)
        for size in (1, 16, len(request)):
            assert len(ends.server.receive(size, via="peek", piece=size)["data"]) == size
        ends.server.receive(len(request))
        ends.server.send(response)
        ends.client.receive(12, via="peek", piece=12)
        ends.client.receive(len(response), piece=5)
        dialogue.expect("GET", path, 200, request_bytes=len(request), response_bytes=len(response))
    dialogue.close()
    dialogue.verify()


@pytest.mark.vm
def test_ipv6(traced: Traced) -> None:
    dialogue = traced.dialogue(family="inet6", listen="::1")
    dialogue.exchange()
    local, peer = dialogue.connection.client.local, dialogue.connection.server.local
    dialogue.close()
    (client,) = (event for event in dialogue.verify() if event["role"] == "client")
    assert client["local"] == local
    assert client["peer"] == peer
    assert client["local"]["address"] == "::1"


@pytest.mark.vm
@pytest.mark.parametrize("target", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_ipv4_into_a_socket_of_ipv6(traced: Traced, target: str) -> None:
    dialogue = traced.dialogue(family="inet6", listen="::", target=target, only_v6=False)
    dialogue.exchange()
    dialogue.close()
    for event in dialogue.verify():
        for side in ("local", "peer"):
            assert event[side]["address"] == "127.0.0.1", "mapped addresses are told as what they are"


@pytest.mark.vm
def test_unix_sockets(traced: Traced, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    dialogue = traced.dialogue(family="unix", listen=path)
    for number in range(5):
        dialogue.exchange(method="POST", body=b"u" * number * 50)
    dialogue.close()
    for event in dialogue.verify():
        assert event["local" if event["role"] == "server" else "peer"] == {"path": path}


def test_abstract_unix_sockets(traced: Traced) -> None:
    dialogue = traced.dialogue(family="unix", listen=f"\0{unique()}")
    dialogue.exchange()
    dialogue.close()
    dialogue.verify()


@pytest.mark.vm
def test_a_socket_pair(traced: Traced) -> None:
    peer, name, other = traced.client, unique(), unique()
    peer.do("pair", name=name, other=other)
    dialogue = Dialogue(traced, connect(traced.client, traced.server))
    request, response = messages.request(dialogue.path()), messages.response()
    one, two = End(peer, name), End(peer, other)
    one.send(request)
    two.receive(len(request))
    two.send(response)
    one.receive(len(response))
    one.close()
    two.close()
    dialogue.expect("GET", f"/{dialogue.word}/0000", 200)
    dialogue.close()
    dialogue.verify()


@pytest.mark.vm
def test_a_socket_passed_to_another_process(traced: Traced, tmp_path: Path) -> None:
    path = str(tmp_path / "rights")
    helper = traced.peer()
    rights = connect(traced.server, helper, family="unix", listen=path)
    dialogue = traced.dialogue()
    ends = dialogue.connection
    dialogue.exchange()
    traced.server.start("pass_socket", name=ends.server.name, over=rights.client.name)
    helper.do("take_socket", name=ends.server.name, over=rights.server.name)
    traced.server.finish()
    ends.server.peer = helper
    dialogue.exchange()
    dialogue.close()
    rights.close()
    servers = [event for event in dialogue.verify() if event["role"] == "server"]
    by_start = sorted(servers, key=lambda event: int(event["timestamp_ns"]))
    assert [event["pid"] for event in by_start] == [traced.server.pid, helper.pid]
    assert len({event["connection_id"] for event in servers}) == 1


@pytest.mark.vm
def test_a_socket_inherited_by_a_child(traced: Traced) -> None:
    dialogue = traced.dialogue()
    ends = dialogue.connection
    path = dialogue.path()
    request, response = messages.request(path), messages.response()
    ends.client.send(request)
    commands = [
        {"do": "receive", "name": ends.server.name, "size": len(request)},
        {"do": "send", "name": ends.server.name, "data": response.decode()},
    ]
    child = traced.server.do("fork", commands=commands)["pid"]
    ends.client.receive(len(response))
    dialogue.expect("GET", path, 200, request_bytes=len(request), response_bytes=len(response))
    dialogue.exchange()
    dialogue.close()
    servers = [event for event in dialogue.verify() if event["role"] == "server"]
    assert {event["pid"] for event in servers if event["path"] == path} == {child}


def test_a_shell_started_by_inetd(traced: Traced) -> None:
    """The shell reads one byte a call from its standard input and answers on its standard output."""
    dialogue = traced.dialogue()
    path = dialogue.path()
    request = messages.request(path)
    response = "HTTP/1.1 203 From a shell\\r\\nContent-Length: 3\\r\\n\\r\\nyes"
    script = f"while read -r line; do [ ${{#line}} -le 1 ] && break; done; printf '{response}'"
    traced.server.start("run", name=dialogue.connection.server.name, argv=["/bin/sh", "-c", script])
    dialogue.connection.client.send(request)
    told = dialogue.connection.client.receive(len(response.encode().decode("unicode_escape")))["data"]
    assert told.endswith("yes")
    traced.server.finish()
    dialogue.expect("GET", path, 203, request_bytes=len(request), response_bytes=len(told))
    dialogue.close()
    (server,) = (event for event in dialogue.verify() if event["role"] == "server")
    assert server["comm"] in {"sh", "dash", "bash", "busybox"}


def test_a_duplicated_descriptor(traced: Traced) -> None:
    dialogue = traced.dialogue()
    dialogue.exchange()
    ends, second = dialogue.connection, unique()
    traced.server.do("duplicate", name=ends.server.name, other=second)
    ends.server.close()
    ends.server.name, ends.server.open = second, True
    dialogue.exchange()
    dialogue.close()
    dialogue.verify()


@pytest.mark.vm
def test_reading_and_writing_in_different_threads(traced: Traced) -> None:
    dialogue = traced.dialogue()
    server = dialogue.connection.server
    for _ in range(5):
        path = dialogue.path()
        request, response = messages.request(path), messages.response(202)
        commands = [{"do": "receive", "name": server.name, "size": len(request)}]
        traced.server.do("start_thread", thread="reader", commands=commands)
        dialogue.connection.client.send(request)
        traced.server.do("join_thread", thread="reader")
        commands = [{"do": "send", "name": server.name, "data": response.decode()}]
        traced.server.do("start_thread", thread="writer", commands=commands)
        dialogue.connection.client.receive(len(response))
        traced.server.do("join_thread", thread="writer")
        dialogue.expect("GET", path, 202, request_bytes=len(request), response_bytes=len(response))
    dialogue.close()
    dialogue.verify()


@pytest.fixture
def namespace() -> Iterator[str]:
    """Yield the name of a network namespace of the test's own, with its loopback up."""
    need_root()
    ip, name = need_command("ip"), unique()
    subprocess.run([ip, "netns", "add", name], check=True)
    try:
        subprocess.run([ip, "netns", "exec", name, ip, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run([ip, "netns", "delete", name], check=True)


@pytest.mark.vm
def test_another_network_namespace(traced: Traced, namespace: str) -> None:
    prefix = [need_command("ip"), "netns", "exec", namespace]
    client, server = traced.peer(prefix=prefix), traced.peer(prefix=prefix)
    dialogue = Dialogue(traced, connect(client, server))
    for _ in range(3):
        dialogue.exchange()
    dialogue.close()
    dialogue.verify()


@pytest.mark.vm
def test_a_connection_between_two_mount_and_pid_namespaces(traced: Traced) -> None:
    need_root()
    prefix = [need_command("unshare"), "--mount", "--pid", "--fork", "--kill-child"]
    server = traced.peer(prefix=prefix)
    dialogue = Dialogue(traced, connect(traced.client, server))
    dialogue.exchange()
    dialogue.close()
    (told,) = (event for event in dialogue.verify() if event["role"] == "server")
    assert told["pid"] > 1, "the pid is the one that the tracer's own namespace knows"


def test_many_short_connections(traced: Traced) -> None:
    word_of: list[Dialogue] = []
    for _ in range(53):
        dialogue = traced.dialogue()
        dialogue.exchange(headers=(HOST, ("Connection", "close")))
        dialogue.close()
        word_of.append(dialogue)
    events: list[dict[str, Any]] = [event for dialogue in word_of[:1] for event in dialogue.verify()]
    for dialogue in word_of[1:]:
        found = traced.requests(dialogue.word)
        assert sorted(event["role"] for event in found) == ["client", "server"]
        events += found
    assert len({event["connection_id"] for event in events if event["role"] == "server"}) == 53
