"""The packet tracer's settings, made of the configuration and the targets."""

from __future__ import annotations

import os
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from universal_tracer.cli.http_settings import privacy_settings
from universal_tracer.config.outputs import PACKETS
from universal_tracer.config.rules import output_targets

if TYPE_CHECKING:
    from universal_tracer.cli.targets import Targets
    from universal_tracer.config.tree import Config

_RING_BYTES: Final = 8 * 1024 * 1024
_STDOUT: Final = 1
_OBJECT: Final = "objects/xdp_tracer.o"


def xdp_settings(config: Config, targets: Targets) -> dict[str, object]:
    """What `sources.live.open_xdp` takes."""
    xdp = config.xdp_tracer
    return {
        "object_path": str(files("universal_tracer").joinpath(_OBJECT)),
        "interfaces": list(xdp.interfaces),
        "processes": targets.present_pids(),
        "waits": targets.waits_for_interfaces,
        "mode": xdp.mode,
        "egress": xdp.enable_egress_capture,
        "flow_table_size": xdp.flow_table_size,
        "flow_timeout_ns": xdp.flow_timeout.nanoseconds,
        "sampling": xdp.sampling_rate,
        "expression": xdp.filter,
        "self_pid": os.getpid(),
        "filter": not targets.is_whole_machine,
        "pids": targets.first_pids,
        "cgroups": targets.first_groups(),
        "names": list(targets.names),
        "detect_payload": xdp.enable_http_detection,
        "track_flows": xdp.enable_flow_tracking,
        "packet_events": "packet" in (config.output.events or ()),
        "capture_bytes": xdp.max_packet_size if _captures(config) else 0,
        "privacy": privacy_settings(config),
        "is_watched": config.output.format in (None, "table") and os.isatty(_STDOUT),
        "interval_ns": config.output.interval.nanoseconds,
        "ring_bytes": _RING_BYTES,
    }


def _captures(config: Config) -> bool:
    return any(target.format == PACKETS for target in output_targets(config))
