"""Frames of every kind that the packet tracer reads, made by scapy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scapy.contrib.geneve import GENEVE
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, UDPerror, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    fragment6,
)
from scapy.layers.l2 import ARP, GRE, Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

if TYPE_CHECKING:
    from scapy.packet import Packet

_ETHERNET = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
_V4 = {"src": "10.1.0.1", "dst": "10.1.0.2"}
_V6 = {"src": "fd00::1", "dst": "fd00::2"}
_INNER4 = {"src": "192.168.0.1", "dst": "192.168.0.2"}
_INNER6 = {"src": "fd01::1", "dst": "fd01::2"}


def plain() -> list[Packet]:
    """Tags, labels, options, extension headers, and every transport."""
    ether, data = Ether(**_ETHERNET), Raw(b"payload!")
    syn = TCP(
        sport=1001, dport=2001, flags="S", seq=7, options=[("MSS", 1460), ("SAckOK", b""), ("WScale", 7)]
    )
    every_flag = TCP(sport=1002, dport=2002, flags="FSRPAUEC", options=[("Timestamp", (1, 2)), ("NOP", None)])
    options = IP(**_V4, options=[b"\x07\x07\x04\x00\x00\x00\x00", b"\x00"])
    padding = {"options": [PadN(optdata=b"\0" * 4)]}
    return [
        ether / IP(**_V4) / syn,
        ether / IP(**_V4) / every_flag / data,
        ether / options / UDP(sport=1003, dport=2003) / data,
        ether / Dot1Q(vlan=5, prio=3) / IP(**_V4) / UDP(sport=1004, dport=2004) / data,
        ether / Dot1AD(vlan=100) / Dot1Q(vlan=4095) / IPv6(**_V6) / TCP(sport=1005, dport=2005) / data,
        ether / MPLS(label=16, s=0) / MPLS(label=17, s=1) / IP(**_V4) / UDP(sport=1006, dport=2006) / data,
        ether / MPLS(label=18, s=1) / IPv6(**_V6) / UDP(sport=1007, dport=2007) / data,
        ether / IPv6(**_V6) / IPv6ExtHdrHopByHop(**padding) / UDP(sport=1008, dport=2008) / data,
        ether
        / IPv6(**_V6)
        / IPv6ExtHdrHopByHop(**padding)
        / IPv6ExtHdrRouting(addresses=["fd00::9"], segleft=0)
        / IPv6ExtHdrDestOpt(**padding)
        / TCP(sport=1009, dport=2009, flags="PA")
        / data,
        ether / IPv6(**_V6) / IPv6ExtHdrFragment(offset=0, m=0, id=9) / UDP(sport=1010, dport=2010) / data,
        ether / ARP(op=1, psrc="10.1.0.1", pdst="10.1.0.2"),
        ether / IP(**_V4) / ICMP(type=8, code=0, id=1, seq=1) / data,
        ether / IP(**_V4) / ICMP(type=3, code=3) / IPerror(**_V4) / UDPerror(sport=1, dport=2),
        ether / IPv6(**_V6) / ICMPv6EchoRequest(id=3) / data,
        ether / IPv6(**_V6) / ICMPv6PacketTooBig(mtu=1280) / IPv6(**_V6) / UDP(sport=3, dport=4),
        ether / IP(**_V4) / SCTP(sport=1011, dport=2011) / SCTPChunkData(data=b"chunk"),
        ether / IPv6(**_V6) / SCTP(sport=1012, dport=2012) / SCTPChunkData(data=b"chunk"),
        ether / IP(**_V4, proto=89) / data,
    ]


def tunnels() -> list[Packet]:
    """VXLAN, Geneve, GRE and IP in IP, with flows of both families within."""
    ether, data = Ether(**_ETHERNET), Raw(b"payload!")
    tcp, udp = TCP(sport=3001, dport=4001), UDP(sport=3002, dport=4002)
    return [
        ether / IP(**_V4) / UDP(sport=5001, dport=4789) / VXLAN(vni=77) / ether / IP(**_INNER4) / tcp / data,
        ether
        / IPv6(**_V6)
        / UDP(sport=5002, dport=4789)
        / VXLAN(vni=78)
        / ether
        / Dot1Q(vlan=9)
        / IPv6(**_INNER6)
        / udp
        / data,
        ether / IP(**_V4) / UDP(sport=5003, dport=6081) / GENEVE(vni=79) / ether / IP(**_INNER4) / udp / data,
        ether / IP(**_V4) / GRE(proto=0x0800) / IP(**_INNER4) / tcp / data,
        ether / IP(**_V4) / GRE(key_present=1, key=80, proto=0x86DD) / IPv6(**_INNER6) / tcp / data,
        ether / IP(**_V4) / GRE(proto=0x6558) / ether / IP(**_INNER4) / udp / data,
        ether / IP(**_V4) / IP(**_INNER4) / tcp / data,
        ether / IP(**_V4) / IPv6(**_INNER6) / udp / data,
        ether / IPv6(**_V6) / IP(**_INNER4) / ICMP(type=8) / data,
    ]


def fragments() -> list[list[Packet]]:
    """Datagrams in three parts each, the first part first."""
    data = Raw(b"f" * 2400)
    version4 = Ether(**_ETHERNET) / IP(**_V4, id=11) / UDP(sport=1021, dport=2021) / data
    version6 = (
        Ether(**_ETHERNET) / IPv6(**_V6) / IPv6ExtHdrFragment(id=12) / UDP(sport=1022, dport=2022) / data
    )
    return [fragment(version4, fragsize=1000), fragment6(version6, 1100)]
