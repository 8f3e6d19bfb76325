"""The native core. Only `sources` and `system` import it."""

from typing import Literal, Protocol

__version__: str

class NativeError(Exception):
    """`args` are (what, cause, hint)."""

    args: tuple[str, str, str]
    kind: Literal["privilege", "kernel", "target", "usage", "failed", "bug"]
    log: list[str]

def check_filter(expression: str) -> None:
    """Compile a pcap expression and forget it. Raises NativeError where it is wrong, or libpcap missing."""

def list_functions(
    specs: list[str], pids: list[int], program: str | None
) -> list[
    tuple[str, str, str, str, str, list[str], list[tuple[str | None, str, bool]], str | None, str | None]
]:
    """What could be traced: functions of the kernel and of files, tracepoints, USDT probes.

    As (place, spec, function, symbol, module, aliases, arguments [(name, type, whether it can be read)],
    result, note). Names without a path are looked up in what `pids` run, or in `program` and its libraries.
    Raises NativeError.
    """

def panics() -> list[str]:
    """Places (FILE:LINE) where the core gave up so far: bugs."""

class ArrowBatch:
    """Rows by the Arrow PyCapsule interface: `polars.DataFrame(batch)` takes them over."""

    def __len__(self) -> int: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...

def json_lines(frame: object) -> bytes:
    """The rows of a frame (anything with `__arrow_c_stream__`) as JSON objects, a line each.

    Raises ValueError where a column has a type that events do not have.
    """

class Tick:
    """What was decoded since the tick before; `frames` by event type, only where there are rows."""

    frames: dict[str, ArrowBatch]
    losses: list[tuple[str, int]]
    hits: dict[str, int]
    complete_until_ns: int
    notes: list[str]
    """What the user has to know, a line each."""

class Session(Protocol):
    """What every tracer's session can do. Every method may raise NativeError."""

    def plan(self) -> list[dict[str, str]]:
        """The hooks: tracer, hook, adapter, why, cost."""

    def attach(self) -> None:
        """Load, attach and begin to drain."""

    def add_target(self, pid: int) -> None:
        """Trace `pid`, its descendants and their children from now on."""

    def add_cgroup(self, hierarchy: int, identifier: int) -> None:
        """Trace who is born into the control group or moves there from now on (hierarchy 0: version 2)."""

    def live_targets(self) -> list[int]:
        """Targets that still run."""

    def tick(self, wait_ms: int) -> Tick:
        """Wait up to `wait_ms` milliseconds, less when many events are ready."""

    def stop(self) -> None:
        """Detach and drain; one more `tick` returns the rest."""

    def close(self) -> None:
        """As `stop`; allowed at any time."""

class HttpSession(Session):
    """One run of the HTTP tracer."""

    def __init__(self, settings: dict[str, object]) -> None:
        """Plan; attach nothing.

        Keys: object_path, self_pid, filter (bool), pids, cgroups [(hierarchy, id)], names,
        local_addresses (as `set_local_addresses` takes them; None: any), net_namespace (its inode),
        max_payload_size (bytes), sampling_rate (0..1), ring_bytes (a power of two),
        cpu_percent (of one processor, or None), correlation_timeout_ns, correlation_table_size,
        privacy {enable_pii_filtering, mask_sensitive_headers, exclude_patterns, max_payload_capture}.
        """

    def set_local_addresses(self, addresses: list[tuple[int, bytes, int]]) -> None:
        """Trace only connections with one of these: (interface's index or 0, 16 bytes, prefix length)."""

class StackSession(Session):
    """One run of the stack tracer."""

    def __init__(self, settings: dict[str, object]) -> None:
        """Plan; attach nothing.

        Keys: object_path, self_pid, filter (bool), pids, cgroups [(hierarchy, id)], names, frequency_hz,
        kernel_stacks, user_stacks, mixed_stacks, by_tables, off_cpu (bools), max_depth (frames),
        stacks_held, interval_ns, keep_ns (on demand: how long samples are held; None: told each interval),
        ring_bytes, call_ring_bytes (powers of two), samples, call_events (bools), functions (as
        `--trace-function` names them), scope_pids (whose files functions are looked up in; empty: the
        own ones), program (of a command that does not run yet, or None).
        """

    def capture(self, number: int, cuts_ns: list[int]) -> None:
        """On demand: tell the samples between the first and the last of these Unix times, once they are over.

        They are divided at the other times; rows begin at one of them and carry `number` in their column
        `capture`. Of `Tick.hits`, `captures` is how many have been told.
        """

class XdpSession(Session):
    """One run of the packet tracer."""

    def __init__(self, settings: dict[str, object]) -> None:
        """Look the interfaces up; attach nothing.

        Keys: object_path, self_pid, filter, pids, cgroups, names (as of `HttpSession`: flows of their
        sockets), interfaces (names; empty: those of the default routes), processes (whose network namespaces
        are meant; empty: the own one), waits (bool: for interfaces that are not there),
        mode (`native`, `generic` or None), egress (bool), flow_table_size, flow_timeout_ns,
        sampling (1 in N), expression (of pcap, or None), detect_payload, track_flows,
        packet_events (bools), capture_bytes (0: no capture), privacy (as of `HttpSession`), is_watched (bool:
        the frames `interfaces`, `flows` and `talkers` come each second), interval_ns, ring_bytes (a power of
        two). The frame `capture` of a tick has pcapng in its column `blocks`.
        """

class Trial:
    """What this kernel did with a tracer's programs: each was loaded and attached for a moment."""

    hooks: list[tuple[dict[str, str], NativeError | None]]
    """As `HttpSession.plan` has them, and why one cannot be used."""
    tables: list[tuple[str, str, int, int, bool]]
    """Name, kind, entries, bytes, and whether these are an estimate."""
    programs: list[str]
    """Names of the object's programs, as the kernel keeps them."""
    has_run: bool
    """Whether the programs were made to run."""

def try_http(settings: dict[str, object]) -> Trial:
    """Settings as of `HttpSession`; nobody whom they name is traced.

    Raises NativeError where nothing can be tried.
    """

def try_stack(settings: dict[str, object]) -> Trial:
    """Settings as of `StackSession`; as `try_http`."""

def try_xdp(settings: dict[str, object]) -> Trial:
    """Settings as of `XdpSession`; its interfaces are not touched.

    Raises NativeError where nothing can be tried.
    """

def find_programs(programs: list[str], tables: list[str]) -> list[tuple[int, str, list[int], list[int]]]:
    """Programs in the kernel that bear one of the names and use tables with these names.

    As (id, name, interfaces by index, processes that hold it). Raises NativeError where they are not listed.
    """

def pinned_program(path: str) -> int | None:
    """The id of the program that a file below /sys/fs/bpf pins, directly or by a link."""
