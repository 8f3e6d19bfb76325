"""Programs of this tracer that are in the kernel already, and files and namespaces that bear its name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from universal_tracer import _native
from universal_tracer.model.errors import PrivilegeError
from universal_tracer.system.procfs import PROC, read_text

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from universal_tracer.model.trial import Trial

_PREFIXES: Final = ("universal-tracer", "universal_tracer")
_NAMESPACES: Final = Path("/run/netns")
_MOST_PINS: Final = 1000
_NAME_BYTES: Final = 15


@dataclass(frozen=True, slots=True)
class FoundProgram:
    """A program of ours in the kernel: interfaces (by index) that a link holds it on, and who holds it."""

    id: int
    name: str
    interfaces: list[int]
    holders: list[int]


def find_programs(trials: Iterable[Trial]) -> list[FoundProgram]:
    """Programs that look like those that were tried. Raises PrivilegeError where we get no list."""
    names = {name for trial in trials for name in trial.programs}
    tables = {table.name[:_NAME_BYTES] for trial in trials for table in trial.tables}
    try:
        found = _native.find_programs(sorted(names), sorted(tables))
    except _native.NativeError as error:
        what, cause, hint = error.args
        raise PrivilegeError(what, cause=cause, hint=hint) from error
    return [FoundProgram(*program) for program in found]


def own_pins(programs: Container[int]) -> Iterator[Path]:
    """Files of BPF file systems that pin one of the programs, or bear our name; not all of a great many."""
    for mount in _bpf_mounts():
        paths = (Path(folder, name) for folder, _, names in os.walk(mount) for name in names)
        for path, _ in zip(paths, range(_MOST_PINS), strict=False):
            if path.name.startswith(_PREFIXES) or _native.pinned_program(str(path)) in programs:
                yield path


def _bpf_mounts() -> list[str]:
    mounts = (line.split() for line in (read_text(PROC / "self/mounts") or "").splitlines())
    return [mount[1] for mount in mounts if mount[2] == "bpf"]


def own_namespaces(folder: Path = _NAMESPACES) -> list[str]:
    """Named network namespaces that bear our name."""
    try:
        return sorted(path.name for path in folder.iterdir() if path.name.startswith(_PREFIXES))
    except OSError:
        return []
