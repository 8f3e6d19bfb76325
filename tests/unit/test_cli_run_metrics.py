"""Runs on a made-up source that tell figures instead of events."""

from __future__ import annotations

import json
import signal
import socket
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest
from unit.cli_runs import Running, calls, run

if TYPE_CHECKING:
    from pathlib import Path


def test_metrics_only_tells_one_summary_per_interval() -> None:
    done = run(
        {"rows": 3, "lose": 2, "tick_ms": 200}, "--metrics-only", "--interval", "400ms", "--duration", "1s"
    )
    assert done.returncode == 0
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["type"] for event in events] == ["summary"] * 3
    # The first tick's rows, and those of the end.
    assert [event["http"]["requests"] for event in events] == [3, 0, 3]
    assert [event["lost"] for event in events] == [2, 0, 0]
    assert events[0]["xdp"] is events[0]["stack"] is None
    assert 900 < sum(event["interval_ms"] for event in events) < 5000
    assert "(summary 3), lost: 2 events" in done.stderr


def test_metrics_only_as_a_table() -> None:
    done = run({"rows": 3}, "--metrics-only", "--duration", "300ms", "--output-format", "table")
    (line,) = done.stdout.splitlines()
    assert "HTTP 6 requests" in line


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--output", "a.json"], "there are no events for an output file to hold"),
        (["--events", "http"], "there are no events but summary"),
    ],
)
def test_metrics_only_contradicts_events(arguments: list[str], cause: str) -> None:
    done = run({}, "--metrics-only", *arguments)
    assert done.returncode == 2
    assert f"cause: --metrics-only: {cause}\n" in done.stderr


def test_metrics_are_served_while_it_runs() -> None:
    running = Running(
        {"rows": 1, "lose": 2}, "--prometheus-endpoint", "127.0.0.1:0/m", "--output-format", "none"
    )
    address = running.line("tracing: ").partition("metrics on ")[2].split(";")[0]
    assert address.endswith("/m")
    lost = 'universal_tracer_events_lost_total{tracer="http",where="ring_full"} 2.0\n'
    while True:
        with urllib.request.urlopen(address, timeout=20) as answer:
            text = answer.read().decode()
        if lost in text:
            break
        time.sleep(0.05)
    assert 'http_requests_total{service="",role="",protocol="",method="GET",route="",status=""} 1.0\n' in text
    running.process.send_signal(signal.SIGINT)
    assert running.end()[0] == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address, timeout=20)


def test_the_start_line_says_that_all_addresses_are_served() -> None:
    done = run({}, "--prometheus-endpoint", ":0/metrics", "--duration", "100ms")
    assert "metrics on http://0.0.0.0:" in done.stderr
    assert "/metrics (all addresses); for 100ms\n" in done.stderr


def test_a_port_in_use_is_told_before_anything_is_attached(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run({"log": str(log)}, "--prometheus-endpoint", f"127.0.0.1:{port}/metrics")
    assert done.returncode == 7
    assert done.stderr.splitlines()[0] == f"error: cannot serve metrics on 127.0.0.1:{port}"
    assert done.stderr.splitlines()[2] == f"hint: ss -ltnp 'sport = :{port}' shows who listens there"
    assert calls(log) == ["open", "close"]


def test_a_host_that_is_not_there_is_told() -> None:
    done = run({}, "--prometheus-endpoint", "no-such-host.invalid:9090/metrics")
    assert done.returncode == 7
    assert run({}, "--prometheus-endpoint", ":65536").returncode == 2
    assert run({}, "--prometheus-endpoint", "9090").returncode == 2
