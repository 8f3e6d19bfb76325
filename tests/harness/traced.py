"""A process tree with a tracer on it, shared by the tests of a module."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from typing import TYPE_CHECKING, Any, Self

from harness import messages
from harness.peers import Connection, Peer, Timing, connect
from harness.processes import ProcessTree
from harness.tracer import Tracer, TracerError
from harness.truth import Expected, assert_latencies, assert_requests, assert_server_latencies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.truth import Event, Header

ROLES = ("client", "server")
# Requests that settle() sends, one after the other, until one is told.
SETTLING_TRIES = 4


def unique() -> str:
    """Return a word that no other test uses, for paths and names."""
    return f"u{uuid.uuid4().hex[:12]}"


def holds(word: str, event: Event) -> bool:
    """Tell whether the path of an http event contains *word*."""
    return event["type"] == "http" and word in (event["path"] or "")


class Traced(contextlib.ExitStack):
    """A process tree, two peers in it, and a tracer that is told to trace the tree and nothing else."""

    def __init__(
        self, directory: Path, *arguments: str | float, env: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.directory = directory
        self._arguments = arguments
        self._env = env

    def __enter__(self) -> Self:
        """Start everything."""
        super().__enter__()
        try:
            self.tree = self.enter_context(ProcessTree(self.directory))
            self.client, self.server = self.peer(), self.peer()
            self.tracer = self.enter_context(
                Tracer("--tracer", "http", "--pid", self.tree.pid, *self._arguments, env=self._env)
            )
        except BaseException:
            self.close()
            raise
        return self

    def peer(self, **how: Any) -> Peer:
        """Start one more peer in the tree."""
        peer = Peer(self.tree, **how)
        self.callback(peer.close)
        return peer

    def settle(self) -> None:
        """Wait until all that happened before this call has come out.

        That is when a last request, on a connection of its own, has been told by both its ends. A tracer that
        is still behind may leave that request out, and count it: then another one is sent.
        """
        for _ in range(SETTLING_TRIES - 1):
            with contextlib.suppress(TracerError):
                return self._send_marker()
        return self._send_marker()

    def _send_marker(self) -> None:
        word = f"settled-{unique()}"
        marker = connect(self.client, self.server)
        marker.exchange(messages.request(f"/{word}"), messages.response())
        marker.close()
        self.tracer.wait_for(lambda event: holds(word, event), count=2)

    def requests(self, word: str, role: str | None = None) -> list[Event]:
        """Return the http events so far with *word* in their path."""
        return self.tracer.events(lambda event: holds(word, event) and role in {None, event["role"]})

    def verify(self, word: str, expected: Sequence[Expected], roles: Sequence[str] = ROLES) -> list[Event]:
        """Fail unless exactly *expected* was told of the paths with *word*, by each of *roles*."""
        self.tracer.wait_for(lambda event: holds(word, event), count=len(expected) * len(roles))
        self.settle()
        found = self.requests(word)
        for role in roles:
            of_role = [event for event in found if event["role"] == role]
            assert_requests(of_role, expected)
            (assert_latencies if role == "client" else assert_server_latencies)(of_role, expected)
        assert {event["role"] for event in found} <= set(roles)
        return found

    def dialogue(self, **how: Any) -> Dialogue:
        """Open a connection between the two peers for a test of its own."""
        return Dialogue(self, connect(self.client, self.server, **how))


class Dialogue:
    """A connection whose every byte the test decides, and what the tracer must say about it."""

    def __init__(self, traced: Traced, connection: Connection) -> None:
        self.traced = traced
        self.connection = connection
        self.word = unique()
        self.expected: list[Expected] = []
        self._serial = itertools.count()

    def path(self) -> str:
        """Return a path that no other request has; all of a dialogue's are equally long."""
        return f"/{self.word}/{next(self._serial):04}"

    def expect(self, method: str, path: str, status: int | None, **facts: Any) -> None:
        """Note a request that both ends must tell."""
        self.expected.append(Expected(method=method, path=path, status=status, **facts))

    def exchange(
        self,
        *,
        method: str = "GET",
        status: int = 200,
        headers: Sequence[Header] = (messages.HOST,),
        body: bytes = b"",
        answer: bytes = b"ok",
    ) -> Timing:
        """Do one whole request with its response, and expect it."""
        path = self.path()
        request = messages.request(path, method=method, headers=headers, body=body)
        response = messages.response(status, body=answer)
        timing = self.connection.exchange(request, response)
        self.expect(
            method,
            path,
            status,
            request_bytes=len(request),
            response_bytes=len(response),
            latency_ms=timing.client_ms,
        )
        return timing

    def verify(self, roles: Sequence[str] = ROLES) -> list[Event]:
        """Fail unless the tracer told exactly what was expected."""
        return self.traced.verify(self.word, self.expected, roles)

    def close(self) -> None:
        """Close both ends."""
        self.connection.close()
