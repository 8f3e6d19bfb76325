"""What ends a run: each is a condition that says how it is called once it has happened."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Final

from universal_tracer.cli.session import CLOSED_PIPE
from universal_tracer.cli.targets import ProcessWatch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from universal_tracer.cli.command import TracedCommand
    from universal_tracer.cli.session import EndCondition
    from universal_tracer.cli.signals import StopSignals

_STDOUT: Final = 1


def signalled(signals: StopSignals) -> EndCondition:
    """Ctrl-C, SIGTERM or SIGHUP."""
    return lambda: signals.request.name if signals.request is not None else None


def after(deadline_s: float) -> EndCondition:
    """The duration is over; `deadline_s` on the monotonic clock."""
    return lambda: "its duration" if time.monotonic() >= deadline_s else None


def ended_command(command: TracedCommand) -> EndCondition:
    """The traced command has ended by itself."""
    return lambda: "the end of the command" if command.has_ended() else None


def gone_pids(pids: Sequence[int], stack: ExitStack) -> EndCondition:
    """None of the processes runs any more; `stack` closes what watches them."""
    watch = stack.enter_context(ProcessWatch(pids))
    return lambda: "the end of every traced pid" if watch.all_gone() else None


def closed_stdout() -> EndCondition:
    """The reader of a pipe has gone; noticed also while nothing is written."""
    poll = select.poll()
    poll.register(_STDOUT, 0)
    return lambda: CLOSED_PIPE if any(events & select.POLLERR for _, events in poll.poll(0)) else None
