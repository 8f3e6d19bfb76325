"""The stack session's settings, made of the configuration and the targets."""

from __future__ import annotations

import os
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from universal_tracer.cli.http_settings import privacy_settings
from universal_tracer.cli.on_demand.plan import BEFORE_S, LATE_S
from universal_tracer.config.rules import ON_DEMAND
from universal_tracer.system.processes import pids_named

if TYPE_CHECKING:
    from universal_tracer.cli.targets import Targets
    from universal_tracer.config.tree import Config

# Two thousand deep stacks, or many more ordinary ones: a second of 64 busy CPUs. It is drained every 50 ms.
_RING_BYTES: Final = 4 * 1024 * 1024
# A hundred thousand calls between two looks.
_CALL_RING_BYTES: Final = 16 * 1024 * 1024
_NO_RING_BYTES: Final = 4096
_OBJECT: Final = "objects/stack_tracer.o"
_INTERVAL_NS: Final = 1_000_000_000
_KEEP_NS: Final = (BEFORE_S + LATE_S) * 1_000_000_000


def stack_settings(config: Config, targets: Targets) -> dict[str, object]:
    """What `sources.live.open_stack` takes."""
    stack = config.stack_tracer
    own_names = list(stack.target_processes)
    return {
        "object_path": str(files("universal_tracer").joinpath(_OBJECT)),
        "self_pid": os.getpid(),
        "filter": bool(own_names) or not targets.is_whole_machine,
        "pids": [*targets.first_pids, *_pids_of(own_names)],
        "cgroups": targets.first_groups(),
        "names": [*targets.names, *own_names],
        "samples": stack.mode != "tracing",
        "frequency_hz": stack.sampling_frequency,
        "functions": list(stack.trace_functions),
        "scope_pids": sorted({*targets.running_pids(), *_pids_of(own_names)}),
        "program": targets.command_program,
        "call_events": not config.output.metrics_only,
        "kernel_stacks": stack.enable_kernel_stacks,
        "user_stacks": stack.enable_user_stacks,
        "mixed_stacks": stack.enable_mixed_stacks,
        "off_cpu": stack.off_cpu,
        "by_tables": stack.enable_dwarf_unwinding,
        "max_depth": stack.max_stack_depth,
        "stacks_held": stack.stack_map_size,
        "interval_ns": _INTERVAL_NS,
        "privacy": privacy_settings(config),
        "keep_ns": _KEEP_NS if stack.mode == ON_DEMAND else None,
        "ring_bytes": _RING_BYTES,
        "call_ring_bytes": _CALL_RING_BYTES if stack.trace_functions else _NO_RING_BYTES,
    }


def _pids_of(names: list[str]) -> list[int]:
    return sorted({pid for name in names for pid in pids_named(name)} - {os.getpid()})
