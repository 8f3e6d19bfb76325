"""Which tracers can run: what a run, `--dry-run` and `doctor` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from universal_tracer.cli.preflight import imported
from universal_tracer.cli.targets import Targets
from universal_tracer.model.errors import KernelError, PrivilegeError, TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from universal_tracer.cli.talk import Talk
    from universal_tracer.cli.tracers import Tracer
    from universal_tracer.config.settings import Settings
    from universal_tracer.config.tree import Config
    from universal_tracer.model.errors import TracerError
    from universal_tracer.model.trial import Trial

T = TypeVar("T")


def try_tracer(tracer: Tracer, config: Config, targets: Targets | None = None) -> Trial:
    """Load and attach for a moment what a run would; whom `targets` names decides which hooks that are.

    Raises TracerError where nothing can be tried.
    """
    settings = imported(tracer.settings_maker)(config, targets or Targets(names=["nobody"]))
    trial: Trial = imported(tracer.trial)(settings)
    return trial


def all_that_can(attempts: Sequence[Callable[[], T]], settings: Settings, talk: Talk) -> list[T]:
    """What succeeds; what fails is an error where tracers were named or none is left, else a warning."""
    done: list[T] = []
    failures: list[TracerError] = []
    for attempt in attempts:
        try:
            done.append(attempt())
        except (PrivilegeError, KernelError, TargetError) as error:
            failures.append(error)
    if failures and (settings.config.run.tracers or not done):
        raise failures[0]
    for failure in failures:
        talk.warn(f"left out: {failure}")
    return done


def bytes_text(count: int) -> str:
    """`0.5 KiB`, `13.2 MiB`."""
    size = count / 1024
    return f"{size:.1f} KiB" if size < 1024 else f"{size / 1024:.1f} MiB"
