"""Whom to trace: what flags and configuration name, looked up, and watched for coming and going."""

from __future__ import annotations

import errno
import os
import select
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

from universal_tracer.cli.talk import listed
from universal_tracer.model.errors import TargetError
from universal_tracer.system.cgroups import Cgroup, find_cgroup
from universal_tracer.system.processes import pids_named
from universal_tracer.system.procfs import read_stat, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from universal_tracer.config.settings import Settings
    from universal_tracer.model.ports import Source

_Named = TypeVar("_Named")
_PS: Final = "ps -e -o pid,comm lists the processes that run"


@dataclass(slots=True)
class Targets:
    """Whom a run traces. Nothing at all means the whole machine.

    `absent_…` were named by the configuration and are not there yet.
    """

    pids: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    cgroups: list[Cgroup] = field(default_factory=list)
    absent_pids: list[int] = field(default_factory=list)
    absent_names: list[str] = field(default_factory=list)
    absent_cgroups: list[str] = field(default_factory=list)
    command_pid: int | None = None

    @property
    def is_whole_machine(self) -> bool:
        """Whether nobody in particular was named."""
        named = (self.pids, self.names, self.cgroups, self.absent_pids, self.absent_cgroups)
        return self.command_pid is None and not any(named)

    @property
    def ends_with_pids(self) -> bool:
        """Whether there is nothing left to trace once every pid is gone."""
        others = (self.names, self.cgroups, self.absent_pids, self.absent_cgroups)
        return bool(self.pids) and self.command_pid is None and not any(others)

    @property
    def first_pids(self) -> list[int]:
        """The processes that must be targets from the moment of attaching."""
        return [*self.pids, *([self.command_pid] if self.command_pid is not None else [])]

    @property
    def are_awaited(self) -> bool:
        """Whether somebody may come whom only looking for finds; the kernel follows names by itself."""
        return bool(self.absent_pids or self.absent_cgroups)

    def describe(self) -> str:
        """In words, for the start line."""
        if self.is_whole_machine:
            return "the whole machine"
        words = [f"pid {pid} ({_comm(pid)})" for pid in self.pids]
        words += [f"pid {pid} (not there yet)" for pid in self.absent_pids]
        words += [f"processes named {name}" for name in self.names]
        words += [f"cgroup {group.path}" for group in self.cgroups]
        words += [f"cgroup {path} (not there yet)" for path in self.absent_cgroups]
        words += ["the command and its children"] if self.command_pid is not None else []
        return listed(words)

    def absent(self) -> list[str]:
        """What is waited for, in words."""
        words = [f"pid {pid}" for pid in self.absent_pids]
        words += [f"a process named {name}" for name in self.absent_names]
        return words + [f"cgroup {path}" for path in self.absent_cgroups]


def find_targets(settings: Settings, *, with_command: bool) -> Targets:
    """Look everybody up.

    With a command, only it and what flags name count. Raises TargetError for what a flag names and nobody is.
    """
    targets = Targets()

    def find(dotted: str, named: Iterable[_Named], find_one: Callable[[Targets, _Named, bool], None]) -> None:
        by_flag = settings.from_flag(dotted)
        for one in named if by_flag or not with_command else ():
            find_one(targets, one, by_flag)

    find("targets.pids", settings.config.targets.pids, _find_pid)
    find("targets.processes", settings.config.targets.processes, _find_name)
    find("targets.cgroups", settings.config.targets.cgroups, _find_cgroup)
    return targets


def _find_pid(targets: Targets, pid: int, by_flag: bool) -> None:
    try:
        os.close(_open_process(pid))
    except TargetError:
        if by_flag:
            raise
        targets.absent_pids.append(pid)
    else:
        targets.pids.append(pid)


def _open_process(pid: int) -> int:
    """A descriptor of the running process; raises TargetError where there is none."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as error:
        raise TargetError(
            f"no process {pid} to trace", cause=_why_no_process(pid, error), hint=_PS
        ) from error
    if _has_ended(descriptor):
        os.close(descriptor)
        raise TargetError(
            f"no process {pid} to trace", cause="it has ended and waits for its parent", hint=_PS
        )
    return descriptor


def _why_no_process(pid: int, error: OSError) -> str:
    if error.errno in (errno.EINVAL, errno.ENOENT):
        status = read_text(Path("/proc") / str(pid) / "status") or ""
        group = next((line.split()[1] for line in status.splitlines() if line.startswith("Tgid:")), "another")
        return f"{pid} is a thread of process {group}"
    return f"/proc/{pid} does not exist" if error.errno == errno.ESRCH else str(error.strerror)


def _has_ended(process: int) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(0))


def _find_name(targets: Targets, name: str, by_flag: bool) -> None:
    if not pids_named(name):
        if by_flag:
            raise TargetError(
                f"no process named {name!r} to trace",
                cause="no running process has that comm or executable",
                hint=_PS,
            )
        targets.absent_names.append(name)
    targets.names.append(name)


def _find_cgroup(targets: Targets, path: str, by_flag: bool) -> None:
    group = find_cgroup(path)
    if by_flag and (group is None or not group.pids()):
        cause = "there is no such control group" if group is None else "nobody is in that control group"
        raise TargetError(
            f"no process in cgroup {path!r} to trace", cause=cause, hint="systemd-cgls shows who is where"
        )
    if group is None:
        targets.absent_cgroups.append(path)
    else:
        targets.cgroups.append(group)


def add_present(targets: Targets, source: Source) -> None:
    """Add everybody who is there by name or control group; whoever ends meanwhile is left out."""
    present = {pid for name in targets.names for pid in pids_named(name)}
    present |= {pid for group in targets.cgroups for pid in group.pids()}
    present -= {os.getpid()}
    for pid in present:
        with suppress(TargetError):
            source.add_target(pid)


def add_late(targets: Targets, source: Source) -> None:
    """Add whom the configuration named by pid or control group and who has come since."""
    for pid in [pid for pid in targets.absent_pids if read_stat(pid) is not None]:
        with suppress(TargetError):
            source.add_target(pid)
            targets.absent_pids.remove(pid)
            targets.pids.append(pid)
    for path in targets.absent_cgroups:
        group = find_cgroup(path)
        for pid in group.pids() if group is not None else ():
            with suppress(TargetError):
                source.add_target(pid)


class ProcessWatch:
    """Tells when all of some processes have ended; a pid that is used again is not taken for one of them."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._running: list[int] = []
        for pid in pids:
            with suppress(TargetError):
                self._running.append(_open_process(pid))

    def all_gone(self) -> bool:
        """Whether none of them runs any more."""
        for descriptor in [running for running in self._running if _has_ended(running)]:
            self._running.remove(descriptor)
            os.close(descriptor)
        return not self._running

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for descriptor in self._running:
            os.close(descriptor)
        self._running.clear()


def _comm(pid: int) -> str:
    stat = read_stat(pid)
    return stat.comm if stat is not None else "gone"
