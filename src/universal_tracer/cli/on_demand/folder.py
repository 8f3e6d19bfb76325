"""A capture's files: the events of its window, flame graphs of them, and `trigger.json`, which says why.

`trigger.json` comes last: where it is, the capture is complete.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from universal_tracer.model.ports import OutputFile, StandardOutput
from universal_tracer.model.times import rfc3339
from universal_tracer.sinks import open_sinks
from universal_tracer.system.files import open_for_writing, write_whole
from universal_tracer.system.json_lines import json_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from universal_tracer.cli.on_demand.captures import Capture
    from universal_tracer.cli.tracers import Tracer
    from universal_tracer.model.ports import Sink

TRIGGER_FILE: Final = "trigger.json"
REQUEST_FILE: Final = "request.svg"
_NOTHING: Final = StandardOutput("none", is_terminal=False, color=False)
_PROFILE: Final = "profile"


def write_capture(
    directory: Path,
    capture: Capture,
    frames: Mapping[str, pl.DataFrame],
    tracers: Sequence[Tracer],
    whom: str,
) -> Path:
    """Make a folder for it in `directory`, and return that. Raises OSError and OutputError."""
    folder = _make(directory, capture)
    files = [
        OutputFile(format_name, folder / name, tracer.events)
        for tracer in tracers
        for name, format_name in tracer.directory_files
    ]
    subject = f"{capture.reason} · {whom}"
    _write(open_sinks(files, _NOTHING, subject), frames)
    served = _of_request(capture, frames.get(_PROFILE))
    if served is not None:
        file = OutputFile("svg", folder / REQUEST_FILE)
        _write(open_sinks([file], _NOTHING, f"{capture.reason}, its thread alone"), {_PROFILE: served})
    _write_trigger(folder, capture, frames)
    return folder


def _make(directory: Path, capture: Capture) -> Path:
    moment = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime(capture.fired.at_ns // 1_000_000_000))
    name = f"capture-{capture.number:04d}-{moment}"
    for more in _suffixes():
        folder = directory / f"{name}{more}"
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError  # there is always one more suffix


def _suffixes() -> Iterator[str]:
    """Another tracer may write into the same directory."""
    yield ""
    number = 2
    while True:
        yield f"-{number}"
        number += 1


def _write(sinks: Sequence[Sink], frames: Mapping[str, pl.DataFrame]) -> None:
    try:
        for sink in sinks:
            for event_type, frame in frames.items():
                if not frame.is_empty():
                    sink.write(event_type, frame)
            sink.flush()
    finally:
        for sink in sinks:
            sink.close()


def _of_request(capture: Capture, profile: pl.DataFrame | None) -> pl.DataFrame | None:
    """What the thread did that served the request, while it did; None where no request is meant."""
    if capture.request is None or profile is None:
        return None
    rows = profile.filter(capture.request.served())
    return rows if not rows.is_empty() else None


def _write_trigger(folder: Path, capture: Capture, frames: Mapping[str, pl.DataFrame]) -> None:
    text = json.dumps(_trigger(folder, capture, frames), indent=2, ensure_ascii=False) + "\n"
    descriptor = open_for_writing(folder / TRIGGER_FILE)
    try:
        write_whole(descriptor, text.encode(errors="replace"))
    finally:
        os.close(descriptor)


def _trigger(folder: Path, capture: Capture, frames: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    fired = capture.fired
    profile = frames.get(_PROFILE)
    cpu = profile.filter(pl.col("kind") == "cpu") if profile is not None else None
    return {
        "capture": capture.number,
        "condition": fired.condition,
        "timestamp": rfc3339(fired.at_ns),
        "timestamp_ns": fired.at_ns,
        "measured": fired.measured,
        "event": json.loads(next(json_lines(fired.event))) if fired.event is not None else None,
        "window": {
            "begin": rfc3339(capture.begin_ns),
            "end": rfc3339(capture.end_ns),
            "before_ms": (fired.at_ns - capture.begin_ns) / 1e6,
            "after_ms": (capture.end_ns - fired.at_ns) / 1e6,
        },
        "samples": int(cpu["count"].sum()) if cpu is not None else 0,
        "events": {event_type: frame.height for event_type, frame in sorted(frames.items())},
        "further_triggers": capture.further,
        "lost": [
            {"tracer": tracer, "where": where, "count": count}
            for (tracer, where), count in sorted(capture.lost.items())
        ],
        "files": sorted(entry.name for entry in folder.iterdir()),
    }
