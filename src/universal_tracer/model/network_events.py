"""The event types of the packet tracer: packets, flows, interfaces.

Imported by `events`, whose common columns come first in each.
"""

from __future__ import annotations

from universal_tracer.model.columns import Array, Column, EventType, Object, Scalar
from universal_tracer.model.common import COMMON_COLUMNS

_ENDS = (
    Column("source", Scalar.TEXT, "IPv4 or IPv6 address of the sender"),
    Column("destination", Scalar.TEXT, "address of the receiver"),
    Column("source_port", Scalar.UINT16, "TCP, UDP and SCTP only"),
    Column("destination_port", Scalar.UINT16, "TCP, UDP and SCTP only"),
)

_ICMP = Object(
    (
        Column("type", Scalar.UINT16, "of the first packet"),
        Column("code", Scalar.UINT16, "of the first packet"),
    )
)

_INNER = Object(
    (
        Column("tunnel", Scalar.TEXT, "`vxlan`, `geneve`, `gre` or `ipip`", always=True),
        Column("id", Scalar.UINT32, "VXLAN's or Geneve's network identifier, GRE's key"),
        *_ENDS,
        Column("protocol", Scalar.UINT16, "IP protocol number"),
    )
)

FLOW_KEY = Object(
    (
        *_ENDS,
        Column("protocol", Scalar.UINT16, "IP protocol number: TCP is 6"),
        Column("vlan", Scalar.UINT16, "identifier of the outer tag"),
        Column("inner_vlan", Scalar.UINT16, "identifier of the inner tag (QinQ)"),
        Column("icmp", _ICMP, "ICMP and ICMPv6 only"),
        Column("inner", _INNER, "the flow within a tunnel; null where there is none"),
    )
)

_LEDGER = Object(
    (
        Column("runs", Scalar.UINT64, "program runs; the sum of the others"),
        Column("flows", Scalar.UINT64, "counted in flows"),
        Column("filtered", Scalar.UINT64, "left out by `--filter`, or of no target's socket"),
        Column("sampled_out", Scalar.UINT64, "left out by sampling"),
        Column("not_ip", Scalar.UINT64, "ARP, LLC and the like"),
        Column("malformed", Scalar.UINT64, "not readable as what they claim to be"),
        Column("other", Scalar.UINT64, "without room in the flow table, or flows are not tracked"),
    )
)

_MALFORMED = Object(
    (
        Column("reason", Scalar.TEXT, "`ipv4_length`, `tcp`, `vlan_depth`, …", always=True),
        Column("packets", Scalar.UINT64, "in program runs", always=True),
    )
)

_PROTOCOL = Object(
    (
        Column(
            "protocol",
            Scalar.TEXT,
            "`tcp`, `udp`, `icmp`, `ipv6-icmp`, `sctp`, `other`, `non-ip`",
            always=True,
        ),
        Column("packets", Scalar.UINT64, "on the wire", always=True),
        Column("bytes", Scalar.UINT64, "on the wire", unit="bytes", always=True),
    )
)

_BYTES = Column(
    "bytes", Scalar.UINT64, "on the wire: Ethernet frames without checksum", unit="bytes", always=True
)
_INTERFACE = Column("interface", Scalar.TEXT, "the network interface's name", always=True)
_DIRECTION = Column(
    "direction", Scalar.TEXT, "`ingress` (received by the interface) or `egress` (sent by it)", always=True
)

_HTTP_SEEN = Object(
    (
        Column("kind", Scalar.TEXT, "`request`, `response`, or `grpc` for either one of a call", always=True),
        Column("method", Scalar.TEXT, "of a request"),
        Column("path", Scalar.TEXT, "of a request, without the query; null where it is not in the packet"),
        Column("status", Scalar.UINT16, "of a response"),
    )
)

_TLS_SEEN = Object(
    (
        Column("sni", Scalar.TEXT, "the server's name that the client asks for"),
        Column("alpn", Array(Scalar.TEXT), "protocols that the client offers"),
    )
)

_DNS_SEEN = Object(
    (
        Column("name", Scalar.TEXT, "the name that is asked for", always=True),
        Column("type", Scalar.TEXT, "`A`, `AAAA`, …", always=True),
        Column("latency_ms", Scalar.FLOAT64, "in an answer: since its question", unit="ms"),
    )
)

PACKET = EventType(
    "packet",
    "One packet, or a buffer of several segments where the kernel handed that over; at most 10,000 a second.",
    (
        *COMMON_COLUMNS,
        _INTERFACE,
        _DIRECTION,
        Column("protocol", Scalar.UINT16, "IP protocol number: TCP is 6; null where not IP"),
        Column("flow", FLOW_KEY, "who sends to whom; null where not IP"),
        Column("length", Scalar.UINT64, "bytes of the frame on the wire, without checksum", always=True),
        Column(
            "tcp_flags",
            Array(Scalar.TEXT),
            "`syn`, `ack`, `fin`, `rst`, `psh`, `urg`, `ece`, `cwr`; null where not TCP",
        ),
        Column("http", _HTTP_SEEN, "the head that the packet begins with; HTTP/1, HTTP/2 and gRPC"),
        Column("tls", _TLS_SEEN, "the `ClientHello` that the packet begins with"),
        Column("dns", _DNS_SEEN, "the question of a DNS message"),
    ),
)

FLOW = EventType(
    "flow",
    "One direction of a conversation at one interface: every minute, and once when it has ended.",
    (
        *COMMON_COLUMNS,
        Column("protocol", Scalar.UINT16, "IP protocol number: TCP is 6", always=True),
        Column("flow", FLOW_KEY, "who sends to whom", always=True),
        _INTERFACE,
        _DIRECTION,
        Column("packets", Scalar.UINT64, "on the wire", always=True),
        _BYTES,
        Column("buffers", Scalar.UINT64, "what the kernel handed over: program runs", always=True),
        Column("first_seen", Scalar.TEXT, "time of the first packet, as `timestamp`", always=True),
        Column("last_seen", Scalar.TEXT, "time of the last packet, as `timestamp`", always=True),
        Column("duration_ms", Scalar.FLOAT64, "from the first packet to the last", unit="ms", always=True),
        Column(
            "tcp_flags",
            Array(Scalar.TEXT),
            "all that were seen: `syn`, `ack`, `fin`, `rst`, `psh`, `urg`, `ece`, `cwr`; null where not TCP",
        ),
        Column(
            "rtt_us",
            Scalar.UINT32,
            "smallest time from an own packet to its answer: handshake, later time stamps",
            unit="µs",
        ),
        Column("retransmits", Scalar.UINT64, "segments that were sent again; null under sampling"),
        Column("out_of_order", Scalar.UINT64, "segments that others had overtaken; null under sampling"),
        Column("zero_window", Scalar.UINT64, "segments that said: send no more"),
        Column("http_requests", Scalar.UINT64, "packets that begin with a request line", always=True),
        Column("http_responses", Scalar.UINT64, "packets that begin with a status line", always=True),
        Column("conversation", Scalar.TEXT, "the same in both directions, at every interface", always=True),
        Column(
            "state",
            Scalar.TEXT,
            "`active` (goes on, totals so far), or how it ended: `fin`, `rst`, `idle`, `evicted`, `shutdown`",
            always=True,
        ),
        Column(
            "sampling",
            Scalar.UINT32,
            "1 in this many packets was looked at; above 1 counts are estimates",
            always=True,
        ),
    ),
)

INTERFACE = EventType(
    "interface",
    "What passed an interface in one direction during an interval.",
    (
        *COMMON_COLUMNS,
        Column("interval_ms", Scalar.FLOAT64, "length of the interval", unit="ms", always=True),
        _INTERFACE,
        _DIRECTION,
        Column("mode", Scalar.TEXT, "how packets are seen: `native` or `generic` XDP, or `tc`", always=True),
        Column("packets", Scalar.UINT64, "on the wire", always=True),
        _BYTES,
        Column("packets_per_second", Scalar.FLOAT64, "on the wire", always=True),
        Column("bits_per_second", Scalar.FLOAT64, "on the wire", always=True),
        Column("dropped", Scalar.UINT64, "by the kernel, as it counts for this interface"),
        Column("ledger", _LEDGER, "what became of every program run", always=True),
        Column("malformed", Array(_MALFORMED), "why, for the reasons that occurred", always=True),
        Column("protocols", Array(_PROTOCOL), "shares of `packets` and `bytes`", always=True),
    ),
)
