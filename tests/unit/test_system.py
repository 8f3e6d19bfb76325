"""Processes, control groups, containers and privileges, as read from made-up and real /proc trees."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from universal_tracer.model.errors import PrivilegeError
from universal_tracer.system import privileges as privileges_module
from universal_tracer.system.cgroups import Hierarchy, cgroup_paths_of, find_cgroup, hierarchies
from universal_tracer.system.containers import Container, container_of, systemd_unit_of
from universal_tracer.system.privileges import Privileges, require_tracing
from universal_tracer.system.processes import ProcessTable, descendants, pids_in_container, pids_named
from universal_tracer.system.procfs import read_executable, read_stat

DEAD_PID = 4_194_305  # beyond what the kernel hands out
ID = "0123456789abcdef" * 4


class Machine:
    """A /proc that one can change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.proc = root / "proc"
        self.now = 100.0

    def start(self, pid: int, comm: str = "app", **more: Any) -> None:
        directory = self.proc / str(pid)
        directory.mkdir(parents=True, exist_ok=True)
        ticks, parent = more.get("start_ticks", 1), more.get("parent", 1)
        (directory / "stat").write_text(f"{pid} ({comm}) S {parent} " + "0 " * 17 + f"{ticks} 0 0\n")
        (directory / "cgroup").write_text(f"0::{more.get('cgroup', '/')}\n")
        (directory / "exe").unlink(missing_ok=True)
        if "exe" in more:
            (directory / "exe").symlink_to(more["exe"])

    def end(self, pid: int) -> None:
        shutil.rmtree(self.proc / str(pid))

    def table(self, **more: Any) -> ProcessTable:
        return ProcessTable(proc=self.proc, root=self.root, clock=lambda: self.now, **more)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_stat_of_this_process() -> None:
    stat = read_stat(os.getpid())
    assert stat is not None
    assert stat.parent_pid == os.getppid()
    assert stat.comm == Path("/proc/self/comm").read_text().strip()


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=15))
def test_stat_with_any_name(comm: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        text = f"7 ({comm}) R 3 " + "0 " * 17 + "99 0"
        patch.setattr("universal_tracer.system.procfs.read_text", lambda _: text)
        stat = read_stat(7)
    assert stat is not None
    assert (stat.comm, stat.parent_pid, stat.start_ticks) == (comm, 3, 99)


def test_who_is_gone_is_none() -> None:
    assert read_stat(DEAD_PID) is None
    assert read_executable(DEAD_PID) is None
    assert cgroup_paths_of(DEAD_PID) == []
    assert ProcessTable().find(DEAD_PID) is None


def test_the_executable_of_a_replaced_program(machine: Machine) -> None:
    machine.start(5, exe="/usr/bin/app (deleted)")
    assert read_executable(5, machine.proc) == "/usr/bin/app"


def test_service_is_container_then_unit_then_executable_then_comm(machine: Machine) -> None:
    config = machine.root / "var/lib/docker/containers" / ID / "config.v2.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"Name": "/shop", "Config": {"Labels": {}}}))
    machine.start(2, exe="/srv/app", cgroup=f"/system.slice/docker-{ID}.scope")
    machine.start(3, exe="/srv/app", cgroup="/system.slice/api.service")
    machine.start(4, exe="/srv/app", cgroup="/user.slice/user-1000.slice/session-1.scope")
    machine.start(5, comm="kworker/0:1")
    table = machine.table()
    found = [table.find(pid) for pid in (2, 3, 4, 5)]
    assert [process.service if process else None for process in found] == [
        "shop",
        "api.service",
        "app",
        "kworker/0:1",
    ]


def test_processes_are_remembered_after_they_went(machine: Machine) -> None:
    machine.start(7, exe="/bin/first")
    table = machine.table()
    first = table.find(7)
    machine.end(7)
    machine.now += 60
    assert table.find(7) == first


@pytest.mark.parametrize("change", [{"start_ticks": 2}, {"comm": "second"}])
def test_a_pid_used_again_or_a_program_started_by_it_is_noticed(
    machine: Machine, change: dict[str, Any]
) -> None:
    machine.start(7, exe="/bin/first")
    table = machine.table()
    table.find(7)
    machine.start(7, exe="/bin/second", **change)
    machine.now += 1
    process = table.find(7)
    assert process is not None
    assert process.executable_name == "second"


def test_processes_are_not_read_again_at_once(machine: Machine) -> None:
    machine.start(7, exe="/bin/first")
    table = machine.table()
    first = table.find(7)
    machine.start(7, exe="/bin/second", start_ticks=2)
    machine.now += 0.5
    assert table.find(7) is first


def test_the_table_is_bounded(machine: Machine) -> None:
    for pid in range(1, 31):
        machine.start(pid)
    table = machine.table(capacity=10)
    for pid in range(1, 31):
        table.find(pid)
    assert len(table) == 10


def test_processes_by_name(machine: Machine) -> None:
    machine.start(3, comm="gunicorn", exe="/usr/bin/python3.11")
    machine.start(4, comm="worker", exe="/opt/gunicorn")
    machine.start(5, comm="gunicorn2")
    assert sorted(pids_named("gunicorn", machine.proc)) == [3, 4]
    assert pids_named("nobody", machine.proc) == []


def test_the_tracer_itself_is_never_meant(machine: Machine) -> None:
    machine.start(os.getpid(), comm="app")
    assert pids_named("app", machine.proc) == []


def test_descendants(machine: Machine) -> None:
    for pid, parent in ((2, 1), (3, 2), (4, 3), (5, 1), (6, 5)):
        machine.start(pid, parent=parent)
    assert descendants([2], machine.proc) == {3, 4}
    assert descendants([2, 3], machine.proc) == {4}
    assert descendants([1], machine.proc) == {2, 3, 4, 5, 6}


def test_descendants_of_a_real_process() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as shell:
        deadline = time.monotonic() + 10
        while not (found := descendants([shell.pid])) and time.monotonic() < deadline:
            time.sleep(0.01)
        shell.kill()
        for pid in found:
            os.kill(pid, 9)
    assert len(found) == 1


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


def put(root: Path, path: str, content: Any) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content if isinstance(content, str) else json.dumps(content))


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


TRACING = 1 << 38 | 1 << 39
UNPRIVILEGED = Privileges(0, is_root=False, in_initial_namespace=True)


@pytest.mark.parametrize(
    ("held", "missing"),
    [
        (Privileges(TRACING, is_root=False, in_initial_namespace=True), []),
        (Privileges(1 << 21, is_root=True, in_initial_namespace=True), []),
        (Privileges(1 << 38, is_root=False, in_initial_namespace=True), ["CAP_BPF"]),
        (Privileges(0, is_root=False, in_initial_namespace=True), ["CAP_PERFMON", "CAP_BPF"]),
        (Privileges(2**41 - 1, is_root=True, in_initial_namespace=False), ["CAP_PERFMON", "CAP_BPF"]),
    ],
)
def test_missing_capabilities(held: Privileges, missing: list[str]) -> None:
    assert held.missing() == missing


def test_privileges_are_read_from_proc(machine: Machine) -> None:
    put(machine.root, "proc/self/status", "Name:\tx\nCapInh:\t00\nCapEff:\t000000c000000000\n")
    put(machine.root, "proc/self/uid_map", "         0          0 4294967295\n")
    held = Privileges.of_this_process(machine.proc)
    assert (held.capabilities, held.in_initial_namespace) == (TRACING, True)
    put(machine.root, "proc/self/uid_map", "         0       1000          1\n")
    assert not Privileges.of_this_process(machine.proc).in_initial_namespace


@pytest.mark.parametrize(
    ("held", "has_sudo", "hint"),
    [
        (Privileges(0, is_root=False, in_initial_namespace=True), True, "sudo /opt/ut --where 'a b'"),
        (
            Privileges(0, is_root=False, in_initial_namespace=True),
            False,
            """su -c '/opt/ut --where '"'"'a b'"'"''""",
        ),
        (Privileges(0, is_root=True, in_initial_namespace=True), True, "--privileged --pid=host"),
        (Privileges(TRACING, is_root=True, in_initial_namespace=False), True, "--privileged --pid=host"),
    ],
)
def test_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch, held: Privileges, has_sudo: bool, hint: str
) -> None:
    monkeypatch.setattr(privileges_module.shutil, "which", lambda _: "/usr/bin/sudo" if has_sudo else None)
    with pytest.raises(PrivilegeError) as raised:
        require_tracing(["/opt/ut", "--where", "a b"], held)
    assert hint in raised.value.hint
    assert raised.value.exit_code == 4


def test_enough_privilege_is_silent() -> None:
    require_tracing([sys.argv[0]], Privileges(TRACING, is_root=False, in_initial_namespace=True))


def test_looking_at_privileges_loads_nothing_heavy() -> None:
    code = "import sys, universal_tracer.system.privileges; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert {"polars", "universal_tracer._native"}.isdisjoint(loaded.split())
