"""Network interfaces by netlink: their names, their addresses, and word of every change."""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from universal_tracer.system.netlink import ROUTE, Netlink, attributes
from universal_tracer.system.procfs import read_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from types import TracebackType

_RTM_GETLINK: Final = 18
_RTM_GETADDR: Final = 22
_RTM_GETROUTE: Final = 26
_RTN_UNICAST: Final = 1
_RT_TABLE_MAIN: Final = 254
_RTA_OIF: Final = 4
_RTA_MULTIPATH: Final = 9
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFLA_IFNAME: Final = 3
_IFF_LOOPBACK: Final = 8
_GROUPS: Final = 1 | 0x10 | 0x100  # links, IPv4 addresses, IPv6 addresses
_ADDRESS: Final = struct.Struct("=BBBBi")
_LINK: Final = struct.Struct("=BxHiII")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_NEXT_HOP: Final = struct.Struct("=HBBi")
_WHOLE_LENGTH: Final = 128
_MAPPED_BITS: Final = 96
_BUFFER_BYTES: Final = 1 << 16


class LocalAddress(NamedTuple):
    """An address that is this machine's own.

    `address` has 16 bytes, IPv4 as `::ffff:a.b.c.d`; the first `prefix_length` bits count. `interface` is the
    interface's index where the address is link-local and says little without it, otherwise 0.
    """

    interface: int
    address: bytes
    prefix_length: int


@dataclass(frozen=True, slots=True)
class _Link:
    index: int
    name: str
    is_loopback: bool


def interface_names() -> list[str]:
    """The interfaces of this network namespace."""
    return [name for _, name in socket.if_nameindex()]


def interface_names_of(pids: Iterable[int]) -> list[str]:
    """The interfaces of the network namespaces in which these processes are."""
    found: set[str] = set()
    for pid in pids:
        table = read_text(Path("/proc") / str(pid) / "net" / "dev") or ""
        found.update(line.partition(":")[0].strip() for line in table.splitlines() if ":" in line)
    return sorted(found)


def default_interfaces() -> list[str]:
    """The interfaces through which the default routes lead, of IPv4 and IPv6; never a loopback interface."""
    found = set()
    with Netlink(ROUTE) as route:
        for body in route.dump(_RTM_GETROUTE, bytes(_ROUTE.size)):
            _, prefix_length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
            told = attributes(body[_ROUTE.size :])
            if prefix_length == 0 and kind == _RTN_UNICAST and table == _RT_TABLE_MAIN:
                found |= _ways_out(told)
    loopback = {link.index for link in _links() if link.is_loopback}
    names = dict(socket.if_nameindex())
    return sorted(names[index] for index in found - loopback if index in names)


def _ways_out(route: Mapping[int, bytes]) -> set[int]:
    """The interfaces of a route, which may have several ways."""
    if _RTA_OIF in route:
        return {int.from_bytes(route[_RTA_OIF], sys.byteorder)}
    ways, found = route.get(_RTA_MULTIPATH, b""), set()
    while len(ways) >= _NEXT_HOP.size:
        length, _, _, index = _NEXT_HOP.unpack_from(ways)
        found.add(index)
        ways = ways[max(length, _NEXT_HOP.size) :]
    return found


def net_namespace() -> int:
    """The number (inode) of this process's network namespace."""
    return Path("/proc/self/ns/net").stat().st_ino


def addresses_of(names: Collection[str]) -> list[LocalAddress]:
    """What these interfaces are called at the moment; names that nobody has add nothing.

    A loopback interface owns whole networks (127.0.0.2 is local, too), the others their addresses only.
    """
    links = {link.index: link for link in _links() if link.name in names}
    found = {
        _local(links[index], address, prefix) for index, address, prefix in _addresses() if index in links
    }
    return sorted(found)


def _local(link: _Link, packed: bytes, prefix_length: int) -> LocalAddress:
    is_version_4 = len(packed) == 4
    address = b"\0" * 10 + b"\xff\xff" + packed if is_version_4 else packed
    counts = _MAPPED_BITS + prefix_length if link.is_loopback and is_version_4 else _WHOLE_LENGTH
    is_link_local = not is_version_4 and ipaddress.IPv6Address(packed).is_link_local
    return LocalAddress(link.index if is_link_local else 0, address, counts)


def _links() -> Iterator[_Link]:
    with Netlink(ROUTE) as route:
        for link in route.dump(_RTM_GETLINK, bytes(_LINK.size)):
            _, _, index, flags, _ = _LINK.unpack_from(link)
            name = attributes(link[_LINK.size :]).get(_IFLA_IFNAME, b"").rstrip(b"\0")
            yield _Link(index, os.fsdecode(name), bool(flags & _IFF_LOOPBACK))


def _addresses() -> Iterator[tuple[int, bytes, int]]:
    """(Interface's index, address, prefix length); of a tunnel's two ends the own one."""
    with Netlink(ROUTE) as route:
        for body in route.dump(_RTM_GETADDR, bytes(_ADDRESS.size)):
            _, prefix_length, _, _, index = _ADDRESS.unpack_from(body)
            told = attributes(body[_ADDRESS.size :])
            address = told.get(_IFA_LOCAL) or told.get(_IFA_ADDRESS)
            if address is not None and len(address) in (4, 16):
                yield index, address, prefix_length


class InterfaceWatch:
    """Tells whether interfaces or addresses may have changed since it was asked last."""

    def __init__(self) -> None:
        self._netlink = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        self._netlink.bind((0, _GROUPS))
        self._poll = select.poll()
        self._poll.register(self._netlink, select.POLLIN)

    def has_news(self) -> bool:
        """Whether anything was told; forgets what it was, for the state as a whole says more."""
        told = False
        while self._poll.poll(0):
            told = True
            try:
                self._netlink.recv(_BUFFER_BYTES)
            except OSError:
                # More happened than the socket holds: news, and then quiet again.
                break
        return told

    def close(self) -> None:
        """Stop listening."""
        self._netlink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()
