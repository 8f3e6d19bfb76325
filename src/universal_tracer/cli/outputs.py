"""Which events a run produces and where they go."""

from __future__ import annotations

import errno
import fcntl
import os
from importlib import import_module
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final

from universal_tracer.cli.signals import blocked_in_new_threads
from universal_tracer.cli.tracers import COMMON_EVENTS, ON_REQUEST, SUMMARY, available_events
from universal_tracer.config.outputs import PACKETS, STACK_FORMATS
from universal_tracer.config.rules import ON_DEMAND, output_targets
from universal_tracer.config.suggest import did_you_mean
from universal_tracer.model.errors import OutputError, UsageError
from universal_tracer.model.ports import OutputFile, Recording, StandardOutput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from universal_tracer.cli.tracers import Tracer
    from universal_tracer.config.outputs import OutputTarget
    from universal_tracer.config.settings import Settings
    from universal_tracer.model.ports import Stage


_STDOUT: Final = 1
_CAPTURING: Final = "xdp"
PROFILE: Final = "profile"
_PARQUET: Final = "parquet"
_ERASE_BELOW: Final = b"\r\x1b[J"


def chosen_events(settings: Settings, tracers: Sequence[Tracer]) -> tuple[str, ...]:
    """The event types of the run. Raises UsageError for those that no chosen tracer makes."""
    if settings.config.output.metrics_only:
        return (SUMMARY,)
    available = available_events(tuple(tracer.name for tracer in tracers))
    named = settings.config.output.events
    if named is None:
        return tuple(event for event in available if event not in ON_REQUEST)
    impossible = [event for event in named if event not in available]
    if impossible:
        possible = [event for event in named if event in available] or available
        raise UsageError(
            f"nothing makes {impossible[0]!r} events{did_you_mean(impossible[0], available)}",
            cause=f"what runs ({', '.join(tracer.name for tracer in tracers)}) makes {', '.join(available)}",
            hint=f"universal-tracer --events {','.join(possible)}",
        )
    return tuple(dict.fromkeys(named))


def condition(settings: Settings, events: Sequence[str]) -> Stage | None:
    """What `output.where` says, checked for these event types. Raises UsageError where it is wrong.

    With `--metrics-only` it chooses among summaries; what they sum up is not touched by it.
    """
    text = settings.config.output.where
    if text is None:
        return None
    origin = settings.origins["output.where"]
    with blocked_in_new_threads():  # polars starts some, before the run takes the signals
        where = import_module("universal_tracer.pipeline.where").Where
        made: Stage = where(text, events, origin if origin.startswith("-") else f"{origin}: output.where")
    return made


def output_files(settings: Settings, tracers: Sequence[Tracer], events: Sequence[str]) -> list[OutputFile]:
    """The files of `--output`, those of a directory named after the tracers that run; opens nothing.

    Raises UsageError where a directory's file is named once more, where an output is for packets or stacks
    and nothing takes any, and where a file cannot hold these events.
    """
    _require_packets(settings, tracers)
    _require_stacks(settings, tracers)
    if settings.config.stack_tracer.mode == ON_DEMAND:  # a directory holds captures of them
        tracers = [tracer for tracer in tracers if PROFILE not in tracer.events]
    targets = output_targets(settings.config)
    for target in targets:
        if target.format == _PARQUET:
            _require_parquet(target, events)
    found = [
        file for target in targets if not target.is_stdout for file in _files_of(target, tracers, events)
    ]
    seen: set[str] = set()
    for file in found:
        place = os.path.realpath(file.path)
        if place in seen:
            raise UsageError(
                f"the same output is named twice: {str(file.path)!r}",
                cause="it is in a directory whose files are named by --output DIR/",
                hint="leave one of the two out",
            )
        seen.add(place)
    return found


def _require_packets(settings: Settings, tracers: Sequence[Tracer]) -> None:
    for target in output_targets(settings.config):
        if target.format != PACKETS:
            continue
        if _CAPTURING not in [tracer.name for tracer in tracers]:
            raise UsageError(
                f"no packets come to {target.text!r}",
                cause=f"only the {_CAPTURING} tracer captures packets, and it does not run",
                hint=f"universal-tracer --tracer {_CAPTURING} --output {quote(target.text)}",
            )
        if target.is_stdout and os.isatty(_STDOUT):
            raise UsageError(
                "packets are not for a terminal",
                cause="pcapng is no text",
                hint=f"universal-tracer --tracer {_CAPTURING} --output {PACKETS}:- | tshark -r -",
            )


def _require_stacks(settings: Settings, tracers: Sequence[Tracer]) -> None:
    """A picture of stacks needs a tracer that takes some."""
    if any(PROFILE in tracer.events for tracer in tracers):
        return
    for target in output_targets(settings.config):
        if target.format in STACK_FORMATS:
            raise UsageError(
                f"nothing would be in {target.text!r}: it shows stacks",
                cause=f"what runs ({', '.join(tracer.name for tracer in tracers)}) takes none",
                hint=f"universal-tracer --tracer stack --output {quote(target.text)}",
            )


def _require_parquet(target: OutputTarget, events: Sequence[str]) -> None:
    if len(events) != 1:
        raise UsageError(
            f"{target.text!r} can hold one event type only",
            cause=f"a Parquet file is one table, and these are chosen: {', '.join(events)}",
            hint=f"choose one: --events {events[0]}; --record DIR writes a file for each of them",
        )
    if target.is_stdout and os.isatty(_STDOUT):
        raise UsageError(
            "standard output is a terminal", cause="Parquet is binary", hint=f"--output {events[0]}.parquet"
        )


def recording(settings: Settings) -> Recording | None:
    """Where `--record` goes; None without it."""
    record = settings.config.record
    if record.directory is None:
        return None
    return Recording(Path(record.directory), record.keep.seconds, record.max_size.bytes)


def _files_of(target: OutputTarget, tracers: Sequence[Tracer], events: Sequence[str]) -> Iterator[OutputFile]:
    if target.format == _PARQUET:
        yield OutputFile(_PARQUET, Path(target.path), tuple(events))
        return
    if target.format is not None:
        yield OutputFile(target.format, Path(target.path))
        return
    for tracer in tracers:
        types = (*tracer.events, *COMMON_EVENTS)
        for name, format_name in tracer.directory_files:
            yield OutputFile(format_name, Path(target.path) / name, types, create_directory=True)


def standard_output(settings: Settings, events: Sequence[str] = ()) -> StandardOutput:
    """What goes to stdout, and whether that is a terminal. `events` are the types of the run."""
    targets = output_targets(settings.config)
    to_stdout = next((target.format for target in targets if target.is_stdout), None)
    is_terminal = os.isatty(_STDOUT)
    chosen = to_stdout or settings.config.output.format or _default_format(is_terminal, bool(targets))
    color = settings.config.run.color and is_terminal and not is_plain_environment()
    types = (SUMMARY,) if settings.config.output.metrics_only else settings.config.output.events
    return StandardOutput(chosen, is_terminal, color, types, tuple(events))


def is_plain_environment() -> bool:
    """Whether the user's environment asks for no colours, or names a terminal that has none."""
    return bool(os.environ.get("NO_COLOR")) or _is_dumb()


def _is_dumb() -> bool:
    return os.environ.get("TERM", "dumb") == "dumb"


def require_stdout(stdout: StandardOutput) -> None:
    """Raises OutputError where events should go to a stdout that is closed or only open for reading."""
    if stdout.format != "none" and fcntl.fcntl(_STDOUT, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OutputError(
            "cannot write standard output",
            cause="it is closed, or open for reading only",
            hint="--output http-events.json writes a file instead",
        )


def require_writable(files: Sequence[OutputFile], record: str | None) -> None:
    """Raises OutputError where a run could not open a file or make its recording's folder; makes none."""
    obstacles = [(str(file.path), _obstacle(file)) for file in files]
    if record is not None:
        obstacles.append(
            (record, _obstacle(OutputFile("parquet", Path(record) / "_", create_directory=True)))
        )
    for name, number in obstacles:
        if number:
            from universal_tracer.sinks import output_error  # noqa: PLC0415  beside its only use

            raise output_error(name, OSError(number, os.strerror(number)))


def _obstacle(file: OutputFile) -> int:
    """An errno, or 0 where nothing stands in the way."""
    folder = file.path.parent
    if file.create_directory and not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        return errno.ENOTDIR if folder.exists() else errno.ENOENT
    if file.path.is_dir():
        return errno.EISDIR
    place = file.path if file.path.exists() else folder
    return 0 if os.access(place, os.W_OK) else errno.EACCES


def leave_terminal(stdout: StandardOutput) -> None:
    """After an end without warning: what stands below the cursor (a table's footer) is of no use any more."""
    if stdout.format == "table" and stdout.is_terminal and not _is_dumb():
        os.write(_STDOUT, _ERASE_BELOW)


def _default_format(is_terminal: bool, has_files: bool) -> str:
    if is_terminal:
        return "table"
    return "none" if has_files else "ndjson"
