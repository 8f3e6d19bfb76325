"""The test service (see ``python_server.py`` for its routes) as an ASGI application under uvicorn."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

PIECE_PAUSE_SECONDS = 0.01
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def read_body(receive: Receive) -> int:
    """Read the request's body to its end and return its length."""
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            return length


def content_for(route: str, rest: list[str], received: int) -> bytes:
    """Return what a route answers."""
    if route == "large":
        return b"x" * int(rest[0])
    if route == "upload":
        return f"received {received}\n".encode()
    return f"hello {'/'.join(rest)}\n".encode()


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Answer one request."""
    received = await read_body(receive)
    _, route, *rest = scope["path"].split("/")
    if route == "sleep":
        await asyncio.sleep(int(rest[0]) / 1000)
    if route in {"stream", "sse"}:
        await stream(send, int(rest[0]), b"text/event-stream" if route == "sse" else b"text/plain")
        return
    status = {"upload": 201, "status": int(rest[0]) if route == "status" else 0}.get(route, 200)
    content = content_for(route, rest, received)
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})


async def stream(send: Send, pieces: int, content_type: bytes) -> None:
    """Answer in *pieces* chunks, a pause before each."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})
    for number in range(pieces):
        await asyncio.sleep(PIECE_PAUSE_SECONDS)
        await send({"type": "http.response.body", "body": f"data: {number}\n\n".encode(), "more_body": True})
    await send({"type": "http.response.body"})


def main() -> None:
    """Serve on a free port and print it."""
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(application, log_level="warning", lifespan="off", loop="asyncio", http="h11")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
