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
from universal_tracer.config.suggest import did_you_mean
from universal_tracer.model.errors import TargetError
from universal_tracer.system.cgroups import find_cgroup
from universal_tracer.system.container_groups import container_groups, is_called
from universal_tracer.system.interfaces import interface_names, interface_names_of
from universal_tracer.system.processes import pids_in_container, pids_named, process_names
from universal_tracer.system.procfs import read_stat, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from universal_tracer.config.settings import Settings
    from universal_tracer.system.cgroups import Cgroup
    from universal_tracer.system.container_groups import ContainerGroup

_Named = TypeVar("_Named")
_PS: Final = "ps -e -o pid,comm lists the processes that run"
_CONTAINERS: Final = "docker ps, podman ps or crictl ps lists the containers that run"
_MAX_NAMES: Final = 5


@dataclass(slots=True)
class Targets:
    """Whom a run traces. Nothing at all means the whole machine.

    Names, control groups and containers mean whoever comes under them. `absent_…` were named by the
    configuration and are not there yet, `absent_groups` in words. `interfaces` limit what is traced of them.
    """

    pids: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    cgroups: list[str] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)
    interfaces: list[str] = field(default_factory=list)
    absent_pids: list[int] = field(default_factory=list)
    absent_names: list[str] = field(default_factory=list)
    absent_groups: list[str] = field(default_factory=list)
    absent_interfaces: list[str] = field(default_factory=list)
    waits_for_interfaces: bool = False
    command_pid: int | None = None
    command_program: str | None = None

    @property
    def is_whole_machine(self) -> bool:
        """Whether nobody in particular was named."""
        return self.command_pid is None and not (self.pids or self.absent_pids or self._are_by_name)

    @property
    def ends_with_pids(self) -> bool:
        """Whether there is nothing left to trace once every pid is gone."""
        others = self.absent_pids or self._are_by_name
        return bool(self.pids) and self.command_pid is None and not others

    @property
    def _are_by_name(self) -> bool:
        return bool(self.names or self.cgroups or self.containers)

    @property
    def first_pids(self) -> list[int]:
        """The processes that must be targets from the moment of attaching."""
        return [*self.pids, *([self.command_pid] if self.command_pid is not None else [])]

    def present_pids(self) -> list[int]:
        """All processes that are there, whatever names them."""
        pids = set(self.first_pids)
        for name in self.names:
            pids.update(pids_named(name))
        for group in self.groups():
            pids.update(group.pids())
        return sorted(pids)

    def running_pids(self) -> list[int]:
        """The present processes without the tracer itself and the command, which runs nothing yet."""
        return [pid for pid in self.present_pids() if pid not in (os.getpid(), self.command_pid)]

    def first_groups(self) -> list[tuple[int, int]]:
        """(Hierarchy, id) of the control groups that are there at the moment."""
        return [(group.hierarchy, group.id) for group in self.groups()]

    def groups(self) -> list[Cgroup]:
        """The control groups that are there at the moment, those of the containers among them."""
        found = [group for path in self.cgroups if (group := find_cgroup(path)) is not None]
        return found + (_groups_of(self.containers, container_groups()) if self.containers else [])

    def describe(self) -> str:
        """In words, for the start line."""
        on = f" on {listed(self.interfaces)}" if self.interfaces else ""
        return self._whom() + on

    def _whom(self) -> str:
        if self.is_whole_machine:
            return "the whole machine"
        words = [f"pid {pid} ({_comm(pid)})" for pid in self.pids]
        words += [f"pid {pid} (not there yet)" for pid in self.absent_pids]
        words += [f"processes named {name}" for name in self.names]
        groups = [f"cgroup {path}" for path in self.cgroups] + [
            f"container {name}" for name in self.containers
        ]
        words += [f"{told} (not there yet)" if told in self.absent_groups else told for told in groups]
        words += ["the command and its children"] if self.command_pid is not None else []
        return listed(words)

    def absent(self) -> list[str]:
        """What is waited for, in words."""
        words = [f"pid {pid}" for pid in self.absent_pids]
        words += [f"a process named {name}" for name in self.absent_names]
        words += self.absent_groups
        return words + [f"interface {name}" for name in self.absent_interfaces]


def _groups_of(names: Sequence[str], running: Sequence[ContainerGroup]) -> list[Cgroup]:
    return [one.group for one in running if any(is_called(one.container, name) for name in names)]


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
    find("targets.containers", settings.config.targets.containers, _find_container)
    named = settings.config.xdp_tracer.interfaces
    targets.waits_for_interfaces = bool(named) and not settings.from_flag("xdp_tracer.interfaces")
    for name in settings.config.http_tracer.interfaces:
        _find_interface(targets, name, settings.from_flag("http_tracer.interfaces"))
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
                cause="no running process has that comm or executable" + did_you_mean(name, process_names()),
                hint=_PS,
            )
        targets.absent_names.append(name)
    targets.names.append(name)


def _find_cgroup(targets: Targets, path: str, by_flag: bool) -> None:
    group = find_cgroup(path)
    if group is None or not group.pids():
        if by_flag:
            cause = "there is no such control group" if group is None else "nobody is in that control group"
            raise TargetError(
                f"no process in cgroup {path!r} to trace",
                cause=cause,
                hint="systemd-cgls shows who is where",
            )
        targets.absent_groups.append(f"cgroup {path}")
    targets.cgroups.append(path)


def _find_container(targets: Targets, name: str, by_flag: bool) -> None:
    running = container_groups()
    is_there = any(group.pids() for group in _groups_of([name], running)) or pids_in_container(name)
    if not is_there:
        if by_flag:
            raise TargetError(
                f"no container {name!r} to trace", cause=_why_no_container(name, running), hint=_CONTAINERS
            )
        targets.absent_groups.append(f"container {name}")
    targets.containers.append(name)


def _why_no_container(name: str, running: Sequence[ContainerGroup]) -> str:
    known = sorted({one.container.name or one.container.id[:12] for one in running})
    if not known:
        return "no container runs on this machine, as far as its control groups tell"
    more = f" and {len(known) - _MAX_NAMES} more" if len(known) > _MAX_NAMES else ""
    meant = did_you_mean(name, known)
    return f"no running container has that name or id{meant}; there are {', '.join(known[:_MAX_NAMES])}{more}"


def _find_interface(targets: Targets, name: str, by_flag: bool) -> None:
    known = [*interface_names(), *interface_names_of(targets.present_pids())]
    if name not in known:
        if by_flag:
            raise TargetError(
                f"no interface {name!r}",
                cause=f"this machine has {', '.join(known)}{did_you_mean(name, known)}",
                hint="ip link lists the interfaces",
            )
        targets.absent_interfaces.append(name)
    targets.interfaces.append(name)


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
