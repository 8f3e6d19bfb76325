"""Stacks for https://www.speedscope.app: a profile per program and kind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from universal_tracer import __version__

if TYPE_CHECKING:
    from universal_tracer.model.stack_counts import Frame, StackCounts

_SCHEMA: Final = "https://www.speedscope.app/file-format-schema.json"


def speedscope(counts: StackCounts, subject: str) -> bytes:
    """The file's content."""
    frames: dict[Frame, int] = {}
    profiles: dict[tuple[str, str], dict[str, Any]] = {}
    for key, found in counts.sums.items():
        profile = profiles.setdefault((key.comm, key.kind), _profile(f"{key.comm} ({key.kind})"))
        profile["samples"].append([frames.setdefault(frame, len(frames)) for frame in key.frames])
        profile["weights"].append(found.value_ns)
        profile["endValue"] += found.value_ns
    content = {
        "$schema": _SCHEMA,
        "exporter": f"universal-tracer {__version__}",
        "name": " · ".join(part for part in (counts.host, subject) if part) or "universal-tracer",
        "activeProfileIndex": 0,
        "shared": {"frames": [_frame(frame) for frame in frames]},
        "profiles": list(profiles.values()) or [_profile("no samples")],
    }
    return json.dumps(content, separators=(",", ":")).encode()


def _profile(name: str) -> dict[str, Any]:
    return {
        "type": "sampled",
        "name": name,
        "unit": "nanoseconds",
        "startValue": 0,
        "endValue": 0,
        "samples": [],
        "weights": [],
    }


def _frame(frame: Frame) -> dict[str, Any]:
    known = {"name": frame.name, "file": frame.file or frame.module, "line": frame.line}
    return {name: value for name, value in known.items() if value is not None}
