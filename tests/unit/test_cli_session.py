"""The loop between sources and sinks, in one process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from universal_tracer.cli.session import Session, loss_frame
from universal_tracer.model.ports import Batches, Loss, PlannedHook

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def http(*paths: str) -> dict[str, pl.DataFrame]:
    return {"http": pl.DataFrame({"path": list(paths)})}


@dataclass
class Scripted:
    """A source that returns the given batches tick by tick, and one more after the stop."""

    batches: list[Batches]
    rest: Batches = field(default_factory=Batches)
    tracer: str = "http"
    waits: list[int] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def plan(self) -> Sequence[PlannedHook]:
        return []

    def start(self) -> None:
        self.calls.append("start")

    def add_target(self, pid: int) -> None:
        self.calls.append(f"add {pid}")

    def live_targets(self) -> Sequence[int]:
        return []

    def tick(self, wait_ms: int) -> Batches:
        self.waits.append(wait_ms)
        if "stop" in self.calls:
            return self.rest
        return self.batches.pop(0) if self.batches else Batches()

    def stop(self) -> None:
        self.calls.append("stop")

    def close(self) -> None:
        self.calls.append("close")

    def is_empty(self) -> str | None:
        return None if self.batches else "the end of the script"


class Kept:
    """A sink that keeps what it gets, and fails with `error` in the call that is named."""

    def __init__(self, name: str = "kept", fails_in: str = "", error: OSError | None = None) -> None:
        self._name = name
        self._fails_in = fails_in
        self._error = error or OSError(28, "No space left on device")
        self.rows: list[tuple[str, Any]] = []
        self.calls: list[str] = []

    @property
    def name(self) -> str:
        return self._name

    def write(self, event_type: str, frame: pl.DataFrame) -> None:
        self._call("write")
        self.rows += [(event_type, row[0]) for row in frame.rows()]

    def flush(self) -> None:
        self._call("flush")

    def close(self) -> None:
        self._call("close")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self._fails_in:
            raise self._error


def session(source: Scripted, *sinks: Kept, **options: Any) -> Session:
    events = options.pop("events", frozenset({"http", "connection", "loss"}))
    stages = options.pop("stages", [])
    return Session([source], stages, list(sinks), events, [source.is_empty], **options)


def test_every_batch_reaches_every_sink_the_last_one_too() -> None:
    source = Scripted([Batches(http("/1")), Batches(), Batches(http("/2", "/3"))], rest=Batches(http("/4")))
    sinks = [Kept(), Kept()]
    summary = session(source, *sinks).run()
    for sink in sinks:
        assert sink.rows == [("http", path) for path in ("/1", "/2", "/3", "/4")]
        assert sink.calls[-1] == "close"
    assert summary.events == {"http": 4}
    assert summary.ended_by == "the end of the script"
    assert source.calls == ["stop"]
    assert source.waits[-1] == 0


class KeptPackets(Kept):
    """One that takes packets, too."""

    def write_packets(self, blocks: Sequence[bytes]) -> None:
        self._call("packets")
        self.rows += [("packets", some) for some in blocks]


def test_packets_go_past_the_events_to_those_who_take_them() -> None:
    source = Scripted([Batches(packets=[b"a", b"b"])], rest=Batches(packets=[b"c"]))
    events, packets = Kept(), KeptPackets()
    summary = session(source, events, packets).run()
    assert packets.rows == [("packets", b"a"), ("packets", b"b"), ("packets", b"c")]
    assert events.rows == []
    assert summary.events == {}


def test_an_output_of_packets_that_fails_is_told() -> None:
    source = Scripted([Batches(packets=[b"a"])])
    run = session(source, KeptPackets(fails_in="packets"))
    assert run.run().ended_by == "kept, which cannot be written"
    assert run.failure is not None


def test_losses_are_counted_by_place_and_become_rows() -> None:
    losses = [Loss("http", "ring_full", 3), Loss("http", "backlog", 2)]
    source = Scripted([Batches(losses=losses), Batches(losses=losses[:1])])
    sink = Kept()
    summary = session(source, sink).run()
    assert summary.lost == {("http", "ring_full"): 6, ("http", "backlog"): 2}
    assert summary.lost_total == 8
    assert [event_type for event_type, _ in sink.rows] == ["loss"] * 3
    assert summary.events == {}


def test_losses_count_also_where_their_rows_are_not_wanted() -> None:
    source = Scripted([Batches(http("/1"), [Loss("http", "ring_full", 3)])])
    sink = Kept()
    summary = session(source, sink, events=frozenset({"http"})).run()
    assert sink.rows == [("http", "/1")]
    assert summary.lost_total == 3


def test_loss_rows_say_when_where_and_how_many() -> None:
    (row,) = loss_frame([Loss("http", "ring_full", 3)]).to_dicts()
    assert (row["tracer"], row["where"], row["count"]) == ("http", "ring_full", 3)
    parsed = pl.Series([row["timestamp"]]).str.to_datetime("%Y-%m-%dT%H:%M:%S%.6fZ", time_unit="ns")
    assert parsed.dt.epoch("us")[0] == row["timestamp_ns"] // 1000


def test_stages_come_one_after_the_other_and_may_drop_rows() -> None:
    def shout(event_type: str, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col("path").str.to_uppercase() + f" {event_type}")

    def drop_b(event_type: str, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.filter(pl.col("path") != "B http")

    source = Scripted([Batches(http("a", "b")), Batches(http("b"))])
    sink = Kept()
    running = session(source, sink, stages=[shout, drop_b])
    assert running.run().events == {"http": 1}
    assert sink.rows == [("http", "A http")]
    assert sink.calls.count("write") == 1


def test_events_that_are_not_wanted_pass_no_stage() -> None:
    def never(event_type: str, frame: pl.DataFrame) -> pl.DataFrame:
        raise AssertionError(event_type)

    running = session(Scripted([Batches(http("/1"))]), Kept(), events=frozenset({"loss"}), stages=[never])
    assert running.run().events == {}
    assert running.has_seen_events


@pytest.mark.parametrize("call", ["write", "flush", "close"])
def test_a_sink_that_fails_ends_the_run_and_the_others_get_everything(call: str) -> None:
    source = Scripted([Batches(http(f"/{n}")) for n in range(9)], rest=Batches(http("/rest")))
    full, good = Kept("full", call), Kept("good")
    running = session(source, full, good)
    summary = running.run()
    assert running.failure is not None
    assert (running.failure.name, running.failure.error.errno) == ("full", 28)
    assert full.calls[-1] == "close"
    assert good.rows[-1] == ("http", "/rest")
    assert good.calls[-1] == "close"
    if call != "close":
        assert summary.ended_by == "full, which cannot be written"
        assert len(source.batches) == 8


def test_a_sink_that_failed_is_left_alone() -> None:
    source = Scripted([Batches(http("/1"))], rest=Batches(http("/2")))
    full = Kept("full", "write")
    session(source, full).run()
    assert full.calls == ["write", "close"]


def test_a_reader_that_went_is_no_failure() -> None:
    source = Scripted([Batches(http(f"/{n}")) for n in range(9)])
    running = session(source, Kept("pipe", "write", BrokenPipeError()))
    assert running.run().ended_by == "closed pipe"
    assert running.failure is None


def test_what_a_source_raises_closes_the_sinks() -> None:
    class Broken(Scripted):
        def tick(self, wait_ms: int) -> Batches:
            raise RuntimeError("broken")

    sink = Kept()
    with pytest.raises(RuntimeError, match="broken"):
        session(Broken([]), sink).run()
    assert sink.calls == ["close"]


def test_it_goes_on_until_it_is_wound_down() -> None:
    answers = iter([False, False, True])
    source = Scripted([Batches(http("/1"))])
    running = session(source, Kept(), wind_down=lambda: next(answers))
    running.run()
    assert source.waits == [200, 200, 200, 0]


def test_sinks_are_flushed_while_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(100))
    monkeypatch.setattr("universal_tracer.cli.session.time.monotonic", lambda: float(next(seconds)))
    sink = Kept()
    session(Scripted([Batches()] * 5), sink).run()
    assert sink.calls.count("flush") == 5


def test_the_last_tick_before_the_deadline_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("universal_tracer.cli.session.time.monotonic", lambda: 10.0)
    for deadline_s, wait_ms in ((10.05, 50), (11.0, 200), (9.0, 0)):
        source = Scripted([Batches()])
        session(source, Kept(), deadline_s=deadline_s).run()
        assert source.waits[0] == wait_ms


class Counting:
    """A meter that keeps what it is given, and tells every 50 ms how many rows that were."""

    event_types = frozenset({"http"})

    def __init__(self) -> None:
        self.rows: list[tuple[str, Any]] = []
        self.lost = 0
        self.due_s = 0.0

    def measure(self, event_type: str, frame: pl.DataFrame) -> None:
        self.rows += [(event_type, row[0]) for row in frame.rows()]

    def lose(self, losses: Sequence[Loss]) -> None:
        self.lost += sum(loss.count for loss in losses)

    def tell(self, now_s: float) -> tuple[str, pl.DataFrame]:
        self.due_s = now_s + 3600
        return "summary", pl.DataFrame({"interval_ms": [len(self.rows)]})


def test_meters_see_what_is_no_event_and_what_is_no_row() -> None:
    totals = {"network": pl.DataFrame({"packets": [3]}), "none": pl.DataFrame({"packets": []})}
    source = Scripted([Batches(http("/1"), [Loss("http", "ring_full", 3)], totals=totals)])
    meter, sink = Counting(), Kept()
    summary = session(source, sink, events=frozenset({"connection"}), meters=[meter]).run()
    assert meter.rows == [("http", "/1"), ("network", 3)]
    assert meter.lost == 3
    assert sink.rows == []
    assert summary.events == {}


def test_meters_see_rows_after_the_stages() -> None:
    def rename(event_type: str, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(path=pl.lit("/staged"))

    meter = Counting()
    session(Scripted([Batches(http("/1"))]), Kept(), meters=[meter], stages=[rename]).run()
    assert meter.rows == [("http", "/staged")]


def test_a_periodic_meter_tells_when_it_is_due_and_at_the_end() -> None:
    source = Scripted([Batches(http("/1")), Batches()], rest=Batches(http("/2")))
    meter, sink = Counting(), Kept()
    summary = session(source, sink, events=frozenset({"summary"}), meters=[meter], periodic=meter).run()
    assert sink.rows == [("summary", 1), ("summary", 2)]
    assert summary.events == {"summary": 2}
    assert sink.calls[-1] == "close"


def test_a_tick_ends_when_a_periodic_meter_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("universal_tracer.cli.session.time.monotonic", lambda: 10.0)
    meter = Counting()
    meter.due_s = 10.03
    source = Scripted([Batches()])
    session(source, Kept(), deadline_s=10.05, meters=[meter], periodic=meter).run()
    assert source.waits[0] == 30


def test_every_tick_is_told_the_time() -> None:
    told: list[float] = []
    actions: list[Callable[[float], None]] = [told.append]
    session(Scripted([Batches()] * 3), Kept(), every_tick=actions).run()
    assert len(told) == 3
    assert told == sorted(told)
