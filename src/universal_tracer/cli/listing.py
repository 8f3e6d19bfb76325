"""`--list SPEC`: what could be traced, one per line. Attaches nothing, needs no rights but to read."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from universal_tracer.cli.command import program_of
from universal_tracer.cli.targets import find_targets
from universal_tracer.sources.functions import list_functions
from universal_tracer.system.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from universal_tracer.config.settings import Settings
    from universal_tracer.model.traceable import Argument, Traceable

_OBJECTS: Final = ("json", "ndjson")


def print_list(settings: Settings, command: Sequence[str]) -> None:
    """Print what `run.list` means for the targets and the command. Raises TracerError where it is nothing."""
    targets = find_targets(settings, with_command=bool(command))
    program = program_of(command) if command else None
    found = list_functions(settings.config.run.list, targets.running_pids(), program)
    if settings.config.output.format in _OBJECTS:
        lines = [json.dumps(asdict(one), ensure_ascii=False, separators=(",", ":")) for one in found]
    elif settings.config.output.format == "none":
        lines = []
    else:
        encoding = sys.stdout.encoding.lower()
        lines = [visible(_line(one), only_ascii=not encoding.startswith("utf")) for one in found]
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _line(one: Traceable) -> str:
    """`SPEC (NAME: TYPE, …) -> TYPE  # REMARK`; a demangled name stands in for the linker's in the remark."""
    parts = [one.spec]
    if one.arguments:
        parts.append(f"({', '.join(map(_argument, one.arguments))})")
    if one.returns is not None:
        parts.append(f"-> {one.returns}")
    remarks = [one.function] if one.function != one.symbol else []
    remarks += [f"also {', '.join(one.aliases)}"] if one.aliases else []
    remarks += [one.note] if one.note is not None else []
    if remarks:
        parts.append(f" # {'; '.join(remarks)}")
    return " ".join(parts)


def _argument(argument: Argument) -> str:
    told = f"{argument.name}: {argument.type}" if argument.name is not None else argument.type
    return told if argument.readable else f"{told} (not readable)"
