"""Reading /proc. Processes come and go while one reads: what is gone or forbidden is None, never an error."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """Of /proc/PID/stat what we use. `start_ticks` (since boot) tells one use of a pid from the next."""

    comm: str
    parent_pid: int
    start_ticks: int


def read_text(path: Path) -> str | None:
    """A small file's text, or None where it is gone or forbidden. Bytes that are no UTF-8 are replaced."""
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return None


def is_first_pid_namespace(proc: Path = PROC) -> bool:
    """Whether processes have the ids here by which the kernel knows them; its first namespace is this."""
    try:
        return str((proc / "self/ns/pid").readlink()) == "pid:[4026531836]"
    except OSError:
        return False


def read_stat(pid: int, proc: Path = PROC) -> ProcessStat | None:
    """None when the process is gone."""
    text = read_text(proc / str(pid) / "stat")
    if not text:
        return None
    # The name may hold spaces and parentheses itself: only the last one ends it.
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return ProcessStat(head.partition("(")[2], parent_pid=int(fields[1]), start_ticks=int(fields[19]))


def read_executable(pid: int, proc: Path = PROC) -> str | None:
    """The path of what the process runs; None for kernel threads and where we may not look."""
    try:
        target = str((proc / str(pid) / "exe").readlink())
    except OSError:
        return None
    return target.removesuffix(" (deleted)")


def pids(proc: Path = PROC) -> Iterator[int]:
    """Every process in the order of /proc; some may be gone by the time they are looked at."""
    with os.scandir(proc) as entries:
        for entry in entries:
            if entry.name.isdecimal():
                yield int(entry.name)
