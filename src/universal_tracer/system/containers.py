"""Which container a process runs in, told from its control group's path, and what that container is called.

The path's shape gives the identifier and mostly the runtime. Names come from the files in which runtimes and
the kubelet keep them on this machine: no runtime is asked, nothing of the process's own memory or environment
is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Struct, field

from universal_tracer.system.procfs import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator

_ID = r"(?P<id>[0-9a-f]{64})"
_SHAPES = (
    ("docker", re.compile(rf"(?:^|/)docker[-/]{_ID}(?:\.scope)?(?:/|$)")),
    ("containerd", re.compile(rf"(?:^|[/:])cri-containerd[-:]{_ID}(?:\.scope)?(?:/|$)")),
    ("cri-o", re.compile(rf"(?:^|/)crio-(?!conmon-){_ID}(?:\.scope)?(?:/|$)")),
    ("podman", re.compile(rf"(?:^|/)libpod-(?!conmon-)(?:payload-)?{_ID}(?:\.scope)?(?:/|$)")),
    ("containerd", re.compile(rf"(?:^|/)nerdctl-{_ID}(?:\.scope)?(?:/|$)")),
    # With the cgroupfs driver neither the kubelet nor `ctr` write the runtime's name into the path.
    (None, re.compile(rf"(?:^|/)(?:kubepods|default|k8s\.io|moby)(?:[^/]*/)+{_ID}(?:/|$)")),
)
_UNIT = re.compile(r"^(?!user@).+\.service$")

T = TypeVar("T")

_NAME_KEYS = ("io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name")
_POD_KEYS = ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name")
_NAMESPACE_KEYS = ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace")


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the events name it. Everything but the identifier may be unknown."""

    id: str
    name: str | None = None
    runtime: str | None = None
    pod: str | None = None
    namespace: str | None = None


class _DockerSettings(Struct):
    labels: dict[str, str] | None = field(name="Labels", default=None)


class _DockerContainer(Struct):
    name: str | None = field(name="Name", default=None)
    settings: _DockerSettings | None = field(name="Config", default=None)


class _Bundle(Struct):
    annotations: dict[str, str] | None = None


class _PodmanContainer(Struct):
    id: str
    names: list[str] | None = None


@lru_cache(maxsize=1024)
def container_of(cgroup_path: str, root: Path = Path("/")) -> Container | None:
    """The container that a control group belongs to, or None; names are looked up below `root`, once."""
    container = nameless_container(cgroup_path)
    return named_container(container, root) if container is not None else None


def nameless_container(cgroup_path: str) -> Container | None:
    """What the path itself tells: the identifier and mostly the runtime."""
    for runtime, shape in _SHAPES:
        match = shape.search(cgroup_path)
        if match:
            return Container(match["id"], runtime=runtime)
    return None


def named_container(container: Container, root: Path = Path("/")) -> Container:
    """The container with its names, as far as files below `root` tell them by now."""
    for lookup in (_from_docker, _from_bundle, _from_kubelet_log, _from_podman):
        found = lookup(container, root)
        if found:
            return found
    return container


def systemd_unit_of(cgroup_path: str) -> str | None:
    """The innermost service of systemd in the path (`nginx.service`).

    Scopes and the user manager's own service hold whatever a user started and name nothing.
    """
    return next((part for part in reversed(cgroup_path.split("/")) if _UNIT.match(part)), None)


def _from_docker(container: Container, root: Path) -> Container | None:
    config = _read(root / "var/lib/docker/containers" / container.id / "config.v2.json", _DockerContainer)
    if config is None:
        return None
    labels = config.settings.labels or {} if config.settings else {}
    return replace(
        container,
        name=labels.get("io.kubernetes.container.name") or (config.name or "").lstrip("/") or None,
        runtime="docker",
        pod=labels.get("io.kubernetes.pod.name"),
        namespace=labels.get("io.kubernetes.pod.namespace"),
    )


def _from_bundle(container: Container, root: Path) -> Container | None:
    """Where containerd and CRI-O keep a container's names: the annotations of its OCI bundle."""
    for runtime, pattern in (
        ("containerd", f"run/containerd/io.containerd.runtime.v2.task/*/{container.id}/config.json"),
        ("cri-o", f"run/containers/storage/overlay-containers/{container.id}/userdata/config.json"),
    ):
        for path in _glob(root, pattern):
            bundle = _read(path, _Bundle)
            annotations = bundle.annotations or {} if bundle else {}
            name, pod, namespace = (
                next((annotations[key] for key in keys if annotations.get(key)), None)
                for keys in (_NAME_KEYS, _POD_KEYS, _NAMESPACE_KEYS)
            )
            if name:
                known = replace(container, runtime=container.runtime or runtime)
                return replace(known, name=name, pod=pod, namespace=namespace)
    return None


def _from_kubelet_log(container: Container, root: Path) -> Container | None:
    """The kubelet names each container's log `POD_NAMESPACE_CONTAINER-ID.log`."""
    for log in _glob(root, f"var/log/containers/*-{container.id}.log"):
        parts = log.name.removesuffix(f"-{container.id}.log").split("_")
        if len(parts) == 3:
            return replace(container, pod=parts[0], namespace=parts[1], name=parts[2])
    return None


def _from_podman(container: Container, root: Path) -> Container | None:
    storages = [root / "var/lib/containers/storage", *_glob(root, "home/*/.local/share/containers/storage")]
    for storage in storages if container.runtime == "podman" else ():
        for known in _read(storage / "overlay-containers/containers.json", list[_PodmanContainer]) or []:
            if known.id == container.id and known.names:
                return replace(container, name=known.names[0])
    return None


def _glob(root: Path, pattern: str) -> Iterator[Path]:
    try:
        yield from root.glob(pattern)
    except OSError:
        return


def _read(path: Path, kind: type[T]) -> T | None:
    """The file's content, or None where there is none or it is not what runtimes write."""
    try:
        return msgspec.json.decode(read_text(path) or "", type=kind)
    except msgspec.DecodeError:
        return None
