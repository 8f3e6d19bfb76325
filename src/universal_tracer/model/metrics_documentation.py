"""Writes docs/METRICS.md: `python -m universal_tracer.model.metrics_documentation > docs/METRICS.md`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from universal_tracer.model.metrics import (
    DURATION_BOUNDS_S,
    FUNCTION_BOUNDS_S,
    MAX_SERIES,
    METRICS,
    OTHER_METHOD,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from universal_tracer.model.metrics import Metric

_INTRODUCTION = f"""\
# Metrics

Generated from `src/universal_tracer/model/metrics.py` by `python -m
universal_tracer.model.metrics_documentation`; a test fails when this page is out of date.

`universal-tracer --prometheus-endpoint 127.0.0.1:9090/metrics` serves these to Prometheus and to everything
that reads its text format or OpenMetrics (the `Accept` header decides). Without a host, `:9090/metrics`, it
listens on all addresses. Anyone who can reach it can read it: there is no password. Other paths answer 404,
other methods than GET and HEAD 405. A port that is in use ends the start with exit code 7.

Metrics count all requests of the targets, whatever `--events` and `--where` choose. Metrics and labels are
added in later versions, never renamed or removed. A label whose value is unknown is empty; of methods that
are in no registry `method` says `{OTHER_METHOD}`.

## Bounds

At most 200 routes a service have a label of their own; the rest have `route="other"`. All metrics together
have at most {MAX_SERIES:,} series, a histogram's buckets among them; what finds no room is missing in them
from then on. Whatever hits one of the two bounds is counted in `universal_tracer_series_capped_total`.
Histograms have these upper bounds in seconds: {", ".join(f"{bound:g}" for bound in DURATION_BOUNDS_S)};
those of functions {", ".join(f"{bound:.3g}" for bound in FUNCTION_BOUNDS_S)}.

`universal_tracer_bpf_seconds_total` needs the kernel's measurement of programs, which the tracer asks for
while it serves metrics. It costs about 70 ns a run of each program on the machine.

## All metrics
"""


def metrics_page() -> str:
    """The text of docs/METRICS.md."""
    return "\n".join([_INTRODUCTION, *_table()]) + "\n"


def _table() -> Iterator[str]:
    yield "| metric | kind | labels | meaning |"
    yield "|---|---|---|---|"
    for metric in METRICS.values():
        yield f"| `{metric.name}` | {metric.kind.value} | {_labels(metric)} | {metric.description} |"


def _labels(metric: Metric) -> str:
    return ", ".join(f"`{name}`" for name in metric.labels)


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
