"""The endpoint: what it answers, and to whom."""

from __future__ import annotations

import gzip
import http.client
import socket
import time
from typing import TYPE_CHECKING

import pytest

from universal_tracer.config.listen import Listen, parse_listen
from universal_tracer.model.metrics import CPU_SECONDS
from universal_tracer.model.series import Series
from universal_tracer.sinks.prometheus import PrometheusEndpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

MORE_THAN_IT_HOLDS = 200


def listening(text: str) -> PrometheusEndpoint:
    series = Series()
    series.ask(CPU_SECONDS, lambda: 2.5)
    endpoint = PrometheusEndpoint(parse_listen(text), series)
    endpoint.serve()
    return endpoint


def port_of(endpoint: PrometheusEndpoint) -> int:
    return int(endpoint.description.split("//")[1].split("/")[0].rpartition(":")[2])


@pytest.fixture
def endpoint() -> Iterator[PrometheusEndpoint]:
    served = listening("127.0.0.1:0/metrics")
    yield served
    served.close()
    served.close()


def answer(
    endpoint: PrometheusEndpoint,
    path: str = "/metrics",
    method: str = "GET",
    host: str = "127.0.0.1",
    **sent: str,
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(host, port_of(endpoint), timeout=30)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in sent.items()})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_metrics_are_served(endpoint: PrometheusEndpoint) -> None:
    response, body = answer(endpoint)
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"universal_tracer_cpu_seconds_total 2.5\n" in body
    assert int(response.headers["Content-Length"]) == len(body)


def test_openmetrics_where_it_is_preferred(endpoint: PrometheusEndpoint) -> None:
    response, body = answer(endpoint, Accept="application/openmetrics-text; version=1.0.0")
    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")


def test_compressed_where_that_is_understood(endpoint: PrometheusEndpoint) -> None:
    response, body = answer(endpoint, Accept_Encoding="gzip")
    assert response.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body).startswith(b"# HELP")


def test_head_gets_no_body(endpoint: PrometheusEndpoint) -> None:
    response, body = answer(endpoint, method="HEAD")
    assert (response.status, body) == (200, b"")
    assert int(response.headers["Content-Length"]) > 0


@pytest.mark.parametrize("path", ["/", "/metric", "/metrics/", "/Metrics", "//metrics/x", "/%6detrics"])
def test_other_paths_are_not_found(endpoint: PrometheusEndpoint, path: str) -> None:
    response, body = answer(endpoint, path)
    assert (response.status, b"/metrics" in body) == (404, True)


def test_a_query_changes_nothing(endpoint: PrometheusEndpoint) -> None:
    assert answer(endpoint, "/metrics?name=x")[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "MADE-UP"])
def test_nothing_can_be_changed(endpoint: PrometheusEndpoint, method: str) -> None:
    response, _ = answer(endpoint, method=method)
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("sent", [b"\0" * 100, b"GET\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n", b"\r\n"])
def test_what_is_no_request_harms_nobody(endpoint: PrometheusEndpoint, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port_of(endpoint))) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        client.settimeout(30)
        while client.recv(4096):
            pass
    assert answer(endpoint)[0].status == 200


def test_silent_clients_keep_nobody_out(endpoint: PrometheusEndpoint) -> None:
    silent = [socket.create_connection(("127.0.0.1", port_of(endpoint))) for _ in range(MORE_THAN_IT_HOLDS)]
    for client in silent:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
    assert answer(endpoint)[0].status == 200
    silent[0].settimeout(30)
    assert silent[0].recv(1) == b"", "the oldest is cut off"
    for client in silent:
        client.close()


def dribble(client: socket.socket) -> None:
    while True:
        client.sendall(b"X")
        time.sleep(0.05)


def test_a_client_that_dribbles_is_cut_off(
    endpoint: PrometheusEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("universal_tracer.sinks.prometheus._DEADLINE_S", 0.5)
    with socket.create_connection(("127.0.0.1", port_of(endpoint))) as client, pytest.raises(ConnectionError):
        dribble(client)


def test_all_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    served = listening(":0/x")
    assert served.description.endswith("/x (all addresses)")
    assert answer(served, "/x")[0].status == 200
    if socket.has_dualstack_ipv6():
        assert answer(served, "/x", host="::1")[0].status == 200
    served.close()
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    without = listening(":0/x")
    assert answer(without, "/x")[0].status == 200
    without.close()


def test_a_port_in_use_is_refused(endpoint: PrometheusEndpoint) -> None:
    with pytest.raises(OSError, match="in use"):
        PrometheusEndpoint(parse_listen(f"127.0.0.1:{port_of(endpoint)}"), Series())


def test_a_port_is_free_again_after_the_end() -> None:
    served = listening("127.0.0.1:0")
    answer(served)
    served.close()
    again = listening(f"127.0.0.1:{port_of(served)}")
    assert answer(again)[0].status == 200
    again.close()


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        (":9090/metrics", Listen(None, 9090, "/metrics")),
        ("localhost:9090", Listen("localhost", 9090, "/metrics")),
        ("[::1]:9090/a/b", Listen("::1", 9090, "/a/b")),
        ("127.0.0.1:0/", Listen("127.0.0.1", 0, "/")),
    ],
)
def test_addresses_as_users_write_them(text: str, listen: Listen) -> None:
    assert parse_listen(text) == listen


def test_a_port_beyond_the_last_is_none() -> None:
    with pytest.raises(ValueError, match="70000 is no port"):
        parse_listen(":70000/metrics")
