"""The metrics as Prometheus itself scrapes them."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from harness.capability import need_command
from harness.processes import wait_until
from harness.traced import Traced

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

CONFIGURATION = """
global: {{scrape_interval: 500ms, scrape_timeout: 400ms}}
scrape_configs:
- job_name: tracer
  metrics_path: {path}
  static_configs: [{{targets: ["{address}"]}}]
"""


class Prometheus:
    """A server of its own that scrapes one address."""

    def __init__(self, directory: Path, scraped: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        url = urllib.parse.urlsplit(scraped)
        configuration = directory / "prometheus.yml"
        configuration.write_text(CONFIGURATION.format(address=url.netloc, path=url.path), encoding="ascii")
        self.log = directory / "prometheus.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    need_command("prometheus"),
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address={self.address}",
                ],
                stdout=log,
                stderr=log,
            )

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its API; None while it does not answer."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def value(self, query: str) -> float | None:
        """The one value of a query; None while there is none."""
        result = (self.ask("query", query=query) or {"result": []})["result"]
        return float(result[0]["value"][1]) if result else None

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(timeout=30)


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    with Traced(tmp_path, "--prometheus-endpoint", "127.0.0.1:0/metrics") as running:
        yield running


def test_prometheus_scrapes_what_was_asked(traced: Traced, tmp_path: Path) -> None:
    need_command("prometheus")
    dialogue = traced.dialogue()
    for status in (200, 200, 200, 404, 500):
        dialogue.exchange(method="PUT", status=status)
    dialogue.close()
    dialogue.verify()
    address = re.search(r"metrics on (\S+);", traced.tracer.stderr)
    assert address is not None
    prometheus = Prometheus(tmp_path, address[1])
    try:
        served = 'http_requests_total{role="server",method="PUT"'
        wait_until(lambda: prometheus.value(f"sum({served}}})") == 5, "five requests in Prometheus", 60)
        assert prometheus.value(f'sum({served},status=~"5.."}})') == 1
        quantile = "histogram_quantile(0.99, sum by (le) (http_request_duration_seconds_bucket))"
        assert 0 < (prometheus.value(quantile) or 0) <= 10
        assert (prometheus.value("universal_tracer_resident_memory_bytes") or 0) > 10_000_000
        (target,) = prometheus.ask("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        kinds = prometheus.ask("metadata")
        assert kinds["http_requests"][0]["type"] == "counter"  # in OpenMetrics, which it asks for
        assert kinds["http_request_duration_seconds"][0]["type"] == "histogram"
        assert kinds["universal_tracer_resident_memory_bytes"][0]["type"] == "gauge"
    finally:
        prometheus.close()
    assert "level=error" not in prometheus.log.read_text()
