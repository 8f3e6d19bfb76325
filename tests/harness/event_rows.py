"""Frames as the native core makes them, for tests of the way from batch to output."""

from __future__ import annotations

from typing import Any

import polars as pl

from universal_tracer.model.schema import schema, shape

MADE_BY_THE_PIPELINE = ("type", "host", "service", "container", "tls", "breakdown")

REQUEST: dict[str, Any] = {
    "timestamp": "2025-11-25T03:06:40.123456Z",
    "timestamp_ns": 1_764_040_000_123_456_000,
    "pid": 4242,
    "tid": 4243,
    "comm": "nginx",
    "protocol": "HTTP/1.1",
    "role": "server",
    "method": "GET",
    "path": "/users/7",
    "query": "page=2",
    "route": "/users/{id}",
    "authority": "localhost:8080",
    "status": 200,
    "latency_ms": 1.5,
    "ttfb_ms": 1.25,
    "request_bytes": 78,
    "response_bytes": 238,
    "streaming": False,
    "local": {"address": "127.0.0.1", "port": 8080, "path": None},
    "peer": {"address": "127.0.0.1", "port": 40_000, "path": None},
    "connection_id": "1f-2",
    "request_id": "1f-2-1",
    "request_headers": [{"name": "Host", "value": "localhost:8080"}],
    "response_headers": [{"name": "Server", "value": "nginx"}, {"name": "Set-Cookie", "value": "***"}],
    "user_agent": "curl/8.5",
    "content_type": "text/plain",
    "tcp": {"rtt_us": 25, "retransmits": 0},
}

CONNECTION: dict[str, Any] = {
    "timestamp": "2025-11-25T03:06:41.000000Z",
    "timestamp_ns": 1_764_040_001_000_000_000,
    "pid": 4242,
    "tid": 4243,
    "comm": "nginx",
    "event": "close",
    "role": "server",
    "local": REQUEST["local"],
    "peer": REQUEST["peer"],
    "connection_id": "1f-2",
    "duration_ms": 12.0,
    "sent_bytes": 238,
    "received_bytes": 78,
    "requests": 1,
}

PROFILE: dict[str, Any] = {
    "timestamp": "2025-11-25T03:06:41.000000Z",
    "timestamp_ns": 1_764_040_001_000_000_000,
    "pid": 4242,
    "tid": 4243,
    "comm": "worker",
    "kind": "cpu",
    "stack": ["main", "work"],
    "frames": [
        {
            "name": name,
            "module": "/usr/bin/worker",
            "file": "/src/worker.c",
            "line": 7,
            "inlined": False,
            "kind": "user",
        }
        for name in ("main", "work")
    ],
    "count": 5,
    "value_ns": 50_505_050,
    "end": "complete",
    "reason": None,
}

LOSS: dict[str, Any] = {
    "timestamp": "2025-11-25T03:06:42.000000Z",
    "timestamp_ns": 1_764_040_002_000_000_000,
    "tracer": "http",
    "where": "ring_full",
    "count": 3,
}

TCP_PEER = REQUEST["peer"]
UNIX_PEER = {"address": None, "port": None, "path": "/run/app.sock"}


def native(event_type: str, *rows: dict[str, Any]) -> pl.DataFrame:
    """The columns that a source delivers; what a row lacks is null."""
    columns = {name: kind for name, kind in schema(event_type).items() if name not in MADE_BY_THE_PIPELINE}
    return pl.DataFrame([[row.get(name) for name in columns] for row in rows], schema=columns, orient="row")


def requests(count: int = 1, **changes: Any) -> pl.DataFrame:
    """`count` rows of one request as the native core delivers it."""
    return native("http", *[REQUEST | changes] * count)


def shaped(event_type: str, *rows: dict[str, Any]) -> pl.DataFrame:
    """As sinks get it."""
    return shape(event_type, native(event_type, *rows))
