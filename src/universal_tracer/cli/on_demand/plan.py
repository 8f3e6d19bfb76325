"""What a run on demand is asked for: its trigger, where captures go, and who must run for it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from universal_tracer.cli.outputs import condition
from universal_tracer.cli.signals import blocked_in_new_threads
from universal_tracer.cli.tracers import COMMON_EVENTS, ON_REQUEST, TRACERS, Tracer
from universal_tracer.config.rules import ON_DEMAND, output_targets
from universal_tracer.config.trigger import Trigger, parse_trigger
from universal_tracer.model.errors import KernelError, UsageError
from universal_tracer.model.ports import OutputFile

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from universal_tracer.config.settings import Settings
    from universal_tracer.config.trigger import EventCondition
    from universal_tracer.model.ports import Source, Stage

CAPTURING: Final = "stack"
DEFAULT_DIRECTORY: Final = "universal-tracer-captures"
BEFORE_S: Final = 5
AFTER_S: Final = 5
# A trigger may be known so much later than it happened: an answer is told with the tick after its last byte.
LATE_S: Final = 2
_TRIGGER: Final = "stack_tracer.trigger"
_FUNCTION: Final = "function"


@dataclass(frozen=True, slots=True)
class OnDemand:
    """`directories` get a folder for each capture.

    `helpers` are tracers that nobody has chosen and the trigger needs: their events go into captures only.

    `event_types` are those that captures hold.
    """

    trigger: Trigger
    conditions: tuple[tuple[EventCondition, Stage], ...]
    directories: tuple[Path, ...]
    is_named: bool
    event_types: tuple[str, ...]
    tracers: tuple[Tracer, ...]
    helpers: tuple[Tracer, ...]
    max_captures: int
    kept: Stage | None
    """What `--where` keeps of these types."""

    @property
    def tells_other_events(self) -> bool:
        """Whether events come that are not those of captures."""
        return [tracer.name for tracer in self.tracers] != [CAPTURING]

    def told(self, events: Sequence[str]) -> tuple[str, ...]:
        """Those that outputs of the run get: calls of functions are for captures alone."""
        return tuple(event for event in events if event != _FUNCTION)

    def describe(self) -> str:
        """For people: when something is captured."""
        return f"{BEFORE_S} s before and {AFTER_S} s after {self.trigger.describe()}"

    def places(self) -> list[str]:
        """For people: where captures go."""
        return [f"{directory}/ (captures)" for directory in self.directories]

    def checks(self) -> list[OutputFile]:
        """Files that a capture could write, to find out whether it can."""
        return [
            OutputFile("json", directory / "trigger.json", create_directory=True)
            for directory in self.directories
        ]

    def require(self, sources: Sequence[Source]) -> None:
        """Raises KernelError where a tracer was left out that the trigger, or a capture, needs."""
        running = {source.tracer for source in sources}
        missing = {CAPTURING, *_tracers_of(self.trigger.event_types)} - running
        if missing:
            raise KernelError(
                f"{self.trigger.describe()} cannot be captured",
                cause=f"{', '.join(sorted(missing))} was left out: see the warning above",
                hint="universal-tracer doctor",
            )


def plan_on_demand(settings: Settings, tracers: Sequence[Tracer]) -> OnDemand | None:
    """None in other modes, and where no stacks are taken. Raises UsageError where the trigger is wrong."""
    stack = settings.config.stack_tracer
    if stack.mode != ON_DEMAND or CAPTURING not in [tracer.name for tracer in tracers]:
        return None
    trigger = parse_trigger(stack.trigger) if stack.trigger is not None else Trigger()
    helpers = _helpers(trigger, tracers)
    directories = _directories(settings)
    event_types = _event_types(settings, [*tracers, *helpers])
    return OnDemand(
        trigger,
        _checked(trigger, settings.origins[_TRIGGER]),
        directories or (Path(DEFAULT_DIRECTORY),),
        bool(directories),
        event_types,
        tuple(tracers),
        helpers,
        stack.max_captures,
        condition(settings, event_types),
    )


def _tracers_of(event_types: Collection[str]) -> list[str]:
    return [name for name, tracer in TRACERS.items() if not set(event_types).isdisjoint(tracer.events)]


def _helpers(trigger: Trigger, tracers: Sequence[Tracer]) -> tuple[Tracer, ...]:
    """Requests are watched without being asked; packets are not, which would attach to interfaces."""
    running = [tracer.name for tracer in tracers]
    missing = [name for name in _tracers_of(trigger.event_types) if name not in running]
    if "xdp" in missing:
        raise UsageError(
            f"the trigger {trigger.text!r} needs a tracer that does not run",
            cause="its events come from the xdp tracer, which attaches to interfaces when it is asked to",
            hint="add --tracer xdp, and --interface where it is not that of the default route",
        )
    return tuple(TRACERS[name] for name in missing)


def _checked(trigger: Trigger, origin: str) -> tuple[tuple[EventCondition, Stage], ...]:
    if not trigger.events:
        return ()
    told = origin if origin.startswith("-") else f"{origin}: {_TRIGGER}"
    with blocked_in_new_threads():  # polars starts some, before the run takes the signals
        where = import_module("universal_tracer.pipeline.where").Where
        return tuple(
            (wanted, where(wanted.sql, (wanted.event_type,), told, shown=trigger.text))
            for wanted in trigger.events
        )


def _directories(settings: Settings) -> tuple[Path, ...]:
    targets = output_targets(settings.config)
    return tuple(Path(target.path) for target in targets if target.format is None)


def _event_types(settings: Settings, tracers: Sequence[Tracer]) -> tuple[str, ...]:
    named = settings.config.output.events
    made = [event for tracer in tracers for event in tracer.events]
    wanted = [event for event in made if (event not in ON_REQUEST if named is None else event in named)]
    return (*wanted, *COMMON_EVENTS)
