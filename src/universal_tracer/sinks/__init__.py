"""Outputs: one module a format, each a `model.ports.Sink`. `open_sinks` opens the ones that a run asked for.

    ndjson      JSON, one object a line: files, pipes, standard output
    folded      stacks, a line each, and how often they were seen
    flamegraph  the same as a picture (SVG)
    json_array  a JSON array in a file that can be read at any time
    table       a live table on a terminal, with network_table for what concerns packets
    pcapng      packets, byte by byte

No format knows another one. The modules load polars, hence the imports within functions.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from universal_tracer.config.outputs import STACK_FORMATS
from universal_tracer.model.errors import OutputError
from universal_tracer.system.files import is_regular, open_for_writing
from universal_tracer.system.terminal import Style, Terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from universal_tracer.model.ports import OutputFile, Sink, StandardOutput

STDOUT_NAME = "standard output"
_STDOUT = 1


def open_sinks(files: Sequence[OutputFile], stdout: StandardOutput, subject: str = "") -> list[Sink]:
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
    from universal_tracer.sinks.ndjson import NdjsonSink  # noqa: PLC0415  loads polars
    from universal_tracer.sinks.network_table import EVENT_TYPES as NETWORK_EVENTS  # noqa: PLC0415
    from universal_tracer.sinks.network_table import NetworkTable  # noqa: PLC0415
    from universal_tracer.sinks.pcapng import PcapngSink  # noqa: PLC0415
    from universal_tracer.sinks.summary_lines import SummarySink  # noqa: PLC0415
    from universal_tracer.sinks.table import Contents, TableSink  # noqa: PLC0415

    # None where the tracer was started with standard output closed.
    descriptor = sys.stdout.fileno() if sys.stdout else _STDOUT
    encoding = sys.stdout.encoding if sys.stdout else "utf-8"
    match stdout.format:
        case "none":
            return []
        case "table":
            is_live = stdout.is_terminal and os.environ.get("TERM", "dumb") != "dumb"
            only_ascii = not encoding.lower().startswith("utf")
            style = Style(color=stdout.color and is_live, only_ascii=only_ascii)
            terminal = Terminal(descriptor, style, is_live)
            if stdout.event_types == ("summary",):
                return [SummarySink(STDOUT_NAME, terminal)]
            shows_network = any(event_type in stdout.produces for event_type in NETWORK_EVENTS)
            contents = Contents(
                requests="http" in stdout.produces or not shows_network,
                connections="connection" in (stdout.event_types or ()),
                panel=NetworkTable(style) if shows_network else None,
            )
            return [TableSink(STDOUT_NAME, terminal, contents=contents)]
        case "pcapng":
            return [PcapngSink(STDOUT_NAME, descriptor)]
        case format_name if format_name in STACK_FORMATS:
            return [_stack_sink(format_name, STDOUT_NAME, os.dup(descriptor), subject)]
        case _:
            return [NdjsonSink(STDOUT_NAME, descriptor)]


def _open(file: OutputFile, subject: str) -> Sink:
    if file.create_directory:
        with suppress(FileExistsError):
            file.path.parent.mkdir()
    sink = _sink(file.format, file.path, subject)
    return sink if file.event_types is None else _Only(sink, frozenset(file.event_types))


def _sink(format_name: str, path: Path, subject: str) -> Sink:
    from universal_tracer.sinks.json_array import JsonSink  # noqa: PLC0415  loads polars
    from universal_tracer.sinks.ndjson import NdjsonSink  # noqa: PLC0415
    from universal_tracer.sinks.pcapng import PcapngSink  # noqa: PLC0415

    descriptor = open_for_writing(path)
    if format_name in STACK_FORMATS:
        return _stack_sink(format_name, str(path), descriptor, subject)
    # An array needs a file in which one can go back; pipes and devices get lines as standard output does.
    if format_name == "json" and is_regular(descriptor):
        return JsonSink(str(path), descriptor)
    return PcapngSink(str(path), descriptor) if format_name == "pcapng" else NdjsonSink(str(path), descriptor)


def _stack_sink(format_name: str, name: str, descriptor: int, subject: str) -> Sink:
    from universal_tracer.sinks.flamegraph import FlameGraphSink  # noqa: PLC0415  loads polars
    from universal_tracer.sinks.folded import FoldedSink  # noqa: PLC0415

    if format_name == "folded":
        return FoldedSink(name, descriptor)
    return FlameGraphSink(name, descriptor, subject)


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
