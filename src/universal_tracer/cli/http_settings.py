"""The HTTP session's settings, made of the configuration and the targets."""

from __future__ import annotations

import os
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from universal_tracer.system.interfaces import addresses_of, net_namespace

if TYPE_CHECKING:
    from universal_tracer.cli.targets import Targets
    from universal_tracer.config.tree import Config

# A tenth of a second of records of a saturated two-core machine; it is drained every 50 ms.
# Its pages are mapped twice and count twice as resident.
_RING_BYTES: Final = 8 * 1024 * 1024
_OBJECT: Final = "objects/http_tracer.o"


def http_settings(config: Config, targets: Targets) -> dict[str, object]:
    """What `sources.live.open_http` takes."""
    http = config.http_tracer
    return {
        "object_path": str(files("universal_tracer").joinpath(_OBJECT)),
        "self_pid": os.getpid(),
        "filter": not targets.is_whole_machine,
        "pids": targets.first_pids,
        "cgroups": targets.first_groups(),
        "names": list(targets.names),
        "local_addresses": addresses_of(targets.interfaces) if targets.interfaces else None,
        "net_namespace": net_namespace(),
        "max_payload_size": http.max_payload_size,
        "sampling_rate": http.sampling_rate,
        "correlation_timeout_ns": http.correlation_timeout.nanoseconds,
        "correlation_table_size": http.correlation_table_size,
        "ring_bytes": _RING_BYTES,
        "cpu_percent": config.limits.cpu_percent,
        "memory_bytes": config.limits.memory.amount,
        "privacy": privacy_settings(config),
    }


def privacy_settings(config: Config) -> dict[str, object]:
    """What every tracer's core masks."""
    privacy = config.privacy
    return {
        "enable_pii_filtering": privacy.enable_pii_filtering,
        "mask_sensitive_headers": privacy.mask_sensitive_headers,
        "exclude_patterns": list(privacy.exclude_patterns),
        "max_payload_capture": privacy.max_payload_capture,
    }
