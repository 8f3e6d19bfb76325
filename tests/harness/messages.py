"""HTTP/1 messages as bytes, for tests that know every byte they send."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Header = tuple[str, str]
HOST: Header = ("Host", "service.test")


def head(first_line: str, headers: Iterable[Header]) -> bytes:
    """Return a message's head, blank line included."""
    lines = [first_line, *(f"{name}: {value}" for name, value in headers)]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"


def request(
    target: str,
    *,
    method: str = "GET",
    headers: Sequence[Header] = (HOST,),
    body: bytes = b"",
    version: str = "HTTP/1.1",
) -> bytes:
    """Return a request; a body brings its length along."""
    length = [("Content-Length", str(len(body)))] if body else []
    return head(f"{method} {target} {version}", [*headers, *length]) + body


def response(
    status: int = 200,
    *,
    body: bytes = b"ok",
    headers: Sequence[Header] = (("Content-Type", "text/plain"),),
    version: str = "HTTP/1.1",
    reason: str = "Reason",
) -> bytes:
    """Return a response with the length of its body."""
    return head(f"{version} {status} {reason}", [*headers, ("Content-Length", str(len(body)))]) + body


def chunked(pieces: Sequence[bytes], trailers: Sequence[Header] = (), extension: str = "") -> bytes:
    """Return a chunked body of *pieces*."""
    chunks = b"".join(f"{len(piece):x}{extension}\r\n".encode() + piece + b"\r\n" for piece in pieces)
    return chunks + b"0\r\n" + head("", trailers).removeprefix(b"\r\n")
