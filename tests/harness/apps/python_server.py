"""The test service on Python's http.server: one thread a connection, forked workers, or on a Unix socket.

Prints the port (or the path) as its first line. Routes, the same in every test service:
``/echo/…`` ``/sleep/MS/…`` ``/status/CODE/…`` ``/upload/…`` ``/large/BYTES/…`` ``/stream/PIECES/…``
``/sse/PIECES/…``.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

WORKERS = 3
PIECE_PAUSE_SECONDS = 0.01


class Handler(BaseHTTPRequestHandler):
    """Answers the routes above, with HTTP/1.1 and so with connections kept alive."""

    protocol_version = "HTTP/1.1"
    # Under Nagle's algorithm the body, a write of its own, waits for the client's late ACK: 40 ms.
    disable_nagle_algorithm = True

    def answer(self) -> None:
        """Answer one request of any method."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        _, route, *rest = self.path.partition("?")[0].split("/")
        if route == "sleep":
            time.sleep(int(rest[0]) / 1000)
        if route in {"stream", "sse"}:
            self.stream(int(rest[0]), "text/event-stream" if route == "sse" else "text/plain")
            return
        status = {"upload": 201, "status": int(rest[0]) if route == "status" else 0}.get(route, 200)
        self.whole(status, content_for(route, rest, body))

    def whole(self, status: int, content: bytes) -> None:
        """Answer with *content* and its length."""
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def stream(self, pieces: int, content_type: str) -> None:
        """Answer in *pieces* chunks, a pause before each."""
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(pieces):
            time.sleep(PIECE_PAUSE_SECONDS)
            piece = f"data: {number}\n\n".encode()
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = answer  # noqa: N815

    def address_string(self) -> str:
        """Name the client, also where it has no address (Unix sockets)."""
        return str(self.client_address)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def content_for(route: str, rest: list[str], body: bytes) -> bytes:
    """Return what a route answers."""
    if route == "large":
        return b"x" * int(rest[0])
    if route == "upload":
        return f"received {len(body)}\n".encode()
    return f"hello {'/'.join(rest)}\n".encode()


class UnixHandler(Handler):
    """The same where there is no TCP to set options of."""

    disable_nagle_algorithm = False


class UnixServer(ThreadingHTTPServer):
    """The threading server on a Unix socket."""

    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        """Bind to the path; there is no host name or port to look up."""
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "localhost", 0


class ListeningServer(ThreadingHTTPServer):
    """The threading server with room for many connections that arrive at once."""

    request_queue_size = 128


def announce(where: object) -> None:
    """Tell the test where the service listens."""
    sys.stdout.write(f"{where}\n")
    sys.stdout.flush()


def prefork() -> None:
    """Serve from forked workers that share the listening socket, one connection at a time each."""
    server = HTTPServer(("127.0.0.1", 0), Handler)
    workers = []
    for _ in range(WORKERS):
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            server.serve_forever()
        workers.append(child)

    def end(*_: object) -> None:
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    announce(server.server_port)
    signal.pause()


def main() -> None:
    """Serve in the mode that the first argument names."""
    mode = sys.argv[1]
    if mode == "prefork":
        prefork()
    elif mode == "unix":
        unix = UnixServer(sys.argv[2], UnixHandler)  # type: ignore[arg-type]  # typeshed knows addresses of IP only
        announce(sys.argv[2])
        unix.serve_forever()
    else:
        server = ListeningServer((sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1", 0), Handler)
        announce(server.server_port)
        server.serve_forever()


if __name__ == "__main__":
    main()
