"""Secrets never come out, wherever they stood."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from harness import messages
from harness.messages import HOST
from harness.traced import Traced, unique
from harness.truth import header_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("privacy")]

MASK = "***"


@pytest.fixture
def secret() -> str:
    """Return a word that must not come out."""
    return f"hush{unique()}"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """Yield a traced tree whose tracer also writes a file."""
    directory = tmp_path_factory.mktemp("recording")
    with Traced(directory, "--output", str(directory / "events.json")) as traced:
        yield traced


def everything_told(traced: Traced) -> str:
    """Return all that the tracer has written anywhere."""
    written = (traced.directory / "events.json").read_text(encoding="utf-8")
    return json.dumps(traced.tracer.events()) + written + traced.tracer.stderr


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "authorization",
        "Proxy-Authorization",
        "Cookie",
        "X-Api-Key",
        "X-Auth-Token",
        "X-Secret-Id",
    ],
)
def test_secret_request_headers(recording: Traced, secret: str, name: str) -> None:
    dialogue = recording.dialogue()
    dialogue.exchange(headers=[HOST, (name, f"Bearer {secret}"), ("X-After", "seen")])
    dialogue.close()
    for event in dialogue.verify():
        assert header_pairs(event["request_headers"]) == [HOST, (name, MASK), ("X-After", "seen")]
    assert secret not in everything_told(recording)


def test_secret_response_headers(recording: Traced, secret: str) -> None:
    dialogue = recording.dialogue()
    path = dialogue.path()
    answer = [("Set-Cookie", f"session={secret}; HttpOnly"), ("X-Session-Token", secret), ("X-Seen", "yes")]
    dialogue.connection.exchange(messages.request(path), messages.response(headers=answer))
    dialogue.close()
    masked = [("Set-Cookie", MASK), ("X-Session-Token", MASK), ("X-Seen", "yes"), ("Content-Length", "2")]
    dialogue.expect("GET", path, 200, response_headers=masked)
    dialogue.verify()
    assert secret not in everything_told(recording)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("token={}", "token=***"),
        ("a=1&access_token={}&b=2", "a=1&access_token=***&b=2"),
        ("PASSWORD={}", "PASSWORD=***"),
        ("my_secret_thing={}&x", "my_secret_thing=***&x"),
        ("pass%77ord={}", "pass%77ord=***"),
    ],
)
def test_secret_query_values(recording: Traced, secret: str, query: str, told: str) -> None:
    dialogue = recording.dialogue()
    path = dialogue.path()
    request = messages.request(f"{path}?{query.format(secret)}")
    dialogue.connection.exchange(request, messages.response())
    dialogue.close()
    dialogue.expect("GET", path, 200, query=told, request_bytes=len(request))
    dialogue.verify()
    assert secret not in everything_told(recording)


@pytest.mark.parametrize("piece", [1, 7])
def test_secrets_in_heads_that_come_in_pieces(recording: Traced, secret: str, piece: int) -> None:
    dialogue = recording.dialogue()
    path = dialogue.path()
    headers = [HOST, ("Authorization", f"Basic {secret}"), ("Cookie", f"id={secret}")]
    request = messages.request(f"{path}?token={secret}", headers=headers)
    dialogue.connection.request(request, piece=piece, receive_piece=piece)
    dialogue.connection.response(messages.response())
    dialogue.close()
    masked = [HOST, ("Authorization", MASK), ("Cookie", MASK)]
    dialogue.expect("GET", path, 200, query="token=***", request_headers=masked)
    dialogue.verify()
    assert secret not in everything_told(recording)


def test_secrets_in_requests_that_fail(recording: Traced, secret: str) -> None:
    dialogue = recording.dialogue()
    cut = messages.request(f"{dialogue.path()}?token={secret}", headers=[HOST, ("Cookie", secret)])
    dialogue.connection.request(cut)
    dialogue.connection.server.reset()
    dialogue.connection.client.close()
    recording.settle()
    assert len(recording.requests(dialogue.word)) == 2
    assert secret not in everything_told(recording)


def test_user_info_in_a_url(recording: Traced, secret: str) -> None:
    dialogue = recording.dialogue()
    target = f"http://user:{secret}@origin.test{dialogue.path()}"
    dialogue.connection.exchange(messages.request(target), messages.response())
    dialogue.close()
    recording.settle()
    assert len(recording.requests(dialogue.word)) == 2
    assert secret not in everything_told(recording)


def test_bodies_of_forms_and_json(recording: Traced, secret: str) -> None:
    bodies = [
        ("application/x-www-form-urlencoded", f"user=me&password={secret}"),
        ("application/json", json.dumps({"user": "me", "nested": {"api_token": secret}})),
    ]
    dialogue = recording.dialogue()
    for content_type, body in bodies:
        path = dialogue.path()
        headers = [HOST, ("Content-Type", content_type)]
        request = messages.request(path, method="POST", headers=headers, body=body.encode())
        dialogue.connection.exchange(request, messages.response(body=body.encode(), headers=headers[1:]))
        dialogue.expect("POST", path, 200)
    dialogue.close()
    dialogue.verify()
    assert secret not in everything_told(recording)
