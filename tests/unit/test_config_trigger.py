"""What a trigger may say, and how it is told where it is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from universal_tracer.config.settings import FlagValue, load_settings
from universal_tracer.config.trigger import EventCondition, Level, Trigger, parse_trigger
from universal_tracer.model.errors import ConfigError


def flags(**values: str) -> dict[str, list[FlagValue]]:
    return {f"stack_tracer.{name}": [FlagValue(f"--{name}", value)] for name, value in values.items()}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("SIGUSR1", {}),
        ("sigusr1 OR SIGUSR1", {}),
        ("file:/run/now", {"files": ("/run/now",)}),
        ("file:/tmp/a--b 'c (d OR SIGUSR1", {"files": ("/tmp/a--b 'c (d",)}),
        ("cpu>80%", {"levels": (Level("cpu", ">", 80, "cpu>80%"),)}),
        ("CPU >= 12.5", {"levels": (Level("cpu", ">=", 12.5, "CPU >= 12.5"),)}),
        ("runqueue_ms<=50ms", {"levels": (Level("runqueue_ms", "<=", 50, "runqueue_ms<=50ms"),)}),
        (
            "cpu=0 or runqueue_ms!=1",
            {"levels": (Level("cpu", "==", 0, "cpu=0"), Level("runqueue_ms", "!=", 1, "runqueue_ms!=1"))},
        ),
    ],
)
def test_conditions_without_events(text: str, parts: dict[str, Any]) -> None:
    assert parse_trigger(text) == Trigger(text, **parts)


@pytest.mark.parametrize(
    ("text", "event_type", "sql"),
    [
        ("http.latency_ms>500", "http", "latency_ms>500"),
        ("http.status == 500", "http", "status = 500"),
        ("http.status>=500 AND (http.latency_ms>5 OR http.error IS NOT NULL)", "http", None),
        ("http.path LIKE '/a OR /b%'", "http", None),
        ("lower(http.method) = 'get'", "http", None),
        ("http.local.port = 80", "http", "local.port = 80"),
        ('flow."packets" > 5', "flow", '"packets" > 5'),
        ("connection.event='open'", "connection", "event='open'"),
    ],
)
def test_conditions_on_events(text: str, event_type: str, sql: str | None) -> None:
    (condition,) = parse_trigger(text).events
    assert condition.event_type == event_type
    assert condition.text == text
    assert len(condition.sql) == len(text)
    wanted = sql or text.replace(f"{event_type}.", "")
    assert "".join(condition.sql.split()) == "".join(wanted.split())


def test_conditions_of_several_kinds_are_apart() -> None:
    trigger = parse_trigger("http.status>=500 OR cpu>80% or file:/x OR connection.requests>9")
    assert [condition.text for condition in trigger.events] == ["http.status>=500", "connection.requests>9"]
    assert trigger.event_types == {"http", "connection"}
    last = EventCondition("connection", "connection.requests>9", "requests>9".rjust(len(trigger.text)))
    assert trigger.events[1] == last
    assert (len(trigger.levels), trigger.files) == (1, ("/x",))
    assert trigger.describe() == f"{trigger.text} or SIGUSR1"
    assert parse_trigger("file:/x OR SIGUSR1").describe() == "file:/x OR SIGUSR1"


@pytest.mark.parametrize(
    ("text", "place", "told"),
    [
        ("htpp.latency_ms>5", "-->htpp<--", "did you mean 'http'?"),
        ("latency_ms>5", "-->latency_ms<--", "did you mean 'http.latency_ms'?"),
        ("http.latncy_ms>5", "http.-->latncy_ms<-->5", "did you mean 'latency_ms'?"),
        ("http>5", "-->http<-->5", "such as http.latency_ms"),
        ("http.status>5 AND cpu>80%", "AND -->cpu<--", "join it by OR"),
        ("http.status>5 AND connection.requests>1", "-->connection<--", "two types"),
        ("cpu>80ms", "cpu>80-->ms<--", "told in %"),
        ("cpu", "-->cpu<--", "compared with a number"),
        ("cpu>high", "-->cpu>high<--", "compared with a number"),
        ("SIGUSR2", "-->SIGUSR2<--", "did you mean 'SIGUSR1'?"),
        ("file:now", "-->file:now<--", "whole path"),
        ("http.status>5; 1", "-->;<--", "without ;"),
        ("count(http.status)>5", "-->count<--", "a condition sees one"),
        ("http.status>5 OR", "OR--><--", "is missing"),
        ("OR http.status>5", "--><--OR", "is missing"),
        ("1=1", "-->1=1<--", "names no event's column"),
        (" ", "--> <--", "is missing"),
    ],
)
def test_what_is_wrong_is_pointed_at(text: str, place: str, told: str) -> None:
    with pytest.raises(ValueError, match="allowed are http") as caught:
        parse_trigger(text)
    assert place in str(caught.value)
    assert told in str(caught.value)


def test_a_trigger_implies_its_mode() -> None:
    settings = load_settings(flags=flags(trigger="cpu>80%"))
    assert settings.config.stack_tracer.mode == "on-demand"
    assert settings.origins["stack_tracer.mode"] == "--trigger"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"trigger": "cpu>80%", "mode": "sampling"},
            "--trigger: a trigger starts captures of the mode on-demand",
        ),
        ({"trigger": "cpu"}, "--trigger: a figure is compared with a number"),
    ],
)
def test_contradictions_and_wrong_triggers_are_faults_of_the_settings(
    given: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(flags=flags(**given))
    assert caught.value.faults[0].startswith(message)


def test_captures_hold_events_and_summaries_do_not() -> None:
    metrics_only = {"output.metrics_only": [FlagValue("--metrics-only", value=True)]}
    with pytest.raises(ConfigError, match="no events to capture"):
        load_settings(flags=flags(mode="on-demand") | metrics_only)
