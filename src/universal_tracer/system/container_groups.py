"""The control groups of the containers that run: whom the kernel is to follow where a container is named."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from universal_tracer.system.cgroups import Cgroup, Hierarchy, cgroup_at, hierarchies
from universal_tracer.system.containers import Container, named_container, nameless_container
from universal_tracer.system.procfs import PROC

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIN_ID_LENGTH = 4


@dataclass(frozen=True, slots=True)
class ContainerGroup:
    """A container and the topmost group that is its own in one hierarchy."""

    container: Container
    group: Cgroup


def container_groups(proc: Path = PROC, root: Path = Path("/")) -> list[ContainerGroup]:
    """The groups of all containers in all hierarchies; their names are looked up below `root`."""
    found = [(container, group) for tree in hierarchies(proc) for container, group in _containers_in(tree)]
    named = {container: named_container(container, root) for container in {one for one, _ in found}}
    return [ContainerGroup(named[container], group) for container, group in found]


def _containers_in(hierarchy: Hierarchy) -> Iterator[tuple[Container, Cgroup]]:
    pending = [str(hierarchy.mount_point)]
    while pending:
        directory = pending.pop()
        container = nameless_container(directory)
        if container is None:
            pending += _subdirectories(directory)
            continue
        group = cgroup_at(Path(directory), hierarchy)
        if group is not None:
            yield container, group


def _subdirectories(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def is_called(container: Container, name_or_id: str) -> bool:
    """Whether this is the container's name, its pod's, or its identifier (4 first digits or more)."""
    by_id = len(name_or_id) >= _MIN_ID_LENGTH and container.id.startswith(name_or_id)
    return by_id or name_or_id in (container.name, container.pod)
