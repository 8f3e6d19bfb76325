"""The metrics and their labels: the one source for what is served, for docs/METRICS.md and for checks.

Names, labels and units are promised to users: metrics are added, never renamed or removed. How the rows of an
event type become values stands in `pipeline.aggregate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DURATION_BOUNDS_S: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)
"""Upper bounds of a duration's buckets: those of OpenTelemetry's semantic conventions."""

FUNCTION_BOUNDS_S: Final = tuple(2**power / 1e9 for power in range(10, 38, 2))
"""Upper bounds for functions: each four times the one before, from a microsecond on. The kernel's own buckets
end there, too, so that each call is counted in the right one."""

MAX_SERIES: Final = 10_000
"""Lines with a value, a histogram's buckets among them."""

OTHER_METHOD: Final = "_OTHER"
METHODS: Final = frozenset(
    (
        *("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY", "PURGE"),
        *("ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK", "MERGE"),
        *("MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE", "MOVE", "ORDERPATCH", "PRI"),
        *("PROPFIND", "PROPPATCH", "REBIND", "REPORT", "SEARCH", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK"),
        *("UPDATE", "UPDATEREDIRECTREF", "VERSION-CONTROL"),
    )
)
"""Methods that label a metric (IANA's registry and PURGE); who makes up others must not make up series."""


IP_PROTOCOLS: Final = MappingProxyType({1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"})
"""How `protocol` calls them; others are `other`, packets without IP are `non-ip`."""


class Kind(Enum):
    """How a metric behaves; the values are the names that Prometheus uses."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `unit` is a part of its name, as OpenMetrics has it; None for plain counts.

    What `is_capped` shares the `MAX_SERIES`; other metrics are few by nature. `bounds`
    are those of a histogram's buckets, as many for each.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    description: str
    unit: str | None = None
    is_capped: bool = True
    bounds: tuple[float, ...] = DURATION_BOUNDS_S


_COUNTER, _GAUGE, _HISTOGRAM = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_ROUTE_LABELS = ("service", "role", "protocol", "method", "route")

EVENTS = Metric(
    "universal_tracer_events_total",
    _COUNTER,
    ("tracer",),
    "Events of the tracer that were told, or counted in metrics",
    is_capped=False,
)
EVENTS_LOST = Metric(
    "universal_tracer_events_lost_total",
    _COUNTER,
    ("tracer", "where"),
    "Events that were not recorded, by the place where they got lost",
    is_capped=False,
)
TRIGGERS = Metric(
    "universal_tracer_triggers_total",
    _COUNTER,
    ("outcome",),
    "What fired on demand: `captured`, `further` (within a second of such a one), `beyond` (max_captures)",
    is_capped=False,
)
SERIES_CAPPED = Metric(
    "universal_tracer_series_capped_total",
    _COUNTER,
    ("service",),
    "Events that hit a cap: their route became `other`, or they are missing in a metric for want of series",
    is_capped=False,
)
BPF_SECONDS = Metric(
    "universal_tracer_bpf_seconds_total",
    _COUNTER,
    (),
    "Time spent in the tracer's kernel programs; absent where the kernel does not tell",
    unit="seconds",
    is_capped=False,
)
CPU_SECONDS = Metric(
    "universal_tracer_cpu_seconds_total",
    _COUNTER,
    (),
    "Processor time of the tracer's process, user and system",
    unit="seconds",
    is_capped=False,
)
RESIDENT_MEMORY = Metric(
    "universal_tracer_resident_memory_bytes",
    _GAUGE,
    (),
    "Resident memory of the tracer's process",
    unit="bytes",
    is_capped=False,
)

_FUNCTION_LABELS = ("service", "function", "module")
FUNCTION_CALLS = Metric("function_calls_total", _COUNTER, _FUNCTION_LABELS, "Calls of traced functions")
FUNCTION_SECONDS = Metric(
    "function_duration_seconds",
    _HISTOGRAM,
    _FUNCTION_LABELS,
    "Time from a traced function's entry to its exit; calls that do not return are missing",
    unit="seconds",
    bounds=FUNCTION_BOUNDS_S,
)

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric(
                "http_requests_total",
                _COUNTER,
                (*_ROUTE_LABELS, "status"),
                "HTTP requests, failed ones included",
            ),
            Metric(
                "http_request_duration_seconds",
                _HISTOGRAM,
                _ROUTE_LABELS,
                "Time from a request's first byte to its response's last; to the first where it streams",
                unit="seconds",
            ),
            Metric(
                "network_packets_total",
                _COUNTER,
                ("interface", "direction", "protocol"),
                "Packets on the wire; the sum over `protocol` is the interface's",
            ),
            Metric(
                "network_bytes_total",
                _COUNTER,
                ("interface", "direction", "protocol"),
                "Bytes of these packets, as Ethernet frames without checksum",
            ),
            Metric(
                "stack_samples_total",
                _COUNTER,
                ("service", "kind"),
                "Stacks that were taken; `kind` is `cpu`, `off-cpu`, `lock` or `memory`",
            ),
            Metric(
                "stack_samples_complete_total",
                _COUNTER,
                ("service", "kind"),
                "Those of them that reached their thread's first function",
            ),
            FUNCTION_CALLS,
            FUNCTION_SECONDS,
            EVENTS,
            EVENTS_LOST,
            TRIGGERS,
            SERIES_CAPPED,
            BPF_SECONDS,
            CPU_SECONDS,
            RESIDENT_MEMORY,
        )
    }
)
"""Every metric by its name, in the order in which they are served."""
