"""The meters of a run: an interval's summary, and the metrics with the endpoint that serves them."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from universal_tracer.config.listen import parse_listen
from universal_tracer.model.errors import EndpointError
from universal_tracer.model.metrics import BPF_SECONDS, CPU_SECONDS, EVENTS, RESIDENT_MEMORY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from universal_tracer.cli.tracers import Tracer
    from universal_tracer.config.listen import Listen
    from universal_tracer.config.tree import Config
    from universal_tracer.model.ports import Meter, PeriodicMeter, Source
    from universal_tracer.model.series import Series
    from universal_tracer.pipeline.stack_shares import StackShares

_SAMPLING: Final = "stack"


@dataclass(slots=True)
class Meters:
    """What counts in a run; `description` is what the start line says of it."""

    all: list[Meter] = field(default_factory=list)
    periodic: PeriodicMeter | None = None
    stacks: StackShares | None = None
    description: str = ""
    series: Series | None = None


def open_meters(config: Config, tracers: Sequence[Tracer], stack: ExitStack) -> Meters:
    """Raises EndpointError where metrics cannot be served; `stack` closes what is opened."""
    meters = Meters()
    if config.export.prometheus_endpoint is not None:
        _open_prometheus(parse_listen(config.export.prometheus_endpoint), tracers, stack, meters)
    return meters


def begin_intervals(meters: Meters, config: Config, sources: Sequence[Source]) -> None:
    """The first interval begins: everything is attached."""
    if any(source.tracer == _SAMPLING for source in sources):
        meters.stacks = import_module("universal_tracer.pipeline.stack_shares").StackShares()
        meters.all.append(meters.stacks)
    if config.output.metrics_only:
        module = import_module("universal_tracer.pipeline.summaries")
        meters.periodic = module.IntervalSummary(
            {source.tracer for source in sources}, config.output.interval.seconds
        )
        meters.all.append(meters.periodic)


def _open_prometheus(listen: Listen, tracers: Sequence[Tracer], stack: ExitStack, meters: Meters) -> None:
    series = import_module("universal_tracer.model.series").Series()
    endpoint = _endpoint(listen, series)
    stack.callback(endpoint.close)
    _ask_own_cost(series, stack)
    endpoint.serve()
    meters.series = series
    metrics = import_module("universal_tracer.pipeline.aggregate").Metrics
    for tracer in tracers:
        series.add(EVENTS, (tracer.name,), 0)
    meters.all.append(metrics(series, {event: tracer.name for tracer in tracers for event in tracer.events}))
    meters.description = f"; {endpoint.description}"


def _ask_own_cost(series: Any, stack: ExitStack) -> None:
    own_cost = import_module("universal_tracer.system.own_cost")
    programs = own_cost.ProgramTime()
    stack.callback(programs.close)
    series.ask(BPF_SECONDS, programs.seconds)
    series.ask(CPU_SECONDS, own_cost.cpu_seconds)
    series.ask(RESIDENT_MEMORY, own_cost.resident_memory_bytes)


def _endpoint(listen: Listen, series: Any) -> Any:
    try:
        return import_module("universal_tracer.sinks.prometheus").PrometheusEndpoint(listen, series)
    except OSError as error:
        where = f"{listen.host or ''}:{listen.port}"
        hint = f"choose another address: --prometheus-endpoint 127.0.0.1:{listen.port}{listen.path}"
        if error.errno == errno.EADDRINUSE:
            hint = f"ss -ltnp 'sport = :{listen.port}' shows who listens there"
        cause = (error.strerror or str(error)).lower()
        raise EndpointError(f"cannot serve metrics on {where}", cause=cause, hint=hint) from error
