"""Framing of HTTP/1 messages, byte for byte, between two ends that the test controls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from harness import messages
from harness.messages import HOST, chunked, head

if TYPE_CHECKING:
    from harness.traced import Dialogue, Traced

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("messages")]

STATUSES = (200, 201, 302, 404, 500)


def test_keep_alive_keeps_every_request_apart(dialogue: Dialogue) -> None:
    for number in range(97):
        dialogue.exchange(
            method=("GET", "POST", "PUT")[number % 3], body=b"b" * number, answer=b"a" * number * 7
        )
    events = dialogue.verify()
    assert len({event["connection_id"] for event in events if event["role"] == "client"}) == 1


@pytest.mark.parametrize("half", ["request", "response"])
def test_heads_split_at_every_byte(dialogue: Dialogue, half: str) -> None:
    whole = {"request": messages.request(f"/{dialogue.word}/0000"), "response": messages.response()}[half]
    for cut in range(1, len(whole)):
        path = dialogue.path()
        request, response = messages.request(path), messages.response()
        if half == "request":
            dialogue.connection.request(request[:cut])
            dialogue.connection.request(request[cut:])
            dialogue.connection.response(response)
        else:
            dialogue.connection.request(request)
            dialogue.connection.response(response[:cut])
            dialogue.connection.response(response[cut:])
        dialogue.expect("GET", path, 200, request_bytes=len(request), response_bytes=len(response))
    dialogue.verify()


@pytest.mark.parametrize(("send_piece", "receive_piece"), [(1, None), (None, 1), (1, 1), (3, 2)])
def test_messages_byte_by_byte(dialogue: Dialogue, send_piece: int | None, receive_piece: int | None) -> None:
    how: dict[str, Any] = {"piece": send_piece, "receive_piece": receive_piece}
    path = dialogue.path()
    request = messages.request(path, method="POST", body=b"one two three")
    response = messages.response(201, body=b"answer")
    dialogue.connection.request(request, **how)
    dialogue.connection.response(response, **how)
    dialogue.expect("POST", path, 201, request_bytes=len(request), response_bytes=len(response))
    dialogue.exchange()
    dialogue.verify()


def test_a_hundred_pipelined_requests(dialogue: Dialogue) -> None:
    paths = [dialogue.path() for _ in range(100)]
    statuses = [STATUSES[number % 5] for number in range(100)]
    dialogue.connection.request(b"".join(messages.request(path) for path in paths))
    dialogue.connection.response(
        b"".join(messages.response(status, body=b"x" * status) for status in statuses)
    )
    for path, status in zip(paths, statuses, strict=True):
        response = messages.response(status, body=b"x" * status)
        dialogue.expect(
            "GET", path, status, request_bytes=len(messages.request(path)), response_bytes=len(response)
        )
    dialogue.verify()


def test_pipelined_requests_answered_one_by_one(dialogue: Dialogue) -> None:
    paths = [dialogue.path() for _ in range(5)]
    dialogue.connection.request(b"".join(messages.request(path) for path in paths), receive_piece=31)
    for number, path in enumerate(paths):
        dialogue.connection.response(messages.response(200 + number * 100 if number else 200))
        dialogue.expect("GET", path, 200 + number * 100 if number else 200)
    dialogue.verify()


def test_a_response_that_comes_with_the_next_head_in_one_read(dialogue: Dialogue) -> None:
    first, second = dialogue.path(), dialogue.path()
    dialogue.connection.request(
        messages.request(first, method="POST", body=b"z" * 10) + messages.request(second)
    )
    dialogue.connection.response(messages.response(200) + messages.response(503))
    dialogue.expect("POST", first, 200)
    dialogue.expect("GET", second, 503)
    dialogue.verify()


def test_chunked_both_ways_with_trailers_and_extensions(dialogue: Dialogue) -> None:
    path = dialogue.path()
    coded = ("Transfer-Encoding", "chunked")
    body = chunked(
        [b"a", b"GET /not/a/request HTTP/1.1\r\n\r\n", b"c" * 70_000], [("X-Sum", "1")], ";name=value"
    )
    request = head(f"POST {path} HTTP/1.1", [HOST, coded]) + body
    response = head("HTTP/1.1 200 OK", [coded]) + chunked([b"HTTP/1.1 500 No\r\n\r\n"], [("Expires", "0")])
    timing = dialogue.connection.exchange(request, response)
    dialogue.expect(
        "POST",
        path,
        200,
        request_bytes=len(request),
        response_bytes=len(response),
        latency_ms=timing.client_ms,
        streaming=False,
    )
    dialogue.exchange()
    dialogue.verify()


def test_chunk_sizes_cut_anywhere(dialogue: Dialogue) -> None:
    coded = ("Transfer-Encoding", "chunked")
    response = head("HTTP/1.1 200 OK", [coded]) + chunked(
        [b"0123456789abcdef0", b"0\r\n\r\n", b"x"], [("A", "b")]
    )
    for cut in range(len(response) - 40, len(response)):
        path = dialogue.path()
        dialogue.connection.request(messages.request(path))
        dialogue.connection.response(response[:cut])
        dialogue.connection.response(response[cut:])
        dialogue.expect("GET", path, 200, response_bytes=len(response))
    dialogue.verify()


@pytest.mark.parametrize("pieces", [[b"GET / HTTP/1.1\r\n\r\n"], [b"HTTP/1.1 200 OK\r\n\r\n"]])
def test_a_body_that_looks_like_a_message_is_none(dialogue: Dialogue, pieces: list[bytes]) -> None:
    body = pieces[0].replace(b"/ ", f"/{dialogue.word}/body ".encode())
    for via_own_call in (False, True):
        path = dialogue.path()
        request_head = head(f"POST {path} HTTP/1.1", [HOST, ("Content-Length", str(len(body)))])
        if via_own_call:  # a body that begins a call of its own
            dialogue.connection.request(request_head)
            dialogue.connection.request(body)
        else:
            dialogue.connection.request(request_head + body)
        dialogue.connection.response(messages.response(200, body=body))
        dialogue.expect("POST", path, 200)
    dialogue.verify()


@pytest.mark.parametrize(
    ("method", "status", "content_length"), [("HEAD", 200, 5_000), ("GET", 204, None), ("GET", 304, 5_000)]
)
def test_responses_without_a_body(
    dialogue: Dialogue, method: str, status: int, content_length: int | None
) -> None:
    length = [] if content_length is None else [("Content-Length", str(content_length))]
    for _ in range(3):
        path = dialogue.path()
        response = head(f"HTTP/1.1 {status} Reason", length)
        dialogue.connection.exchange(messages.request(path, method=method), response)
        dialogue.expect(method, path, status, response_bytes=len(response))
    dialogue.exchange()
    dialogue.verify()


def test_100_continue(dialogue: Dialogue) -> None:
    path = dialogue.path()
    request_head = head(f"PUT {path} HTTP/1.1", [HOST, ("Expect", "100-continue"), ("Content-Length", "9")])
    dialogue.connection.request(request_head)
    interim = head("HTTP/1.1 100 Continue", [])
    dialogue.connection.response(interim)
    dialogue.connection.request(b"long body")
    response = messages.response(201)
    dialogue.connection.response(response)
    dialogue.expect(
        "PUT",
        path,
        201,
        request_bytes=len(request_head) + 9,
        response_bytes=len(interim) + len(response),
    )
    dialogue.exchange()
    dialogue.verify()


def test_103_early_hints_in_several_interim_responses(dialogue: Dialogue) -> None:
    path = dialogue.path()
    dialogue.connection.request(messages.request(path))
    for _ in range(2):
        dialogue.connection.response(
            head("HTTP/1.1 103 Early Hints", [("Link", "</style.css>; rel=preload")])
        )
    dialogue.connection.response(messages.response(200))
    dialogue.expect(
        "GET", path, 200, response_headers=[("Content-Type", "text/plain"), ("Content-Length", "2")]
    )
    dialogue.exchange()
    dialogue.verify()


def test_connect_opens_a_tunnel_whose_bytes_are_nobodys_business(dialogue: Dialogue) -> None:
    target = f"{dialogue.word}.test:443"
    connection = dialogue.connection
    connection.request(head(f"CONNECT {target} HTTP/1.1", [("Host", target)]))
    connection.response(head("HTTP/1.1 200 Connection established", []))
    connection.request(messages.request(f"/{dialogue.word}/inside-the-tunnel"))
    connection.response(messages.response(500))
    dialogue.close()
    dialogue.traced.settle()

    def is_connect(event: dict[str, Any]) -> bool:
        return event["type"] == "http" and event["authority"] == target

    events = dialogue.traced.tracer.wait_for(is_connect, count=2)
    assert {(event["method"], event["status"], event["error"]) for event in events} == {
        ("CONNECT", 200, None)
    }
    assert sorted(event["role"] for event in events) == ["client", "server"]
    assert dialogue.traced.requests("inside-the-tunnel") == []


def test_an_upgrade_ends_the_talk_in_http(dialogue: Dialogue) -> None:
    path = dialogue.path()
    upgrade = [HOST, ("Connection", "Upgrade"), ("Upgrade", "private/1")]
    dialogue.connection.request(messages.request(path, headers=upgrade))
    dialogue.connection.response(head("HTTP/1.1 101 Switching Protocols", upgrade[1:]))
    dialogue.connection.request(b"\x01" + messages.request(f"/{dialogue.word}/upgraded") * 3)
    dialogue.connection.response(b"\x02" + messages.response(500))
    dialogue.close()
    dialogue.expect("GET", path, 101, streaming=True)
    dialogue.verify()


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_body_that_ends_with_the_connection(dialogue: Dialogue, version: str) -> None:
    path = dialogue.path()
    request = messages.request(path, version=version)
    response = (
        head(f"{version} 200 OK", [("Content-Type", "text/plain"), ("Connection", "close")]) + b"b" * 5_000
    )
    dialogue.connection.request(request)
    dialogue.connection.response(response[:100])
    dialogue.connection.response(response[100:])
    dialogue.connection.server.close()
    assert dialogue.connection.client.receive(None)["data"] == ""
    dialogue.connection.client.close()
    dialogue.expect("GET", path, 200, protocol=version, response_bytes=len(response))
    dialogue.verify()


def test_http_1_0_with_keep_alive(dialogue: Dialogue) -> None:
    keep = ("Connection", "keep-alive")
    for _ in range(3):
        path = dialogue.path()
        dialogue.connection.exchange(
            messages.request(path, version="HTTP/1.0", headers=(HOST, keep)),
            messages.response(version="HTTP/1.0", headers=(keep,)),
        )
        dialogue.expect("GET", path, 200, protocol="HTTP/1.0")
    dialogue.verify()


def test_a_response_before_the_request_is_complete(dialogue: Dialogue) -> None:
    path = dialogue.path()
    request = head(f"POST {path} HTTP/1.1", [HOST, ("Content-Length", "20000")])
    dialogue.connection.request(request + b"b" * 5_000)
    response = messages.response(413)
    dialogue.connection.response(response)
    dialogue.connection.request(b"b" * 15_000)
    dialogue.exchange()
    dialogue.expect("POST", path, 413, response_bytes=len(response))
    dialogue.verify()


def test_blank_lines_before_a_request_are_nothing(dialogue: Dialogue) -> None:
    path = dialogue.path()
    dialogue.connection.request(messages.request(path))
    dialogue.connection.response(messages.response())
    after = dialogue.path()
    dialogue.connection.request(b"\r\n" + messages.request(after))
    dialogue.connection.response(messages.response(202))
    dialogue.expect("GET", path, 200)
    dialogue.expect("GET", after, 202)
    dialogue.verify()


def test_large_bodies_are_counted_to_the_byte(dialogue: Dialogue) -> None:
    for size in (4_096, 65_537, 3_000_017):
        dialogue.exchange(method="POST", body=b"q" * size, answer=b"r" * (size + 1))
    dialogue.exchange()
    dialogue.verify()


def test_server_sent_events_stream(dialogue: Dialogue) -> None:
    path = dialogue.path()
    dialogue.connection.request(messages.request(path))
    events = [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")]
    dialogue.connection.response(head("HTTP/1.1 200 OK", events))
    for number in range(3):
        dialogue.connection.server.peer.do("sleep", ms=10)
        dialogue.connection.response(chunked([f"data: {number}\n\n".encode()]).removesuffix(b"0\r\n\r\n"))
    dialogue.connection.response(b"0\r\n\r\n")
    dialogue.expect("GET", path, 200, streaming=True, content_type="text/event-stream")
    for event in dialogue.verify():
        assert event["ttfb_ms"] < 20 <= event["latency_ms"]


def test_two_connections_with_their_requests_interleaved(traced: Traced) -> None:
    dialogues = [traced.dialogue() for _ in range(5)]
    for _ in range(7):
        paths = [dialogue.path() for dialogue in dialogues]
        for dialogue, path in zip(dialogues, paths, strict=True):
            dialogue.connection.request(messages.request(path))
        for number, (dialogue, path) in reversed(list(enumerate(zip(dialogues, paths, strict=True)))):
            dialogue.connection.response(messages.response(STATUSES[number]))
            dialogue.expect("GET", path, STATUSES[number])
    for dialogue in dialogues:
        dialogue.close()
        dialogue.verify()
