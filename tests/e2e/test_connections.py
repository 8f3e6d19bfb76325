"""Connection events: from open to close, with what went through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness import messages

if TYPE_CHECKING:
    from pathlib import Path

    from harness.traced import Dialogue, Traced
    from harness.truth import Event

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("connections")]


def connection_events(dialogue: Dialogue) -> dict[str, list[Event]]:
    """Return the events of the dialogue's connection by the pid that told them, in order."""
    traced, local = dialogue.traced, dialogue.connection.client.local
    requests = traced.requests(dialogue.word)
    ids = {event["connection_id"] for event in requests}

    def of_connection(event: Event) -> bool:
        same_port = "port" in local and local["port"] in {
            (event.get(side) or {}).get("port") for side in ("local", "peer")
        }
        return event["type"] == "connection" and (event["connection_id"] in ids or same_port)

    found: dict[str, list[Event]] = {}
    for event in traced.tracer.events(of_connection):
        found.setdefault(event["connection_id"], []).append(event)
    return found


def test_open_and_close_with_exact_figures(traced: Traced) -> None:
    dialogue = traced.dialogue()
    sent = received = 0
    for number in range(7):
        dialogue.exchange(method="POST", body=b"b" * number * 11, answer=b"a" * number * 13)
        sent += dialogue.expected[-1].request_bytes
        received += dialogue.expected[-1].response_bytes
    dialogue.close()
    requests = dialogue.verify()
    found = connection_events(dialogue)
    assert len(found) == 2, "one for each end"
    for events in found.values():
        assert [event["event"] for event in events] == ["open", "close"]
        close = events[1]
        by_role = {"client": (sent, received), "server": (received, sent)}
        assert (close["sent_bytes"], close["received_bytes"]) == by_role[close["role"]]
        assert close["requests"] == 7
        assert close["duration_ms"] >= max(
            event["latency_ms"] for event in requests if event["role"] == close["role"]
        )
        end = getattr(dialogue.connection, close["role"])
        assert close["local"] == end.local
        assert close["pid"] == end.peer.pid


def test_requests_name_their_connection(traced: Traced) -> None:
    dialogue = traced.dialogue()
    dialogue.exchange()
    dialogue.exchange()
    dialogue.close()
    requests = dialogue.verify()
    assert {event["connection_id"] for event in requests} == set(connection_events(dialogue))


def test_a_connection_that_never_speaks_http_is_not_told(traced: Traced) -> None:
    dialogue = traced.dialogue()
    dialogue.connection.request(b"\x00\x01\x02 no http")
    dialogue.connection.response(b"\x03\x04")
    dialogue.close()
    traced.settle()
    assert connection_events(dialogue) == {}


def test_unix_sockets_open_and_close(traced: Traced, tmp_path: Path) -> None:
    dialogue = traced.dialogue(family="unix", listen=str(tmp_path / "s"))
    dialogue.exchange()
    dialogue.connection.client.close()
    dialogue.connection.server.receive(None)  # the server reads the end, which tells of both ends
    dialogue.close()
    dialogue.verify()
    for events in connection_events(dialogue).values():
        assert events[-1]["event"] == "close"
        assert events[-1]["requests"] == 1
        assert events[-1]["sent_bytes"] + events[-1]["received_bytes"] == len(
            messages.request("/" + dialogue.word + "/0000")
        ) + len(messages.response())


def test_a_reset_closes_both_ends(traced: Traced) -> None:
    dialogue = traced.dialogue()
    dialogue.exchange()
    dialogue.connection.client.reset()
    with pytest.raises(ConnectionResetError):
        dialogue.connection.server.receive(1)
    dialogue.close()
    dialogue.verify()
    for events in connection_events(dialogue).values():
        assert [event["event"] for event in events] == ["open", "close"]
