"""Containers, units and control groups by what /proc and the runtimes' files say."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.machines import ID, Machine, put

from universal_tracer.system.cgroups import Hierarchy, cgroup_paths_of, find_cgroup, hierarchies
from universal_tracer.system.containers import Container, container_of, systemd_unit_of
from universal_tracer.system.processes import pids_in_container


@pytest.mark.parametrize(
    ("path", "runtime"),
    [
        (f"/docker/{ID}", "docker"),
        (f"/system.slice/docker-{ID}.scope", "docker"),
        (f"/system.slice/docker-{ID}.scope/init.scope", "docker"),
        (
            f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope",
            "containerd",
        ),
        (f"/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}", "containerd"),
        (f"/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope/container", "cri-o"),
        (f"/machine.slice/libpod-{ID}.scope", "podman"),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container", "podman"),
        (f"/system.slice/nerdctl-{ID}.scope", "containerd"),
        (f"/kubepods/besteffort/pod7e6b1b3a-7d4f-4b3c-9c1d-2f6a0f4e8f11/{ID}", None),
        (f"/default/{ID}", None),
    ],
)
def test_containers_by_the_shape_of_the_path(tmp_path: Path, path: str, runtime: str | None) -> None:
    assert container_of(path, tmp_path) == Container(ID, runtime=runtime)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/system.slice/nginx.service",
        f"/machine.slice/libpod-conmon-{ID}.scope",
        f"/kubepods.slice/crio-conmon-{ID}.scope",
        f"/process_api/{ID[:32]}",
        f"/system.slice/docker-{ID[:12]}.scope",
        f"/user.slice/backup-{ID}.scope",
    ],
)
def test_what_is_no_container(tmp_path: Path, path: str) -> None:
    assert container_of(path, tmp_path) is None


def test_names_of_docker_containers(tmp_path: Path) -> None:
    put(tmp_path, f"var/lib/docker/containers/{ID}/config.v2.json", {"Name": "/shop", "Config": {}})
    assert container_of(f"/docker/{ID}", tmp_path) == Container(ID, "shop", "docker")


def test_names_of_pods_in_docker(tmp_path: Path) -> None:
    labels = {
        "io.kubernetes.container.name": "web",
        "io.kubernetes.pod.name": "shop-7",
        "io.kubernetes.pod.namespace": "prod",
    }
    config = {"Name": "/k8s_web_shop", "Config": {"Labels": labels}}
    put(tmp_path, f"var/lib/docker/containers/{ID}/config.v2.json", config)
    assert container_of(f"/kubepods/pod1/{ID}", tmp_path) == Container(ID, "web", "docker", "shop-7", "prod")


def test_names_of_containerd_pods(tmp_path: Path) -> None:
    annotations = {
        "io.kubernetes.cri.container-name": "web",
        "io.kubernetes.cri.sandbox-name": "shop-7",
        "io.kubernetes.cri.sandbox-namespace": "prod",
    }
    bundle = f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json"
    put(tmp_path, bundle, {"annotations": annotations})
    path = f"/kubepods.slice/cri-containerd-{ID}.scope"
    assert container_of(path, tmp_path) == Container(ID, "web", "containerd", "shop-7", "prod")


def test_names_by_the_kubelets_logs(tmp_path: Path) -> None:
    put(tmp_path, f"var/log/containers/shop-7_prod_web-{ID}.log", "")
    path = f"/kubepods.slice/crio-{ID}.scope"
    assert container_of(path, tmp_path) == Container(ID, "web", "cri-o", "shop-7", "prod")


def test_names_of_podman_containers(tmp_path: Path) -> None:
    storage = "home/me/.local/share/containers/storage/overlay-containers/containers.json"
    put(tmp_path, storage, [{"id": "f" * 64, "names": ["other"]}, {"id": ID, "names": ["shop"]}])
    assert container_of(f"/libpod-{ID}.scope", tmp_path) == Container(ID, "shop", "podman")


@pytest.mark.parametrize(
    "content", ["", "{", "null", "[]", '"text"', '{"Name": null, "Config": null}', "\xff"]
)
def test_damaged_files_of_runtimes_name_nothing(tmp_path: Path, content: str) -> None:
    put(tmp_path, f"var/lib/docker/containers/{ID}/config.v2.json", content)
    put(tmp_path, f"run/containerd/io.containerd.runtime.v2.task/moby/{ID}/config.json", content)
    put(tmp_path, "var/lib/containers/storage/overlay-containers/containers.json", content)
    for path in (f"/docker/{ID}", f"/libpod-{ID}.scope"):
        found = container_of(path, tmp_path)
        assert found is not None
        assert found.name is None


def test_processes_of_a_container(machine: Machine) -> None:
    put(machine.root, f"var/lib/docker/containers/{ID}/config.v2.json", {"Name": "/shop", "Config": {}})
    machine.start(3, cgroup=f"/docker/{ID}")
    machine.start(4, cgroup=f"/docker/{ID}/child")
    machine.start(5)
    for name in ("shop", ID, ID[:12], ID[:4]):
        assert sorted(pids_in_container(name, machine.table(), machine.proc)) == [3, 4]
    for name in ("sho", ID[:3], "other", ""):
        assert pids_in_container(name, machine.table(), machine.proc) == []


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/system.slice/nginx.service", "nginx.service"),
        ("/system.slice/system-postgresql.slice/postgresql@15-main.service", "postgresql@15-main.service"),
        ("/system.slice/api.service/workers", "api.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/sync.service", "sync.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-term.scope", None),
        ("/user.slice/user-1000.slice/session-2.scope", None),
        ("/", None),
    ],
)
def test_systemd_units(path: str, unit: str | None) -> None:
    assert systemd_unit_of(path) == unit


def test_mounted_hierarchies(machine: Machine) -> None:
    put(
        machine.root,
        "proc/self/mountinfo",
        "25 1 0:1 / /proc rw - proc proc rw\n"
        "31 25 0:2 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n"
        "32 25 0:3 / /mnt/with\\040blank rw - cgroup2 cgroup2 rw\n",
    )
    put(machine.root, "proc/self/cgroup", "9:name=systemd:/\n4:cpu:/a\n0::/\n")
    assert hierarchies(machine.proc) == [
        Hierarchy(2, Path("/mnt/with blank"), 0),
        Hierarchy(1, Path("/sys/fs/cgroup/cpu"), 4),
    ]


@pytest.fixture
def mounted(machine: Machine) -> Machine:
    """Both versions, the newer one mounted within the older one's directory."""
    for directory in ("cg/cpu/app", "cg/unified/app/inner", "cg/unified/only-new"):
        put(machine.root, f"{directory}/cgroup.procs", "")
    put(machine.root, "cg/unified/cgroup.procs", "1\n")
    put(machine.root, "cg/unified/app/cgroup.procs", "30\n10\n")
    put(machine.root, "cg/unified/app/inner/cgroup.procs", "20\n0\n")
    put(
        machine.root,
        "proc/self/mountinfo",
        f"31 25 0:2 / {machine.root}/cg/cpu rw - cgroup cgroup rw,cpu\n"
        f"32 25 0:3 / {machine.root}/cg/unified rw - cgroup2 cgroup2 rw\n",
    )
    put(machine.root, "proc/self/cgroup", "4:cpu:/\n0::/\n")
    return machine


def test_a_cgroup_by_its_directory_or_relative_to_the_mount_point(mounted: Machine) -> None:
    directory = mounted.root / "cg/unified/app"
    for path in (str(directory), f"{directory}/", "/app", "app"):
        found = find_cgroup(path, mounted.proc)
        assert found is not None
        assert (found.path, found.version, found.id) == (directory, 2, directory.stat().st_ino)
        assert found.pids() == [10, 20, 30]


def test_a_cgroup_of_the_older_hierarchy(mounted: Machine) -> None:
    found = find_cgroup(f"{mounted.root}/cg/cpu/app", mounted.proc)
    assert found is not None
    assert (found.version, found.hierarchy) == (1, 4)


@pytest.mark.parametrize("path", ["nowhere", "/nowhere", "/etc", "/"])
def test_what_is_no_cgroup(machine: Machine, path: str) -> None:
    put(machine.root, "proc/self/mountinfo", "")
    assert find_cgroup(path, machine.proc) is None


def test_the_root_of_all_cgroups(mounted: Machine) -> None:
    found = find_cgroup("/", mounted.proc)
    assert found is not None
    assert found.path == mounted.root / "cg/unified"


def test_paths_of_a_process_are_told_once(machine: Machine) -> None:
    machine.start(9)
    put(machine.root, "proc/9/cgroup", "2:cpu:/a\n1:name=systemd:/a:b\n0::/a\n")
    assert cgroup_paths_of(9, machine.proc) == ["/a", "/a:b"]
