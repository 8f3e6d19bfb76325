"""A run from settings to exit code: check, look up, open, attach, loop, tell.

The checks come in the order in which their exit codes are documented: privilege, kernel, targets, outputs.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from universal_tracer.cli.arrivals import Arrivals, add_present
from universal_tracer.cli.command import TracedCommand, program_of
from universal_tracer.cli.endings import after, closed_stdout, ended_command, gone_pids, signalled
from universal_tracer.cli.memory_watch import MemoryWatch
from universal_tracer.cli.metrics import Meters, begin_intervals, open_meters
from universal_tracer.cli.on_demand.capturing import Capturing
from universal_tracer.cli.on_demand.plan import plan_on_demand
from universal_tracer.cli.outputs import (
    chosen_events,
    condition,
    leave_terminal,
    output_files,
    recording,
    require_stdout,
    standard_output,
)
from universal_tracer.cli.plan import all_that_can
from universal_tracer.cli.preflight import imported, own_command, require_kernel
from universal_tracer.cli.recorder import recorder
from universal_tracer.cli.session import Session
from universal_tracer.cli.signals import StopSignals
from universal_tracer.cli.silence import Silence
from universal_tracer.cli.talk import Talk, listed
from universal_tracer.cli.targets import Targets, find_targets
from universal_tracer.cli.tracers import TRACERS, Tracer
from universal_tracer.config.rules import require_available
from universal_tracer.model.errors import (
    EventsLostError,
    ExitCode,
)
from universal_tracer.system.privileges import require_tracing
from universal_tracer.system.procfs import is_first_pid_namespace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from universal_tracer.cli.on_demand.plan import OnDemand
    from universal_tracer.cli.session import EndCondition, EveryTick
    from universal_tracer.config.settings import Settings
    from universal_tracer.model.ports import OutputFile, RunSummary, Sink, Source, Stage

# Batches are small and come one after the other: more threads would cost memory and gain nothing. Read once,
# when polars is loaded; a traced command gets the environment that was there before.
_POLARS_THREADS: Final = ("POLARS_MAX_THREADS", "1")
_HOOKS_NAMED: Final = 4


def trace(settings: Settings, command: Sequence[str]) -> ExitCode:
    """Trace until something ends it. Raises TracerError for everything that goes wrong."""
    os.environ.setdefault(*_POLARS_THREADS)
    if settings.config.run.verbosity != "verbose":
        recorder.take_over()
    require_available(settings.config, settings.origins, TRACERS)
    tracers = chosen_tracers(settings)
    events = chosen_events(settings, tracers)
    kept = condition(settings, events)
    files = output_files(settings, tracers, events)
    on_demand = plan_on_demand(settings, tracers)
    require_filter(settings, tracers)
    if settings.config.run.list:
        imported("universal_tracer.cli.listing:print_list")(settings, command)
        return ExitCode.OK
    # A tracer that nobody named is left out where it may not run.
    needs = [right for tracer in tracers for right in tracer.needs if settings.config.run.tracers]
    require_tracing([*own_command(), *sys.argv[1:]], needs)
    require_kernel()
    if settings.config.run.dry_run:
        imported("universal_tracer.cli.dry_run:print_plan")(settings, tracers, events, files, command)
        return ExitCode.OK
    if on_demand is not None:
        events = on_demand.told(events)
    with ExitStack() as stack:
        return _Run(settings, tracers, kept, stack, on_demand).execute(events, files, command)


def chosen_tracers(settings: Settings) -> list[Tracer]:
    """The tracers to run: those that are named, else all of this build."""
    named: Sequence[str] = settings.config.run.tracers or tuple(TRACERS)
    return [TRACERS[name] for name in dict.fromkeys(named)]


def require_filter(settings: Settings, tracers: Sequence[Tracer]) -> None:
    """Raises UsageError where the filter of packets is wrong; a part of the checks of usage."""
    expression = settings.config.xdp_tracer.filter
    if expression is not None and "xdp" in [tracer.name for tracer in tracers]:
        imported("universal_tracer.sources.pcap_filter:check_filter")(expression)


class _Run:
    """One run. What it opens is closed again by `stack`, in reverse order, however it ends."""

    def __init__(
        self,
        settings: Settings,
        tracers: Sequence[Tracer],
        kept: Stage | None,
        stack: ExitStack,
        on_demand: OnDemand | None,
    ) -> None:
        self._settings = settings
        self._tracers = tracers
        self._condition = kept
        self._stack = stack
        self._talk = Talk(settings.config.run.verbosity)
        self._capturing = Capturing(on_demand, self._talk) if on_demand is not None else None
        self._signals = StopSignals(self._capturing.signals if self._capturing is not None else None)
        self._targets = Targets()
        self._command: TracedCommand | None = None
        self._meters = Meters()

    def execute(
        self, events: Sequence[str], files: Sequence[OutputFile], arguments: Sequence[str]
    ) -> ExitCode:
        stdout = standard_output(self._settings, events)
        self._targets = find_targets(self._settings, with_command=bool(arguments))
        if arguments:
            self._hold_command(arguments, events_on_stdout=stdout.format != "none")
        self._signals.listen()
        helpers = self._capturing.plan.helpers if self._capturing is not None else ()
        sources = all_that_can(
            [partial(self._open, tracer) for tracer in (*self._tracers, *helpers)], self._settings, self._talk
        )
        require_stdout(stdout)
        self._signals.before_immediate_end.append(partial(leave_terminal, stdout))
        open_sinks = import_module("universal_tracer.sinks").open_sinks
        sinks: list[Sink] = open_sinks(files, stdout, self._targets.describe(), recording(self._settings))
        for sink in sinks:
            self._stack.callback(sink.close)
        self._meters = open_meters(self._settings.config, self._tracers, self._stack)
        if self._capturing is not None:
            self._capturing.require(sources)
        sources = self._attach(sources)
        begin_intervals(self._meters, self._settings.config, sources)
        start_line = self._start_line(sources, sinks)
        session = self._session(sources, sinks, events)
        self._talk.say(start_line)
        summary = session.run()
        summary.files = [file.path for file in files]
        if self._settings.config.record.directory is not None:
            summary.files.append(Path(self._settings.config.record.directory))
        if self._meters.stacks is not None:
            summary.stacks = self._meters.stacks.described()
        summary.command_status = self._command.status if self._command is not None else None
        if self._capturing is not None:
            self._capturing.end(summary)
        self._talk.summarize(summary)
        return self._outcome(session, summary)

    def _hold_command(self, arguments: Sequence[str], *, events_on_stdout: bool) -> None:
        mask = self._signals.mask_before
        self._command = TracedCommand(arguments, stdout_to_stderr=events_on_stdout, signal_mask=mask)
        self._targets.command_pid = self._command.pid
        self._targets.command_program = program_of(arguments)
        self._stack.callback(self._command.abandon)
        self._signals.before_immediate_end.append(self._command.kill)

    def _open(self, tracer: Tracer) -> Source:
        make_settings = imported(tracer.settings_maker)
        source: Source = imported(tracer.opener)(make_settings(self._settings.config, self._targets))
        self._stack.callback(source.close)
        return source

    def _attach(self, sources: Sequence[Source]) -> list[Source]:
        attempts = [partial(self._start, source) for source in sources]
        attached = all_that_can(attempts, self._settings, self._talk)
        if not (self._targets.is_whole_machine or is_first_pid_namespace()):
            self._talk.warn(
                "nobody can be chosen by process here: ids differ from the kernel's in this container; "
                "start it with --pid=host"
            )
        absent = self._targets.absent()
        if absent:
            self._talk.warn(f"waiting for {listed(absent)}: named by the configuration, not there yet")
        if self._command is not None:
            self._command.release()
        return attached

    def _start(self, source: Source) -> Source:
        for hook in source.plan():
            planned = f"{hook.tracer} {hook.hook} by {hook.adapter}: {hook.why} ({hook.cost})"
            recorder.plan.append(planned)
            self._talk.explain(f"hook: {planned}")
        source.start()
        add_present(self._targets, source)
        return source

    def _start_line(self, sources: Sequence[Source], sinks: Sequence[Sink]) -> str:
        attached = listed([f"{TRACERS[source.tracer].sees} ({_hooks(source)})" for source in sources])
        into = f" into {listed([sink.name for sink in sinks])}" if sinks else ""
        duration = self._settings.config.output.duration
        until = f"for {duration}" if duration is not None else "stop with Ctrl-C"
        where = self._settings.config.output.where
        kept = f" where {where}" if where is not None else ""
        whom = f"{self._targets.describe()}{kept}"
        captures = self._capturing.describe() if self._capturing is not None else ""
        return f"tracing: {attached} of {whom}{into}{captures}{self._meters.description}; {until}"

    def _session(self, sources: Sequence[Source], sinks: list[Sink], events: Sequence[str]) -> Session:
        started = time.monotonic()
        duration = self._settings.config.output.duration
        deadline_s = started + duration.seconds if duration is not None else None
        session = Session(
            sources,
            import_module("universal_tracer.pipeline").stages(self._settings.config),
            sinks,
            frozenset(events),
            self._end_conditions(deadline_s),
            wind_down=self._wind_down,
            deadline_s=deadline_s,
            meters=self._meters.all,
            periodic=self._meters.periodic,
            condition=self._condition,
            on_note=self._talk.warn,
        )
        arrivals = Arrivals(self._targets, sources, self._stack)
        memory = MemoryWatch(self._settings.config.limits.memory.amount, self._talk.warn)
        session.every_tick = [arrivals, memory]
        if self._capturing is not None:  # silence is what is wanted
            self._capturing.begin(session, self._targets, self._meters.series)
        else:
            session.every_tick.append(self._silence_note(session, started))
        return session

    def _end_conditions(self, deadline_s: float | None) -> list[EndCondition]:
        conditions = [signalled(self._signals), closed_stdout()]
        if self._command is not None:
            conditions.append(ended_command(self._command))
        if deadline_s is not None:
            conditions.append(after(deadline_s))
        if self._targets.ends_with_pids:
            conditions.append(gone_pids(self._targets.pids, self._stack))
        return conditions

    def _wind_down(self) -> bool:
        """Whether the command, too, is over; asks it to end where it is not."""
        if self._command is None or self._command.has_ended():
            return True
        if not self._command.is_ending:
            self._command.ask_to_end(self._signals.request)
        self._command.keep_ending()
        return False

    def _silence_note(self, session: Session, started: float) -> EveryTick:
        silence = Silence(self._targets.describe(), started)

        def note(now: float) -> None:
            if session.has_told_events or (session.has_seen_events and not session.unmet):
                silence.broken()
            elif silence.is_due(now):
                live = None if self._targets.is_whole_machine else _live(session.sources)
                self._talk.say(silence.explanation(session.hits, live, session.unmet))

        return note

    def _outcome(self, session: Session, summary: RunSummary) -> ExitCode:
        if session.failure is not None:
            name, error = session.failure.name, session.failure.error
            raise import_module("universal_tracer.sinks").output_error(name, error) from error
        if summary.lost_total and self._settings.config.run.strict:
            raise EventsLostError(
                "events were lost",
                cause=", ".join(f"{where} {count:,}" for (_, where), count in sorted(summary.lost.items())),
                hint="record fewer: --http-sampling-rate 0.1, or name targets with --pid or --target-process",
            )
        return ExitCode.OK


def _hooks(source: Source) -> str:
    names = list(dict.fromkeys(hook.hook for hook in source.plan()))
    more = len(names) - _HOOKS_NAMED
    return ", ".join(names[:_HOOKS_NAMED] + ([f"{more} more"] if more > 0 else []))


def _live(sources: Sequence[Source]) -> int:
    """How many processes are traced; the tracer itself is none of them."""
    return len({pid for source in sources for pid in source.live_targets()} - {os.getpid()})
