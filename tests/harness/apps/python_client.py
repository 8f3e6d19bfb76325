"""The test client in Python: http.client, requests, or a bare socket.

Reads a JSON list of requests from standard input and writes one JSON line of truth for each: what it asked,
what it got, how long it took by its own clock and, where it knows, how many bytes went each way.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from typing import Any

Planned = dict[str, Any]
LARGEST_READ = 1 << 18


def tell(planned: Planned, status: int, started_ns: int, **more: Any) -> None:
    """Write the truth about one request."""
    latency_ms = (time.monotonic_ns() - started_ns) / 1e6
    sys.stdout.write(json.dumps({**planned, "status": status, "latency_ms": latency_ms, **more}) + "\n")


def by_http_client(host: str, port: int, plan: list[Planned]) -> None:
    """Use one http.client connection for all."""
    connection = http.client.HTTPConnection(host, port)
    connection.connect()
    for planned in plan:
        body = b"b" * planned["body_bytes"] or None
        started_ns = time.monotonic_ns()
        connection.request(planned["method"], planned["target"], body)
        response = connection.getresponse()
        response.read()
        tell(planned, response.status, started_ns)
    connection.close()


def by_requests(host: str, port: int, plan: list[Planned]) -> None:
    """Use one session of the requests library for all."""
    import requests  # noqa: PLC0415  # the other modes run where it is not installed

    with requests.Session() as session:
        for planned in plan:
            body = b"b" * planned["body_bytes"] or None
            started_ns = time.monotonic_ns()
            response = session.request(
                planned["method"],
                f"http://{host}:{port}{planned['target']}",
                data=body,
                allow_redirects=False,
                timeout=30,
            )
            tell(planned, response.status_code, started_ns)


def by_socket(host: str, port: int, plan: list[Planned]) -> None:
    """Use a bare socket; this client knows every byte that went."""
    connection = open_socket(host, port)
    for planned in plan:
        request = bare_request(planned)
        started_ns = time.monotonic_ns()
        connection.sendall(request)
        status, received, closing = read_response(connection, planned["method"])
        tell(planned, status, started_ns, request_bytes=len(request), response_bytes=received)
        if closing:
            connection.close()
            connection = open_socket(host, port)
    connection.close()


def open_socket(host: str, port: int) -> socket.socket:
    """Connect to a port, or to a Unix socket where *host* is a path."""
    if host.startswith("/"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(host)
        return connection
    return socket.create_connection((host, port))


def bare_request(planned: Planned) -> bytes:
    """Build the request's bytes."""
    head = f"{planned['method']} {planned['target']} HTTP/1.1\r\nHost: test\r\nX-Order: 1\r\nAccept: */*\r\n"
    if planned["body_bytes"]:
        head += f"Content-Length: {planned['body_bytes']}\r\n"
    return head.encode() + b"\r\n" + b"b" * planned["body_bytes"]


def read_response(connection: socket.socket, method: str) -> tuple[int, int, bool]:
    """Read one response; return its status, its bytes on the wire, and if the server closes then."""
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += more_from(connection)
    head = data[:end].decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    body_start = end + 4
    closing = "connection: close" in head
    if method == "HEAD" or status in {204, 304}:
        return status, body_start, closing
    if "transfer-encoding: chunked" in head:
        while not data.endswith(b"0\r\n\r\n"):
            data += more_from(connection)
        return status, len(data), closing
    length = int(head.partition("content-length:")[2].split("\r\n", 1)[0])
    while len(data) < body_start + length:
        data += more_from(connection)
    return status, len(data), closing


def more_from(connection: socket.socket) -> bytes:
    """Receive at least one byte."""
    data: bytes = connection.recv(LARGEST_READ)
    if not data:
        message = "the server closed the connection"
        raise ConnectionError(message)
    return data


def main() -> None:
    """Carry out the plan of standard input in the mode that the first argument names."""
    mode, host, port = sys.argv[1:4]
    carry_out = {"http.client": by_http_client, "requests": by_requests, "socket": by_socket}[mode]
    carry_out(host, int(port), json.load(sys.stdin))


if __name__ == "__main__":
    main()
