"""Whom to trace: everything of those who are named, nothing of anybody else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from harness import messages, programs
from harness.capability import need_command
from harness.peers import Connection, Peer, connect
from harness.processes import ProcessTree
from harness.traced import holds, unique
from harness.tracer import Tracer, run_tracer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.tracer import Event

pytestmark = pytest.mark.e2e


@contextmanager
def peers(directory: Path, count: int) -> Iterator[tuple[ProcessTree, list[Peer]]]:
    """Yield a tree with *count* peers in it, and no tracer yet."""
    with ExitStack() as stack:
        tree = stack.enter_context(ProcessTree(directory))
        made = []
        for _ in range(count):
            peer = Peer(tree)
            stack.callback(peer.close)
            made.append(peer)
        yield tree, made


def exchange(connection: Connection, word: str) -> None:
    """Do one request whose path is *word*, and close."""
    connection.exchange(messages.request(f"/{word}"), messages.response())
    connection.close()


def sides(tracer: Tracer, word: str) -> list[str]:
    """Return the roles that told of *word*."""
    return sorted(event["role"] for event in tracer.events(lambda event: holds(word, event)))


def test_only_the_pid_that_is_named(tmp_path: Path) -> None:
    word = unique()
    with (
        peers(tmp_path, 3) as (_, (client, server, other)),
        Tracer("--tracer", "http", "--pid", server.pid) as tracer,
    ):
        exchange(connect(client, other), f"{word}-unseen")
        exchange(connect(client, server), f"{word}-served")
        tracer.wait_for(lambda event: holds(f"{word}-served", event))
        run = tracer.stop()
    assert [(event["path"], event["role"]) for event in run.of_type("http")] == [
        (f"/{word}-served", "server")
    ]
    assert {event["pid"] for event in run.events if event["type"] != "loss"} == {server.pid}


def test_several_pids_count_as_any_of_them(tmp_path: Path) -> None:
    word = unique()
    with (
        peers(tmp_path, 3) as (_, (client, server, other)),
        Tracer("--tracer", "http", "--pid", server.pid, "--pid", other.pid) as tracer,
    ):
        exchange(connect(client, other), word)
        exchange(connect(client, server), word)
        tracer.wait_for(lambda event: holds(word, event), count=2)
        tracer.stop()
    assert sides(tracer, word) == ["server", "server"]


def test_children_come_along(tmp_path: Path) -> None:
    """Children and grandchildren, those that are there and those that come later."""
    word = unique()
    with ProcessTree(tmp_path) as tree:
        early = programs.start_python(tree, "prefork")
        with Tracer("--tracer", "http", "--pid", tree.pid) as tracer:
            late = programs.start_python(tree, "prefork")
            for service in (early, late):
                url = f"http://{service.host}:{service.port}/echo/{word}"
                tree.spawn(["/bin/sh", "-c", f"(({need_command('curl')} -sS {url}))"]).succeed()
            tracer.wait_for(lambda event: holds(word, event), count=4)
            tracer.stop()
        assert sides(tracer, word) == ["client", "client", "server", "server"]


def test_a_pid_that_nobody_has_is_exit_6() -> None:
    done = run_tracer("--tracer", "http", "--pid", 2**22 - 3, "--duration", "1s")
    assert done.returncode == 6, done.stderr
    lines = done.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "cause", "hint"]


def test_the_end_of_all_pids_ends_the_run(tmp_path: Path) -> None:
    with (
        peers(tmp_path, 2) as (_, (one, two)),
        Tracer("--tracer", "http", "--pid", one.pid, "--pid", two.pid) as tracer,
    ):
        one.process.end()
        with pytest.raises(subprocess.TimeoutExpired):
            tracer.process.wait(2)
        two.process.end()
        assert tracer.finish(10).exit_code == 0


@pytest.fixture
def renamed_curl(tmp_path: Path) -> Path:
    """Return a curl whose name no other process of the machine has."""
    target = tmp_path / f"c{os.getpid()}{unique()[:6]}"[:200]
    shutil.copy(need_command("curl"), target)
    return target


def test_processes_by_name(tmp_path: Path, renamed_curl: Path) -> None:
    """A name may be that of processes to come; what the flag names must be there, though."""
    word, name = unique(), renamed_curl.name
    with ProcessTree(tmp_path) as tree:
        service = programs.start_python(tree, "threading")
        base = f"http://{service.host}:{service.port}"
        # One of that name waits for an answer when the tracer starts, so that the name means somebody.
        tree.spawn([renamed_curl, "-sS", f"{base}/sleep/6000/{word}-first"])
        with Tracer("--tracer", "http", "--target-process", name) as tracer:
            for _ in range(3):
                tree.spawn([renamed_curl, "-sS", f"{base}/echo/{word}-named"]).succeed()
                tree.spawn([need_command("curl"), "-sS", f"{base}/echo/{word}-other"]).succeed()
            tracer.wait_for(lambda event: holds(f"{word}-named", event), count=3)
            run = tracer.stop()
    told = [(event["path"], event["role"]) for event in run.of_type("http") if "first" not in event["path"]]
    assert told == [(f"/echo/{word}-named", "client")] * 3
    assert {event["comm"] for event in run.of_type("http")} == {name[:15]}


def test_a_name_that_nobody_has_is_exit_6() -> None:
    done = run_tracer("--tracer", "http", "--target-process", unique(), "--duration", "1s")
    assert done.returncode == 6, done.stderr


@pytest.mark.vm
def test_two_tracers_see_the_same_and_one_goes_on_without_the_other(tmp_path: Path) -> None:
    both, later = unique(), unique()
    with (
        peers(tmp_path, 2) as (tree, (client, server)),
        Tracer("--tracer", "http", "--pid", tree.pid) as first,
        Tracer("--tracer", "http", "--pid", tree.pid) as second,
    ):
        exchange(connect(client, server), both)
        for tracer in (first, second):
            tracer.wait_for(lambda event: holds(both, event), count=2)
        assert first.stop().exit_code == 0
        exchange(connect(client, server), later)
        second.wait_for(lambda event: holds(later, event), count=2)
        assert second.stop().exit_code == 0
        assert sides(first, both) == sides(second, both) == sides(second, later) == ["client", "server"]


REQUESTS_TO_SAMPLE = 1009


def sampled_run(directory: Path, probability: float) -> list[Event]:
    """Do REQUESTS_TO_SAMPLE requests on several connections under a sampling tracer; return the events."""
    with (
        peers(directory, 2) as (tree, (client, server)),
        Tracer("--tracer", "http", "--http-sampling-rate", probability, "--pid", tree.pid) as tracer,
    ):
        request, response = messages.request("/sampled"), messages.response()
        connection = connect(client, server)
        for number in range(REQUESTS_TO_SAMPLE):
            connection.exchange(request, response)
            if number % 50 == 0:
                connection.close()
                connection = connect(client, server)
        connection.close()
        run = tracer.stop()
    assert run.of_type("loss") == [], "what sampling leaves out is no loss"
    return run.of_type("http")


def test_sampling_leaves_out_whole_requests(tmp_path: Path) -> None:
    events = sampled_run(tmp_path, 0.3)
    assert {(event["status"], event["error"], event["method"]) for event in events} == {(200, None, "GET")}
    request, response = messages.request("/sampled"), messages.response()
    assert {(event["request_bytes"], event["response_bytes"]) for event in events} == {
        (len(request), len(response))
    }
    # Six standard deviations, if each side decides on its own; twelve, if both decide as one.
    assert 0.3 * REQUESTS_TO_SAMPLE * 2 - 180 < len(events) < 0.3 * REQUESTS_TO_SAMPLE * 2 + 180


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0), (1.0, 2)])
def test_sampling_of_nothing_and_of_all(tmp_path: Path, probability: float, share: int) -> None:
    assert len(sampled_run(tmp_path, probability)) == share * REQUESTS_TO_SAMPLE


def test_where_keeps_what_meets_it(tmp_path: Path) -> None:
    """In every output alike, and counted after it."""
    word, file = unique(), tmp_path / "kept.ndjson"
    with (
        peers(tmp_path, 2) as (tree, (client, server)),
        Tracer(
            *("--tracer", "http", "--pid", tree.pid, "--output", file),
            *("--where", f"role = 'server' AND path LIKE '/{word}%' AND peer.port > 0"),
        ) as tracer,
    ):
        assert f" where role = 'server' AND path LIKE '/{word}%'" in tracer.stderr
        exchange(connect(client, server), f"other-{word}")
        exchange(connect(client, server), word)
        tracer.wait_for(lambda event: holds(word, event))
        run = tracer.stop()
    assert run.exit_code == 0, run
    assert [(event["type"], event["role"], event["path"]) for event in run.events] == [
        ("http", "server", f"/{word}")
    ]
    assert [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] == run.events


def test_where_and_events_choose(tmp_path: Path) -> None:
    with (
        peers(tmp_path, 2) as (tree, (client, server)),
        Tracer("--tracer", "http", "--events", "http", "--pid", tree.pid) as tracer,
    ):
        word = unique()
        exchange(connect(client, server), word)
        tracer.wait_for(lambda event: holds(word, event), count=2)
        run = tracer.stop()
    assert {event["type"] for event in run.events} <= {"http", "loss"}
