"""Follows who comes while a run goes on: what the kernel cannot know by itself is looked for.

The kernel follows children, names, and who enters a control group that it was told of. Here it is looked for
pids that are not there yet, groups that are made (again), and the addresses of interfaces.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from universal_tracer.model.errors import TargetError
from universal_tracer.system.interfaces import InterfaceWatch, addresses_of
from universal_tracer.system.processes import pids_in_container, pids_named
from universal_tracer.system.procfs import read_stat

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from universal_tracer.cli.targets import Targets
    from universal_tracer.model.ports import Source
    from universal_tracer.system.cgroups import Cgroup

_EVERY_S: Final = 1.0
# Looking takes at most this part of the time, however many groups a machine has.
_SHARE_OF_TIME: Final = 0.02


def add_present(targets: Targets, source: Source) -> None:
    """Add everybody who is there by name, control group or container; whoever ends meanwhile is left out."""
    _add_pids(source, named_pids(targets))
    for group in targets.groups():
        _add_members(source, group)


def named_pids(targets: Targets) -> set[int]:
    """Who is there by name or container at the moment."""
    present = {pid for name in targets.names for pid in pids_named(name)}
    return present | {pid for name in targets.containers for pid in pids_in_container(name)}


def _add_pids(source: Source, pids: set[int]) -> None:
    for pid in pids - {os.getpid()}:
        with suppress(TargetError):
            source.add_target(pid)


def _add_members(source: Source, group: Cgroup) -> None:
    """Until there is nobody new: who is born of one that was not added yet is not followed by the kernel."""
    added: set[int] = set()
    while new := set(group.pids()) - added:
        _add_pids(source, new)
        added |= new


class Arrivals:
    """An action for every tick of a session; `stack` closes what it opens."""

    def __init__(self, targets: Targets, sources: Sequence[Source], stack: ExitStack) -> None:
        self._targets = targets
        self._sources = sources
        self._known: set[tuple[int, int]] = set()
        self._due_s = time.monotonic() + _EVERY_S
        self._interfaces = stack.enter_context(InterfaceWatch()) if targets.interfaces else None
        # Between the first look at the addresses and this watch they may have changed.
        self._follow_interfaces()

    def __call__(self, now_s: float) -> None:
        """Look for who has come, if it is time to."""
        if self._interfaces is not None and self._interfaces.has_news():
            self._follow_interfaces()
        if now_s >= self._due_s:
            self._look()
            took_s = time.monotonic() - now_s
            self._due_s = now_s + max(_EVERY_S, took_s / _SHARE_OF_TIME)

    def _follow_interfaces(self) -> None:
        if self._interfaces is not None:
            addresses = addresses_of(self._targets.interfaces)
            for source in self._sources:
                source.set_local_addresses(addresses)

    def _look(self) -> None:
        self._look_for_pids()
        if self._targets.cgroups or self._targets.containers:
            self._look_for_groups()

    def _look_for_pids(self) -> None:
        for pid in [pid for pid in self._targets.absent_pids if read_stat(pid) is not None]:
            with suppress(TargetError):
                for source in self._sources:
                    source.add_target(pid)
                self._targets.absent_pids.remove(pid)
                self._targets.pids.append(pid)

    def _look_for_groups(self) -> None:
        present = {(group.hierarchy, group.id): group for group in self._targets.groups()}
        for key in present.keys() - self._known:
            for source in self._sources:
                source.add_cgroup(*key)
                _add_members(source, present[key])
        self._known = set(present)
        if not present:
            # No hierarchy is mounted where we could see it: processes tell where they are, too.
            pids = {pid for name in self._targets.containers for pid in pids_in_container(name)}
            for source in self._sources:
                _add_pids(source, pids)
