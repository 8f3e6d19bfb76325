"""The whole configuration, typed once.

YAML checking, environment names, flags, JSON Schema, `config show` and `config/production.yaml` all follow
these types: a key's type is its check, its `Meta` description its documentation, its default the program's
default. Keys of tracers that this build does not have yet are checked like all others.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from universal_tracer.config.units import ByteSize, Duration

EventType = Literal[
    "http",
    "grpc",
    "websocket",
    "connection",
    "packet",
    "flow",
    "interface",
    "profile",
    "function",
    "allocation",
    "deadlock",
    "lock",
    "loss",
    "summary",
]
EVENT_TYPES: Final[tuple[str, ...]] = get_args(EventType)
TracerName = Literal["http", "xdp", "stack"]
StdoutFormat = Literal["table", "json", "ndjson", "none"]

_Text = Annotated[str, Meta(min_length=1)]
_Pid = Annotated[int, Meta(ge=1, le=2_147_483_647)]
_HeaderName = Annotated[
    str,
    Meta(
        pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", extra={"wanted": "the name of a header, such as X-Trace-ID"}
    ),
]
_Interface = Annotated[
    str, Meta(pattern=r"^[^/\s]{1,15}$", extra={"wanted": "the name of an interface (up to 15 characters)"})
]
_ExcludePattern = Annotated[
    str, Meta(min_length=1, extra={"wanted": "part of a name or /REGULAR EXPRESSION/", "regex": True})
]
_Listen = Annotated[
    str,
    Meta(
        pattern=r"^([^/\s:]+|\[[0-9A-Fa-f:.%a-z]+\])?:[0-9]{1,5}(/[^\s?#]*)?$",
        extra={"wanted": "[HOST]:PORT/PATH, such as :9090/metrics"},
    ),
]
_JaegerUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^/\s]+(/\S*)?$",
        extra={"wanted": "an address such as http://HOST:14268/api/traces"},
    ),
]
_OtlpUrl = Annotated[
    str,
    Meta(
        pattern=r"^(https?|grpc)://[^/\s]+(/\S*)?$",
        extra={"wanted": "an address such as http://HOST:4318 or grpc://HOST:4317"},
    ),
]
# Parsing takes memory on the stack for each part of an expression.
_Condition = Annotated[
    str, Meta(min_length=1, max_length=8192, extra={"wanted": "an SQL condition of at most 8192 characters"})
]
_Events = Annotated[tuple[EventType, ...], Meta(min_length=1)]
_Tracers = Annotated[tuple[TracerName, ...], Meta(min_length=1)]
_Percent = Annotated[float, Meta(ge=1, le=100_000)]


def _doc(description: str, **constraints: Any) -> Meta:
    return Meta(description=description, **constraints)


def _between(description: str, at_least: str, at_most: str) -> Meta:
    """For durations and sizes, whose bounds msgspec cannot check itself."""
    return Meta(description=description, extra={"at_least": at_least, "at_most": at_most})


def _duration(text: str) -> Any:
    return msgspec.field(default_factory=lambda: Duration.parse(text))


def _size(text: str) -> Any:
    return msgspec.field(default_factory=lambda: ByteSize.parse(text))


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping of the tree; every key has a default."""


class HttpTracer(Section, frozen=True):
    """Requests as they cross the sockets of this machine."""

    enable_correlation: Annotated[bool, _doc("pair each request with its response")] = True
    enable_grpc: Annotated[bool, _doc("tell gRPC calls from other HTTP/2 requests")] = True
    enable_websocket: Annotated[bool, _doc("follow upgraded connections, frame by frame")] = True
    max_payload_size: Annotated[
        int,
        _doc(
            "bytes per kernel record; more than 4096 means 4096; a longer head follows in further records, "
            "up to 64 KiB",
            ge=64,
            le=65_536,
        ),
    ] = 4096
    correlation_timeout: Annotated[
        Duration, _between("a request without an answer is reported as timed out after this", "100ms", "1h")
    ] = _duration("30s")
    sampling_rate: Annotated[float, _doc("share of the requests to record", ge=0, le=1)] = 1.0
    protocols: Annotated[
        tuple[Literal["http", "https", "grpc", "websocket"], ...], _doc("what to look for", min_length=1)
    ] = ("http", "https", "grpc", "websocket")
    correlation_table_size: Annotated[
        int, _doc("requests that may wait for their answers at once", ge=64, le=1_048_576)
    ] = 8192
    enable_distributed_tracing: Annotated[bool, _doc("link spans by the trace headers of requests")] = False
    trace_header: Annotated[
        _HeaderName | None, _doc("a header that carries the trace's id, beside the usual ones")
    ] = None
    span_header: Annotated[
        _HeaderName | None, _doc("a header that carries the span's id, beside the usual ones")
    ] = None
    interfaces: Annotated[
        tuple[_Interface, ...],
        _doc("keep only connections whose local address is one of these interfaces'; empty: all"),
    ] = ()


class XdpTracer(Section, frozen=True):
    """Packets and flows of network interfaces."""

    interfaces: Annotated[
        tuple[_Interface, ...],
        _doc("where to attach, such as [eth0, wlan0]; empty: where the default routes go out"),
    ] = ()
    enable_http_detection: Annotated[bool, _doc("look for HTTP, TLS and DNS in packets")] = True
    enable_flow_tracking: Annotated[bool, _doc("count packets and bytes per 5-tuple")] = True
    enable_packet_capture: Annotated[
        bool, _doc("packets can be written to .pcapng; costs nothing until an output asks for it")
    ] = True
    max_packet_size: Annotated[int, _doc("bytes of a packet that are captured", ge=64, le=65_536)] = 1500
    sampling_rate: Annotated[int, _doc("one in this many packets is looked at", ge=1, le=1_000_000)] = 1
    flow_table_size: Annotated[
        int,
        _doc(
            "flows in all, whatever the number of CPUs; memory does not grow with CPUs", ge=64, le=4_194_304
        ),
    ] = 65_536
    enable_egress_capture: Annotated[bool, _doc("see what is sent as well as what is received")] = True
    flow_timeout: Annotated[Duration, _between("a flow is over after this much silence", "1s", "24h")] = (
        _duration("300s")
    )
    mode: Annotated[Literal["native", "generic"] | None, _doc("how XDP attaches; null: chosen")] = None
    filter: Annotated[_Text | None, _doc("a pcap expression, such as 'tcp port 443'; null: every packet")] = (
        None
    )


class StackTracer(Section, frozen=True):
    """What runs, what waits, and where."""

    enable_kernel_stacks: Annotated[bool, _doc("include the kernel's part of a stack")] = True
    enable_user_stacks: Annotated[bool, _doc("include the program's part of a stack")] = True
    enable_mixed_stacks: Annotated[bool, _doc("join both parts to one stack")] = True
    sampling_frequency: Annotated[int, _doc("samples per second and CPU, in Hz", ge=1, le=10_000)] = 99
    max_stack_depth: Annotated[
        int, _doc("frames per stack; deeper ones are marked truncated", ge=1, le=1024)
    ] = 127
    enable_dwarf_unwinding: Annotated[bool, _doc("unwind by the programs' unwind tables")] = True
    enable_frame_pointers: Annotated[bool, _doc("unwind by frame pointers where programs keep them")] = True
    enable_correlation: Annotated[bool, _doc("attribute stacks to the request that a thread serves")] = True
    target_processes: Annotated[
        tuple[_Text, ...], _doc("processes by name, such as [nginx, python, java]; empty: those of `targets`")
    ] = ()
    mode: Annotated[Literal["sampling", "tracing", "mixed", "on-demand"], _doc("when stacks are taken")] = (
        "sampling"
    )
    off_cpu: Annotated[bool, _doc("also measure where threads wait")] = False
    trace_functions: Annotated[
        tuple[_Text, ...], _doc("functions to time: k:NAME, u:/PATH:SYMBOL, t:GROUP:EVENT; globs")
    ] = ()
    trigger: Annotated[
        _Condition | None,
        _doc(
            "what starts a capture on demand, beside SIGUSR1: http.latency_ms>500, cpu>80%, runqueue_ms>50, "
            "file:/PATH; several are joined by OR"
        ),
    ] = None
    max_captures: Annotated[int, _doc("captures of a run at most, on demand", ge=1, le=10_000)] = 100
    stack_map_size: Annotated[int, _doc("distinct stacks held at once", ge=64, le=4_194_304)] = 16_384
    enable_memory_profiling: Annotated[
        bool | Literal["low", "sampled", "exact"], _doc("follow allocations; true means sampled")
    ] = False
    allocation_threshold: Annotated[
        ByteSize, _between("a stack is reported when its live bytes reach this", "0B", "1TB")
    ] = _size("1MB")
    enable_deadlock_detection: Annotated[bool, _doc("look for threads that wait for each other")] = False


class Privacy(Section, frozen=True):
    """What is masked before anything leaves the native core."""

    enable_pii_filtering: Annotated[
        bool, _doc("mask e-mail addresses, card and account numbers, tokens and keys by their shape")
    ] = True
    mask_sensitive_headers: Annotated[bool, _doc("mask cookies, credentials and the like")] = True
    exclude_patterns: Annotated[
        tuple[_ExcludePattern, ...],
        _doc("parts of names whose values are masked, in any case; /.../ is a regular expression"),
    ] = ("password", "token", "secret")
    max_payload_capture: Annotated[
        int, _doc("bytes of bodies that may leave the process; 0 = none", ge=0, le=65_536)
    ] = 256


class Targets(Section, frozen=True):
    """Whom to trace, with children; any match counts, nothing named means the whole machine."""

    pids: Annotated[tuple[_Pid, ...], _doc("process ids")] = ()
    processes: Annotated[tuple[_Text, ...], _doc("the `comm` or the executable's base name")] = ()
    containers: Annotated[tuple[_Text, ...], _doc("names or ids of containers")] = ()
    cgroups: Annotated[tuple[_Text, ...], _doc("paths of control groups")] = ()


class Output(Section, frozen=True):
    """Where events go, and which."""

    files: Annotated[tuple[_Text, ...], _doc("PATH, FORMAT:PATH or DIR/; the suffix names the format")] = ()
    format: Annotated[
        StdoutFormat | None,
        _doc("standard output; null: table on a terminal, else ndjson, none beside files"),
    ] = None
    events: Annotated[_Events | None, _doc("event types to produce; null: all but packet")] = None
    where: Annotated[
        _Condition | None,
        _doc("keep only events that meet this SQL condition on their columns, such as status >= 500"),
    ] = None
    metrics_only: Annotated[bool, _doc("one summary per interval instead of events")] = False
    interval: Annotated[Duration, _between("time between two summaries", "100ms", "24h")] = _duration("5s")
    duration: Annotated[
        Duration | None, _between("how long to trace; null: until stopped", "1ms", "365d")
    ] = None


class Export(Section, frozen=True):
    """Where metrics and spans go over the network."""

    prometheus_endpoint: Annotated[
        _Listen | None, _doc("serve metrics on [HOST]:PORT/PATH, such as :9090/metrics")
    ] = None
    jaeger_endpoint: Annotated[
        _JaegerUrl | None, _doc("a Jaeger collector, such as http://HOST:14268/api/traces")
    ] = None
    otlp_endpoint: Annotated[
        _OtlpUrl | None, _doc("an OTLP receiver, such as http://HOST:4318 or grpc://HOST:4317")
    ] = None


class Record(Section, frozen=True):
    """Recordings on disk, for later reports and queries."""

    directory: Annotated[_Text | None, _doc("where recordings are kept; null: no recording")] = None
    keep: Annotated[Duration, _between("what is older is deleted", "1m", "3650d")] = _duration("7d")
    max_size: Annotated[
        ByteSize, _between("the oldest goes when the recording grows beyond this", "1MB", "1000TB")
    ] = _size("10GB")


class Limits(Section, frozen=True):
    """What the tracer itself may cost."""

    cpu_percent: Annotated[
        _Percent | None,
        _doc("percent of one CPU; requests beyond are left out whole and counted; null: no bound"),
    ] = None
    memory: Annotated[
        ByteSize, _between("resident memory; what traffic may take of it is cut to fit", "64MB", "1TB")
    ] = _size("150MB")


class Run(Section, frozen=True):
    """How the command itself behaves."""

    tracers: Annotated[_Tracers | None, _doc("which tracers run; null: all that the machine allows")] = None
    dry_run: Annotated[bool, _doc("say what would be attached, and attach nothing")] = False
    list: Annotated[
        tuple[_Text, ...],
        _doc("say which functions could be traced, as of stack_tracer.trace_functions; trace nothing"),
    ] = ()
    strict: Annotated[bool, _doc("exit with 3 when events were lost")] = False
    verbosity: Annotated[Literal["quiet", "normal", "verbose"], _doc("what is said on standard error")] = (
        "normal"
    )
    color: Annotated[bool, _doc("colours on a terminal")] = True


class Config(Section, frozen=True):
    """The root: one section per concern."""

    http_tracer: HttpTracer = HttpTracer()
    xdp_tracer: XdpTracer = XdpTracer()
    stack_tracer: StackTracer = StackTracer()
    privacy: Privacy = Privacy()
    targets: Targets = Targets()
    output: Output = Output()
    export: Export = Export()
    record: Record = Record()
    limits: Limits = Limits()
    run: Run = Run()
