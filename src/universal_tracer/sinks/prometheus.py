"""Metrics over HTTP, for Prometheus and everything that reads its formats."""

from __future__ import annotations

import gzip
import socket
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from universal_tracer.model.exposition import accepted_format, exposition

if TYPE_CHECKING:
    from universal_tracer.config.listen import Listen
    from universal_tracer.model.series import Series

_MAX_CONNECTIONS: Final = 64
_DEADLINE_S: Final = 15.0
_SILENCE_S: Final = 5.0
_POLL_S: Final = 0.2
_COMPRESSION: Final = 1


class PrometheusEndpoint:
    """Serves the series in threads of its own; a client can be slow, or silent, and holds up nobody."""

    def __init__(self, listen: Listen, series: Series) -> None:
        """Takes the port, answers nobody yet. Raises OSError."""
        self._listen = listen
        self._server = _Server(_bound_socket(listen), listen.path, series)
        self._thread = Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="prometheus", daemon=True
        )

    @property
    def description(self) -> str:
        """What the start line says."""
        url = self._listen.url(self._server.port)
        return f"metrics on {url}" + (" (all addresses)" if self._listen.host is None else "")

    def serve(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Cuts off who is being served. Idempotent."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


def _bound_socket(listen: Listen) -> socket.socket:
    if listen.host is None:
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", listen.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_MAX_CONNECTIONS
            )
        return socket.create_server(("", listen.port), backlog=_MAX_CONNECTIONS)
    found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    return socket.create_server(address[:2], family=family, backlog=_MAX_CONNECTIONS)


class _Server(ThreadingTCPServer):
    """A thread a connection, each with a deadline; where there are too many, the oldest is cut off."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, bound: socket.socket, path: str, series: Series) -> None:
        super().__init__(bound.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.port: int = bound.getsockname()[1]
        self.path = path
        self.series = series
        self._begun: dict[socket.socket, float] = {}
        self._lock = Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Accepted: serve it in a thread."""
        with self._lock:
            self._begun[request] = time.monotonic()
            surplus = list(self._begun)[: max(0, len(self._begun) - _MAX_CONNECTIONS)]
            self._cut_off(surplus)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Served, or cut off."""
        with self._lock:
            self._begun.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Every `_POLL_S`."""
        late = time.monotonic() - _DEADLINE_S
        with self._lock:
            self._cut_off([request for request, begun in self._begun.items() if begun < late])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes, or is cut off, is nothing to tell."""

    def _cut_off(self, requests: list[socket.socket]) -> None:
        """Makes the connections' threads end; they close them."""
        for request in requests:
            self._begun.pop(request, None)
            try:
                request.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    """Answers one request a connection."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "universal-tracer"
    sys_version = ""
    timeout = _SILENCE_S
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        """The metrics."""
        self.close_connection = True
        if urlsplit(self.path).path != self.server.path:
            self.send_error(HTTPStatus.NOT_FOUND, f"Not Found: metrics are at {self.server.path}")
            return
        text_format = accepted_format(self.headers.get("Accept", ""))
        body = exposition(self.server.series.families(), text_format)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", text_format.value)
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, _COMPRESSION)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Vary", "Accept, Accept-Encoding")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        """Their size."""
        self.do_GET()

    def parse_request(self) -> bool:
        """Whether there is something to do; other methods are refused at once."""
        if not super().parse_request():
            return False
        if self.command in ("GET", "HEAD"):
            return True
        self._refuse()
        return False

    def _refuse(self) -> None:
        """Nothing can be changed here."""
        self.close_connection = True
        body = b"405 Method Not Allowed: GET and HEAD only\n"
        self.send_response(HTTPStatus.METHOD_NOT_ALLOWED)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  as the base class has it
        """Standard error is for the run."""
