"""Captures of slow requests: the how-to as it is written, and what it says about requests."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from harness.capability import INSTALLED_COMMAND, need_command, need_root
from harness.captures import HOW_TO, captures_in, how_to_blocks, running, wait_for_captures
from harness.tracer import Tracer, tracer_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e]

HASH = "PKCS5_PBKDF2_HMAC"
# The how-to runs for 20 s, and is written for a machine that does little else.
PATIENCE_S = 120


def free_port() -> int:
    """Return a port of loopback that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def service(directory: Path, work: str | None = None) -> Iterator[tuple[int, int]]:
    """Run the how-to's service, with other *work* for a report; gives its pid and port."""
    need_root()
    source, port = directory / "service.py", free_port()
    text = how_to_blocks("python")[0]
    source.write_text(
        text if work is None else text.replace("            yearly_report()", f"            {work}")
    )
    with running(sys.executable, source, str(port)) as process:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                get(port, "/ready")
            except OSError:
                time.sleep(0.1)
            else:
                break
        yield process.pid, port


def get(port: int, path: str) -> None:
    """Send a request and read its answer."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
        answer.read()


def test_the_how_to_as_it_is_written(tmp_path: Path) -> None:
    """Only the port is another one; root needs no sudo."""
    need_root()
    need_command("curl")
    need_command("jq")
    (tmp_path / "service.py").write_text(how_to_blocks("python")[0])
    start, requests, ask = how_to_blocks("sh")
    script = f"{start}{requests}wait %2\n{ask}kill %1\n"
    script = script.replace("8080", str(free_port())).replace("sudo ", "")
    path = f"{INSTALLED_COMMAND.parent}:{os.environ['PATH']}"
    run = subprocess.run(
        ["bash", "-m", "-e", "-c", script],
        cwd=tmp_path,
        env=tracer_environment({"PATH": path}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    (capture,) = captures_in(tmp_path / "captures")
    assert f"capture: captures/{capture.path.name}/ (http.latency_ms>500: GET /report 200 in" in run.stderr
    names = {file.name for file in capture.path.iterdir()}
    assert names == {
        "trigger.json",
        "request.svg",
        "flamegraph.svg",
        "stack-events.json",
        "http-events.json",
    }
    assert all(f"`{name}`" in HOW_TO.read_text() for name in names)
    assert HASH in (capture.path / "request.svg").read_text()
    answer = json.loads(run.stdout[run.stdout.index("{") :])
    assert answer["route"] == "/report"
    assert answer["condition"] == "http.latency_ms>500"
    requests_told = [event for event in capture.json("http-events.json") if event["type"] == "http"]
    assert {event["path"] for event in requests_told} >= {"/report"}
    assert answer["request_id"] in {event["request_id"] for event in requests_told}


def test_a_slow_request_and_nothing_else(tmp_path: Path) -> None:
    """The HTTP tracer runs for the trigger alone: its events are in captures, and nowhere else."""
    out = tmp_path / "out"
    with service(tmp_path) as (pid, port):
        words = ["--tracer", "stack", "--trigger", "http.route='/report' AND http.latency_ms>100"]
        with Tracer(*words, "--pid", pid, "--output", f"{out}/") as tracer:
            for number in range(7):
                get(port, f"/orders/{number}")
            assert captures_in(out) == []
            get(port, "/report?year=2026")
            (capture,) = wait_for_captures(out, 1, tracer)
            run = tracer.stop()
    event = capture.trigger["event"]
    assert (event["route"], event["status"], event["pid"]) == ("/report", 200, pid)
    requests = [one for one in capture.json("http-events.json") if one["type"] == "http"]
    assert [one["path"] for one in requests] == [f"/orders/{number}" for number in range(7)] + ["/report"]
    assert {one["type"] for one in run.events} == {"profile"}
    begin_ns, end_ns = event["timestamp_ns"], event["timestamp_ns"] + round(event["latency_ms"] * 1e6)
    during = [one for one in capture.stacks if begin_ns <= one["timestamp_ns"] < end_ns]
    hashing = [one for one in during if HASH in one["stack"]]
    assert {one["tid"] for one in hashing} == {event["tid"]}
    assert sum(one["count"] for one in hashing) >= 0.8 * sum(one["count"] for one in during)
    assert {(one["request_id"], one["route"]) for one in hashing} == {(event["request_id"], "/report")}
    others = [one for one in capture.stacks if one not in during]
    assert {one["request_id"] for one in others} <= {None}


def test_a_request_that_waits_and_not_the_wait_for_it(tmp_path: Path) -> None:
    """The connection is idle before the request, for longer than the request takes."""
    out = tmp_path / "out"
    with service(tmp_path, "__import__('time').sleep(0.9)") as (pid, port):
        words = ["--tracer", "stack", "--off-cpu", "--trigger", "http.latency_ms>500", "--pid", pid]
        with Tracer(*words, "--output", f"{out}/") as tracer:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
            for path in ("/orders/1", "/report"):
                time.sleep(1.5)
                connection.request("GET", path)
                connection.getresponse().read()
            (capture,) = wait_for_captures(out, 1, tracer)
            connection.close()
            tracer.stop()
    served = [event for event in capture.stacks if event["request_id"] is not None]
    waited_ms = sum(event["value_ns"] for event in served if event["kind"] == "off-cpu") / 1e6
    # less what is no whole period yet, more where other tests leave the thread no CPU
    latency_ms = capture.trigger["event"]["latency_ms"]
    assert 850 <= waited_ms <= latency_ms + 50
    slept = [event for event in served if any("nanosleep" in name for name in event["stack"])]
    assert sum(event["value_ns"] for event in slept) / 1e6 >= 850


def test_requests_are_told_as_they_come_where_their_tracer_was_chosen(tmp_path: Path) -> None:
    with service(tmp_path) as (pid, port):
        words = ["--tracer", "http", "--tracer", "stack", "--trigger", "http.status>=500", "--pid", pid]
        with Tracer(*words, "--output", f"{tmp_path}/out/") as tracer:
            get(port, "/orders/1")
            tracer.wait_for(lambda event: event["type"] == "http")
            run = tracer.stop()
    assert "profile" not in {event["type"] for event in run.events}
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["http-events.json"]


def test_where_holds_for_captures_and_not_for_triggers(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with service(tmp_path) as (pid, port):
        words = ["--tracer", "stack", "--trigger", "http.latency_ms>100", "--where", "kind = 'off-cpu'"]
        with Tracer(*words, "--pid", pid, "--output", f"{out}/") as tracer:
            get(port, "/report")
            (capture,) = wait_for_captures(out, 1, tracer)
            tracer.stop()
    assert capture.trigger["event"]["path"] == "/report"
    assert capture.trigger["events"] == {}
    assert capture.stacks == []
