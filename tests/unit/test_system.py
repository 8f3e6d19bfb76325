"""Processes, control groups, containers and privileges, as read from made-up and real /proc trees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.machines import ID, Machine, put

from universal_tracer.model.errors import PrivilegeError
from universal_tracer.system import privileges as privileges_module
from universal_tracer.system.cgroups import cgroup_paths_of
from universal_tracer.system.privileges import Privileges, require_tracing
from universal_tracer.system.processes import ProcessTable, descendants, pids_named
from universal_tracer.system.procfs import read_executable, read_stat

DEAD_PID = 4_194_305  # beyond what the kernel hands out


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
        require_tracing(["/opt/ut", "--where", "a b"], privileges=held)
    assert hint in raised.value.hint
    assert raised.value.exit_code == 4


def test_enough_privilege_is_silent() -> None:
    require_tracing([sys.argv[0]], privileges=Privileges(TRACING, is_root=False, in_initial_namespace=True))


def test_a_tracer_may_need_more(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Privileges(TRACING, is_root=False, in_initial_namespace=True)
    monkeypatch.setattr(privileges_module.shutil, "which", lambda _: "/usr/bin/sudo")
    with pytest.raises(PrivilegeError) as raised:
        require_tracing(["/opt/ut", "--tracer", "xdp"], ["CAP_NET_ADMIN"], held)
    assert raised.value.cause == "CAP_NET_ADMIN is missing"
    assert raised.value.hint == "sudo /opt/ut --tracer xdp"
    everything = Privileges(TRACING | 1 << 12, is_root=False, in_initial_namespace=True)
    assert everything.missing(["CAP_NET_ADMIN"]) == []


def test_looking_at_privileges_loads_nothing_heavy() -> None:
    code = "import sys, universal_tracer.system.privileges; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert {"polars", "universal_tracer._native"}.isdisjoint(loaded.split())
