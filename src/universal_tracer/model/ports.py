"""What sources, pipeline stages and sinks look like to the run that joins them.

    Source ── Batches (one frame per event type) ──▶ Stage, Stage, … ──▶ Sink, Sink, …

Nothing here loads polars: the command line imports this before it knows whether anything will be traced.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import polars as pl


@dataclass(frozen=True, slots=True)
class PlannedHook:
    """One place in the kernel that a tracer uses, how it is reached, and why so."""

    tracer: str
    hook: str
    adapter: str
    why: str
    cost: str


@dataclass(frozen=True, slots=True)
class Loss:
    """Events that were not recorded since the previous batch, and where they got lost."""

    tracer: str
    where: str
    count: int


@dataclass(frozen=True, slots=True)
class Batches:
    """What one source saw since its previous tick.

    `frames` maps an event type to its rows; types without rows are left out. `hits` counts since the start of
    the run; for HTTP `operations` (socket operations of targets), `sockets` (connections that looked like
    HTTP), `not_http` (connections that did not), `requests` (begun) and `sampled_out` (of these). The source
    is complete up to `complete_until_ns` (Unix time). `notes` are for the user: one line each.

    `totals` are for metrics only: tables by the names that `pipeline.aggregate` knows, whose rows are no
    events; counts in them are increments since the previous tick.

    `live` are figures of the last second for every `LiveSink`: `interfaces`, `flows`, `talkers`, the largest
    first; and `functions`, which are increments as in `totals`. `packets` are blocks of pcapng for every
    `PacketSink`, a number of whole ones in each item.
    """

    frames: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    losses: Sequence[Loss] = ()
    hits: Mapping[str, int] = field(default_factory=dict)
    complete_until_ns: int = 0
    totals: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    live: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    packets: Sequence[bytes] = ()
    notes: Sequence[str] = ()


class Source(Protocol):
    """A tracer at work. Its methods are called from one thread only, in the order written here."""

    @property
    def tracer(self) -> str:
        """`http`, `xdp` or `stack`."""

    def plan(self) -> Sequence[PlannedHook]:
        """The hooks that `start` will use; attaches nothing."""

    def start(self) -> None:
        """Load and attach. Once this returns, everything that happens is recorded.

        Raises a `TracerError` that carries the exit code; then nothing stays attached.
        """

    def add_target(self, pid: int) -> None:
        """Trace `pid` and the children it starts from now on as well; takes effect before this returns."""

    def add_cgroup(self, hierarchy: int, identifier: int) -> None:
        """Trace who is born into the control group or moves there from now on; not who is there already."""

    def set_local_addresses(self, addresses: Sequence[tuple[int, bytes, int]]) -> None:
        """Trace only connections with one of these, where the run was started with such a limit.

        Each is (interface's index or 0, 16 bytes, prefix length); not every tracer has connections.
        """

    def capture(self, number: int, cuts_ns: Sequence[int]) -> None:
        """Tell the samples between the first and the last of these Unix times, a part of them in the past.

        They come once they are over, divided at the other times, with `number` in their column `capture`;
        then `captures` of the hits counts one more. Only the stack tracer, and only on demand, holds samples.
        """

    def live_targets(self) -> Sequence[int]:
        """The target processes that still run, in no order."""

    def tick(self, wait_ms: int) -> Batches:
        """Wait up to `wait_ms` milliseconds; return what has come since the last tick (possibly nothing)."""

    def stop(self) -> None:
        """Detach and finish open requests; one last `tick(0)` then returns the rest. Idempotent."""

    def close(self) -> None:
        """Free everything. Idempotent; also allowed without `start` or `stop`."""


class Stage(Protocol):
    """A step of the pipeline: rows of one event type in, rows of the same type out."""

    def __call__(self, event_type: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Must not change `frame`; may drop rows and add columns."""


class Meter(Protocol):
    """Counts what was seen: before `--where`, and also what is not wanted as events."""

    @property
    def event_types(self) -> Collection[str]:
        """The event types that it needs although nobody may want their events."""

    def measure(self, event_type: str, frame: pl.DataFrame) -> None:
        """Take rows that have passed all stages, or a table of `Batches.totals`; never an empty one."""

    def lose(self, losses: Sequence[Loss]) -> None:
        """Take losses."""


class PeriodicMeter(Meter, Protocol):
    """A meter that tells from time to time what it has counted."""

    @property
    def due_s(self) -> float:
        """When it will tell next, in seconds of the monotonic clock."""

    def tell(self, now_s: float) -> tuple[str, pl.DataFrame]:
        """An event type and its rows, of what came since the last time; they pass the stages."""


class Sink(Protocol):
    """One output. Writes raise `OSError` as they come (`BrokenPipeError` ends the run quietly)."""

    @property
    def name(self) -> str:
        """What messages call it: the file's path, or `standard output`."""

    def write(self, event_type: str, frame: pl.DataFrame) -> None:
        """Take the rows of one event type, columns as the model orders them; never an empty frame."""

    def flush(self) -> None:
        """Make all that was written visible. Called at least once a second, also when nothing came."""

    def close(self) -> None:
        """Finish the output. Idempotent."""


@runtime_checkable
class LiveSink(Sink, Protocol):
    """An output that is looked at while the run goes on."""

    def write_live(self, table: str, frame: pl.DataFrame) -> None:
        """Take one of the tables of `Batches.live`."""


@runtime_checkable
class PacketSink(Sink, Protocol):
    """An output that takes packets, too."""

    def write_packets(self, blocks: Sequence[bytes]) -> None:
        """Take blocks of pcapng, in the order of the capture; the first one begins a section."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file of `--output`, its format settled; `event_types` is None where every type goes into it.

    `create_directory` is set where the user gave `DIR/`: that directory is then created, but not its parent.
    """

    format: str
    path: Path
    event_types: tuple[str, ...] | None = None
    create_directory: bool = False


@dataclass(frozen=True, slots=True)
class Recording:
    """Where `--record` writes; what is older than `keep_s`, or more than `max_bytes` in all, is deleted."""

    directory: Path
    keep_s: float
    max_bytes: int


@dataclass(frozen=True, slots=True)
class StandardOutput:
    """What goes to stdout: `format` is `table`, `json`, `ndjson` or `none`.

    `event_types` are those of `--events`, None without the flag: a table then leaves connections out.
    `produces` are the types that this run can bring.
    """

    format: str
    is_terminal: bool
    color: bool
    event_types: tuple[str, ...] | None = None
    produces: tuple[str, ...] = ()


@dataclass(slots=True)
class RunSummary:
    """What a run did, told at its end."""

    ended_by: str
    duration_s: float
    events: dict[str, int] = field(default_factory=dict)
    lost: dict[tuple[str, str], int] = field(default_factory=dict)
    stacks: str | None = None
    """How complete they were, in words."""
    command_status: int | None = None
    files: list[Path] = field(default_factory=list)

    @property
    def lost_total(self) -> int:
        """All losses of the run, of every tracer and place."""
        return sum(self.lost.values())


# Entry points that the run calls, with the modules that provide them:
#   sources.live.open_http(settings: sources settings mapping) -> Source
#   pipeline.stages(config: config.tree.Config) -> list[Stage]
#   sinks.open_sinks(files: Sequence[OutputFile], stdout: StandardOutput, recording: Recording | None)
#       -> list[Sink]
#       raises model.errors.OutputError; a sink that was opened before another one failed is closed again.
# `loss` rows are made by the run (timestamp, timestamp_ns, tracer, where, count) and pass through the stages.
