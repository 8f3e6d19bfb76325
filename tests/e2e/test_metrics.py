"""Metrics and summaries of real traffic, against what the clients did."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import TYPE_CHECKING

import pytest
from harness.processes import wait_until
from harness.traced import Traced
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.tracer import Tracer

pytestmark = pytest.mark.e2e

COST = ("universal_tracer_bpf_seconds_total", "universal_tracer_cpu_seconds_total")


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    with Traced(tmp_path_factory.mktemp("metrics"), "--prometheus-endpoint", "127.0.0.1:0/m") as running:
        yield running


def samples_of(tracer: Tracer) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    address = re.search(r"metrics on (\S+);", tracer.stderr)
    assert address is not None, tracer.stderr
    with urllib.request.urlopen(address[1], timeout=30) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_are_counted_at_both_ends(traced: Traced) -> None:
    dialogue = traced.dialogue()
    for status in (200, 200, 503):
        dialogue.exchange(method="PUT", status=status)
    dialogue.close()
    dialogue.verify()
    values = samples_of(traced.tracer)
    counted = {
        (labels["role"], labels["status"]): (value, labels)
        for (name, pairs), value in values.items()
        if name == "http_requests_total" and (labels := dict(pairs))["method"] == "PUT"
    }
    assert {key: value for key, (value, _) in counted.items()} == {
        **{(role, "200"): 2 for role in ("client", "server")},
        **{(role, "503"): 1 for role in ("client", "server")},
    }
    for role in ("client", "server"):
        labels = {**counted[role, "503"][1]}
        del labels["status"]
        times = values["http_request_duration_seconds_count", frozenset(labels.items())]
        spent = values["http_request_duration_seconds_sum", frozenset(labels.items())]
        told = [event["latency_ms"] for event in traced.requests(dialogue.word, role)]
        assert (times, labels["protocol"]) == (3, "HTTP/1.1")
        assert spent == pytest.approx(sum(told) / 1000)


def test_what_the_tracer_costs_grows(traced: Traced) -> None:
    before = samples_of(traced.tracer)
    dialogue = traced.dialogue()
    for _ in range(20):
        dialogue.exchange()
    dialogue.close()
    dialogue.verify()
    after = samples_of(traced.tracer)
    for name in COST:
        assert after[name, frozenset()] > before[name, frozenset()] > 0
    assert after["universal_tracer_resident_memory_bytes", frozenset()] > 10_000_000


def test_summaries_tell_the_clients_requests(tmp_path: Path) -> None:
    with Traced(tmp_path, "--metrics-only", "--interval", "500ms") as running:
        dialogue = running.dialogue()
        for status in (200, 200, 500):
            dialogue.exchange(status=status)
        dialogue.close()

        def told() -> int:
            return sum(event["http"]["requests"] for event in running.tracer.events())

        wait_until(lambda: told() == 6, "six requests in summaries")
        run = running.tracer.stop()
    assert {event["type"] for event in run.events} == {"summary"}
    assert sum(event["http"]["errors"] for event in run.events) == 2
    (busy,) = [event for event in run.events if event["http"]["requests"] == 6] or [None]
    if busy is not None:
        latency = busy["http"]["latency_ms"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"], json.dumps(busy)
