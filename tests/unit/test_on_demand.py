"""What fires, which triggers become captures, and what these hold."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from universal_tracer.cli.on_demand.captures import Captures, Surroundings
from universal_tracer.cli.on_demand.capturing import Capturing
from universal_tracer.cli.on_demand.event_ring import EventRing
from universal_tracer.cli.on_demand.plan import OnDemand
from universal_tracer.cli.on_demand.triggers import FileWatch, Fired, LevelWatch, SignalWatch
from universal_tracer.cli.session import Session
from universal_tracer.cli.talk import Talk
from universal_tracer.cli.targets import Targets
from universal_tracer.cli.tracers import TRACERS
from universal_tracer.config.trigger import Level, parse_trigger
from universal_tracer.model.ports import Loss
from universal_tracer.model.schema import shape
from universal_tracer.model.series import Series
from universal_tracer.pipeline.where import Where
from universal_tracer.system.usage import Rate

if TYPE_CHECKING:
    from pathlib import Path

NS = 1_000_000_000
NOW = 1_795_932_000 * NS
MAX_CAPTURES = 3


class FakeRun:
    """The clock, the stack tracer and the session around captures."""

    def __init__(self) -> None:
        self.now_ns = NOW
        self.asked: dict[int, list[int]] = {}
        self.told = 0
        self.lost: list[Loss] = []

    def capture(self, number: int, cuts_ns: list[int]) -> None:
        self.asked[number] = cuts_ns


class FakeWatch:
    def __init__(self) -> None:
        self.fired: list[Fired] = []

    def tick(self, now_s: float) -> list[Fired]:
        fired, self.fired = self.fired, []
        return fired


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    made = FakeRun()
    monkeypatch.setattr(time, "time_ns", lambda: made.now_ns)
    monkeypatch.setattr(time, "monotonic", lambda: made.now_ns / NS)
    return made


class Setting:
    """Captures of a run that has lasted a minute."""

    def __init__(
        self, run: FakeRun, directory: Path, trigger: str = "SIGUSR1", *, helpers: bool = True
    ) -> None:
        parsed = parse_trigger(trigger)
        self.plan = OnDemand(
            trigger=parsed,
            conditions=tuple(
                (one, Where(one.sql, [one.event_type], "--trigger", trigger)) for one in parsed.events
            ),
            directories=(directory,),
            is_named=True,
            event_types=("profile", "http", "connection", "loss"),
            tracers=(TRACERS["stack"],),
            helpers=(TRACERS["http"],) if helpers else (),
            max_captures=MAX_CAPTURES,
            kept=None,
        )
        self.run = run
        self.watch = FakeWatch()
        source: Any = run
        self.series = Series()
        surroundings = Surroundings(
            source, "pid 1", Talk("quiet"), lambda: run.told, run.lost.extend, self.series
        )
        self.captures = Captures(self.plan, [self.watch], surroundings)
        run.now_ns += 60 * NS

    def fire(self, *at_ns: int) -> None:
        self.watch.fired = [Fired(one, "SIGUSR1") for one in at_ns]
        self.captures.tick(0.0)


def http(
    end_s: float, latency_ms: float, path: str = "/x", tid: int = 7, status: int = 200
) -> dict[str, Any]:
    """A request that ended so many seconds after NOW."""
    begin_ns = NOW + round(end_s * NS) - round(latency_ms * 1e6)
    return {
        "timestamp": "", "timestamp_ns": begin_ns, "pid": 1, "tid": tid, "comm": "app", "method": "GET",
        "path": path, "status": status, "latency_ms": latency_ms, "request_id": f"r-{path}",
    }  # fmt: skip


def rows(event_type: str, *events: dict[str, Any]) -> pl.DataFrame:
    return shape(event_type, pl.DataFrame(list(events)))


def samples(number: int, at_ns: int, function: str, tid: int = 7, count: int = 1) -> dict[str, Any]:
    frame = {"name": function, "module": None, "file": None, "line": None, "inlined": False, "kind": "user"}
    return {
        "timestamp": "", "timestamp_ns": at_ns, "pid": 1, "tid": tid, "comm": "app", "kind": "cpu",
        "stack": [function], "frames": [frame], "count": count, "value_ns": count, "end": "complete",
        "capture": number,
    }  # fmt: skip


def triggers(setting: Setting) -> dict[tuple[str, ...], Any]:
    """What metrics say became of the triggers."""
    families = {family.metric.name: family for family in setting.series.families()}
    return dict(families["universal_tracer_triggers_total"].series)


def only(directory: Path) -> Path:
    (found,) = directory.iterdir()
    return found


def test_a_signal_asks_for_the_seconds_around_it(run: FakeRun, tmp_path: Path) -> None:
    setting = Setting(run, tmp_path)
    at_ns = run.now_ns - NS // 10
    setting.fire(at_ns)
    assert run.asked[1] == [at_ns + second * NS for second in range(-5, 6)]


def test_nothing_is_asked_from_before_the_run(run: FakeRun, tmp_path: Path) -> None:
    setting = Setting(run, tmp_path)
    run.now_ns = NOW + 2 * NS
    setting.fire(run.now_ns)
    assert run.asked[1][:3] == [NOW, NOW + NS, NOW + 2 * NS]


def test_a_capture_is_written_once_its_window_is_over_and_its_stacks_are_named(
    run: FakeRun, tmp_path: Path
) -> None:
    setting = Setting(run, tmp_path)
    at_ns = run.now_ns
    setting.fire(at_ns)
    before, after = samples(1, at_ns - 3 * NS, "before"), samples(1, at_ns + 3 * NS, "after")
    setting.captures.measure("profile", rows("profile", before, after, samples(2, at_ns, "another")))
    for told, seconds in ((1, 5), (0, 7)):
        run.told = told
        run.now_ns = at_ns + seconds * NS
        setting.captures.flush()
        assert list(tmp_path.iterdir()) == []
    run.told = 1
    setting.captures.flush()
    assert only(tmp_path).name.startswith("capture-0001-2026-11-29T")
    events = json.loads((only(tmp_path) / "stack-events.json").read_text())
    assert [event["stack"] for event in events] == [["before"], ["after"]]
    assert "before" in (only(tmp_path) / "flamegraph.svg").read_text()
    trigger = json.loads((only(tmp_path) / "trigger.json").read_text())
    assert (trigger["condition"], trigger["samples"], trigger["event"]) == ("SIGUSR1", 2, None)
    assert (trigger["window"]["before_ms"], trigger["window"]["after_ms"]) == (5000, 5000)


def test_a_second_trigger_within_a_second_makes_no_second_capture(run: FakeRun, tmp_path: Path) -> None:
    setting = Setting(run, tmp_path)
    at_ns = run.now_ns
    setting.fire(at_ns, at_ns + NS - 1, at_ns - 1, at_ns + NS)
    assert sorted(run.asked) == [1, 2]
    assert run.asked[2][-1] == at_ns + 6 * NS
    assert setting.captures.further == 2
    setting.captures.close()
    told = [json.loads((folder / "trigger.json").read_text()) for folder in sorted(tmp_path.iterdir())]
    assert [one["further_triggers"] for one in told] == [2, 0]
    assert setting.captures.summary() == "captures: 2 captures, 2 further triggers within a second of one"


def test_captures_of_a_run_are_bounded_and_the_rest_is_lost(run: FakeRun, tmp_path: Path) -> None:
    setting = Setting(run, tmp_path)
    setting.fire(*(run.now_ns + second * NS for second in range(MAX_CAPTURES + 2)))
    assert len(run.asked) == MAX_CAPTURES
    assert run.lost == [Loss("stack", "captures", 1)] * 2
    assert triggers(setting) == {("captured",): MAX_CAPTURES, ("further",): 0, ("beyond",): 2}
    assert setting.captures.summary() == "captures: no capture, 2 triggers beyond max_captures"


def test_a_capture_under_way_is_written_at_the_end(run: FakeRun, tmp_path: Path) -> None:
    setting = Setting(run, tmp_path)
    at_ns = run.now_ns
    setting.fire(at_ns)
    run.now_ns = at_ns + 2 * NS
    setting.captures.measure("profile", rows("profile", samples(1, at_ns, "f")))
    setting.captures.close()
    assert json.loads((only(tmp_path) / "trigger.json").read_text())["window"]["after_ms"] == 2000
    setting.captures.close()


def test_without_a_trigger_nothing_is_written(run: FakeRun, tmp_path: Path) -> None:
    setting = Setting(run, tmp_path, "http.latency_ms>500")
    setting.captures.measure("http", rows("http", http(60, 499)))
    setting.captures.tick(0.0)
    setting.captures.flush()
    setting.captures.close()
    assert list(tmp_path.iterdir()) == []
    assert setting.captures.summary() == "captures: no capture"


def test_a_slow_request_and_what_its_thread_did(run: FakeRun, tmp_path: Path) -> None:
    setting = Setting(run, tmp_path, "http.latency_ms>500")
    slow = http(59.9, 800, "/slow?")
    setting.captures.measure("http", rows("http", http(54.0, 9, "/gone"), http(58.0, 10), slow))
    end_ns = NOW + round(59.9 * NS)
    begin_ns = end_ns - 800_000_000
    assert {begin_ns, end_ns} < set(run.asked[1])
    profile = [
        samples(1, begin_ns - NS, "earlier"),
        samples(1, begin_ns, "serve"),
        samples(1, begin_ns, "other_thread", tid=8),
        samples(1, end_ns, "later"),
    ]
    setting.captures.measure("profile", rows("profile", *profile))
    setting.captures.lose([Loss("http", "ring_full", 3), Loss("http", "ring_full", 4)])
    setting.captures.close()
    trigger = json.loads((only(tmp_path) / "trigger.json").read_text())
    assert trigger["event"]["request_id"] == "r-/slow?"
    assert (trigger["event"]["pid"], trigger["event"]["tid"]) == (1, 7)
    assert trigger["lost"] == [{"tracer": "http", "where": "ring_full", "count": 7}]
    assert trigger["events"] == {"http": 2, "profile": 4}
    events = json.loads((only(tmp_path) / "http-events.json").read_text())
    assert [event["path"] for event in events] == ["/x", "/slow?"]
    whole, request = ((only(tmp_path) / name).read_text() for name in ("flamegraph.svg", "request.svg"))
    assert "GET /slow? 200 in 800.0 ms" in whole
    assert all(name in whole for name in ("earlier", "serve", "other_thread", "later"))
    assert "serve" in request
    assert not any(name in request for name in ("earlier", "other_thread", "later"))


def test_what_is_known_late_fires_when_it_is_known(run: FakeRun, tmp_path: Path) -> None:
    """Such as a request that timed out."""
    setting = Setting(run, tmp_path, "http.latency_ms>500")
    setting.captures.measure("http", rows("http", http(20, 600)))
    known_ns = run.now_ns - 2 * NS
    assert run.asked[1] == [known_ns + second * NS for second in range(-5, 6)]
    setting.captures.close()


def test_events_wait_for_names_that_take_long(run: FakeRun, tmp_path: Path) -> None:
    setting = Setting(run, tmp_path)
    setting.fire(run.now_ns)
    setting.captures.measure("http", rows("http", http(60, 1, "/within")))
    run.now_ns += 7 * NS
    setting.captures.flush()
    run.now_ns += 60 * NS
    setting.captures.measure("http", rows("http", http(127, 1, "/later")))
    run.told = 1
    setting.captures.flush()
    events = json.loads((only(tmp_path) / "http-events.json").read_text())
    assert [event["path"] for event in events] == ["/within"]


def test_many_rows_that_fire_are_passed_over_in_order(run: FakeRun, tmp_path: Path) -> None:
    setting = Setting(run, tmp_path, "http.status>=500")
    ends = [60 + 0.25 * index for index in range(40)]
    failed = [http(end, 1, status=500) for end in reversed(ends)]
    setting.captures.measure("http", rows("http", *failed, http(60, 1)))
    assert [cuts[-1] - 5 * NS for cuts in run.asked.values()] == [NOW + (60 + n) * NS for n in range(3)]
    assert setting.captures.further == 9
    assert setting.captures.beyond == 40 - 3 - 9
    assert sum(loss.count for loss in run.lost) == 28


def test_a_directory_that_goes_away_is_an_error_with_its_name(run: FakeRun, tmp_path: Path) -> None:
    directory = tmp_path / "gone" / "out"
    directory.mkdir(parents=True)
    setting = Setting(run, directory)
    setting.fire(run.now_ns)
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(OSError, match="No such file"):
        setting.captures.close()
    assert setting.captures.name == str(directory)


class FakeSource:
    def __init__(self, tracer: str) -> None:
        self.tracer = tracer

    def live_targets(self) -> list[int]:
        return []


def test_stacks_are_stopped_last_so_that_the_last_events_may_fire(tmp_path: Path) -> None:
    sources: list[Any] = [FakeSource("stack"), FakeSource("http")]
    session = Session(sources, [], [], frozenset(), [])
    plan = Setting(FakeRun(), tmp_path).plan
    Capturing(plan, Talk("quiet")).begin(session, Targets(pids=[1]), None)
    assert [source.tracer for source in session.sources] == ["http", "stack"]
    assert session.sinks == session.meters


def test_the_ring_forgets_what_is_old_or_too_much(run: FakeRun) -> None:
    ring = EventRing(keep_s=10, max_bytes=10**9)
    assert ring.add("http", rows("http", http(0, 1, "/a"))) == 0
    run.now_ns = NOW + 11 * NS
    assert ring.add("http", rows("http", http(11, 1, "/b"), http(11, 1, "/c"))) == 0
    assert ring.between(0, 2 * NOW)["http"]["path"].to_list() == ["/b", "/c"]
    ring.max_bytes = 1
    assert ring.add("http", rows("http", http(11, 1, "/d"))) == 2
    assert ring.between(0, 2 * NOW)["http"]["path"].to_list() == ["/d"]


def test_events_count_that_lie_in_the_window_in_part() -> None:
    ring = EventRing(keep_s=10)
    events = [http(4, 3000, "/over"), http(1.0, 500, "/early"), http(9, 5500, "/late"), http(3, 1, "/in")]
    ring.add("http", rows("http", *events))
    found = ring.between(NOW + 2 * NS, NOW + 3 * NS)["http"]["path"].to_list()
    assert found == ["/over", "/in"]


def test_a_file_fires_when_it_appears(tmp_path: Path) -> None:
    file = tmp_path / "now"
    file.touch()
    watch = FileWatch(str(file))
    assert watch.was_there
    assert watch.tick(0.0) == []
    file.unlink()
    assert watch.tick(0.0) == []
    file.symlink_to("nowhere")
    assert [fired.condition for fired in watch.tick(0.0)] == [f"file:{file}"]
    assert watch.tick(0.0) == []


def test_a_level_fires_when_it_is_crossed() -> None:
    values = iter([90, 81, 95, 80, 80.5, 0, 0])
    watch = LevelWatch(Level("cpu", ">", 80, "cpu>80%"), lambda: next(values))
    told = [(second, watch.tick(float(second))) for second in range(1, 7)]
    assert [(second, fired[0].measured) for second, fired in told if fired] == [(2, 81), (5, 80.5)]
    assert watch.tick(6.5) == []


def test_every_signal_is_told_once() -> None:
    watch = SignalWatch()
    watch.arrived()
    watch.arrived()
    assert len(watch.tick(0.0)) == 2
    assert watch.tick(0.0) == []


def test_a_rate_counts_whom_it_knew(run: FakeRun) -> None:
    totals: dict[object, float] = {"a": 5, "b": 1}
    rate = Rate(lambda: dict(totals))
    assert rate() == 0
    run.now_ns += 2 * NS
    totals.update(a=8, c=100)
    del totals["b"]
    assert rate() == 1.5
