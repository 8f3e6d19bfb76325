"""Requests that do not end well, and traffic that is no HTTP."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import messages
from harness.messages import HOST, head
from harness.peers import connect
from harness.traced import Dialogue, Traced, holds
from harness.tracer import Tracer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.truth import Event

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("failures")]

TIMEOUT_SECONDS = 1.0
PRIVATE_ERRORS = {"reset", "closed"}


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """Yield a traced tree whose tracer gives a response one second."""
    environment = {"UT_HTTP_TRACER__CORRELATION_TIMEOUT": f"{TIMEOUT_SECONDS:g}s"}
    with Traced(tmp_path_factory.mktemp("hasty"), env=environment) as traced:
        yield traced


@pytest.fixture
def dialogue(traced: Traced) -> Iterator[Dialogue]:
    """Yield a fresh connection between the two ends."""
    fresh = traced.dialogue()
    yield fresh
    fresh.close()


def open_request(dialogue: Dialogue) -> str:
    """Send a whole request that nobody answers; return its path."""
    path = dialogue.path()
    dialogue.connection.request(messages.request(path))
    return path


def told(dialogue: Dialogue, roles: int = 2) -> dict[str, Event]:
    """Return the dialogue's only request as each role tells it."""
    dialogue.traced.tracer.wait_for(lambda event: holds(dialogue.word, event), count=roles)
    dialogue.traced.settle()
    events = dialogue.traced.requests(dialogue.word)
    assert len(events) == roles
    return {event["role"]: event for event in events}


def test_the_server_resets(dialogue: Dialogue) -> None:
    open_request(dialogue)
    dialogue.connection.server.reset()
    with pytest.raises(ConnectionResetError):
        dialogue.connection.client.receive(1)
    for event in told(dialogue).values():
        assert event["status"] is None
        assert event["error"] in PRIVATE_ERRORS
    assert told(dialogue)["client"]["error"] == "reset"


def test_the_server_closes_without_an_answer(dialogue: Dialogue) -> None:
    open_request(dialogue)
    dialogue.connection.server.close()
    assert dialogue.connection.client.receive(1)["data"] == ""
    dialogue.connection.client.close()
    for event in told(dialogue).values():
        assert (event["status"], event["error"]) == (None, "closed")


def test_the_client_goes_before_the_answer(dialogue: Dialogue) -> None:
    open_request(dialogue)
    dialogue.connection.client.close()
    assert dialogue.connection.server.receive(1)["data"] == ""
    dialogue.connection.server.close()
    for event in told(dialogue).values():
        assert (event["status"], event["error"]) == (None, "closed")


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_a_response_that_is_cut_off(dialogue: Dialogue, coding: str) -> None:
    path = open_request(dialogue)
    framing = ("Content-Length", "1000") if coding == "length" else ("Transfer-Encoding", "chunked")
    response = head("HTTP/1.1 200 OK", [framing]) + b"64\r\npartial"
    dialogue.connection.response(response)
    dialogue.connection.server.close()
    assert dialogue.connection.client.receive(1)["data"] == ""
    dialogue.connection.client.close()
    for event in told(dialogue).values():
        assert (event["path"], event["status"], event["error"]) == (path, 200, "closed")
        assert event["response_bytes"] == len(response)


def test_a_request_that_is_cut_off_in_its_body(dialogue: Dialogue) -> None:
    path = dialogue.path()
    dialogue.connection.request(
        head(f"POST {path} HTTP/1.1", [HOST, ("Content-Length", "50")]) + b"ten bytes."
    )
    dialogue.connection.client.reset()
    with pytest.raises(ConnectionResetError):
        dialogue.connection.server.receive(1)
    for event in told(dialogue).values():
        assert event["status"] is None
        assert event["error"] in PRIVATE_ERRORS


def test_pipelined_requests_that_stay_open_are_all_told(dialogue: Dialogue) -> None:
    paths = [dialogue.path() for _ in range(5)]
    dialogue.connection.request(b"".join(messages.request(path) for path in paths))
    dialogue.connection.response(messages.response())
    dialogue.connection.server.close()
    dialogue.connection.client.close()
    dialogue.traced.tracer.wait_for(lambda event: holds(dialogue.word, event), count=10)
    dialogue.traced.settle()
    for role in ("client", "server"):
        events = dialogue.traced.requests(dialogue.word, role)
        ends = {event["path"]: (event["status"], event["error"]) for event in events}
        assert ends == {paths[0]: (200, None), **dict.fromkeys(paths[1:], (None, "closed"))}
        assert len(events) == 5


def test_a_process_that_is_killed_in_a_request(traced: Traced) -> None:
    victim = traced.peer()
    dialogue = Dialogue(traced, connect(traced.client, victim))
    open_request(dialogue)
    os.kill(victim.pid, 9)
    assert dialogue.connection.client.receive(1)["data"] == ""
    dialogue.connection.client.close()
    for event in told(dialogue).values():
        assert event["status"] is None
        assert event["error"] in PRIVATE_ERRORS


def test_an_answer_that_does_not_come_in_time(hasty: Traced) -> None:
    late = hasty.dialogue()
    open_request(late)
    prompt = hasty.dialogue()
    prompt.exchange()
    prompt.close()
    prompt.verify()
    events = hasty.tracer.wait_for(lambda event: holds(late.word, event), count=2)
    for event in events:
        assert (event["status"], event["error"]) == (None, "timeout")
        # There is no last byte to measure to.
        assert event["latency_ms"] is None
    late.connection.response(messages.response())
    late.exchange()
    late.close()
    hasty.settle()
    after = [event for event in hasty.requests(late.word) if event["error"] is None]
    assert {event["path"] for event in after} <= {f"/{late.word}/0001"}, "the late answer is no other's"
    assert len(hasty.requests(late.word)) <= 4


def test_open_requests_are_told_when_the_tracer_ends(traced: Traced) -> None:
    dialogue = traced.dialogue()
    with Tracer("--tracer", "http", "--pid", traced.tree.pid) as tracer:
        path = open_request(dialogue)
        traced.settle()
        run = tracer.stop()
    dialogue.close()
    events = [event for event in run.of_type("http") if event["path"] == path]
    assert sorted(event["role"] for event in events) == ["client", "server"]
    assert all(event["status"] is None and event["error"] is not None for event in events)


def test_malformed_after_http_says_so_and_the_connection_is_given_up(dialogue: Dialogue) -> None:
    dialogue.exchange()
    dialogue.connection.request(f"GET /{dialogue.word}/bad HTTP/1.1\r\nno colon here\0\r\n\r\n".encode())
    dialogue.connection.response(messages.response(400))
    dialogue.close()
    dialogue.traced.settle()
    events = dialogue.traced.requests(dialogue.word)
    whole = [event for event in events if event["error"] is None and event["path"].endswith("0000")]
    assert sorted(event["role"] for event in whole) == ["client", "server"]
    rest = [event for event in events if event not in whole]
    assert {event["error"] for event in rest} <= {"malformed", None}
    assert all("\0" not in str(event) for event in rest)


def garbage() -> list[bytes]:
    """Return what resembles HTTP and is none, besides plain noise."""
    dice = random.Random(20_261_125)
    noise = [dice.randbytes(size) for size in (1, 3, 16, 1_000, 9_000)]
    return [
        *noise,
        b"GET",
        b"GET \0\1\2\3",
        b"GETTING /word HTTP/1.1 is a sentence\r\n\r\n",
        b"GET word\r\n",
        b"POST\0/WORD HTTP/1.1\r\n\r\n",
        b"HTTP",
        b"HTTPS/WORD",
        b"PUT /WORD\0" + bytes(range(256)) * 5,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise[3],
        b"SSH-2.0-OpenSSH_9.2p1 WORD\r\n",
        b"*3\r\n$3\r\nGET\r\n$4\r\nWORD\r\n",
        b"EHLO WORD\r\n250-HELP\r\n",
        b"OPTIONS\x01\x02 /WORD" + noise[2],
        b"DELETE FROM WORD WHERE HTTP/1.1 = 1\r\n\r\n\x00",
    ]


def test_what_is_no_http_makes_no_event(traced: Traced) -> None:
    before = len(traced.tracer.events(lambda event: event["type"] == "http"))
    ids = set()
    for data in garbage():
        dialogue = traced.dialogue()
        ids.add(dialogue.connection.client.local["port"])
        dialogue.connection.request(data)
        dialogue.connection.response(data[::-1] or b"x")
        dialogue.connection.request(data * 2)
        dialogue.close()
    traced.settle()

    def of_garbage(event: Event) -> bool:
        ports = {(event.get(side) or {}).get("port") for side in ("local", "peer")}
        return event["type"] == "http" and bool(ports & ids) and "settled" not in event["path"]

    recent = traced.tracer.events()[before:]
    assert [event for event in recent if of_garbage(event)] == []


def test_nul_bytes_in_a_head_harm_nobody(dialogue: Dialogue) -> None:
    raw = f"GET /{dialogue.word}\0/x HTTP/1.1\r\nHost: a\0b\r\nX: \0\r\n\r\n".encode()
    dialogue.connection.request(raw)
    dialogue.connection.response(messages.response(400))
    dialogue.close()
    other = dialogue.traced.dialogue()
    other.exchange()
    other.close()
    other.verify()


@pytest.mark.parametrize("half", ["request", "response"])
def test_a_head_without_an_end_is_cut_and_says_so(traced: Traced, half: str) -> None:
    dialogue = traced.dialogue()
    path = dialogue.path()
    endless: bytes = b"".join(f"X-{number}: {'e' * 1000}\r\n".encode() for number in range(300))
    if half == "request":
        dialogue.connection.request(f"GET {path} HTTP/1.1\r\n".encode() + endless)
    else:
        dialogue.connection.request(messages.request(path))
        dialogue.connection.response(b"HTTP/1.1 200 OK\r\n" + endless)
    dialogue.close()
    other = traced.dialogue()
    other.exchange()
    other.close()
    other.verify()
    events = traced.requests(dialogue.word)
    assert len(events) <= 2
    # Nothing at all, or a request that says that it is not whole.
    assert all(event["error"] in {"truncated", "malformed", "closed"} for event in events)
    if half == "response":
        assert sorted(event["role"] for event in events) == ["client", "server"]


def test_a_flood_of_tiny_writes_leaves_others_alone(traced: Traced) -> None:
    flood, other = traced.dialogue(), traced.dialogue()
    size = 20_011
    flooding: dict[str, Any] = {"name": flood.connection.client.name, "data": "z" * size, "piece": 1}
    traced.server.do(
        "start_thread",
        thread="sink",
        commands=[{"do": "receive", "name": flood.connection.server.name, "size": size}],
    )
    traced.client.do("start_thread", thread="flood", commands=[{"do": "send", **flooding}])
    for _ in range(7):
        other.exchange()
    traced.client.do("join_thread", thread="flood")
    traced.server.do("join_thread", thread="sink")
    flood.close()
    other.close()
    other.verify()
    assert traced.requests(flood.word) == []


CONNECTIONS_AT_ONCE = 701


def test_a_flood_of_connections_with_open_heads_is_bounded(traced: Traced) -> None:
    """Many connections, each with a long head that never ends: memory stays bounded, others stay told."""
    flood = [traced.dialogue() for _ in range(CONNECTIONS_AT_ONCE)]
    unfinished = f"GET /{flood[0].word}/x HTTP/1.1\r\n".encode() + b"X-Filler: ffffffff\r\n" * 800
    for dialogue in flood:
        dialogue.connection.request(unfinished)
    traced.settle()  # while the tracer is behind, requests are left out and counted
    other = traced.dialogue()
    other.exchange()
    other.close()
    other.verify()
    status = Path(f"/proc/{traced.tracer.pid}/status").read_text(encoding="ascii")
    resident_kb = int(status.partition("VmRSS:")[2].split()[0])
    assert resident_kb < 150 * 1024
    for dialogue in flood:
        dialogue.close()
    traced.settle()
    told = traced.requests(flood[0].word)
    assert all(event["error"] is not None for event in told)
