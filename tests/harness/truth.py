"""What the clients know about their requests, and the comparison of the tracer's events with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Event = dict[str, Any]
Header = tuple[str, str]

LATENCY_TOLERANCE_MS = 0.5
LATENCY_TOLERANCE_SHARE = 0.10
# A process can be put aside between reading its clock and entering the call: the clock's error then, not the
# tracer's. That happens to few requests, so the rest must agree.
AGREEING_SHARE = 0.9
# Interpreters, garbage collectors and hand-overs between threads are in some clients' brackets as a rule: of
# these the median is judged.
AGREEING_SHARE_OF_LOOSE_CLIENTS = 0.5
LOOSE_CLIENT_FROM_MS = 40.0
ENOUGH_FOR_A_SHARE = 10
UNKNOWN: Any = object()


@dataclass(frozen=True, kw_only=True)
class Expected:
    """One request as a test knows it; what is UNKNOWN is not compared."""

    method: str
    path: str
    status: int | None
    query: Any = UNKNOWN
    protocol: Any = "HTTP/1.1"
    authority: Any = UNKNOWN
    error: str | None = None
    streaming: Any = UNKNOWN
    request_bytes: Any = UNKNOWN
    response_bytes: Any = UNKNOWN
    request_headers: Any = UNKNOWN
    response_headers: Any = UNKNOWN
    content_type: Any = UNKNOWN
    user_agent: Any = UNKNOWN
    latency_ms: float | None = None

    def facts(self) -> dict[str, Any]:
        """Return the columns that must be equal, by name."""
        known = {name: value for name, value in vars(self).items() if value is not UNKNOWN}
        known.pop("latency_ms")
        return known


def header_pairs(headers: Iterable[dict[str, str]] | None) -> list[Header] | None:
    """Turn the event's headers into pairs."""
    return None if headers is None else [(header["name"], header["value"]) for header in headers]


def facts_of(event: Event, names: Iterable[str]) -> dict[str, Any]:
    """Return the named columns of *event*, headers as pairs."""
    facts = {name: event[name] for name in names}
    for name in ("request_headers", "response_headers"):
        if name in facts:
            facts[name] = header_pairs(facts[name])
    return facts


def tolerance_ms(latency_ms: float) -> float:
    """Return how far the tracer's latency may be from the client's *latency_ms*."""
    return max(LATENCY_TOLERANCE_MS, LATENCY_TOLERANCE_SHARE * latency_ms)


def assert_requests(events: Sequence[Event], expected: Sequence[Expected]) -> None:
    """Fail unless *events*, of one role, are *expected*: each once, in any order across connections."""
    names = Counter((event["method"], event["path"]) for event in events)
    true_names = Counter((each.method, each.path) for each in expected)
    assert names == true_names, f"missing: {true_names - names}; too many: {names - true_names}"
    ids = Counter(event["request_id"] for event in events)
    assert max(ids.values(), default=1) == 1, f"request ids that are not unique: {ids.most_common(3)}"
    for event, each in paired(events, expected):
        facts = each.facts()
        told = facts_of(event, facts)
        wrong = {name: (told[name], truth) for name, truth in facts.items() if told[name] != truth}
        assert wrong == {}, f"(told, truth) of {each.method} {each.path} by the {event['role']}: {wrong}"


def paired(events: Sequence[Event], expected: Sequence[Expected]) -> list[tuple[Event, Expected]]:
    """Put each event beside what is known about it: same method and path, in the order of their start."""
    waiting: dict[tuple[str, str], list[Event]] = {}
    for event in sorted(events, key=lambda event: int(event["timestamp_ns"])):
        waiting.setdefault((event["method"], event["path"]), []).append(event)
    return [(waiting[each.method, each.path].pop(0), each) for each in expected]


def assert_latencies(events: Sequence[Event], expected: Sequence[Expected], *, tight: bool = True) -> None:
    """Fail unless the latencies of the client's events agree with the client's own clock.

    The client's clock brackets what happens at its socket, so no latency is longer than the client's. That it
    is not shorter by more than the tolerance is asked of nine in ten: see AGREEING_SHARE. Of clients that are
    not *tight*, which do much work of their own in their bracket, only requests that are long against that
    are judged, and of these the median.
    """
    pairs = timed_pairs(events, expected)
    for told, truth in pairs:
        assert told <= truth + LATENCY_TOLERANCE_MS, f"told {told} ms, but the client knows {truth} ms"
    judged = [(told, truth) for told, truth in pairs if tight or truth >= LOOSE_CLIENT_FROM_MS]
    share = AGREEING_SHARE if tight else AGREEING_SHARE_OF_LOOSE_CLIENTS
    assert_share_agrees(judged, [truth - told <= tolerance_ms(truth) for told, truth in judged], share)


def assert_server_latencies(events: Sequence[Event], expected: Sequence[Expected]) -> None:
    """Fail unless the latencies of the server's events lie within what their clients measured.

    Only nine in ten must: a server can be put aside at the end of its last send, when the client has it all.
    """
    pairs = timed_pairs(events, expected)
    agree = [told <= truth + tolerance_ms(truth) for told, truth in pairs]
    assert_share_agrees(pairs, agree, AGREEING_SHARE)


def timed_pairs(events: Sequence[Event], expected: Sequence[Expected]) -> list[tuple[float, float]]:
    """Return (traced, client's own) latencies in ms of the requests whose client measured one."""
    pairs = []
    for event, each in paired(events, expected):
        if event["latency_ms"] is None:  # the last byte left the socket unseen
            continue
        if event["ttfb_ms"] is not None and event["latency_ms"] is not None:
            assert 0 <= event["ttfb_ms"] <= event["latency_ms"] + 0.001, event
        if each.latency_ms is not None:
            pairs.append((float(event["latency_ms"]), each.latency_ms))
    return pairs


def assert_share_agrees(pairs: Sequence[tuple[float, float]], agree: Sequence[bool], share: float) -> None:
    """Fail unless *share* of them *agree*, where there are enough to speak of a share."""
    if len(agree) >= ENOUGH_FOR_A_SHARE:
        assert sum(agree) >= share * len(agree), f"(traced, client's own) ms: {pairs}"
