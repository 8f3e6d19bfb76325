"""A run's captures, from its checks to its summary; what loads polars is loaded when the run begins."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Final

from universal_tracer.cli.on_demand.triggers import FileWatch, LevelWatch, SignalWatch, Watch
from universal_tracer.cli.outputs import require_writable
from universal_tracer.system.usage import usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from universal_tracer.cli.on_demand.captures import Captures
    from universal_tracer.cli.on_demand.plan import OnDemand
    from universal_tracer.cli.session import Session
    from universal_tracer.cli.talk import Talk
    from universal_tracer.cli.targets import Targets
    from universal_tracer.model.ports import RunSummary, Source
    from universal_tracer.model.series import Series


# Nobody waits for events: a trigger that is known half a second later captures the same seconds.
_WAITING_TICK_MS: Final = 500


class Capturing:
    """What a run does for its captures; methods in the order in which they are called."""

    def __init__(self, plan: OnDemand, talk: Talk) -> None:
        self.plan = plan
        self._talk = talk
        self._signal = SignalWatch()
        self._captures: Captures | None = None

    @property
    def signals(self) -> Mapping[signal.Signals, Callable[[], None]]:
        """What starts a capture in any case."""
        return {signal.SIGUSR1: self._signal.arrived}

    def require(self, sources: Sequence[Source]) -> None:
        """Raises OutputError where captures cannot be written, KernelError where something is missing.

        A directory that was named is made.
        """
        self.plan.require(sources)
        for level in self.plan.trigger.levels:
            usage(level.name, None)
        if self.plan.is_named:
            for directory in self.plan.directories:
                with suppress(OSError):  # the check tells it
                    directory.mkdir(exist_ok=True)
        require_writable(self.plan.checks(), None)

    def begin(self, session: Session, targets: Targets, series: Series | None) -> None:
        """Everything is attached: take part."""
        stacks = next(source for source in session.sources if source.tracer == "stack")
        module = import_module("universal_tracer.cli.on_demand.captures")
        run = module.Surroundings(
            source=stacks,
            whom=targets.describe(),
            talk=self._talk,
            told=lambda: session.hits.get("captures", 0),
            lose=session.lose,
            series=series,
        )
        # what the others tell when they stop may still fire
        session.sources = [*(source for source in session.sources if source is not stacks), stacks]
        captures: Captures = module.Captures(self.plan, self._watches(stacks, targets), run)
        session.sinks.append(captures)
        session.meters.append(captures)
        session.every_tick.append(captures.tick)
        if not self.plan.tells_other_events:
            session.tick_ms = _WAITING_TICK_MS
        self._captures = captures

    def describe(self) -> str:
        """For the start line."""
        places = ", ".join(f"{directory}/" for directory in self.plan.directories)
        return f"; captures into {places}: {self.plan.describe()} (kill -USR1 {os.getpid()})"

    def end(self, summary: RunSummary) -> None:
        """Say what was captured."""
        if self._captures is not None:
            summary.files.extend(self._captures.written)
            self._talk.say(self._captures.summary())

    def _watches(self, stacks: Source, targets: Targets) -> list[Watch]:
        watches: list[Watch] = [self._signal]
        for path in self.plan.trigger.files:
            watch = FileWatch(path)
            if watch.was_there:
                self._talk.warn(f"{path} is there already: it has to go and come again")
            watches.append(watch)
        pids = None if targets.is_whole_machine else stacks.live_targets
        watches += [LevelWatch(level, usage(level.name, pids)) for level in self.plan.trigger.levels]
        return watches
