"""The loop of a run: batches from sources, through stages, into sinks, until something ends it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from universal_tracer.model.ports import LiveSink, Loss, PacketSink, RunSummary
from universal_tracer.model.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from universal_tracer.model.ports import Batches, Meter, PeriodicMeter, Sink, Source, Stage

TICK_MS: Final = 200
_FLUSH_EVERY_S: Final = 0.5
CLOSED_PIPE: Final = "closed pipe"
LOSS: Final = "loss"

# What may end a run: returns how it is called once it has happened.
EndCondition = Callable[[], str | None]
# Called after every tick with the monotonic time in seconds.
EveryTick = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class SinkFailure:
    """An output that could not be written, and why."""

    name: str
    error: OSError


def _at_once() -> bool:
    return True


def _ignore(_: str) -> None:
    pass


@dataclass(slots=True)
class Session:
    """A run that is attached already. A sink that fails is left out, the others get everything.

    `events` are the types to produce; other frames reach the meters at most. What a `periodic` meter tells is
    an event; the last one tells of the time up to the end. `wind_down` is called between ticks once the end
    has come, until it returns True. `deadline_s` (monotonic) keeps the last tick short. `condition`
    comes behind all stages and meters. `on_note` is told what a source wants the user to know.
    """

    sources: Sequence[Source]
    stages: Sequence[Stage]
    sinks: list[Sink]
    events: frozenset[str]
    end_conditions: Sequence[EndCondition]
    every_tick: list[EveryTick] = field(default_factory=list)
    wind_down: Callable[[], bool] = _at_once
    deadline_s: float | None = None
    tick_ms: int = TICK_MS
    meters: list[Meter] = field(default_factory=list)
    periodic: PeriodicMeter | None = None
    condition: Stage | None = None
    on_note: Callable[[str], None] = _ignore
    hits: dict[str, int] = field(default_factory=dict, init=False)
    failure: SinkFailure | None = field(default=None, init=False)
    _counts: Counter[str] = field(default_factory=Counter, init=False)
    _lost: Counter[tuple[str, str]] = field(default_factory=Counter, init=False)
    _pipe_is_closed: bool = field(default=False, init=False)
    _flushed_at_s: float = field(default=0.0, init=False)
    has_seen_events: bool = field(default=False, init=False)
    """Whether any row but losses has come, wanted or not."""
    unmet: int = field(default=0, init=False)
    """Rows that did not meet the condition."""

    def run(self) -> RunSummary:
        """Tick until the end, drain, close every sink. An output that failed is told in `failure`."""
        started_s = time.monotonic()
        try:
            ended_by = self._tick_until_end()
            while not self.wind_down():
                self._tick(TICK_MS)
            self._drain()
            self._tell_periodic(time.monotonic())
        finally:
            self._close_sinks()
        return RunSummary(ended_by, time.monotonic() - started_s, dict(self._counts), dict(self._lost))

    def _tick_until_end(self) -> str:
        while True:
            self._tick(self._wait_ms())
            reason = self._end_reason()
            if reason is not None:
                return reason
            now_s = time.monotonic()
            if self.periodic is not None and now_s >= self.periodic.due_s:
                self._tell_periodic(now_s)

    def _tell_periodic(self, now_s: float) -> None:
        if self.periodic is not None:
            event_type, frame = self.periodic.tell(now_s)
            self._counts[event_type] += self._deliver(event_type, frame, is_own=True)

    def _end_reason(self) -> str | None:
        if self.failure is not None:
            return f"{self.failure.name}, which cannot be written"
        if self._pipe_is_closed:
            return CLOSED_PIPE
        return next(
            (reason for condition in self.end_conditions if (reason := condition()) is not None), None
        )

    def _wait_ms(self) -> int:
        until_s = [self.deadline_s] if self.deadline_s is not None else []
        if self.periodic is not None:
            until_s.append(self.periodic.due_s)
        if not until_s:
            return self.tick_ms
        return max(0, min(self.tick_ms, round((min(until_s) - time.monotonic()) * 1000)))

    def _tick(self, wait_ms: int) -> None:
        for source in self.sources:
            self._take(source.tick(wait_ms))
            wait_ms = 0
        now_s = time.monotonic()
        for action in self.every_tick:
            action(now_s)
        if now_s - self._flushed_at_s >= _FLUSH_EVERY_S:
            self._to_all_sinks(lambda sink: sink.flush())
            self._flushed_at_s = now_s

    def _drain(self) -> None:
        for source in self.sources:
            source.stop()
            self._take(source.tick(0))

    def _take(self, batches: Batches) -> None:
        self.hits.update(batches.hits)
        for event_type, frame in batches.frames.items():
            self.has_seen_events |= not frame.is_empty()
            self._counts[event_type] += self._deliver(event_type, frame)
        self._counts = +self._counts
        for table, frame in batches.totals.items():
            self._measure(table, self._staged(table, frame))
        for table, frame in batches.live.items():
            self._to_all_sinks(partial(_write_live, table, frame))
        if batches.packets:
            self._to_all_sinks(partial(_write_packets, batches.packets))
        if batches.losses:
            self.lose(batches.losses)
        for note in batches.notes:
            self.on_note(note)

    def lose(self, losses: Sequence[Loss]) -> None:
        """Count and tell them."""
        for loss in losses:
            self._lost[loss.tracer, loss.where] += loss.count
        for meter in self.meters:
            meter.lose(losses)
        self._deliver(LOSS, loss_frame(losses), is_own=True)

    def _measure(self, event_type: str, frame: pl.DataFrame) -> None:
        if not frame.is_empty():
            for meter in self.meters:
                meter.measure(event_type, frame)

    def _staged(self, event_type: str, frame: pl.DataFrame) -> pl.DataFrame:
        for stage in self.stages:
            frame = stage(event_type, frame)
        return frame

    def _deliver(self, event_type: str, frame: pl.DataFrame, *, is_own: bool = False) -> int:
        """Pass the rows through the stages to all sinks; returns how many are left for them.

        Those that `is_own`, which the run makes of what it has counted, are not counted again.
        """
        is_event = event_type in self.events
        is_measured = any(event_type in meter.event_types for meter in self.meters)
        if frame.is_empty() or not (is_event or is_measured):
            return 0
        frame = self._staged(event_type, frame)
        if not is_own:
            self._measure(event_type, frame)
        if not is_event:
            return 0
        if self.condition is not None:
            rows = frame.height
            frame = self.condition(event_type, frame)
            self.unmet += rows - frame.height
        if not frame.is_empty():
            self._to_all_sinks(lambda sink: sink.write(event_type, frame))
        return frame.height

    @property
    def has_told_events(self) -> bool:
        """Whether any of them was wanted."""
        return bool(self._counts)

    def _close_sinks(self) -> None:
        self._to_all_sinks(lambda sink: sink.close())
        self.sinks.clear()

    def _to_all_sinks(self, action: Callable[[Sink], None]) -> None:
        for sink in list(self.sinks):
            if not self._succeeds(sink, partial(action, sink)):
                self.sinks.remove(sink)
                self._succeeds(sink, sink.close)

    def _succeeds(self, sink: Sink, action: Callable[[], None]) -> bool:
        """A reader that has gone is no failure, but the end all the same; the first failure is kept."""
        try:
            action()
        except BrokenPipeError:
            self._pipe_is_closed = True
            return False
        except OSError as error:
            self.failure = self.failure or SinkFailure(sink.name, error)
            return False
        return True


def _write_live(table: str, frame: pl.DataFrame, sink: Sink) -> None:
    if isinstance(sink, LiveSink):
        sink.write_live(table, frame)


def _write_packets(packets: Sequence[bytes], sink: Sink) -> None:
    if isinstance(sink, PacketSink):
        sink.write_packets(packets)


def loss_frame(losses: Sequence[Loss]) -> pl.DataFrame:
    """Losses as rows: timestamp, timestamp_ns, tracer, where, count."""
    import polars as pl  # noqa: PLC0415  heavy, and only runs need it

    now_ns = time.time_ns()
    return pl.DataFrame(
        {
            "timestamp": [rfc3339(now_ns)] * len(losses),
            "timestamp_ns": [now_ns] * len(losses),
            "tracer": [loss.tracer for loss in losses],
            "where": [loss.where for loss in losses],
            "count": [loss.count for loss in losses],
        },
        schema_overrides={"timestamp_ns": pl.Int64, "count": pl.UInt64},
    )
