"""The loop of a run: batches from the sources, through the stages, into the sinks, until something ends it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from universal_tracer.model.ports import Loss, RunSummary

if TYPE_CHECKING:
    import polars as pl

    from universal_tracer.model.ports import Batches, Sink, Source, Stage

TICK_MS: Final = 200
_FLUSH_EVERY_S: Final = 0.5
CLOSED_PIPE: Final = "closed pipe"

# What may end a run: returns how it is called once it has happened.
EndCondition = Callable[[], str | None]
# Called after every tick with the time (monotonic, s).
EveryTick = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class SinkFailure:
    """An output that could not be written, and why."""

    name: str
    error: OSError


@dataclass(slots=True)
class Session:
    """A run that is attached already. Sinks that fail are left out; the others get everything.

    `events` are the types to produce; other frames are dropped before the first stage.
    """

    sources: Sequence[Source]
    stages: Sequence[Stage]
    sinks: list[Sink]
    events: frozenset[str]
    end_conditions: Sequence[EndCondition]
    every_tick: Sequence[EveryTick] = ()
    wind_down: Callable[[], bool] = lambda: True
    deadline_s: float | None = None
    hits: dict[str, int] = field(default_factory=dict)
    failure: SinkFailure | None = None
    _counts: Counter[str] = field(default_factory=Counter)
    _lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    _pipe_closed: bool = False
    _flushed_at: float = 0.0

    @property
    def has_seen_events(self) -> bool:
        """Whether any row has come, losses apart."""
        return any(event_type != "loss" for event_type in self._counts)

    def run(self) -> RunSummary:
        """Tick until the end, drain, close every sink. A failed sink is left in `failure`."""
        started = time.monotonic()
        try:
            ended_by = self._tick_until_end()
            while not self.wind_down():
                self._tick(TICK_MS)
            self._drain()
        finally:
            self._close_sinks()
        duration_s = time.monotonic() - started
        return RunSummary(ended_by, duration_s, events=dict(self._counts), lost=dict(self._lost))

    def _tick_until_end(self) -> str:
        while True:
            self._tick(self._wait_ms())
            reason = self._end_reason()
            if reason is not None:
                return reason

    def _end_reason(self) -> str | None:
        if self.failure is not None:
            return f"{self.failure.name}, which cannot be written"
        if self._pipe_closed:
            return CLOSED_PIPE
        return next((reason for condition in self.end_conditions if (reason := condition()) is not None), None)

    def _wait_ms(self) -> int:
        if self.deadline_s is None:
            return TICK_MS
        return max(0, min(TICK_MS, round((self.deadline_s - time.monotonic()) * 1000)))

    def _tick(self, wait_ms: int) -> None:
        for source in self.sources:
            self._take(source.tracer, source.tick(wait_ms))
            wait_ms = 0
        now = time.monotonic()
        for action in self.every_tick:
            action(now)
        if now - self._flushed_at >= _FLUSH_EVERY_S:
            self._flush()
            self._flushed_at = now

    def _drain(self) -> None:
        for source in self.sources:
            source.stop()
            self._take(source.tracer, source.tick(0))

    def _take(self, tracer: str, batches: Batches) -> None:
        self.hits.update(batches.hits)
        for event_type, frame in batches.frames.items():
            self._deliver(event_type, frame)
        if batches.losses:
            self._lost.update({(loss.tracer, loss.where): loss.count for loss in batches.losses})
            self._deliver("loss", loss_frame(batches.losses))

    def _deliver(self, event_type: str, frame: pl.DataFrame) -> None:
        if event_type not in self.events:
            return
        for stage in self.stages:
            frame = stage(event_type, frame)
        if frame.is_empty():
            return
        self._counts[event_type] += frame.height
        for sink in list(self.sinks):
            self._guarded(sink, lambda sink=sink: sink.write(event_type, frame))

    def _flush(self) -> None:
        for sink in list(self.sinks):
            self._guarded(sink, sink.flush)

    def _close_sinks(self) -> None:
        for sink in list(self.sinks):
            self._guarded(sink, sink.close)
        self.sinks.clear()

    def _guarded(self, sink: Sink, action: Callable[[], None]) -> None:
        try:
            action()
        except BrokenPipeError:
            self._pipe_closed = True
            self._leave_out(sink)
        except OSError as error:
            self.failure = self.failure or SinkFailure(sink.name, error)
            self._leave_out(sink)

    def _leave_out(self, sink: Sink) -> None:
        """Write nothing more into it; what it holds is finished as far as that goes."""
        self.sinks.remove(sink)
        try:
            sink.close()
        except OSError as error:
            # A reader that has gone is no failure; any other output that fails once has failed.
            if not isinstance(error, BrokenPipeError):
                self.failure = self.failure or SinkFailure(sink.name, error)


def loss_frame(losses: Sequence[Loss]) -> pl.DataFrame:
    """Losses as rows: timestamp, timestamp_ns, tracer, where, count."""
    import polars as pl  # noqa: PLC0415  heavy, and only runs need it

    now_ns = time.time_ns()
    seconds, rest_ns = divmod(now_ns, 1_000_000_000)
    written = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest_ns // 1000:06d}Z"
    return pl.DataFrame(
        {
            "timestamp": [written] * len(losses),
            "timestamp_ns": [now_ns] * len(losses),
            "tracer": [loss.tracer for loss in losses],
            "where": [loss.where for loss in losses],
            "count": [loss.count for loss in losses],
        },
        schema_overrides={"timestamp_ns": pl.Int64, "count": pl.UInt64},
    )
