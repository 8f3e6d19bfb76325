"""Network interfaces as devices: drivers, what XDP can do there, and what is attached."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from universal_tracer.system.netlink import (
    GENERIC,
    ROUTE,
    Netlink,
    attribute,
    attributes,
    number,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# rtnetlink: messages, and attributes of links and filters.
_GET_LINK, _GET_FILTER = 18, 46
_LINK_NAME, _LINK_INFO, _LINK_XDP = 3, 18, 43
_INFO_KIND = 1
_XDP_ATTACHED, _XDP_PROGRAM = 2, 4
_XDP_MODES: Final = {1: "native", 2: "generic", 3: "offload", 4: "several"}
_LINK_HEADER: Final = struct.Struct("=BxHiII")
_FILTER_HEADER: Final = struct.Struct("=BxHiIII")
_FILTER_KIND, _FILTER_OPTIONS, _BPF_PROGRAM = 1, 2, 11
# The two sides of the clsact qdisc.
_SIDES: Final = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
# Generic netlink's own family, and that of network devices (Linux 6.3).
_CONTROLLER, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2
_DEVICE_GET, _DEVICE_INDEX, _DEVICE_XDP = 1, 1, 3
_XDP_BASIC: Final = 1
_LOOPBACK: Final = 0x8
_UP: Final = 0x1

_ETHTOOL: Final = 0x8946
_GET_DRIVER: Final = 0x3
_DRIVER_STRUCT: Final = struct.Struct("=I32s")
_DRIVER_STRUCT_BYTES: Final = 196
_INTERFACE_REQUEST: Final = struct.Struct("@16sP")


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface. `native_xdp` is None where the kernel does not say; `xdp_program` is attached."""

    index: int
    name: str
    kind: str
    driver: str
    is_up: bool
    is_loopback: bool
    native_xdp: bool | None
    xdp_mode: str | None
    xdp_program: int | None


def interfaces() -> list[Interface]:
    """In the kernel's order. Raises OSError where netlink is not to be had."""
    features = _xdp_features()
    with Netlink(ROUTE) as route:
        links = list(route.dump(_GET_LINK, _LINK_HEADER.pack(0, 0, 0, 0, 0)))
    return [_interface(link, features) for link in links]


def _interface(link: bytes, features: dict[int, int]) -> Interface:
    _, _, index, flags, _ = _LINK_HEADER.unpack_from(link)
    told = attributes(link[_LINK_HEADER.size :])
    name, xdp = text(told.get(_LINK_NAME)), attributes(told.get(_LINK_XDP, b""))
    return Interface(
        index=index,
        name=name,
        kind=text(attributes(told.get(_LINK_INFO, b"")).get(_INFO_KIND)),
        driver=_driver(name),
        is_up=bool(flags & _UP),
        is_loopback=bool(flags & _LOOPBACK),
        native_xdp=bool(features[index] & _XDP_BASIC) if index in features else None,
        xdp_mode=_XDP_MODES.get(number(xdp.get(_XDP_ATTACHED))),
        xdp_program=number(xdp.get(_XDP_PROGRAM)) or None,
    )


def _xdp_features() -> dict[int, int]:
    """Bits of `enum netdev_xdp_act` by the interface's index; nothing where the kernel is older than 6.3."""
    try:
        with Netlink(GENERIC) as generic:
            family = attributes(
                _answer(generic, _CONTROLLER, _GET_FAMILY, attribute(_FAMILY_NAME, b"netdev\0"))
            )
            devices = generic.dump(number(family.get(_FAMILY_ID)), struct.pack("=BBxx", _DEVICE_GET, 1))
            told = [attributes(device[4:]) for device in devices]
    except OSError:
        return {}
    return {number(device.get(_DEVICE_INDEX)): number(device.get(_DEVICE_XDP)) for device in told}


def _answer(generic: Netlink, family: int, command: int, body: bytes) -> bytes:
    return generic.ask(family, struct.pack("=BBxx", command, 1) + body)[4:]


def _driver(name: str) -> str:
    """The driver's name by ethtool's call; empty where the interface has none to tell."""
    room = array.array("B", _DRIVER_STRUCT.pack(_GET_DRIVER, b"").ljust(_DRIVER_STRUCT_BYTES, b"\0"))
    request = _INTERFACE_REQUEST.pack(name.encode()[:15], room.buffer_info()[0]).ljust(40, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _ETHTOOL, request)
        except OSError:
            return ""
    return text(_DRIVER_STRUCT.unpack_from(room.tobytes())[1])


@dataclass(frozen=True, slots=True)
class TcFilter:
    """A BPF filter of a clsact qdisc: `side` is `ingress` or `egress`, the rest tells it from others."""

    side: str
    program: int
    preference: int
    handle: int


def tc_filters(index: int) -> Iterator[TcFilter]:
    """Every BPF filter of the interface's clsact qdisc, if it has one."""
    for side, parent in _SIDES.items():
        question = _FILTER_HEADER.pack(0, 0, index, 0, parent, 0)
        try:
            with Netlink(ROUTE) as route:
                answers = list(route.dump(_GET_FILTER, question))
        except OSError:  # no such qdisc
            continue
        for answer in answers:
            _, _, _, handle, _, information = _FILTER_HEADER.unpack_from(answer)
            told = attributes(answer[_FILTER_HEADER.size :])
            program = number(attributes(told.get(_FILTER_OPTIONS, b"")).get(_BPF_PROGRAM))
            if text(told.get(_FILTER_KIND)) == "bpf" and program:
                yield TcFilter(side, program, information >> 16, handle)
