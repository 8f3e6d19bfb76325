"""Which triggers become captures, what these hold, and when they are complete.

In a session this is a meter, which sees every row behind the stages, and a sink, which is asked to write and
whose failure ends the run.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from universal_tracer.cli.on_demand.event_ring import EventRing, end_ns
from universal_tracer.cli.on_demand.folder import write_capture
from universal_tracer.cli.on_demand.plan import AFTER_S, BEFORE_S, LATE_S
from universal_tracer.cli.on_demand.triggers import Fired
from universal_tracer.cli.talk import plural
from universal_tracer.model.errors import OutputError
from universal_tracer.model.metrics import TRIGGERS
from universal_tracer.model.ports import Loss

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from universal_tracer.cli.on_demand.plan import OnDemand
    from universal_tracer.cli.on_demand.triggers import Watch
    from universal_tracer.cli.talk import Talk
    from universal_tracer.model.ports import Source
    from universal_tracer.model.series import Series

_NS: Final = 1_000_000_000
# Two captures begin so far apart at least.
_APART_NS: Final = _NS
# What happens is told this much later at most, on a machine that is not too busy.
_SETTLE_NS: Final = _NS
_LATE_NS: Final = LATE_S * _NS
_PROFILE: Final = "profile"
_HTTP: Final = "http"
# What becomes of a trigger, in metrics.
_CAPTURED, _FURTHER, _BEYOND = "captured", "further", "beyond"


@dataclass(frozen=True, slots=True)
class Request:
    """The request that fired: when it was served (Unix), and by whom."""

    begin_ns: int
    end_ns: int
    tid: int | None
    request_id: str | None
    route: str | None

    def served(self) -> pl.Expr:
        """Whether a `profile` row is of its thread, while it was served."""
        is_during = pl.col("timestamp_ns").is_between(self.begin_ns, self.end_ns, closed="left")
        return (pl.col("tid") == self.tid) & is_during


@dataclass(slots=True)
class Capture:
    """One that is under way: what it has so far. `further` triggers fired within a second of its own."""

    number: int
    fired: Fired
    begin_ns: int
    end_ns: int
    reason: str
    request: Request | None = None
    profile: list[pl.DataFrame] = field(default_factory=list)
    events: dict[str, pl.DataFrame] | None = None
    """All others, once its window is over: names of stacks may take longer than events are held."""
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    further: int = 0

    def cuts(self) -> list[int]:
        """The seconds of its window, counted from the trigger, and the request's begin and end."""
        seconds = [self.fired.at_ns + second * _NS for second in range(-BEFORE_S, AFTER_S + 1)]
        request = [self.request.begin_ns, self.request.end_ns] if self.request is not None else []
        within = {at_ns for at_ns in seconds + request if self.begin_ns < at_ns < self.end_ns}
        return sorted({self.begin_ns, self.end_ns, *within})


@dataclass(slots=True)
class Surroundings:
    """What captures need of the run."""

    source: Source
    whom: str
    talk: Talk
    told: Callable[[], int]
    """How many captures the source has told."""
    lose: Callable[[Sequence[Loss]], None]
    series: Series | None = None
    """Where metrics are counted, if they are."""

    def count(self, outcome: str, triggers: int) -> None:
        """Count what has become of triggers."""
        if self.series is not None:
            self.series.add(TRIGGERS, (outcome,), triggers)


class Captures:
    """See the module."""

    def __init__(self, plan: OnDemand, watches: Sequence[Watch], run: Surroundings) -> None:
        """Everything is attached."""
        self._plan = plan
        self._run = run
        self._watches = watches
        self._ring = EventRing(BEFORE_S + AFTER_S + 2 * LATE_S + 1)
        self._pending: list[Capture] = []
        self._began_ns = time.time_ns()
        self._free_from_ns = 0
        self._count = 0
        self._name = str(plan.directories[0])
        self.further = 0
        self.beyond = 0
        for outcome in (_CAPTURED, _FURTHER, _BEYOND):
            run.count(outcome, 0)
        self.written: list[Path] = []

    @property
    def name(self) -> str:
        """What could not be written, once that has happened."""
        return self._name

    @property
    def event_types(self) -> Collection[str]:
        """See `Meter`."""
        return {*self._plan.event_types, *self._plan.trigger.event_types}

    def measure(self, event_type: str, frame: pl.DataFrame) -> None:
        """See `Meter`."""
        if event_type == _PROFILE:
            self._keep_stacks(frame)
            return
        if event_type in self._plan.event_types:
            self._give_up(self._ring.add(event_type, frame))
        for condition, where in self._plan.conditions:
            if condition.event_type == event_type:
                self._fire_events(condition.text, event_type, where(event_type, frame))

    def lose(self, losses: Sequence[Loss]) -> None:
        """See `Meter`."""
        for capture in self._pending:
            for loss in losses:
                capture.lost[loss.tracer, loss.where] += loss.count

    def tick(self, now_s: float) -> None:
        """What is done after every tick."""
        for watch in self._watches:
            for fired in watch.tick(now_s):
                known_ns = max(fired.at_ns, time.time_ns() - _LATE_NS)
                self._fire(replace(fired, at_ns=known_ns))

    def write(self, event_type: str, frame: pl.DataFrame) -> None:
        """See `Sink`; rows came by `measure` already."""

    def flush(self) -> None:
        """Write the captures that are complete. Raises OSError."""
        for capture in self._pending:
            if time.time_ns() >= capture.end_ns + _SETTLE_NS:
                self._take_events(capture)
        while self._pending and self._is_complete(self._pending[0]):
            self._finish(self._pending.pop(0))

    def close(self) -> None:
        """Write those that are under way, with what there is. Raises OSError."""
        now_ns = time.time_ns()
        while self._pending:
            capture = self._pending.pop(0)
            capture.end_ns = min(capture.end_ns, now_ns)
            self._take_events(capture)
            self._finish(capture)

    def summary(self) -> str:
        """For the end of the run."""
        count = plural(len(self.written), "capture") if self.written else "no capture"
        further = (
            f", {plural(self.further, 'further trigger')} within a second of one" if self.further else ""
        )
        beyond = f", {plural(self.beyond, 'trigger')} beyond max_captures" if self.beyond else ""
        return f"captures: {count}{further}{beyond}"

    def _keep_stacks(self, frame: pl.DataFrame) -> None:
        for capture in self._pending:
            rows = frame.filter(pl.col("capture") == capture.number)
            if not rows.is_empty():
                capture.profile.append(rows)

    def _give_up(self, events: int) -> None:
        if events and self._pending:
            self._run.lose([Loss("stack", "capture_events", events)])

    def _fire_events(self, condition: str, event_type: str, met: pl.DataFrame) -> None:
        """In the order in which they ended; those within a second of a capture's trigger are passed over.

        What is known late (a request that timed out long ago) fires when it is known.
        """
        if met.is_empty():
            return
        met = met.with_columns(end_ns(event_type, met).alias("_end_ns")).sort("_end_ns")
        ends = met["_end_ns"].clip(lower_bound=time.time_ns() - _LATE_NS)
        met = met.drop("_end_ns")
        at = 0
        while at < met.height:
            free = int(ends.search_sorted(self._free_from_ns))
            if free > at:
                self._note_further(free - at)
                at = free
            elif self._count >= self._plan.max_captures:
                self._note_beyond(met.height - at)
                return
            else:
                self._fire(Fired(int(ends[at]), condition, event=met[at : at + 1]))
                at += 1

    def _fire(self, fired: Fired) -> None:
        if fired.at_ns < self._free_from_ns:
            self._note_further(1)
            return
        if self._count >= self._plan.max_captures:
            self._note_beyond(1)
            return
        self._count += 1
        self._run.count(_CAPTURED, 1)
        self._free_from_ns = fired.at_ns + _APART_NS
        begin_ns = max(fired.at_ns - BEFORE_S * _NS, min(self._began_ns, fired.at_ns - 1))
        end_ns = fired.at_ns + AFTER_S * _NS
        capture = Capture(self._count, fired, begin_ns, end_ns, _reason(fired), _request(fired))
        self._run.source.capture(capture.number, capture.cuts())
        self._pending.append(capture)
        self._run.talk.explain(f"trigger: {capture.reason}: capture {capture.number} is under way")

    def _note_further(self, count: int) -> None:
        self.further += count
        self._run.count(_FURTHER, count)
        if self._pending:
            self._pending[-1].further += count

    def _note_beyond(self, count: int) -> None:
        if not self.beyond:
            self._run.talk.warn(
                f"{plural(self._plan.max_captures, 'capture')} in this run, and no more: other triggers are "
                "counted as lost (stack_tracer.max_captures)"
            )
        self.beyond += count
        self._run.count(_BEYOND, count)
        self._run.lose([Loss("stack", "captures", count)])

    def _take_events(self, capture: Capture) -> None:
        if capture.events is None:
            capture.events = self._ring.between(capture.begin_ns, capture.end_ns)

    def _is_complete(self, capture: Capture) -> bool:
        return capture.events is not None and self._run.told() >= capture.number

    def _finish(self, capture: Capture) -> None:
        frames = self._frames(capture)
        tracers = (*self._plan.tracers, *self._plan.helpers)
        for directory in self._plan.directories:
            self._name = str(directory)
            try:
                directory.mkdir(exist_ok=True)
                folder = write_capture(directory, capture, frames, tracers, self._run.whom)
            except OutputError as error:
                self._name = error.what.removeprefix("cannot write ")
                if isinstance(error.__cause__, OSError):
                    raise error.__cause__ from error
                raise
            self.written.append(folder)
            self._run.talk.say(f"capture: {folder}/ ({_told(capture, frames)})")

    def _frames(self, capture: Capture) -> dict[str, pl.DataFrame]:
        frames = dict(capture.events or {})
        if capture.profile and _PROFILE in self._plan.event_types:
            frames[_PROFILE] = _with_request(pl.concat(capture.profile), capture.request)
        kept = self._plan.kept
        if kept is not None:
            frames = {name: kept(name, frame) for name, frame in frames.items()}
        return {name: frame for name, frame in frames.items() if not frame.is_empty()}


def _told(capture: Capture, frames: dict[str, pl.DataFrame]) -> str:
    profile = frames.get(_PROFILE)
    samples = int(profile["count"].sum()) if profile is not None else 0
    others = [f"{name} {frame.height:,}" for name, frame in sorted(frames.items()) if name != _PROFILE]
    return ", ".join([capture.reason, plural(samples, "sample"), *others])


def _reason(fired: Fired) -> str:
    """What fired, for people."""
    if fired.event is not None:
        return f"{fired.condition}: {_event_text(fired.event.row(0, named=True))}"
    if fired.measured is not None:
        return f"{fired.condition}: {fired.measured:.1f}"
    return fired.condition


def _event_text(event: dict[str, Any]) -> str:
    if event["type"] != _HTTP:
        return f"{event['type']} event"
    status = event["status"] if event["status"] is not None else event["error"]
    return f"{event['method']} {event['path']} {status} in {event['latency_ms'] or 0:.1f} ms"


def _request(fired: Fired) -> Request | None:
    if fired.event is None or fired.event["type"][0] != _HTTP:
        return None
    row = fired.event.row(0, named=True)
    end = int(end_ns(_HTTP, fired.event)[0])
    return Request(row["timestamp_ns"], end, row["tid"], row["request_id"], row["route"])


def _with_request(profile: pl.DataFrame, request: Request | None) -> pl.DataFrame:
    """Its `request_id` and `route` in the rows of the thread that served it."""
    if request is None:
        return profile
    served = request.served()
    return profile.with_columns(
        pl.when(served).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
        for name, value in (("request_id", request.request_id), ("route", request.route))
    )
