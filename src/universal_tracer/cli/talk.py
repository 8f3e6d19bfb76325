"""What is said on standard error: the start line, notes, warnings and the summary."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from universal_tracer.cli.recorder import recorder
from universal_tracer.system.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from universal_tracer.model.ports import RunSummary

_STDERR: Final = 2


class Talk:
    """Says as much as `run.verbosity` allows: `quiet`, `normal` or `verbose`."""

    def __init__(self, verbosity: str = "normal") -> None:
        self._verbosity = verbosity

    def say(self, line: str) -> None:
        """What everyone wants to know who did not ask for quiet."""
        recorder.messages.append(line)
        if self._verbosity != "quiet":
            self._write(line)

    def explain(self, line: str) -> None:
        """What only `-v` asks for."""
        recorder.messages.append(line)
        if self._verbosity == "verbose":
            self._write(line)

    def warn(self, line: str) -> None:
        """Something works less well than a user may think."""
        self.say(f"warning: {line}")

    def summarize(self, summary: RunSummary) -> None:
        """The end of a run; losses are told to the quiet as well."""
        for line in summary_lines(summary):
            self.say(line)
        if summary.lost_total and self._verbosity == "quiet":
            self._write(f"lost: {_lost(summary)}")

    def _write(self, line: str) -> None:
        # One write per line, not through a buffer: lines of the traced command stand between ours. Where
        # standard error is closed nobody listens, and the exit code still tells how it ended.
        with suppress(OSError):
            os.write(_STDERR, (visible(line) + "\n").encode(errors="backslashreplace"))


def summary_lines(summary: RunSummary) -> list[str]:
    """How a run ended, what it saw and lost, and where that is."""
    counts = ", ".join(f"{event_type} {count:,}" for event_type, count in sorted(summary.events.items()))
    total = sum(summary.events.values())
    lines = [
        f"summary: {plural(total, 'event')} in {summary.duration_s:.1f} s"
        + (f" ({counts})" if counts else "")
        + f", lost: {_lost(summary)}; ended by {summary.ended_by}"
    ]
    if summary.stacks is not None:
        lines.append(f"stacks: {summary.stacks}")
    if summary.command_status is not None:
        lines.append(f"command: {_command_end(summary.command_status)}")
    lines.extend(f"written: {path}" for path in summary.files)
    return lines


def _lost(summary: RunSummary) -> str:
    if not summary.lost_total:
        return "nothing"
    places = ", ".join(
        f"{tracer} {where} {count:,}" for (tracer, where), count in sorted(summary.lost.items())
    )
    return f"{plural(summary.lost_total, 'event')} ({places})"


def _command_end(status: int) -> str:
    """`status` as subprocess has it: negative for signals."""
    if status >= 0:
        return f"exit code {status}"
    import signal  # noqa: PLC0415  only for its names

    names = {number.value: number.name for number in signal.Signals}
    return f"ended by {names.get(-status, f'signal {-status}')}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 event`, `2,000 events`; `many` where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = words or ["nothing"]
    return f"{', '.join(first)} and {last}" if first else last
