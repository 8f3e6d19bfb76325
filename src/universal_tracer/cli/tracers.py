"""The tracers of this build. A new one is one more entry here; flags, help and directories of files follow.

Light on purpose: what loads the native module is named by its import path and imported when a run opens it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Tracer:
    """What the command line knows of a tracer before it runs.

    `directory_files` are the files that `--output DIR/` makes for it: (name, format).
    `opener` is `MODULE:FUNCTION`, which takes the session settings and returns a Source; `settings_maker` is
    `MODULE:FUNCTION`, which makes these settings of the configuration and the targets; `trial` is
    `MODULE:FUNCTION`, which takes the same settings, loads and attaches for a moment what a run would, harms
    nobody, and returns a `model.trial.Trial`. `needs` are capabilities beyond those that all tracing needs.
    """

    name: str
    sees: str
    events: tuple[str, ...]
    rate_key: str
    directory_files: tuple[tuple[str, str], ...]
    opener: str
    settings_maker: str
    trial: str
    needs: tuple[str, ...] = ()


TRACERS: Final[dict[str, Tracer]] = {
    "http": Tracer(
        name="http",
        sees="HTTP",
        events=("http", "connection"),
        rate_key="http_tracer.sampling_rate",
        directory_files=(("http-events.json", "json"),),
        opener="universal_tracer.sources.live:open_http",
        settings_maker="universal_tracer.cli.http_settings:http_settings",
        trial="universal_tracer.sources.trial:try_http",
    ),
    "xdp": Tracer(
        name="xdp",
        sees="packets",
        events=("packet", "flow", "interface"),
        rate_key="xdp_tracer.sampling_rate",
        directory_files=(("xdp-events.json", "json"),),
        opener="universal_tracer.sources.live:open_xdp",
        settings_maker="universal_tracer.cli.xdp_settings:xdp_settings",
        trial="universal_tracer.sources.trial:try_xdp",
        needs=("CAP_NET_ADMIN",),
    ),
    "stack": Tracer(
        name="stack",
        sees="stacks",
        events=("profile", "function"),
        rate_key="stack_tracer.sampling_frequency",
        directory_files=(("stack-events.json", "json"), ("flamegraph.svg", "svg")),
        opener="universal_tracer.sources.live:open_stack",
        settings_maker="universal_tracer.cli.stack_settings:stack_settings",
        trial="universal_tracer.sources.trial:try_stack",
    ),
}

# Event types that every run can produce, whatever the tracer.
COMMON_EVENTS: Final = ("loss",)
# Types that a run produces only when they are named.
ON_REQUEST: Final = ("packet",)
# What `--metrics-only` tells instead of all others.
SUMMARY: Final = "summary"


def available_events(names: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """The event types that these tracers (None: all of this build) can produce."""
    chosen = TRACERS.values() if names is None else [TRACERS[name] for name in names]
    return tuple(event for tracer in chosen for event in tracer.events) + COMMON_EVENTS
