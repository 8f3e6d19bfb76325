"""What no single key can tell: values that contradict each other."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from universal_tracer.config.keys import keys
from universal_tracer.config.listen import parse_listen
from universal_tracer.config.outputs import PACKETS, OutputTarget, parse_output
from universal_tracer.config.trigger import parse_trigger
from universal_tracer.model.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from universal_tracer.config.tree import Config

ON_DEMAND: Final = "on-demand"
_SUMMARY: Final = "summary"
_TRACING: Final = ("tracing", "mixed")


def contradictions(config: Config, origins: Mapping[str, str]) -> list[str]:
    """All of them in words, each beginning with where the value came from."""
    return [
        *_outputs(config, origins),
        *_packets(config, origins),
        *_metrics_only(config, origins),
        *_listen(config, origins),
        *_modes(config, origins),
        *_on_demand(config, origins),
    ]


def output_targets(config: Config) -> list[OutputTarget]:
    """`output.files`, parsed; they were checked before."""
    return [parse_output(text) for text in config.output.files]


def _told(origins: Mapping[str, str], dotted: str, message: str) -> str:
    origin = origins[dotted]
    return f"{origin}: {message}" if origin.startswith("-") else f"{origin}: {dotted}: {message}"


def _outputs(config: Config, origins: Mapping[str, str]) -> Iterator[str]:
    seen: set[str] = set()
    for text in config.output.files:
        try:
            target = parse_output(text)
        except ValueError as error:
            yield _told(origins, "output.files", str(error))
            continue
        place = target.path if target.is_stdout else os.path.realpath(target.path)
        if place in seen:
            yield _told(origins, "output.files", f"the same output is named twice: {text!r}")
        if target.is_stdout and config.output.format not in (None, "none", target.format):
            message = f"{text!r} and {config.output.format!r} both write to standard output"
            yield _told(origins, "output.files", message)
        seen.add(place)


def _packets(config: Config, origins: Mapping[str, str]) -> Iterator[str]:
    files = [target.text for target in _valid_targets(config) if target.format == PACKETS]
    if files and not config.xdp_tracer.enable_packet_capture:
        message = f"{files[0]!r} is an output for packets"
        yield _told(origins, "xdp_tracer.enable_packet_capture", message)


def _metrics_only(config: Config, origins: Mapping[str, str]) -> Iterator[str]:
    if not config.output.metrics_only:
        return
    if any(not target.is_stdout for target in _valid_targets(config)):
        yield _told(origins, "output.metrics_only", "there are no events for an output file to hold")
    if config.record.directory is not None:
        yield _told(origins, "output.metrics_only", "there are no events to record")
    if any(event != _SUMMARY for event in config.output.events or ()):
        yield _told(origins, "output.metrics_only", "there are no events but summary")


def _valid_targets(config: Config) -> Iterator[OutputTarget]:
    for text in config.output.files:
        with suppress(ValueError):
            yield parse_output(text)


def _listen(config: Config, origins: Mapping[str, str]) -> Iterator[str]:
    if config.export.prometheus_endpoint is not None:
        try:
            parse_listen(config.export.prometheus_endpoint)
        except ValueError as error:
            yield _told(origins, "export.prometheus_endpoint", str(error))


def _modes(config: Config, origins: Mapping[str, str]) -> Iterator[str]:
    stack = config.stack_tracer
    if stack.mode in _TRACING and not stack.trace_functions:
        yield _told(origins, "stack_tracer.mode", f"{stack.mode!r} traces functions, and none is named")
    if stack.mode not in (*_TRACING, ON_DEMAND) and stack.trace_functions:
        yield _told(origins, "stack_tracer.trace_functions", f"{stack.mode!r} traces no functions")


def _on_demand(config: Config, origins: Mapping[str, str]) -> Iterator[str]:
    mode, trigger = config.stack_tracer.mode, config.stack_tracer.trigger
    if trigger is not None:
        if mode != ON_DEMAND:
            message = f"a trigger starts captures of the mode {ON_DEMAND}, not of {mode}"
            yield _told(origins, "stack_tracer.trigger", message)
        try:
            parse_trigger(trigger)
        except ValueError as error:
            yield _told(origins, "stack_tracer.trigger", str(error))
    if mode == ON_DEMAND and config.output.metrics_only:
        yield _told(origins, "output.metrics_only", f"there are no events to capture in the mode {ON_DEMAND}")


# Keys that this version reads and checks but cannot act on: with any other value than the default it would do
# something else than it was asked to.
_ONLY_DEFAULT: Final = (
    "http_tracer.enable_correlation",
    "http_tracer.enable_distributed_tracing",
    "http_tracer.trace_header",
    "http_tracer.span_header",
    "export.jaeger_endpoint",
    "export.otlp_endpoint",
    "stack_tracer.enable_memory_profiling",
    "stack_tracer.enable_deadlock_detection",
)
_PROTOCOL: Final = "http"


def require_available(config: Config, origins: Mapping[str, str], tracers: Collection[str]) -> None:
    """Raises ConfigError where the configuration asks for what this build lacks, rather than ignore it.

    `tracers` are the names of those that this build has.
    """
    faults = [
        _told(origins, dotted, "this version cannot do that yet")
        for dotted in _ONLY_DEFAULT
        if _value(config, dotted) != keys()[dotted].default
    ]
    if _PROTOCOL not in config.http_tracer.protocols:
        faults.append(_told(origins, "http_tracer.protocols", f"this version looks for {_PROTOCOL} only"))
    faults += [
        _told(origins, "run.tracers", f"this version has no {name} tracer yet")
        for name in config.run.tracers or ()
        if name not in tracers
    ]
    if faults:
        raise ConfigError(
            "the configuration asks for what this version lacks", faults, hint="leave these keys out"
        )


def _value(config: Config, dotted: str) -> object:
    section, _, name = dotted.partition(".")
    value: object = getattr(getattr(config, section), name)
    return value
