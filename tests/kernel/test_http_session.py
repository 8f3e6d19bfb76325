"""The native session on this kernel: it loads, it attaches, and known work gives exactly known events."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module, resources
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from harness import messages
from harness.capability import missing, need_root
from harness.peers import Connection, Peer, connect
from harness.processes import ProcessTree, wait_until
from harness.tracer import kernel_objects_of, living_kernel_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.kernel, pytest.mark.xdist_group("http-session")]

PRIME = 997
SECOND_NS = 1_000_000_000
SMALLEST_RING_BYTES = 4096
TICK_MS = 50
# A message that asks for little parsing and fills a ring quickly.
HEADERS = [messages.HOST, ("X-Filler", "f" * 600)]


def native() -> Any:
    """Return the native module, or end the test."""
    need_root()
    try:
        module = import_module("universal_tracer._native")
    except ImportError:
        missing("the native module (make setup)")
    return module


def settings_for(*pids: int, **other: Any) -> dict[str, Any]:
    """Return settings that trace *pids* and nothing else."""
    return {
        "object_path": str(resources.files("universal_tracer") / "objects" / "http_tracer.o"),
        "self_pid": os.getpid(),
        "pids": list(pids),
        "cgroups": [],
        "names": [],
        "local_addresses": None,
        "net_namespace": 0,
        "filter": True,
        "max_payload_size": 4096,
        "sampling_rate": 1.0,
        "correlation_timeout_ns": 30 * SECOND_NS,
        "correlation_table_size": 8192,
        "ring_bytes": 8 << 20,
        "cpu_percent": None,
        "memory_bytes": 150_000_000,
        "privacy": {
            "enable_pii_filtering": True,
            "mask_sensitive_headers": True,
            "exclude_patterns": ["password", "token", "secret"],
            "max_payload_capture": 256,
        },
        **other,
    }


@dataclass
class Seen:
    """What the ticks of a session have brought so far."""

    http: list[dict[str, Any]] = field(default_factory=list)
    connection: list[dict[str, Any]] = field(default_factory=list)
    losses: dict[str, int] = field(default_factory=dict)
    hits: dict[str, int] = field(default_factory=dict)
    complete_until_ns: int = 0

    def add(self, tick: Any) -> None:
        """Add one tick."""
        for name, batch in tick.frames.items():
            getattr(self, name).extend(pl.DataFrame(batch).to_dicts())
        for where, count in tick.losses:
            self.losses[where] = self.losses.get(where, 0) + count
        self.hits = dict(tick.hits)
        assert tick.complete_until_ns >= self.complete_until_ns, "completeness never goes back"
        self.complete_until_ns = tick.complete_until_ns

    @property
    def lost(self) -> int:
        """All losses."""
        return sum(self.losses.values())

    @property
    def lost_requests(self) -> int:
        """Losses that stand for a request each; `records` are ends of connections here."""
        return self.lost - self.losses.get("records", 0)


@contextmanager
def session_on(*pids: int, **other: Any) -> Iterator[tuple[Any, Seen]]:
    """Yield an attached session and what it has seen; afterwards that is all there is to see."""
    session, seen = native().HttpSession(settings_for(*pids, **other)), Seen()
    try:
        session.attach()
        yield session, seen
        session.stop()
        seen.add(session.tick(0))
    finally:
        session.close()


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[tuple[Peer, Peer]]:
    """Yield a client and a server."""
    with ProcessTree(tmp_path) as tree:
        client, server = Peer(tree), Peer(tree)
        yield client, server
        client.close()
        server.close()


def many(connection: Connection, count: int) -> None:
    """Do *count* requests, several on their way at once, as fast as the two ends can."""
    request, response = messages.request("/known", headers=HEADERS), messages.response()
    batch = 50
    for start in range(0, count, batch):
        step = min(batch, count - start)
        connection.request(request * step, piece=len(request), receive_piece=len(request))
        connection.response(response * step, piece=len(response), receive_piece=len(response))


def in_turn(connection: Connection, count: int) -> None:
    """Do *count* requests, one after the other, as fast as the two ends can."""
    request, response = messages.request("/known", headers=HEADERS), messages.response()
    ask = {"do": "send", "name": connection.client.name, "data": request.decode()}
    hear = {"do": "receive", "name": connection.client.name, "size": len(response)}
    listen = {"do": "receive", "name": connection.server.name, "size": len(request)}
    answer = {"do": "send", "name": connection.server.name, "data": response.decode()}
    connection.server.peer.start("batch", commands=[listen, answer] * count)
    connection.client.peer.do("batch", commands=[ask, hear] * count)
    connection.server.peer.finish()


@pytest.mark.vm
def test_the_plan_names_every_hook() -> None:
    session = native().HttpSession(settings_for(os.getpid()))
    try:
        plan = session.plan()
    finally:
        session.close()
    assert plan
    for hook in plan:
        assert set(hook) == {"tracer", "hook", "adapter", "why", "cost"}
        assert all(hook.values()), hook


@pytest.mark.vm
def test_planning_attaches_nothing() -> None:
    before = kernel_objects_of(os.getpid())["link"]
    session = native().HttpSession(settings_for(os.getpid()))
    session.plan()
    assert kernel_objects_of(os.getpid())["link"] == before
    session.close()


@pytest.mark.vm
def test_it_attaches_and_lets_go(ends: tuple[Peer, Peer]) -> None:
    before = kernel_objects_of(os.getpid())
    with session_on(ends[0].pid):
        held = kernel_objects_of(os.getpid())
        assert held["prog"] - before["prog"]
        assert held["map"] - before["map"]

    def gone() -> bool:
        living = living_kernel_objects()
        return not any((held[kind] - before[kind]) & living[kind] for kind in held)

    wait_until(gone, "the kernel to let go")


@pytest.mark.vm
@pytest.mark.parametrize("traced", ["client", "server"])
def test_known_work_gives_known_events(ends: tuple[Peer, Peer], traced: str) -> None:
    client, server = ends
    with session_on({"client": client.pid, "server": server.pid}[traced]) as (session, seen):
        connection = connect(client, server)
        for start in range(0, PRIME, 100):
            many(connection, min(100, PRIME - start))
            seen.add(session.tick(TICK_MS))
        connection.close()
    assert len(seen.http) + seen.lost_requests == PRIME
    assert {(event["role"], event["status"], event["error"]) for event in seen.http} == {(traced, 200, None)}
    assert len({event["request_id"] for event in seen.http}) == len(seen.http)
    if not seen.lost:
        assert [event["event"] for event in seen.connection] == ["open", "close"]
        assert seen.connection[-1]["requests"] == PRIME


@pytest.mark.vm
def test_events_come_within_a_tick_or_two(ends: tuple[Peer, Peer]) -> None:
    client, server = ends
    with session_on(client.pid, server.pid) as (session, seen):
        connection = connect(client, server)
        connection.exchange(messages.request("/soon"), messages.response())
        deadline = time.monotonic() + 10
        while len(seen.http) < 2 and time.monotonic() < deadline:
            seen.add(session.tick(TICK_MS))
        assert len(seen.http) == 2
        assert seen.hits["requests"] >= 2
        assert seen.complete_until_ns <= time.time_ns()
        connection.close()


def test_what_a_bound_of_processor_time_leaves_out_is_counted(ends: tuple[Peer, Peer]) -> None:
    client, server = ends
    count = PRIME * 7
    with session_on(server.pid, ring_bytes=SMALLEST_RING_BYTES * 4, cpu_percent=1.0) as (session, seen):
        connection = connect(client, server)
        many(connection, count)
        seen.add(session.tick(TICK_MS))
        connection.close()
    assert len(seen.http) + seen.lost_requests == count


@pytest.mark.parametrize("work", [many, in_turn])
@pytest.mark.parametrize("ring_bytes", [SMALLEST_RING_BYTES, 16 * SMALLEST_RING_BYTES])
def test_what_a_small_ring_cannot_hold_is_counted(
    ends: tuple[Peer, Peer], ring_bytes: int, work: Callable[[Connection, int], None]
) -> None:
    """Whole requests are left out, never halves, and every one of them is counted."""
    client, server = ends
    count = PRIME * 7
    with session_on(server.pid, ring_bytes=ring_bytes) as (session, seen):
        connection = connect(client, server)
        work(connection, count)
        seen.add(session.tick(TICK_MS))
        work(connection, PRIME)
        connection.close()
    if ring_bytes == SMALLEST_RING_BYTES:
        assert seen.lost > 0, "the ring was meant to be too small"
    assert len(seen.http) + seen.lost_requests == count + PRIME
    whole = [event for event in seen.http if event["error"] is None]
    known = {("GET", "/known", 200)}
    told = {(event["method"], event["path"], event["status"]) for event in whole}
    # a pipeline is longer than the smallest ring: there all its answers may be lost
    assert told == known or (ring_bytes == SMALLEST_RING_BYTES and told == set())
    # The connection's end is the end of those whose answer was not seen.
    assert {event["error"] for event in seen.http} <= {None, "truncated"}


@pytest.mark.vm
def test_a_target_that_is_added_later(ends: tuple[Peer, Peer]) -> None:
    client, server = ends
    with session_on(server.pid) as (session, seen):
        connection = connect(client, server)
        connection.exchange(messages.request("/one"), messages.response())
        session.add_target(client.pid)
        connection.exchange(messages.request("/two"), messages.response())
        assert sorted(session.live_targets()) == sorted([client.pid, server.pid])
        connection.close()
    told = sorted((event["path"], event["role"]) for event in seen.http)
    assert told == [("/one", "server"), ("/two", "client"), ("/two", "server")]


@pytest.mark.vm
def test_targets_that_have_ended_are_no_longer_live(tmp_path: Path) -> None:
    with ProcessTree(tmp_path) as tree:
        brief = tree.spawn(["/bin/sleep", "60"])
        with session_on(brief.pid) as (session, _):
            assert session.live_targets() == [brief.pid]
            brief.end()
            wait_until(lambda: session.live_targets() == [] or None, "the target's end to be seen")


@pytest.mark.vm
def test_a_dead_target_is_named(tmp_path: Path) -> None:
    with ProcessTree(tmp_path) as tree:
        gone = tree.spawn(["/bin/true"])
        gone.wait()
        gone.end()
    module = native()
    with pytest.raises(module.NativeError) as caught, session_on(gone.pid):
        pass
    assert caught.value.kind == "target"
    assert len(caught.value.args) == 3


@pytest.mark.vm
def test_table_entries_go_with_their_connections(ends: tuple[Peer, Peer]) -> None:
    """More connections than the smallest table holds, one after the other: none is left behind in it."""
    client, server = ends
    with session_on(server.pid, correlation_table_size=64) as (session, seen):
        for number in range(211):
            connection = connect(client, server)
            connection.exchange(messages.request(f"/{number}"), messages.response())
            connection.close()
            if number % 20 == 0:
                seen.add(session.tick(TICK_MS))
    assert seen.lost == 0
    assert len(seen.http) == 211
