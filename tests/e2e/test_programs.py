"""Real servers with real clients: the tracer's events equal the clients' own records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from harness import programs
from harness.capability import need_command
from harness.traced import ROLES, unique
from harness.truth import assert_latencies, assert_requests, assert_server_latencies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from harness.programs import Client, Service
    from harness.traced import Traced
    from harness.truth import Event, Expected

pytestmark = pytest.mark.e2e

SERVERS = ("nginx", "threading", "prefork", "unix", "uvicorn", "node", "go", "java")
CLIENTS = ("curl", "socket", "http.client", "requests", "go", "node")
IP_ONLY_CLIENTS = ("http.client", "requests", "go", "node")


@pytest.fixture(scope="module")
def services(traced: Traced, request: pytest.FixtureRequest) -> Callable[[str], Service]:
    """Return a function that starts a server when it is first asked for."""
    starters: dict[str, Callable[[], Service]] = {
        "nginx": lambda: programs.start_nginx(traced.tree),
        "threading": lambda: programs.start_python(traced.tree, "threading"),
        "prefork": lambda: programs.start_python(traced.tree, "prefork"),
        "unix": lambda: programs.start_unix(traced.tree),
        "uvicorn": lambda: programs.start_uvicorn(traced.tree),
        "node": lambda: programs.start_node(traced.tree),
        "go": lambda: programs.start_go(traced.tree, request.getfixturevalue("go_program")),
        "java": lambda: programs.start_java(traced.tree),
    }
    running: dict[str, Service] = {}

    def service(name: str) -> Service:
        if name not in running:
            running[name] = starters[name]()
        return running[name]

    return service


def client_named(name: str, request: pytest.FixtureRequest) -> Client:
    """Return a client by its name."""
    if name == "curl":
        return programs.curl_client()
    if name == "go":
        return programs.go_client(request.getfixturevalue("go_program"))
    if name == "node":
        return programs.node_client()
    return programs.python_client(name)


def verify(traced: Traced, word: str, truth: Sequence[Expected], *, tight: bool) -> list[Event]:
    """Fail unless both sides of each request of *truth* were told, once and exactly."""
    traced.tracer.wait_for(lambda event: event["type"] == "http" and word in event["path"], len(truth) * 2)
    traced.settle()
    events = traced.requests(word)
    by_role = {role: [event for event in events if event["role"] == role] for role in ROLES}
    for role in ROLES:
        assert_requests(by_role[role], truth)
    # The first request may hold the connection's making, the resolver's and the compiler's work.
    later = truth[1:]
    first = [event for event in by_role["client"] if event["path"] == truth[0].path]
    rest = [event for event in by_role["client"] if event not in first]
    assert_latencies(rest, later, tight=tight)
    assert_server_latencies(by_role["server"], truth)
    return events


@pytest.mark.parametrize(
    ("server", "client"),
    [
        pytest.param(server, client, marks=pytest.mark.xdist_group(f"programs-{server}"))
        for server in SERVERS
        for client in CLIENTS
        if not (server == "unix" and client in IP_ONLY_CLIENTS)
    ],
)
def test_every_request_once_per_side(
    traced: Traced,
    services: Callable[[str], Service],
    request: pytest.FixtureRequest,
    server: str,
    client: str,
) -> None:
    service, program = services(server), client_named(client, request)
    word = unique()
    truth = program.run(traced.tree, service, programs.workload(word, service.routes))
    events = verify(traced, word, truth, tight=program.tight)
    assert_same_connections(events)


def assert_same_connections(events: Sequence[Event]) -> None:
    """Fail unless the two sides of each request name each other, and agree on the bytes."""
    sides: dict[tuple[str, str], dict[str, Event]] = {}
    for event in events:
        sides.setdefault((event["method"], event["path"]), {})[event["role"]] = event
    for both in sides.values():
        client, server = both["client"], both["server"]
        if "port" in server["local"]:
            assert (client["local"], client["peer"]) == (server["peer"], server["local"])
        for column in ("request_bytes", "response_bytes", "request_headers", "response_headers", "query"):
            assert client[column] == server[column], column


@pytest.mark.vm
@pytest.mark.xdist_group("programs-nginx")
def test_python_m_http_server(traced: Traced) -> None:
    service = programs.start_plain_python(traced.tree)
    word = unique()
    plan = [{"method": "GET", "target": f"/{word}-{number}", "body_bytes": 0} for number in range(13)]
    truth = programs.curl_client().run(traced.tree, service, plan)
    events = traced.tracer.wait_for(lambda event: event["type"] == "http" and word in event["path"], 26)
    assert [each.status for each in truth] == [404] * 13
    for role in ROLES:
        told = [event for event in events if event["role"] == role]
        assert sorted(event["path"] for event in told) == sorted(each.path for each in truth)
        assert {(event["status"], event["error"]) for event in told} == {(404, None)}


@pytest.mark.xdist_group("programs-nginx")
def test_nginx_in_front_of_python(traced: Traced) -> None:
    upstream = programs.start_python(traced.tree, "threading")
    front = programs.start_nginx(traced.tree, upstream)
    word = unique()
    plan = [
        {"method": method, "target": f"/sleep/30/{word}-{number}", "body_bytes": size}
        for number, (method, size) in enumerate([("GET", 0), ("POST", 100), ("POST", 50_000)] * 4)
    ]
    truth = programs.python_client("socket").run(traced.tree, front, plan)
    traced.tracer.wait_for(lambda event: event["type"] == "http" and word in event["path"], len(plan) * 4)
    traced.settle()
    events = traced.requests(word)
    assert len(events) == len(plan) * 4, "client and server at the front, client and server behind"
    hops: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        hops.setdefault((event["role"], "nginx" if event["comm"] == "nginx" else "python"), []).append(event)
    outer, inner = hops["client", "python"], hops["server", "python"]
    assert_requests(outer, truth)
    assert_latencies(outer, truth)
    for hop in hops.values():
        assert sorted(event["path"] for event in hop) == sorted(each.path for each in truth)
        assert {event["status"] for event in hop} == {200}
        assert {event["error"] for event in hop} == {None}
    for way_in, way_on in zip(
        by_path(hops["server", "nginx"]), by_path(hops["client", "nginx"]), strict=True
    ):
        assert way_on["latency_ms"] <= way_in["latency_ms"] + 0.5
        assert way_in["pid"] == way_on["pid"]
    assert min(event["latency_ms"] for event in inner) >= 30 - 0.5


def by_path(events: Sequence[Event]) -> list[Event]:
    """Return *events* in the order of their paths."""
    return sorted(events, key=lambda event: str(event["path"]))


@pytest.mark.xdist_group("programs-nginx")
def test_server_sent_events_of_a_real_server(traced: Traced, services: Callable[[str], Service]) -> None:
    word = unique()
    plan = [{"method": "GET", "target": f"/sse/5/{word}", "body_bytes": 0}]
    programs.python_client("socket").run(traced.tree, services("uvicorn"), plan)
    events = traced.tracer.wait_for(lambda event: event["type"] == "http" and word in event["path"], 2)
    for event in events:
        assert event["streaming"] is True
        assert event["content_type"].startswith("text/event-stream")
        assert event["latency_ms"] >= 50 > event["ttfb_ms"]


@pytest.mark.xdist_group("programs-nginx")
def test_services_are_named(traced: Traced, services: Callable[[str], Service]) -> None:
    expected = {"nginx": "nginx", "node": "node", "threading": "python"}
    for server, name in expected.items():
        word = unique()
        plan = [{"method": "GET", "target": f"/echo/{word}", "body_bytes": 0}]
        programs.python_client("socket").run(traced.tree, services(server), plan)

        def of_server(event: dict[str, Any], word: str = word) -> bool:
            return event["type"] == "http" and word in event["path"] and event["role"] == "server"

        (event,) = traced.tracer.wait_for(of_server)
        assert name in event["service"], event["service"]
        assert event["pid"] > 1


@pytest.mark.xdist_group("programs-nginx")
@pytest.mark.parametrize("connections", [1, 19])
def test_wrk_against_nginx_keeps_count(
    traced: Traced, services: Callable[[str], Service], connections: int, tmp_path: Path
) -> None:
    """Every request that nginx has served is told, or counted as lost.

    The word of the truth is nginx's own counter: wrk throws away the requests that are open when it ends.
    """
    service = services("nginx")
    word = unique()
    before = served_by(traced, service)
    url = f"http://{service.host}:{service.port}/echo/{word}"
    traced.tree.spawn([need_command("wrk"), "-t1", f"-c{connections}", "-d1s", url]).succeed()
    sent = served_by(traced, service) - before - 1
    traced.settle()
    told = traced.requests(word, "server")
    lost = sum(event["count"] for event in traced.tracer.events(lambda event: event["type"] == "loss"))
    assert len(told) <= sent
    if lost == 0:
        assert len(told) == sent
        assert len(traced.requests(word, "client")) == sent
    complete = [event for event in told if event["error"] is None]
    assert {event["status"] for event in complete} == {200}
    assert len(told) - len(complete) <= connections


def served_by(traced: Traced, service: Service) -> int:
    """Return how many requests nginx says it has served, this one included."""
    url = f"http://{service.host}:{service.port}/served"
    figures = traced.tree.spawn([need_command("curl"), "-sS", url]).succeed()
    return int(figures.splitlines()[2].split()[2])
