"""`--dry-run`: what a run would attach, to whom, and where it would go. Nothing stays, no file is touched.

Every hook is loaded and attached for a moment: where that fails the run would fail, with the same exit code.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from universal_tracer.cli.arrivals import named_pids
from universal_tracer.cli.command import program_of, require_startable
from universal_tracer.cli.metrics import open_meters
from universal_tracer.cli.on_demand.plan import plan_on_demand
from universal_tracer.cli.outputs import require_stdout, require_writable, standard_output
from universal_tracer.cli.plan import all_that_can, bytes_text, try_tracer
from universal_tracer.cli.preflight import imported
from universal_tracer.cli.talk import Talk, listed, plural
from universal_tracer.cli.targets import Targets, find_targets
from universal_tracer.system.processes import descendants
from universal_tracer.system.procfs import read_stat
from universal_tracer.system.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from universal_tracer.cli.tracers import Tracer
    from universal_tracer.config.settings import Settings
    from universal_tracer.model.ports import OutputFile, PlannedHook, Source
    from universal_tracer.model.trial import Trial

_WIDTH: Final = 80
_PROCESSES_NAMED: Final = 8
_USER: Final = re.compile(r"://[^/@]*@")


@dataclass(frozen=True, slots=True)
class _Planned:
    """A tracer's plan and what came out of trying it."""

    hooks: Sequence[PlannedHook]
    trial: Trial


def print_plan(
    settings: Settings,
    tracers: Sequence[Tracer],
    events: Sequence[str],
    files: Sequence[OutputFile],
    command: Sequence[str],
) -> None:
    """Print the plan. Raises the TracerError that would end the run before it begins."""
    targets = find_targets(settings, with_command=bool(command))
    if command:
        require_startable(command)
        # Planned as for a child that is there.
        targets.command_pid = os.getpid()
        targets.command_program = program_of(command)
    talk = Talk(settings.config.run.verbosity)
    on_demand = plan_on_demand(settings, tracers)
    helpers = on_demand.helpers if on_demand is not None else ()
    attempts = [partial(_plan, tracer, settings, targets) for tracer in (*tracers, *helpers)]
    planned = all_that_can(attempts, settings, talk)
    where = settings.config.output.where
    stdout = standard_output(settings)
    require_stdout(stdout)
    checked = [*files, *(on_demand.checks() if on_demand is not None else ())]
    require_writable(checked, settings.config.record.directory)
    with ExitStack() as stack:
        open_meters(settings.config, tracers, stack)
    outputs = [f"{stdout.format} on standard output"] if stdout.format != "none" else []
    outputs += [f"{file.path} ({file.format})" for file in files]
    outputs += on_demand.places() if on_demand is not None else []
    outputs += _beside_events(settings)
    parts = [
        *map(_attached, planned),
        _paragraph("whom", _whom(targets, command)),
        _paragraph("events", ", ".join(events) + (f" where {where}" if where is not None else "")),
        *([_paragraph("capture", on_demand.describe())] if on_demand is not None else ()),
        _paragraph("into", listed(outputs)),
        _paragraph("until", _end(settings, targets, command)),
        "nothing stays attached, and no file was touched",
    ]
    plan = "\n".join(parts)
    if not sys.stdout.encoding.lower().startswith("utf"):
        plan = plan.replace("µ", "u").encode("ascii", "backslashreplace").decode()
    print(plan)  # noqa: T201  it is the data of this run


def _beside_events(settings: Settings) -> list[str]:
    """The recording, and whatever goes over the network; credentials in a URL are nobody's business."""
    directory, export = settings.config.record.directory, settings.config.export
    told = [f"{directory} (recording)"] if directory is not None else []
    if export.prometheus_endpoint is not None:
        told.append(f"metrics on {export.prometheus_endpoint}")
    urls = {"Jaeger": export.jaeger_endpoint, "OTLP": export.otlp_endpoint}
    return told + [f"{name} at {_USER.sub('://***@', url)}" for name, url in urls.items() if url is not None]


def _plan(tracer: Tracer, settings: Settings, targets: Targets) -> _Planned:
    session_settings = imported(tracer.settings_maker)(settings.config, targets)
    source: Source = imported(tracer.opener)(session_settings)
    try:
        hooks = list(source.plan())
    finally:
        source.close()
    trial = try_tracer(tracer, settings.config, targets)
    wanted = {hook.hook for hook in hooks}
    for tried in trial.hooks:
        if tried.error is not None and tried.hook.hook in wanted:
            raise tried.error
    return _Planned(hooks, trial)


def _attached(planned: _Planned) -> str:
    hooks, tables = planned.hooks, planned.trial.tables
    memory = (
        f"{bytes_text(sum(table.bytes for table in tables))} of the kernel in {plural(len(tables), 'table')}"
    )
    column = max(len(hook.hook) for hook in hooks) + 2
    lines = [_paragraph("attach", f"{hooks[0].tracer}: {plural(len(hooks), 'hook')}, {memory}")]
    for hook in hooks:
        lines.append(_wrapped(f"by {hook.adapter}: {hook.why}", f"  {hook.hook:<{column}}"))
        lines.append(_wrapped(f"cost: {hook.cost}", " " * (column + 2)))
    return "\n".join(lines)


def _whom(targets: Targets, command: Sequence[str]) -> str:
    if command:
        return targets.describe().replace("the command", f"the command {command[0]}")
    if targets.is_whole_machine:
        return targets.describe()
    roots = {
        *targets.pids,
        *named_pids(targets),
        *(pid for group in targets.groups() for pid in group.pids()),
    }
    pids = sorted((roots | descendants(roots)) - {os.getpid()})
    named = [f"{_comm(pid)} {pid}" for pid in pids[:_PROCESSES_NAMED]]
    more = [f"{len(pids) - len(named)} more"] if len(pids) > len(named) else []
    return f"{targets.describe()}; at the moment {listed(named + more) if pids else 'nobody'}"


def _end(settings: Settings, targets: Targets, command: Sequence[str]) -> str:
    duration = settings.config.output.duration
    conditions = [f"{duration} have passed"] if duration is not None else []
    conditions += ["the command has ended"] if command else []
    conditions += ["every pid is gone"] if targets.ends_with_pids else []
    return " or ".join([*conditions, "Ctrl-C"])


def _comm(pid: int) -> str:
    stat = read_stat(pid)
    return stat.comm if stat is not None else "gone"


def _paragraph(name: str, text: str) -> str:
    return _wrapped(text, f"{name}: ")


def _wrapped(text: str, begin: str) -> str:
    """Within 80 columns, what follows below the text's begin; what others named is shown, never obeyed."""
    indent = " " * len(begin)
    lines = textwrap.wrap(
        visible(text),
        _WIDTH,
        initial_indent=begin,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return "\n".join(lines)
