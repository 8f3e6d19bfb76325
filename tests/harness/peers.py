"""Remote-controlled socket peers: the two ends of a connection, each in a traced process of its own."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.capability import need_command
from harness.processes import HERE, ProcessTree, ProcessTreeError, Spawned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Command = dict[str, Any]
Answer = dict[str, Any]


@functools.cache
def uring_library(directory: Path) -> Path:
    """Build the io_uring helper into *directory*."""
    library = directory / "uring.so"
    compiler = need_command("cc")
    subprocess.run(
        [compiler, "-Wall", "-O1", "-shared", "-fPIC", str(HERE / "uring.c"), "-o", str(library)], check=True
    )
    return library


class Peer:
    """A process with sockets, driven by commands; see ``peer_process.py`` for what it can do."""

    _serial = itertools.count(1)

    def __init__(self, tree: ProcessTree, *, prefix: Sequence[str] = (), uring: Path | None = None) -> None:
        """Start a peer in *tree*; *prefix* goes before the interpreter (``ip netns exec NAME``)."""
        number = next(self._serial)
        requests, answers = (tree.directory / f"peer-{number}.{name}" for name in ("requests", "answers"))
        for path in (requests, answers):
            os.mkfifo(path)
        # Opened for reading and writing: an open that did not wait for the other side's.
        self._keep = os.open(requests, os.O_RDWR), os.open(answers, os.O_RDWR)
        self.process: Spawned = tree.spawn(
            [*prefix, sys.executable, "-I", str(HERE / "peer_process.py")],
            stdin=requests,
            stdout=answers,
            env={"URING_LIBRARY": str(uring)} if uring else None,
        )
        self._requests = os.fdopen(self._keep[0], "w", closefd=False)
        self._answers = open(answers, encoding="utf-8")  # noqa: SIM115, PTH123
        os.close(self._keep[1])
        self.pid = int(self._read()["pid"])

    def _read(self) -> Answer:
        line = self._answers.readline()
        if not line:
            message = f"peer {self.process.pid} ended\n{self.process.stderr()}"
            raise ProcessTreeError(message)
        answer: Answer = json.loads(line)
        return answer

    def start(self, do: str, **command: Any) -> None:
        """Send a command without waiting for its answer."""
        self._requests.write(json.dumps({"do": do, **command}) + "\n")
        self._requests.flush()

    def finish(self) -> Answer:
        """Return the answer to the oldest command that was started."""
        answer = self._read()
        if "failed" in answer:
            raise OSError(answer["errno"], answer["failed"])
        return answer

    def do(self, do: str, **command: Any) -> Answer:
        """Carry out one command and return its answer."""
        self.start(do, **command)
        return self.finish()

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(
            BrokenPipeError
        ):  # what was not read yet by a process that has ended already
            self._requests.close()
        os.close(self._keep[0])
        self.process.end()
        self._answers.close()


@dataclass
class End:
    """One end of a connection: a named socket of a peer."""

    peer: Peer
    name: str
    local: dict[str, Any] = field(default_factory=dict)
    open: bool = True

    def send(self, data: bytes, **how: Any) -> Answer:
        """Send *data*; returns the times around it."""
        return self.peer.do("send", name=self.name, data=data.decode("latin-1"), **how)

    def receive(self, size: int | None, **how: Any) -> Answer:
        """Receive exactly *size* bytes, or all up to the end for None."""
        return self.peer.do("receive", name=self.name, size=size, **how)

    def shutdown(self) -> None:
        """Close the sending side."""
        self.peer.do("shutdown", name=self.name)

    def close(self) -> None:
        """Close this end, unless it is closed already."""
        if self.open:
            self.open = False
            self.peer.do("close", name=self.name)

    def reset(self) -> None:
        """Close this end so that the other gets a reset."""
        self.open = False
        self.peer.do("reset", name=self.name)


@dataclass
class Connection:
    """Both ends of one connection."""

    client: End
    server: End

    def request(self, data: bytes, **how: Any) -> Transfer:
        """Move *data* from the client to the server."""
        return transfer(self.client, self.server, data, how)

    def response(self, data: bytes, **how: Any) -> Transfer:
        """Move *data* from the server to the client."""
        return transfer(self.server, self.client, data, how)

    def exchange(self, request: bytes, response: bytes) -> Timing:
        """Move a whole request and its whole response."""
        return Timing.of(self.request(request), self.response(response))

    def close(self) -> None:
        """Close the client's end, then the server's, as most clients and servers do."""
        self.client.close()
        self.server.close()


@dataclass(frozen=True)
class Transfer:
    """The monotonic times, in ns, around the calls that moved bytes from one end to the other."""

    send_before_ns: int
    send_after_ns: int
    receive_first_ns: int
    receive_after_ns: int


@dataclass(frozen=True)
class Timing:
    """How long an exchange took by the clocks of its two ends."""

    client_ms: float
    client_ttfb_ms: float
    server_ms: float

    @classmethod
    def of(cls, request: Transfer, response: Transfer) -> Timing:
        """Combine the two halves of an exchange."""
        return cls(
            client_ms=(response.receive_after_ns - request.send_before_ns) / 1e6,
            client_ttfb_ms=(response.receive_first_ns - request.send_before_ns) / 1e6,
            server_ms=(response.send_after_ns - request.receive_first_ns) / 1e6,
        )


def transfer(source: End, target: End, data: bytes, how: dict[str, Any]) -> Transfer:
    """Move *data* from *source* to *target*; ``receive_via`` and ``receive_piece`` say how it is received."""
    receiving = {"via": how.pop("receive_via", "recv"), "piece": how.pop("receive_piece", None)}
    target.peer.start("receive", name=target.name, size=len(data), **receiving)
    sent = source.send(data, **how)
    received = target.peer.finish()
    assert received["data"].encode("latin-1") == data, "the harness itself lost bytes"
    return Transfer(sent["before_ns"], sent["after_ns"], received["first_ns"], received["after_ns"])


_names = itertools.count(1)


def connect(
    client: Peer,
    server: Peer,
    *,
    family: str = "inet",
    listen: str = "127.0.0.1",
    target: str | None = None,
    **listening: Any,
) -> Connection:
    """Connect *client* to a fresh listener of *server*."""
    number = next(_names)
    listener = f"listener{number}"
    where = server.do("listen", name=listener, family=family, address=listen, **listening)
    # A v4-mapped client connects by IPv4 to a listener of IPv6.
    client_family = "inet" if target and "." in target and ":" not in target else family
    mine = client.do(
        "connect",
        name=f"client{number}",
        family=client_family,
        address=target or listen,
        port=where.get("port"),
    )
    theirs = server.do("accept", name=f"server{number}", listener=listener)
    server.do("close", name=listener)
    return Connection(
        End(client, f"client{number}", mine["local"]), End(server, f"server{number}", theirs["local"])
    )
