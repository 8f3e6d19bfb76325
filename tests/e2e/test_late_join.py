"""Connections that are older than the tracer."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from harness import messages, programs
from harness.peers import Connection, Peer, connect
from harness.processes import ProcessTree
from harness.traced import holds, unique
from harness.tracer import Tracer
from harness.truth import assert_requests

if TYPE_CHECKING:
    from pathlib import Path

    from harness.tracer import TracerRun
    from harness.truth import Expected

pytestmark = pytest.mark.e2e


def exchange(connection: Connection, path: str) -> None:
    """Do one request with its response."""
    connection.exchange(messages.request(path), messages.response())


def told(run: TracerRun, word: str, role: str) -> list[tuple[str, int | None, str | None]]:
    """Return what *role* was told to have done with *word* in its path."""
    events = [event for event in run.of_type("http") if holds(word, event) and event["role"] == role]
    return [(event["path"].rsplit("/", 1)[1], event["status"], event["error"]) for event in events]


def test_connections_older_than_the_tracer(tmp_path: Path) -> None:
    word = unique()
    with ExitStack() as stack:
        tree = stack.enter_context(ProcessTree(tmp_path))
        client, server = Peer(tree), Peer(tree)
        stack.callback(client.close)
        stack.callback(server.close)
        tcp = connect(client, server)
        unix = connect(client, server, family="unix", listen=str(tmp_path / "s"))
        idle = connect(client, server)
        for connection in (tcp, unix):
            exchange(connection, f"/{word}/before")
        with Tracer("--tracer", "http", "--pid", tree.pid) as tracer:
            for connection in (tcp, unix, idle):
                for number in range(3):
                    exchange(connection, f"/{word}/after-{number}")
                connection.close()
            tracer.wait_for(lambda event: holds(word, event), count=18)
            run = tracer.stop()
    for role in ("client", "server"):
        expected = sorted([(f"after-{number}", 200, None) for number in range(3)] * 3)
        assert sorted(told(run, word, role), key=str) == expected


@pytest.mark.parametrize("begun", ["head", "body", "answered", "answer"])
def test_a_request_that_had_begun_spoils_nothing(tmp_path: Path, begun: str) -> None:
    """The tracer joins inside a request: nothing wrong is told of it, and all of the next."""
    word = unique()
    with ExitStack() as stack:
        tree = stack.enter_context(ProcessTree(tmp_path))
        client, server = Peer(tree), Peer(tree)
        stack.callback(client.close)
        stack.callback(server.close)
        connection = connect(client, server)
        request = messages.request(f"/{word}/cut", method="POST", body=b"GET /fake HTTP/1.1\r\n\r\n" * 40)
        response = messages.response(200, body=b"HTTP/1.1 500 Fake\r\nContent-Length: 0\r\n\r\n" * 40)
        request_cut = {"head": 10, "body": 400}.get(begun, len(request))
        response_cut = 500 if begun == "answer" else 0
        connection.request(request[:request_cut])
        if response_cut:
            connection.response(response[:response_cut])
        with Tracer("--tracer", "http", "--pid", tree.pid) as tracer:
            if request_cut < len(request):
                connection.request(request[request_cut:])
            connection.response(response[response_cut:])
            for number in range(5):
                exchange(connection, f"/{word}/after-{number}")
            connection.close()
            tracer.wait_for(lambda event: holds(f"{word}/after-4", event), count=2)
            run = tracer.stop()
    fakes = [
        event for event in run.of_type("http") if "fake" in (event["path"] or "") or event["status"] == 500
    ]
    assert fakes == []
    for role in ("client", "server"):
        whole = [each for each in told(run, word, role) if each[0] != "cut"]
        # One request may be needed to find the beat again; never more.
        assert sorted(whole) in (
            [(f"after-{number}", 200, None) for number in range(5)],
            [(f"after-{number}", 200, None) for number in range(1, 5)],
        )


def test_servers_older_than_the_tracer(tmp_path: Path) -> None:
    """Nginx with its workers and its kept connections to a Python service, all there before the tracer."""
    word = unique()
    with ProcessTree(tmp_path) as tree:
        upstream = programs.start_python(tree, "threading")
        front = programs.start_nginx(tree, upstream)
        client = programs.python_client("socket")
        warm_up = [
            {"method": "GET", "target": f"/sleep/1/{word}-warm-{n}", "body_bytes": 0} for n in range(4)
        ]
        client.run(tree, front, warm_up)
        with Tracer("--tracer", "http", "--pid", front.process.pid, "--pid", upstream.process.pid) as tracer:
            plan = [{"method": "GET", "target": f"/sleep/2/{word}-{n}", "body_bytes": 0} for n in range(11)]
            truth: list[Expected] = client.run(tree, front, plan)
            tracer.wait_for(lambda event: holds(word, event), count=33)
            run = tracer.stop()
    events = [event for event in run.of_type("http") if holds(word, event)]
    assert len(events) == 33, (
        "nginx as server and as client, Python as server; the client was not to be traced"
    )
    by_nginx = [event for event in events if event["comm"] == "nginx" and event["role"] == "server"]
    assert_requests(by_nginx, truth)
    assert run.exit_code == 0
