"""Who a pid is, and which pids a name, a parent or a container means."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from universal_tracer.system import procfs
from universal_tracer.system.cgroups import cgroup_paths_of
from universal_tracer.system.container_groups import is_called
from universal_tracer.system.containers import Container, container_of, systemd_unit_of
from universal_tracer.system.procfs import PROC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# What the kernel cuts the name of a task to, in bytes.
_COMM_LENGTH = 15


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it was when it was last looked at. `executable` is a path, None for kernel threads."""

    pid: int
    start_ticks: int
    comm: str
    executable: str | None
    container: Container | None
    unit: str | None

    @property
    def executable_name(self) -> str:
        """The executable's base name; the process's own name where that is unknown."""
        return Path(self.executable).name if self.executable else self.comm

    @property
    def service(self) -> str:
        """The container's name, else the systemd unit, else the executable."""
        container_name = self.container.name if self.container else None
        return container_name or self.unit or self.executable_name


class ProcessTable:
    """Processes by pid, read once and remembered, also after they have gone.

    At most `capacity` are remembered; the ones that were asked for least recently are forgotten. Whether a
    pid still means the same process (by its start time) and program (by its name) is checked again after
    `check_after_s`.
    """

    def __init__(
        self,
        *,
        capacity: int = 4096,
        check_after_s: float = 1.0,
        proc: Path = PROC,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity = capacity
        self._check_after_s = check_after_s
        self._proc = proc
        self._root = root
        self._clock = clock
        self._known: OrderedDict[int, tuple[float, Process]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, pid: int) -> Process | None:
        """The process, or what was known of it before it went; None where it was never seen."""
        now = self._clock()
        checked_at, known = self._known.get(pid, (float("-inf"), None))
        if now - checked_at >= self._check_after_s:
            checked_at, known = now, self._current(pid, known)
        if known:
            self._remember(known, checked_at)
        return known

    def _current(self, pid: int, known: Process | None) -> Process | None:
        stat = procfs.read_stat(pid, self._proc)
        if stat is None:
            return known
        if known and (known.start_ticks, known.comm) == (stat.start_ticks, stat.comm):
            return known
        groups = cgroup_paths_of(pid, self._proc)
        containers = (container_of(path, self._root) for path in groups)
        units = (systemd_unit_of(path) for path in groups)
        return Process(
            pid,
            stat.start_ticks,
            stat.comm,
            executable=procfs.read_executable(pid, self._proc),
            container=next(filter(None, containers), None),
            unit=next(filter(None, units), None),
        )

    def _remember(self, process: Process, checked_at: float) -> None:
        self._known[process.pid] = (checked_at, process)
        self._known.move_to_end(process.pid)
        if len(self._known) > self._capacity:
            self._known.popitem(last=False)


def pids_named(name: str, proc: Path = PROC) -> list[int]:
    """Processes whose `comm` or executable's base name is `name`; never this one."""
    return [pid for pid in procfs.pids(proc) if pid != os.getpid() and _is_named(pid, name, proc)]


def _is_named(pid: int, name: str, proc: Path) -> bool:
    stat = procfs.read_stat(pid, proc)
    if stat is None:
        return False
    executable = procfs.read_executable(pid, proc)
    cut = name.encode(errors="surrogateescape")[:_COMM_LENGTH].decode(errors="replace")
    return stat.comm == cut or (executable is not None and Path(executable).name == name)


def process_names(proc: Path = PROC) -> set[str]:
    """What the processes that run are called: each one's `comm` and its executable's base name."""
    names: set[str] = set()
    for pid in procfs.pids(proc):
        stat = procfs.read_stat(pid, proc)
        if stat is not None and pid != os.getpid():
            names |= {stat.comm, Path(procfs.read_executable(pid, proc) or stat.comm).name}
    return names


def descendants(roots: Iterable[int], proc: Path = PROC) -> set[int]:
    """The children of `roots`, their children and so on, as of now, without the roots themselves."""
    children: dict[int, list[int]] = {}
    for pid in procfs.pids(proc):
        stat = procfs.read_stat(pid, proc)
        if stat:
            children.setdefault(stat.parent_pid, []).append(pid)
    found: set[int] = set()
    pending = list(roots)
    while pending:
        new = [child for child in children.get(pending.pop(), ()) if child not in found]
        found.update(new)
        pending.extend(new)
    return found - set(roots)


def pids_in_container(name_or_id: str, table: ProcessTable | None = None, proc: Path = PROC) -> list[int]:
    """Processes of the container with this name or identifier (4 or more of its first digits do)."""
    table = ProcessTable(proc=proc) if table is None else table
    found = []
    for pid in procfs.pids(proc):
        process = table.find(pid)
        if process and process.container and is_called(process.container, name_or_id):
            found.append(pid)
    return found
