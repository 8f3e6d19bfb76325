"""The effective configuration: defaults, under the file, under the environment, under the flags.

Every value remembers where it came from. All faults of all three are collected and told at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from universal_tracer.config.collect import Collected
from universal_tracer.config.keys import keys, sections
from universal_tracer.config.layers import FlagValue, take_environment, take_file, take_flags
from universal_tracer.config.rules import ON_DEMAND, contradictions
from universal_tracer.config.tree import Config
from universal_tracer.model.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["DEFAULT_ORIGIN", "FlagValue", "Settings", "load_settings", "tracers_named"]

DEFAULT_ORIGIN: Final = "default"
_MAX_FAULTS_TOLD: Final = 50
_MODE: Final = "stack_tracer.mode"
_TRIGGER: Final = "stack_tracer.trigger"
_FUNCTIONS: Final = "stack_tracer.trace_functions"


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective tree, and per dotted key where its value came from.

    Origins read `default`, `FILE:LINE`, `UT_SECTION__KEY` or `--flag`.
    """

    config: Config
    origins: Mapping[str, str]

    def from_flag(self, dotted: str) -> bool:
        """Whether the command line set the key."""
        return self.origins[dotted].startswith("-")


def load_settings(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Sequence[FlagValue]] | None = None,
) -> Settings:
    """Read everything and check it.

    `flags` holds per dotted key what the command line says. Raises ConfigError with all faults, UsageError
    where the file cannot be read.
    """
    collected = Collected()
    if file is not None:
        take_file(collected, file)
    take_environment(collected, environment or {})
    take_flags(collected, flags or {})
    settings = _settings(collected)
    faults = [told for _, told in collected.faults] or contradictions(settings.config, settings.origins)
    if faults:
        raise _config_error(faults, file)
    return settings


def tracers_named(file: Path | None, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The tracers that file and environment name. Faults are told by `load_settings`."""
    collected = Collected()
    if file is not None:
        take_file(collected, file)
    take_environment(collected, environment)
    return tuple(collected.values.get("run.tracers") or ())


def _settings(collected: Collected) -> Settings:
    _imply(collected)
    by_section: dict[str, dict[str, Any]] = {name: {} for name in sections()}
    for dotted, value in collected.values.items():
        key = keys()[dotted]
        by_section[key.section][key.name] = value
    parts: dict[str, Any] = {name: cls(**by_section[name]) for name, cls in sections().items()}
    origins = {dotted: collected.origins.get(dotted, DEFAULT_ORIGIN) for dotted in keys()}
    return Settings(Config(**parts), origins)


def _imply(collected: Collected) -> None:
    """Who names a trigger wants captures, who names functions wants them traced, without having to say so."""
    for key, mode in ((_TRIGGER, ON_DEMAND), (_FUNCTIONS, "tracing")):
        if collected.values.get(key) and _MODE not in collected.origins:
            collected.values[_MODE] = mode
            collected.origins[_MODE] = collected.origins[key]


def _config_error(faults: Sequence[str], file: Path | None) -> ConfigError:
    told = list(faults[:_MAX_FAULTS_TOLD])
    if len(faults) > len(told):
        told.append(f"… and {len(faults) - len(told)} more")
    count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
    if file is not None and any(fault.startswith(f"{file}:") for fault in faults):
        hint = "universal-tracer config schema"
        return ConfigError(f"the configuration {str(file)!r} has {count}", told, hint=hint)
    return ConfigError(f"the settings have {count}", told, hint="universal-tracer --help")
