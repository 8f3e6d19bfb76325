"""What a head says is told as it was sent: methods, paths, headers, ends and times."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from harness import messages
from harness.messages import HOST

if TYPE_CHECKING:
    from harness.traced import Dialogue, Traced

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("messages")]


def event_of(dialogue: Dialogue, role: str) -> dict[str, Any]:
    """Return the only request of *dialogue* as *role* tells it."""
    (event,) = dialogue.traced.requests(dialogue.word, role)
    return event


def test_header_forms_that_servers_accept(dialogue: Dialogue) -> None:
    path = dialogue.path()
    lines = ["host: service.test", "X-Empty:", "X-Spaces:   two words  ", "X-Again: 1", "X-Again: 2"]
    raw = "\n".join([f"GET {path} HTTP/1.1", *lines, "", ""])
    dialogue.connection.request(raw.encode())
    dialogue.connection.response(messages.response())
    pairs = [
        ("host", "service.test"),
        ("X-Empty", ""),
        ("X-Spaces", "two words"),
        ("X-Again", "1"),
        ("X-Again", "2"),
    ]
    dialogue.expect("GET", path, 200, request_headers=pairs, authority="service.test")
    dialogue.verify()


@pytest.mark.parametrize(
    "method", ["GET", "POST", "PATCH", "OPTIONS", "DELETE", "PROPFIND", "REPORT", "QUERY"]
)
def test_methods(dialogue: Dialogue, method: str) -> None:
    dialogue.exchange(method=method)
    dialogue.verify()


def test_headers_path_query_and_authority_are_told_as_sent(dialogue: Dialogue) -> None:
    path = dialogue.path()
    sent = [
        ("Host", "example.test:8080"),
        ("User-Agent", "tester/1.0"),
        ("X-B", "second"),
        ("X-A", "first"),
        ("Accept", "*/*"),
    ]
    answered = [
        ("Server", "raw"),
        ("Content-Type", "application/json; charset=utf-8"),
        ("X-Z", "1"),
        ("X-Y", "2"),
    ]
    response = messages.response(body=b"{}", headers=answered)
    dialogue.connection.exchange(messages.request(f"{path}?page=2&sort=up", headers=sent), response)
    dialogue.expect(
        "GET",
        path,
        200,
        query="page=2&sort=up",
        authority="example.test:8080",
        user_agent="tester/1.0",
        content_type="application/json; charset=utf-8",
        request_headers=sent,
        response_headers=[*answered, ("Content-Length", "2")],
    )
    dialogue.verify()
    ends = dialogue.connection
    client, server = event_of(dialogue, "client"), event_of(dialogue, "server")
    assert client["local"] == server["peer"] == ends.client.local
    assert client["peer"] == server["local"] == ends.server.local
    assert (client["pid"], server["pid"]) == (ends.client.peer.pid, ends.server.peer.pid)
    assert client["tid"] == client["pid"]


def test_absolute_form_as_sent_to_proxies(dialogue: Dialogue) -> None:
    path = dialogue.path()
    dialogue.connection.exchange(
        messages.request(f"http://origin.test:81{path}?a=b", headers=[("Host", "origin.test:81")]),
        messages.response(),
    )
    dialogue.expect("GET", path, 200, query="a=b", authority="origin.test:81")
    dialogue.verify()


def test_a_head_of_60_kib(dialogue: Dialogue) -> None:
    path = dialogue.path()
    headers = [HOST, *((f"X-Long-{number:02}", "v" * 1000) for number in range(58)), ("X-Last", "end")]
    request = messages.request(path, headers=headers)
    assert 58_000 < len(request) < 64 * 1024
    response = messages.response(headers=headers[1:])
    dialogue.connection.exchange(request, response)
    dialogue.expect(
        "GET",
        path,
        200,
        request_headers=headers,
        request_bytes=len(request),
        response_bytes=len(response),
    )
    dialogue.exchange()
    dialogue.verify()


def test_latency_is_from_the_first_byte_to_the_last(dialogue: Dialogue) -> None:
    for _ in range(12):
        path = dialogue.path()
        request, response = (
            messages.request(path, method="POST", body=b"b" * 100),
            messages.response(body=b"a" * 100),
        )
        first = dialogue.connection.request(request[:50])
        dialogue.connection.client.peer.do("sleep", ms=7)
        dialogue.connection.request(request[50:])
        dialogue.connection.server.peer.do("sleep", ms=11)
        begun = dialogue.connection.response(response[:80])
        dialogue.connection.server.peer.do("sleep", ms=5)
        last = dialogue.connection.response(response[80:])
        dialogue.expect("POST", path, 200, latency_ms=(last.receive_after_ns - first.send_before_ns) / 1e6)
        ttfb_ms = (begun.receive_first_ns - first.send_before_ns) / 1e6
        assert ttfb_ms >= 18, "the harness itself lost time"
    for event in dialogue.verify():
        assert event["latency_ms"] >= 23
        assert 11 <= event["ttfb_ms"] <= event["latency_ms"] - 5 + 0.5


def test_every_column_of_the_contract_is_there(dialogue: Dialogue) -> None:
    dialogue.exchange()
    dialogue.verify()
    names = (
        "type timestamp timestamp_ns host pid tid comm service container protocol role method path query "
        "route authority status latency_ms ttfb_ms request_bytes response_bytes streaming tls local peer "
        "connection_id request_id trace_id span_id parent_span_id request_headers response_headers "
        "request_body response_body user_agent content_type error breakdown tcp"
    )
    event = event_of(dialogue, "server")
    assert set(event) == set(names.split())
    assert event["comm"].startswith("python")
    assert event["service"]
    assert isinstance(event["connection_id"], str)
    assert event["timestamp"].endswith("Z")
    assert event["tls"] is None


def test_time_of_day_is_the_clients(traced: Traced) -> None:
    dialogue = traced.dialogue()
    before_ns = time.time_ns()
    dialogue.exchange()
    after_ns = time.time_ns()
    for event in dialogue.verify():
        assert before_ns - 2_000_000 <= event["timestamp_ns"] <= after_ns + 2_000_000
    dialogue.close()
