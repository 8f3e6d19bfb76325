"""Outputs: one module a format, each a `model.ports.Sink`. `open_sinks` opens the ones that a run asked for.

    ndjson      JSON, one object a line: files, pipes, standard output
    stack_file  stacks of the whole run: as folded lines, flamegraph (SVG), pprof or speedscope
    json_array  a JSON array in a file that can be read at any time
    parquet     one event type as a Parquet file that can be read at any time
    recording   a folder of Parquet files per event type, the oldest of which go
    table       a live table on a terminal, with network_table, function_table and call_table below it
    pcapng      packets, byte by byte
    prometheus  metrics over HTTP: no sink, it is opened by the run

No format knows another one. The modules load polars, hence the imports within functions.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from universal_tracer.config.outputs import STACK_FORMATS
from universal_tracer.model.errors import OutputError
from universal_tracer.system.files import is_regular, open_for_writing
from universal_tracer.system.terminal import Style, Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl

    from universal_tracer.model.ports import OutputFile, Recording, Sink, StandardOutput
    from universal_tracer.model.stack_counts import StackCounts

STDOUT_NAME = "standard output"
_STDOUT = 1


def open_sinks(
    files: Sequence[OutputFile],
    stdout: StandardOutput,
    subject: str = "",
    recording: Recording | None = None,
) -> list[Sink]:
    """The sinks of a run, standard output first. Existing files are replaced. `subject`: who is traced.

    Raises `OutputError` where one cannot be opened; those that were opened before it are closed again.
    """
    sinks = _stdout_sinks(stdout, subject)
    for file in files:
        try:
            sinks.append(_open(file, subject))
        except OSError as error:
            _close(sinks)
            raise output_error(str(file.path), error) from error
    if recording is not None:
        try:
            sinks.append(_open_recording(recording))
        except OSError as error:
            _close(sinks)
            raise output_error(str(recording.directory), error) from error
    return sinks


def output_error(name: str, error: OSError) -> OutputError:
    """What a user reads when the output `name` (a path or `standard output`) cannot be opened or written."""
    hint = "write to another place: --output PATH"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "df -h shows which disk is full; what was written before is valid"
    match error:
        case FileNotFoundError():
            hint = f"mkdir -p {quote(str(Path(name).parent))}"
        case PermissionError():
            hint = f"ls -ld {quote(str(Path(name).parent))} shows who may write there"
        case IsADirectoryError():
            hint = f"write {name}/ to have the files in it named for you"
    return OutputError(f"cannot write {name}", cause=(error.strerror or str(error)).lower(), hint=hint)


def _stdout_sinks(stdout: StandardOutput, subject: str) -> list[Sink]:
    # None where the tracer was started with standard output closed.
    descriptor = sys.stdout.fileno() if sys.stdout else _STDOUT
    match stdout.format:
        case "none":
            return []
        case "table":
            return [_table(stdout, descriptor)]
        case "parquet":
            return [_parquet(STDOUT_NAME, descriptor, stdout.event_types)]
        case format_name if format_name in STACK_FORMATS:
            return [_stack_sink(format_name, STDOUT_NAME, os.dup(descriptor), subject)]
        case format_name:
            return [_stream(format_name, STDOUT_NAME, descriptor)]


def _table(stdout: StandardOutput, descriptor: int) -> Sink:
    from universal_tracer.sinks.call_table import EVENT_TYPES as CALL_EVENTS  # noqa: PLC0415  loads polars
    from universal_tracer.sinks.call_table import CallTable  # noqa: PLC0415
    from universal_tracer.sinks.function_table import EVENT_TYPES as STACK_EVENTS  # noqa: PLC0415  loads polars
    from universal_tracer.sinks.function_table import FunctionTable  # noqa: PLC0415
    from universal_tracer.sinks.network_table import EVENT_TYPES as NETWORK_EVENTS  # noqa: PLC0415
    from universal_tracer.sinks.network_table import NetworkTable  # noqa: PLC0415  loads polars
    from universal_tracer.sinks.summary_lines import SummarySink  # noqa: PLC0415
    from universal_tracer.sinks.table import Contents, Panel, Panels, TableSink  # noqa: PLC0415

    encoding = sys.stdout.encoding if sys.stdout else "utf-8"
    is_live = stdout.is_terminal and os.environ.get("TERM", "dumb") != "dumb"
    style = Style(color=stdout.color and is_live, only_ascii=not encoding.lower().startswith("utf"))
    terminal = Terminal(descriptor, style, is_live)
    if stdout.event_types == ("summary",):
        return SummarySink(STDOUT_NAME, terminal)
    panels: list[Panel] = []
    if any(event_type in stdout.produces for event_type in NETWORK_EVENTS):
        panels.append(NetworkTable(style))
    if any(event_type in stdout.produces for event_type in STACK_EVENTS):
        panels.append(FunctionTable(style))
    if any(event_type in stdout.produces for event_type in CALL_EVENTS):
        panels.append(CallTable(style))
    contents = Contents(
        requests="http" in stdout.produces or not panels,
        connections="connection" in (stdout.event_types or ()),
        panel=Panels(tuple(panels)),
    )
    return TableSink(STDOUT_NAME, terminal, contents=contents)


def _stream(format_name: str, name: str, descriptor: int) -> Sink:
    """What is written as it comes, also into pipes."""
    from universal_tracer.sinks.ndjson import NdjsonSink  # noqa: PLC0415  loads polars
    from universal_tracer.sinks.pcapng import PcapngSink  # noqa: PLC0415

    return PcapngSink(name, descriptor) if format_name == "pcapng" else NdjsonSink(name, descriptor)


def _open(file: OutputFile, subject: str) -> Sink:
    if file.create_directory:
        with suppress(FileExistsError):
            file.path.parent.mkdir()
    if file.format == "parquet":
        return _parquet(str(file.path), open_for_writing(file.path), file.event_types)
    sink = _sink(file.format, file.path, subject)
    return sink if file.event_types is None else _Only(sink, frozenset(file.event_types))


def _sink(format_name: str, path: Path, subject: str) -> Sink:
    from universal_tracer.sinks.json_array import JsonSink  # noqa: PLC0415  loads polars

    descriptor = open_for_writing(path)
    if format_name in STACK_FORMATS:
        return _stack_sink(format_name, str(path), descriptor, subject)
    # An array needs a file in which one can go back; pipes and devices get lines as standard output does.
    if format_name == "json" and is_regular(descriptor):
        return JsonSink(str(path), descriptor)
    return _stream(format_name, str(path), descriptor)


def _stack_sink(format_name: str, name: str, descriptor: int, subject: str) -> Sink:
    from universal_tracer.sinks.flamegraph import flame_graph  # noqa: PLC0415  loads polars
    from universal_tracer.sinks.folded import folded  # noqa: PLC0415
    from universal_tracer.sinks.pprof import pprof  # noqa: PLC0415
    from universal_tracer.sinks.speedscope import speedscope  # noqa: PLC0415
    from universal_tracer.sinks.stack_file import StackFileSink  # noqa: PLC0415

    renderers: dict[str, Callable[[StackCounts], bytes]] = {
        "svg": partial(flame_graph, subject=subject),
        "folded": folded,
        "pprof": pprof,
        "speedscope": partial(speedscope, subject=subject),
    }
    return StackFileSink(name, descriptor, renderers[format_name])


def _parquet(name: str, descriptor: int, event_types: Sequence[str] | None) -> Sink:
    from universal_tracer.sinks.parquet import ParquetSink  # noqa: PLC0415  loads polars

    [event_type] = event_types or ()
    return ParquetSink(name, descriptor, event_type)


def _open_recording(recording: Recording) -> Sink:
    from universal_tracer.sinks.recording import RecordingSink  # noqa: PLC0415  loads polars

    return RecordingSink(recording)


def _close(sinks: list[Sink]) -> None:
    for sink in sinks:
        with suppress(OSError):
            sink.close()


class _Only:
    """A sink that gets some event types only."""

    def __init__(self, sink: Sink, event_types: frozenset[str]) -> None:
        self._sink = sink
        self._event_types = event_types

    @property
    def name(self) -> str:
        return self._sink.name

    def write(self, event_type: str, frame: pl.DataFrame) -> None:
        if event_type in self._event_types:
            self._sink.write(event_type, frame)

    def flush(self) -> None:
        self._sink.flush()

    def close(self) -> None:
        self._sink.close()
