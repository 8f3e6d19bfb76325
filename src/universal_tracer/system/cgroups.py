"""Control groups: where they are mounted, who is in them, and which one a process is in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from universal_tracer.system.procfs import PROC, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOUNT_POINT_FIELD = 4
UNIFIED = 0
"""How the kernel counts the hierarchy of version 2."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted tree of groups. Each numbers its groups by itself; `number` is 0 for version 2."""

    version: int
    mount_point: Path
    number: int


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One directory of a hierarchy. `id` is unique within its hierarchy."""

    path: Path
    id: int
    version: int
    hierarchy: int

    def pids(self) -> list[int]:
        """The processes in it and in the groups below it, as of now."""
        found: set[int] = set()
        for directory, _, _ in os.walk(self.path):
            text = read_text(Path(directory, "cgroup.procs")) or ""
            found.update(int(line) for line in text.split())
        found.discard(0)  # how the kernel writes processes of another pid namespace
        return sorted(found)


def hierarchies(proc: Path = PROC) -> list[Hierarchy]:
    """Every mounted hierarchy, version 2 first."""
    numbers = _numbers(read_text(proc / "self" / "cgroup") or "")
    found = _mounted(read_text(proc / "self" / "mountinfo") or "", numbers)
    return sorted(found, key=lambda hierarchy: -hierarchy.version)


def _numbers(own_groups: str) -> list[tuple[int, frozenset[str]]]:
    """(Number, controllers) of the hierarchies of version 1, as /proc/self/cgroup tells them."""
    fields = (line.split(":", 2) for line in own_groups.splitlines())
    return [(int(number), frozenset(names.split(","))) for number, names, _ in fields if names]


def _mounted(mountinfo: str, numbers: list[tuple[int, frozenset[str]]]) -> Iterator[Hierarchy]:
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        kind, _, options = source.partition(" ")
        mount_point = Path(_unescaped(mount.split(" ")[_MOUNT_POINT_FIELD]))
        if kind == "cgroup2":
            yield Hierarchy(2, mount_point, UNIFIED)
        elif kind == "cgroup":
            told = set(options.rpartition(" ")[2].split(","))
            number = next((number for number, names in numbers if names <= told), None)
            if number is not None:
                yield Hierarchy(1, mount_point, number)


def _unescaped(field: str) -> str:
    """Mountinfo writes blanks and backslashes as three octal digits."""
    for written, meant in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(written, meant)
    return field


def find_cgroup(path: str, proc: Path = PROC) -> Cgroup | None:
    """The group at `path`, which is a directory, or relative to a hierarchy as in /proc/PID/cgroup."""
    known = hierarchies(proc)
    directory = Path(path).resolve()
    innermost_first = sorted(known, key=lambda hierarchy: -len(hierarchy.mount_point.parts))
    for hierarchy in innermost_first if Path(path).is_absolute() else ():
        if directory.is_relative_to(hierarchy.mount_point):
            return cgroup_at(directory, hierarchy)
    candidates = (cgroup_at(hierarchy.mount_point / path.lstrip("/"), hierarchy) for hierarchy in known)
    return next(filter(None, candidates), None)


def cgroup_at(directory: Path, hierarchy: Hierarchy) -> Cgroup | None:
    """The group that this directory of the hierarchy is; None where it is none (any more)."""
    try:
        if not (directory / "cgroup.procs").is_file():
            return None
        # On 64-bit kernels a group's inode number is its id.
        identifier = directory.stat().st_ino
    except OSError:
        return None
    return Cgroup(directory, identifier, hierarchy.version, hierarchy.number)


def cgroup_paths_of(pid: int, proc: Path = PROC) -> list[str]:
    """The distinct paths of a process's groups, relative to their hierarchies; empty when it is gone.

    Machines with several hierarchies often name containers and units in one of them only.
    """
    text = read_text(proc / str(pid) / "cgroup") or ""
    fields = (line.split(":", 2) for line in text.splitlines())
    return list(dict.fromkeys(path for _, _, path in fields))
