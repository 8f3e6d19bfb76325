"""Trying a tracer on this kernel: what `doctor` and `--dry-run` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from universal_tracer.cli.preflight import imported
from universal_tracer.cli.targets import Targets

if TYPE_CHECKING:
    from universal_tracer.cli.tracers import Tracer
    from universal_tracer.config.tree import Config
    from universal_tracer.model.trial import Trial


def try_tracer(tracer: Tracer, config: Config, targets: Targets | None = None) -> Trial:
    """Load and attach for a moment what a run would; whom `targets` names decides which hooks that are.

    Raises TracerError where nothing can be tried.
    """
    settings = imported(tracer.settings_maker)(config, targets or Targets(names=["nobody"]))
    trial: Trial = imported(tracer.trial)(settings)
    return trial


def bytes_text(count: int) -> str:
    """`0.5 KiB`, `13.2 MiB`."""
    size = count / 1024
    return f"{size:.1f} KiB" if size < 1024 else f"{size / 1024:.1f} MiB"
