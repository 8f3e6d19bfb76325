"""A run from settings to exit code: check, look up, open, attach, loop, tell.

The checks come in the order in which their exit codes are documented: privilege, kernel, targets, outputs.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from universal_tracer.cli.command import TracedCommand
from universal_tracer.cli.outputs import chosen_events, output_files, standard_output
from universal_tracer.cli.preflight import own_command, require_kernel, require_privilege
from universal_tracer.cli.session import Session
from universal_tracer.cli.signals import StopSignals
from universal_tracer.cli.silence import Silence
from universal_tracer.cli.talk import Talk, listed
from universal_tracer.cli.targets import ProcessWatch, Targets, add_late, add_present, find_targets
from universal_tracer.cli.tracers import TRACERS, Tracer
from universal_tracer.config.rules import require_available
from universal_tracer.model.errors import EventsLostError, ExitCode, Failure, OutputError

if TYPE_CHECKING:
    from universal_tracer.config.settings import Settings
    from universal_tracer.model.ports import RunSummary, Source

_LATE_EVERY_S = 1.0


def trace(settings: Settings, command: Sequence[str]) -> ExitCode:
    """Trace until something ends it. Raises TracerError for everything that goes wrong."""
    tracers = chosen_tracers(settings)
    require_available(settings.config, settings.origins)
    events = chosen_events(settings, tracers)
    require_privilege(sys.argv[1:])
    require_kernel()
    with ExitStack() as stack:
        run = _Run(settings, tracers, events, stack)
        return run.execute(command)


def chosen_tracers(settings: Settings) -> list[Tracer]:
    """The tracers to run: those that are named, else all of this build."""
    named = settings.config.run.tracers or tuple(TRACERS)
    return [TRACERS[name] for name in dict.fromkeys(named)]


@dataclass(slots=True)
class _Run:
    settings: Settings
    tracers: list[Tracer]
    events: tuple[str, ...]
    stack: ExitStack
    signals: StopSignals = field(default_factory=StopSignals)
    targets: Targets = field(default_factory=Targets)
    command: TracedCommand | None = None

    def execute(self, arguments: Sequence[str]) -> ExitCode:
        talk = Talk(self.settings.config.run.verbosity)
        stdout = standard_output(self.settings)
        self.targets = find_targets(self.settings, with_command=bool(arguments))
        self._hold_command(arguments, events_on_stdout=stdout.format != "none")
        self.signals.listen()
        sources = [self._open(tracer) for tracer in self.tracers]
        files = output_files(self.settings, self.tracers)
        sinks = import_module("universal_tracer.sinks").open_sinks(files, stdout)
        for sink in sinks:
            self.stack.callback(sink.close)
        self._attach(sources, talk)
        if self.command is not None:
            self.command.release()
        session = self._session(sources, sinks, talk)
        talk.say(self._start_line(sources, [sink.name for sink in sinks]))
        summary = session.run()
        summary.files = [file.path for file in files]
        summary.command_status = self.command.status if self.command is not None else None
        talk.summarize(summary)
        return self._outcome(session, summary)

    def _hold_command(self, arguments: Sequence[str], *, events_on_stdout: bool) -> None:
        if not arguments:
            return
        self.command = TracedCommand(
            arguments, stdout_to_stderr=events_on_stdout, signal_mask=set(self.signals.mask_before)
        )
        self.targets.command_pid = self.command.pid
        self.stack.callback(self.command.abandon)
        self.signals.before_immediate_end.append(self.command.kill)

    def _open(self, tracer: Tracer) -> Source:
        make_settings = _imported(tracer.settings_maker)
        source: Source = _imported(tracer.opener)(make_settings(self.settings.config, self.targets))
        self.stack.callback(source.close)
        return source

    def _attach(self, sources: Sequence[Source], talk: Talk) -> None:
        for source in sources:
            for hook in source.plan():
                talk.explain(f"hook: {hook.tracer} {hook.hook} by {hook.adapter}: {hook.why} ({hook.cost})")
            source.start()
            add_present(self.targets, source)
        absent = self.targets.absent()
        if absent:
            talk.warn(f"waiting for {listed(absent)}: named by the configuration, not there yet")

    def _start_line(self, sources: Sequence[Source], outputs: Sequence[str]) -> str:
        attached = []
        for source in sources:
            hooks = dict.fromkeys(hook.hook for hook in source.plan())
            attached.append(f"{TRACERS[source.tracer].sees} ({', '.join(hooks)})")
        until = "stop with Ctrl-C"
        if self.settings.config.output.duration is not None:
            until = f"for {self.settings.config.output.duration}"
        into = f" into {listed(list(outputs))}" if outputs else ""
        return f"tracing: {listed(attached)} of {self.targets.describe()}{into}; {until}"

    def _session(self, sources: Sequence[Source], sinks: list[Any], talk: Talk) -> Session:
        started = time.monotonic()
        duration = self.settings.config.output.duration
        deadline_s = started + duration.seconds if duration is not None else None
        conditions = [self._signalled, self._command_ended, _closed_stdout()]
        if deadline_s is not None:
            conditions.append(lambda: "its duration" if time.monotonic() >= deadline_s else None)
        if self.targets.ends_with_pids:
            watch = self.stack.enter_context(ProcessWatch(self.targets.pids))
            conditions.append(lambda: "the end of every traced pid" if watch.all_gone() else None)
        session = Session(
            sources,
            import_module("universal_tracer.pipeline").stages(self.settings.config),
            sinks,
            frozenset(self.events),
            conditions,
            deadline_s=deadline_s,
            wind_down=self._wind_down,
        )
        session.every_tick = [self._silence_note(session, started, talk), self._late_arrivals(sources[0])]
        return session

    def _signalled(self) -> str | None:
        return self.signals.request.name if self.signals.request is not None else None

    def _command_ended(self) -> str | None:
        return "the end of the command" if self.command is not None and self.command.has_ended() else None

    def _wind_down(self) -> bool:
        """Whether the command, too, is over; asks it to end where it is not."""
        if self.command is None or self.command.has_ended():
            return True
        if not self.command.is_ending:
            self.command.ask_to_end(self.signals.request)
        self.command.keep_ending()
        return False

    def _silence_note(self, session: Session, started: float, talk: Talk) -> Any:
        silence = Silence(self.targets.describe(), started)

        def note(now: float) -> None:
            if session.has_seen_events:
                silence.broken()
                return
            whole = self.targets.is_whole_machine
            live = None if whole else sum(len(source.live_targets()) for source in session.sources)
            told = silence.explanation(now, session.hits, live)
            if told is not None:
                talk.say(told)

        return note

    def _late_arrivals(self, source: Source) -> Any:
        due = time.monotonic() + _LATE_EVERY_S

        def look(now: float) -> None:
            nonlocal due
            if now >= due and (self.targets.absent_pids or self.targets.absent_cgroups):
                due = now + _LATE_EVERY_S
                add_late(self.targets, source)

        return look

    def _outcome(self, session: Session, summary: RunSummary) -> ExitCode:
        if session.failure is not None:
            name, error = session.failure.name, session.failure.error
            raise OutputError(
                f"cannot write {name}",
                cause=(error.strerror or str(error)).lower(),
                hint="df -h shows which disk is full; what was written is valid",
            ) from error
        if summary.lost_total and self.settings.config.run.strict:
            raise EventsLostError(
                "events were lost",
                cause=", ".join(f"{where} {count:,}" for (_, where), count in sorted(summary.lost.items())),
                hint="record fewer: --http-sampling-rate 0.1, or name targets with --pid or --target-process",
            )
        return ExitCode.OK


def _imported(path: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        raise Failure(
            "this installation is not complete",
            cause=str(error),
            hint=f"make build, or install it again; it was started as {' '.join(own_command())}",
        ) from error


def _closed_stdout() -> Any:
    """Notices that the reader of a pipe has gone, also while nothing is written."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)

    def closed() -> str | None:
        return "closed pipe" if any(events & select.POLLERR for _, events in poll.poll(0)) else None

    return closed
