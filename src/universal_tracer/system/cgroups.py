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


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One directory of a hierarchy. `id` is what the kernel's helpers return for it, where `version` is 2."""

    path: Path
    id: int
    version: int

    def pids(self) -> list[int]:
        """The processes in it and in the groups below it, as of now."""
        found: set[int] = set()
        for directory, _, _ in os.walk(self.path):
            text = read_text(Path(directory, "cgroup.procs")) or ""
            found.update(int(line) for line in text.split())
        found.discard(0)  # how the kernel writes processes of another pid namespace
        return sorted(found)


def mounts(proc: Path = PROC) -> list[tuple[int, Path]]:
    """(version, mount point) of every mounted hierarchy, version 2 first."""
    found = list(_mounts(read_text(proc / "self" / "mountinfo") or ""))
    return sorted(found, key=lambda mount: -mount[0])


def _mounts(mountinfo: str) -> Iterator[tuple[int, Path]]:
    for line in mountinfo.splitlines():
        mount, _, kind = line.partition(" - ")
        version = {"cgroup2": 2, "cgroup": 1}.get(kind.split(" ")[0])
        if version:
            yield version, Path(_unescaped(mount.split(" ")[_MOUNT_POINT_FIELD]))


def _unescaped(field: str) -> str:
    """Mountinfo writes blanks and backslashes as three octal digits."""
    for written, meant in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(written, meant)
    return field


def find_cgroup(path: str, proc: Path = PROC) -> Cgroup | None:
    """The group at `path`, which is a directory, or relative to a hierarchy as in /proc/PID/cgroup."""
    hierarchies = mounts(proc)
    directory = Path(path).resolve()
    innermost_first = sorted(hierarchies, key=lambda mount: -len(mount[1].parts))
    for version, mount_point in innermost_first if Path(path).is_absolute() else ():
        if directory.is_relative_to(mount_point):
            return _cgroup_at(directory, version)
    candidates = (_cgroup_at(mount_point / path.lstrip("/"), version) for version, mount_point in hierarchies)
    return next(filter(None, candidates), None)


def _cgroup_at(directory: Path, version: int) -> Cgroup | None:
    if not (directory / "cgroup.procs").is_file():
        return None
    # On 64-bit kernels a group's inode number is its id.
    return Cgroup(directory, id=directory.stat().st_ino, version=version)


def cgroup_paths_of(pid: int, proc: Path = PROC) -> list[str]:
    """The distinct paths of a process's groups, relative to their hierarchies; empty when it is gone.

    Machines with several hierarchies often name containers and units in one of them only.
    """
    text = read_text(proc / str(pid) / "cgroup") or ""
    fields = (line.split(":", 2) for line in text.splitlines())
    return list(dict.fromkeys(path for _, _, path in fields))
