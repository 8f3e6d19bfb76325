"""Questions to the kernel's network side by netlink: only reads, for `interfaces` and `net_devices`."""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

ROUTE: Final = 0
GENERIC: Final = 16
_REQUEST: Final = 0x1
_DUMP: Final = 0x300
_ERROR: Final = 2
_DONE: Final = 3
_RECEIVE_BYTES: Final = 1 << 16
_MOST_ANSWERS: Final = 1 << 16
_TIMEOUT_S: Final = 2.0
_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
# The flags "nested" and "in network order" are part of an attribute's type.
_ATTRIBUTE_TYPE: Final = 0x3FFF

Attributes = dict[int, bytes]


class Netlink:
    """A socket of one protocol. Methods raise OSError where the kernel does not answer a question."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.settimeout(_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._socket.close()

    def dump(self, message_type: int, body: bytes) -> Iterator[bytes]:
        """Every answer's body."""
        size = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(size, message_type, _REQUEST | _DUMP, 1, 0) + body)
        return self._answers()

    def ask(self, message_type: int, body: bytes) -> bytes:
        """The one answer's body."""
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), message_type, _REQUEST, 1, 0) + body)
        return next(self._answers(), b"")

    def _answers(self) -> Iterator[bytes]:
        for _ in range(_MOST_ANSWERS):
            data = self._socket.recv(_RECEIVE_BYTES)
            for message_type, body in _messages(data):
                if message_type == _DONE:
                    return
                if message_type == _ERROR:
                    _raise(body)
                    return
                yield body


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        size, message_type, *_ = _HEADER.unpack_from(data)
        if not _HEADER.size <= size <= len(data):
            return
        yield message_type, data[_HEADER.size : size]
        data = data[_aligned(size) :]


def _raise(body: bytes) -> None:
    number = -int(struct.unpack_from("=i", body)[0]) if len(body) >= 4 else 0
    if number:
        raise OSError(number, "netlink")


def attributes(data: bytes) -> Attributes:
    """Attributes by their type; what is cut off is left out."""
    found: Attributes = {}
    while len(data) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= size <= len(data):
            break
        found[kind & _ATTRIBUTE_TYPE] = data[_ATTRIBUTE.size : size]
        data = data[_aligned(size) :]
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute for a question."""
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(_aligned(size) - size)


def number(value: bytes | None) -> int:
    """An attribute's number of one to eight bytes; 0 where it is not there."""
    return int.from_bytes(value or b"", sys.byteorder)


def text(value: bytes | None) -> str:
    """An attribute's text, without the NUL at its end."""
    return (value or b"").partition(b"\0")[0].decode(errors="replace")


def _aligned(size: int) -> int:
    return (size + 3) & ~3
