"""Metrics: what rows add to series, the bounds, and the text that is served, read by Prometheus' parsers."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from harness import event_rows as rows
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from universal_tracer.model.exposition import TextFormat, accepted_format, exposition
from universal_tracer.model.metrics import CPU_SECONDS, DURATION_BOUNDS_S, MAX_SERIES, METRICS
from universal_tracer.model.metrics_documentation import metrics_page
from universal_tracer.model.ports import Loss
from universal_tracer.model.schema import schema
from universal_tracer.model.series import Series
from universal_tracer.pipeline.aggregate import MEASURES, Metrics
from universal_tracer.pipeline.routes import BoundRoutes

REQUESTS, DURATIONS = "http_requests_total", "http_request_duration_seconds"
CAPPED = "universal_tracer_series_capped_total"
READERS = {TextFormat.PROMETHEUS: read_prometheus, TextFormat.OPENMETRICS: read_openmetrics}
ROUTE_LABELS = ("service", "role", "protocol", "method", "route")


def frame_of(events: list[dict[str, Any]]) -> pl.DataFrame:
    whole = [{**rows.REQUEST, "service": "shop", **event} for event in events]
    return pl.DataFrame(whole, schema=schema("http"))


def measured(*frames: pl.DataFrame, series: Series | None = None) -> Series:
    meter = Metrics(series or Series(), {"http": "http", "connection": "http"})
    for frame in frames:
        meter.measure("http", frame)
    return meter.series


def samples(series: Series, text_format: TextFormat = TextFormat.PROMETHEUS) -> dict[Any, float]:
    """Values by name and labels, as a scraper reads them."""
    text = exposition(series.families(), text_format).decode()
    found = [sample for family in READERS[text_format](text) for sample in family.samples]
    values = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in found}
    assert len(values) == len(found)
    return values


def of(values: dict[Any, float], name: str) -> dict[frozenset[Any], float]:
    return {labels: value for (found, labels), value in values.items() if found == name}


def made_up_events(count: int) -> list[dict[str, Any]]:
    dice = random.Random(count)
    return [
        {
            "service": dice.choice(["shop", 'we"ird\\\nname', None, "ünï"]),
            "role": dice.choice(["server", "client"]),
            "protocol": dice.choice(["HTTP/1.0", "HTTP/1.1", None]),
            "method": dice.choice(["GET", "POST", "MADE-UP", None]),
            "route": dice.choice(["/users/{id}", '/"quoted"', "/back\\slash", None]),
            "status": dice.choice([200, 404, 500, None]),
            "latency_ms": dice.choice([None, 5.0, 5.000001, dice.expovariate(0.01), 1e7, 10_000.0]),
            "ttfb_ms": dice.choice([None, 1.0]),
            "streaming": dice.choice([True, False, None]),
        }
        for _ in range(count)
    ]


def expected_of(events: list[dict[str, Any]]) -> tuple[Counter[Any], dict[Any, list[float]]]:
    """Counts and durations in seconds by labels, one event at a time."""
    counts: Counter[Any] = Counter()
    durations: dict[Any, list[float]] = defaultdict(list)
    for event in events:
        method = "_OTHER" if event["method"] == "MADE-UP" else event["method"]
        labels = {name: event[name] or "" for name in ROUTE_LABELS} | {"method": method or ""}
        counts[frozenset({**labels, "status": str(event["status"] or "")}.items())] += 1
        latency = event["ttfb_ms"] if event["streaming"] else event["latency_ms"]
        if latency is not None:
            durations[frozenset(labels.items())].append(latency / 1000)
    return counts, durations


@pytest.mark.parametrize("text_format", TextFormat)
def test_rows_become_counters_and_histograms(text_format: TextFormat) -> None:
    events = made_up_events(400)
    frames = [frame_of(events[:150]), frame_of(events[150:])]
    values = samples(measured(*frames), text_format)
    counts, durations = expected_of(events)
    assert of(values, REQUESTS) == counts
    assert of(values, f"{DURATIONS}_count") == {labels: len(found) for labels, found in durations.items()}
    for labels, total in of(values, f"{DURATIONS}_sum").items():
        assert total == pytest.approx(sum(durations[labels]))
    for labels, value in of(values, f"{DURATIONS}_bucket").items():
        plain = dict(labels)
        bound = float(plain.pop("le"))
        assert value == sum(seconds <= bound for seconds in durations[frozenset(plain.items())])


def test_bounds_are_those_of_opentelemetry() -> None:
    values = of(samples(measured(frame_of([{}]))), f"{DURATIONS}_bucket")
    bounds = {float(dict(labels)["le"]) for labels in values}
    assert bounds == {*DURATION_BOUNDS_S, float("inf")}
    assert (len(DURATION_BOUNDS_S), min(bounds)) == (14, 0.005)
    assert bisect_left(DURATION_BOUNDS_S, 10.0) == 13


@pytest.mark.parametrize("text_format", TextFormat)
def test_every_metric_is_described_as_the_model_has_it(text_format: TextFormat) -> None:
    series = measured(frame_of([{}]))
    series.ask(CPU_SECONDS, lambda: 1.5)
    text = exposition(series.families(), text_format).decode()
    families = {family.name: family for family in READERS[text_format](text)}
    assert set(families) == {name.removesuffix("_total") for name in METRICS}
    for name, metric in METRICS.items():
        family = families[name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind.value, f"{metric.description}.")
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)
    assert samples(series)["universal_tracer_cpu_seconds_total", frozenset()] == 1.5


def test_packets_are_counted_by_protocol() -> None:
    meter = Metrics(Series(), {})
    protocols = [6, 6, 17, 1, 58, 132, 47, None]
    frame = pl.DataFrame(
        {
            "interface": ["eth0"] * 8,
            "direction": ["ingress"] * 8,
            "protocol": pl.Series(protocols, dtype=pl.UInt8),
            "packets": [1] * 8,
            "bytes": [100] * 8,
        }
    )
    meter.measure("network", frame)
    meter.measure("network", frame)
    values = samples(meter.series)
    packets = {
        dict(labels)["protocol"]: value for labels, value in of(values, "network_packets_total").items()
    }
    names = ("udp", "icmp", "ipv6-icmp", "sctp", "other", "non-ip")
    assert packets == {"tcp": 4, **dict.fromkeys(names, 2)}
    assert sum(of(values, "network_bytes_total").values()) == 1600


def test_stacks_are_counted_by_service_and_kind() -> None:
    columns = {"service": ["a", "a", None], "kind": ["cpu", "cpu", "lock"], "count": [2, 3, 4]}
    frame = pl.DataFrame({**columns, "end": ["complete", "error", "complete"]})
    meter = Metrics(Series(), {"profile": "stack"})
    meter.measure("profile", frame)
    a, unknown = (
        frozenset({("service", "a"), ("kind", "cpu")}),
        frozenset({("service", ""), ("kind", "lock")}),
    )
    assert of(samples(meter.series), "stack_samples_total") == {a: 5, unknown: 4}
    assert of(samples(meter.series), "stack_samples_complete_total") == {a: 2, unknown: 4}


def test_what_is_not_known_is_absent() -> None:
    series = Series()
    series.ask(CPU_SECONDS, lambda: None)
    assert samples(series) == {}


def test_events_and_losses_are_counted_by_tracer() -> None:
    meter = Metrics(Series(), {"http": "http", "connection": "http"})
    meter.measure("http", frame_of([{}, {}]))
    meter.measure("connection", rows.shaped("connection", rows.CONNECTION))
    meter.lose([Loss("http", "ring_full", 3), Loss("http", "gaps", 1), Loss("http", "gaps", 1)])
    values = samples(meter.series)
    assert values["universal_tracer_events_total", frozenset({("tracer", "http")})] == 3
    assert of(values, "universal_tracer_events_lost_total") == {
        frozenset({("tracer", "http"), ("where", "ring_full")}): 3,
        frozenset({("tracer", "http"), ("where", "gaps")}): 2,
    }


def test_routes_beyond_the_bound_are_other_and_counted() -> None:
    events = [{"route": f"/r{number}"} for number in range(230)]
    values = samples(measured(BoundRoutes()("http", frame_of(events))))
    counts = {dict(labels)["route"]: value for labels, value in of(values, REQUESTS).items()}
    assert len(counts) == 201
    assert counts["other"] == 30
    assert of(values, CAPPED) == {frozenset({("service", "shop")}): 30}


def test_series_are_bounded_and_what_finds_no_room_is_counted() -> None:
    events = [{"service": f"s{number // 100}", "route": f"/r{number}"} for number in range(2000)]
    series = measured(frame_of(events), frame_of(events))
    series.ask(CPU_SECONDS, lambda: 1.0)
    lines = exposition(series.families(), TextFormat.PROMETHEUS).decode().splitlines()
    told = [line for line in lines if not line.startswith("#")]
    assert 0.9 * MAX_SERIES < len(told) <= MAX_SERIES
    values = samples(series)
    counted, capped = of(values, REQUESTS), of(values, CAPPED)
    assert sum(counted.values()) + sum(capped.values()) == 4000
    assert set(counted.values()) == {2}
    assert len(of(values, f"{DURATIONS}_count")) == len(counted)


def test_services_without_end_share_a_series_for_what_they_lose() -> None:
    events = [{"service": f"s{number}", "route": "/r"} for number in range(3000)]
    values = samples(measured(frame_of(events)))
    assert len(values) <= MAX_SERIES
    assert of(values, CAPPED)[frozenset({("service", "other")})] > 1000
    assert sum(of(values, REQUESTS).values()) + sum(of(values, CAPPED).values()) == 3000


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", TextFormat.PROMETHEUS),
        ("*/*", TextFormat.PROMETHEUS),
        ("text/html, nonsense;q=x, ;;", TextFormat.PROMETHEUS),
        ("application/openmetrics-text", TextFormat.OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", TextFormat.OPENMETRICS),
        ("text/plain;q=0.5,application/openmetrics-text;q=0.4", TextFormat.PROMETHEUS),
        ("application/openmetrics-text;q=0, text/plain;q=0.1", TextFormat.PROMETHEUS),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            TextFormat.OPENMETRICS,
        ),
    ],
)
def test_the_accept_header_chooses_the_format(accept: str, wanted: TextFormat) -> None:
    assert accepted_format(accept) is wanted


def test_every_measure_belongs_to_described_metrics() -> None:
    for measure in MEASURES.values():
        for name in (*measure.counters, *([measure.durations[0]] if measure.durations else [])):
            assert set(METRICS[name].labels) <= set(measure.labels)


def test_documentation_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "METRICS.md"
    assert page.read_text() == metrics_page(), (
        "python -m universal_tracer.model.metrics_documentation > docs/METRICS.md"
    )
