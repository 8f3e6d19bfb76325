"""The event types and their columns: the one source for frames, outputs and docs/EVENTS.md.

Names, units and meanings are promised to users: columns are added, never renamed or removed.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from universal_tracer.model.columns import Array, Column, EventType, Object, Scalar
from universal_tracer.model.common import COMMON_COLUMNS, CONTAINER
from universal_tracer.model.function import FUNCTION
from universal_tracer.model.network_events import FLOW, INTERFACE, PACKET
from universal_tracer.model.profile import PROFILE

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "COMMON_COLUMNS",
    "CONNECTION",
    "CONTAINER",
    "EVENT_TYPES",
    "FLOW",
    "HTTP",
    "INTERFACE",
    "LOSS",
    "PROFILE",
    "SUMMARY",
]

ENDPOINT = Object(
    (
        Column("address", Scalar.TEXT, "IPv4 or IPv6 address; absent for Unix sockets"),
        Column("port", Scalar.UINT16, "TCP port; absent for Unix sockets"),
        Column("path", Scalar.TEXT, "path of a Unix socket, `@` first where it is abstract; absent for TCP"),
    )
)

HEADERS = Array(
    Object(
        (
            Column("name", Scalar.TEXT, "as sent", always=True),
            Column("value", Scalar.TEXT, "as sent, or `***` where it was masked"),
        )
    )
)

TLS = Object(
    (Column("library", Scalar.TEXT, "`openssl`, `boringssl`, `gnutls`, `go`, `rustls`, …", always=True),)
)

BREAKDOWN = Object(
    (
        Column("cpu_ms", Scalar.FLOAT64, "running", unit="ms"),
        Column("runqueue_ms", Scalar.FLOAT64, "ready, waiting for a CPU", unit="ms"),
        Column("lock_ms", Scalar.FLOAT64, "waiting for a lock", unit="ms"),
        Column("disk_ms", Scalar.FLOAT64, "waiting for a disk", unit="ms"),
        Column("network_ms", Scalar.FLOAT64, "waiting for the network", unit="ms"),
        Column("sleep_ms", Scalar.FLOAT64, "sleeping of its own accord", unit="ms"),
        Column("other_ms", Scalar.FLOAT64, "anything else", unit="ms"),
    )
)

TCP = Object(
    (
        Column("rtt_us", Scalar.UINT32, "smoothed round-trip time of the connection", unit="µs"),
        Column("retransmits", Scalar.UINT32, "segments sent again on this connection so far"),
    )
)

_ROLE = Column("role", Scalar.TEXT, "`server` or `client`: the side on which this process is")
_CONNECTION_ID = Column(
    "connection_id", Scalar.TEXT, "the same in all events of one connection at one socket"
)
_ENDPOINTS = (
    Column("local", ENDPOINT, "this process's end of the connection"),
    Column("peer", ENDPOINT, "the other end"),
)

HTTP = EventType(
    "http",
    "One HTTP request, told when its response is complete, is cut off, or has timed out.",
    (
        *COMMON_COLUMNS,
        Column("protocol", Scalar.TEXT, "`HTTP/1.0`, `HTTP/1.1` or `HTTP/2`"),
        _ROLE,
        Column("method", Scalar.TEXT, "as sent"),
        Column("path", Scalar.TEXT, "without the query"),
        Column("query", Scalar.TEXT, "without the question mark; secret values are masked"),
        Column(
            "route",
            Scalar.TEXT,
            "the path with its variable parts named (`/users/{id}`); at most 200 a service",
        ),
        Column("authority", Scalar.TEXT, "whom the request is for: `Host` or `:authority`"),
        Column("status", Scalar.UINT16, "the response's status code"),
        Column(
            "latency_ms", Scalar.FLOAT64, "the request's first byte to the response's last, here", unit="ms"
        ),
        Column(
            "ttfb_ms", Scalar.FLOAT64, "the request's first byte to the response's first, here", unit="ms"
        ),
        Column("request_bytes", Scalar.UINT64, "as on the socket, head included", unit="bytes"),
        Column("response_bytes", Scalar.UINT64, "as on the socket, head included", unit="bytes"),
        Column(
            "streaming",
            Scalar.BOOLEAN,
            "server-sent events, streaming calls, upgraded connections: `latency_ms` is a lifetime",
        ),
        Column("tls", TLS, "where the bytes were encrypted; null on plain connections"),
        *_ENDPOINTS,
        _CONNECTION_ID,
        Column("request_id", Scalar.TEXT, "unique in a run"),
        Column("trace_id", Scalar.TEXT, "of the distributed trace that the request belongs to"),
        Column("span_id", Scalar.TEXT, "of the request within that trace"),
        Column("parent_span_id", Scalar.TEXT, "of the request that caused this one"),
        Column("request_headers", HEADERS, "in wire order"),
        Column("response_headers", HEADERS, "in wire order"),
        Column("request_body", Scalar.TEXT, "its beginning, after masking"),
        Column("response_body", Scalar.TEXT, "its beginning, after masking"),
        Column("user_agent", Scalar.TEXT, "the request's `User-Agent`"),
        Column("content_type", Scalar.TEXT, "the response's `Content-Type`"),
        Column("error", Scalar.TEXT, "null, or `timeout`, `reset`, `closed`, `truncated`, `malformed`"),
        Column("breakdown", BREAKDOWN, "where the serving thread's time went, where known"),
        Column("tcp", TCP, "how the connection did; null for Unix sockets"),
    ),
)

CONNECTION = EventType(
    "connection",
    "The opening or the end of a connection that carries HTTP.",
    (
        *COMMON_COLUMNS,
        Column("event", Scalar.TEXT, "`open` or `close`", always=True),
        _ROLE,
        *_ENDPOINTS,
        _CONNECTION_ID,
        Column("duration_ms", Scalar.FLOAT64, "how long it was open; null in `open`", unit="ms"),
        Column("sent_bytes", Scalar.UINT64, "sent from this side", unit="bytes"),
        Column("received_bytes", Scalar.UINT64, "received on this side", unit="bytes"),
        Column("requests", Scalar.UINT64, "requests seen on it"),
    ),
)

LOSS = EventType(
    "loss",
    "Something was not recorded. Nothing is ever lost silently.",
    (
        *COMMON_COLUMNS,
        Column("tracer", Scalar.TEXT, "`http`, `xdp` or `stack`", always=True),
        Column(
            "where",
            Scalar.TEXT,
            "the place where it got lost (`ring_full`, `gaps`, `connections`, …)",
            always=True,
        ),
        Column("count", Scalar.UINT64, "how many since the previous event of this kind", always=True),
    ),
)

_PERCENTILES = Object(
    (
        Column("p50", Scalar.FLOAT64, "half of the requests took no longer", unit="ms"),
        Column("p90", Scalar.FLOAT64, "nine of ten took no longer", unit="ms"),
        Column("p99", Scalar.FLOAT64, "99 of a hundred took no longer", unit="ms"),
        Column("max", Scalar.FLOAT64, "the longest", unit="ms"),
    )
)

_CALLS = Object(
    (
        Column("function", Scalar.TEXT, "its name"),
        Column("module", Scalar.TEXT, "the file that it is in"),
        Column("calls", Scalar.UINT64, "its entries, each counted"),
        Column(
            "latency_ns",
            Object(
                (
                    Column("p50", Scalar.UINT64, "half of the calls took no longer; within 6 %", unit="ns"),
                    Column("p90", Scalar.UINT64, "nine of ten took no longer; within 6 %", unit="ns"),
                    Column("p99", Scalar.UINT64, "99 of a hundred took no longer; within 6 %", unit="ns"),
                    Column(
                        "max",
                        Scalar.UINT64,
                        "the longest; within 13 % where one before it was longer",
                        unit="ns",
                    ),
                )
            ),
            "of those that have returned; null where none has",
        ),
    )
)

SUMMARY = EventType(
    "summary",
    "What an interval of `--metrics-only` saw; a tracer that does not run is null.",
    (
        *COMMON_COLUMNS,
        Column(
            "interval_ms", Scalar.FLOAT64, "how long it was; the last one is shorter", unit="ms", always=True
        ),
        Column(
            "http",
            Object(
                (
                    Column("requests", Scalar.UINT64, "requests that ended, on either side"),
                    Column("errors", Scalar.UINT64, "of these with a status from 500 on, or an `error`"),
                    Column(
                        "latency_ms",
                        _PERCENTILES,
                        "of streaming requests the time to the first byte; exact up to 100,000 requests, "
                        "within 0.6 % beyond",
                    ),
                )
            ),
            "requests",
        ),
        Column(
            "xdp",
            Object(
                (
                    Column("packets", Scalar.UINT64, "packets on the wire"),
                    Column("bytes", Scalar.UINT64, "of Ethernet frames without checksum", unit="bytes"),
                    Column("flows", Scalar.UINT64, "flows that were told"),
                )
            ),
            "packets",
        ),
        Column(
            "stack",
            Object(
                (
                    Column("samples", Scalar.UINT64, "stacks that were taken"),
                    Column("complete", Scalar.UINT64, "of these unwound to their root"),
                    Column("functions", Array(_CALLS), "calls of traced functions, the most first"),
                )
            ),
            "stacks",
        ),
        Column("lost", Scalar.UINT64, "events of all tracers that were not recorded", always=True),
    ),
)

EVENT_TYPES: Mapping[str, EventType] = MappingProxyType(
    {
        event.name: event
        for event in (HTTP, CONNECTION, PACKET, FLOW, INTERFACE, PROFILE, FUNCTION, LOSS, SUMMARY)
    }
)
"""Every event type by its name, in the order of the documentation."""
