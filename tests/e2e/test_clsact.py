"""Where the kernel has no TCX: filters of clsact, which nobody but a guard removes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.capability import need_command
from harness.network import Host, cable
from harness.tracer import Tracer, run_tracer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.kernel

CLSACT = {"UNIVERSAL_TRACER_ADAPTERS": "egress=clsact"}
DATAGRAM = """
import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (sys.argv[1], 9009))
"""
PATIENCE_S = 20.0


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with cable() as pair:
        yield pair


def traced(host: Host, *words: str) -> Tracer:
    return Tracer("--tracer", "xdp", "--interface", host.interface, *words, env=CLSACT, prefix=host.prefix)


def tc(host: Host, *words: str) -> str:
    need_command("tc")
    return host.run("tc", *words).stdout


def has_qdisc(host: Host) -> bool:
    return "clsact" in tc(host, "qdisc", "show", "dev", host.interface)


def filters(host: Host, way: str = "egress") -> list[str]:
    shown = tc(host, "filter", "show", "dev", host.interface, way)
    return [line for line in shown.splitlines() if "handle" in line]


def become(state: Callable[[], bool]) -> bool:
    """Whether it comes to that."""
    deadline = time.monotonic() + PATIENCE_S
    while not state() and time.monotonic() < deadline:
        time.sleep(0.05)
    return state()


def guards_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    names = {
        int(child): Path(f"/proc/{child}/comm").read_text(encoding="ascii").strip() for child in children
    }
    return [child for child, name in names.items() if name == "ut-guard"]


def test_what_is_sent_is_seen_and_nothing_stays(hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    with traced(near) as tracer:
        (ours,) = filters(near)
        assert "handle_tc_egres" in ours
        near.run(sys.executable, "-c", DATAGRAM, far.address)
        run = tracer.stop()
    assert run.exit_code == 0, run.stderr
    (sent,) = [event for event in run.of_type("flow") if event["flow"]["destination_port"] == 9009]
    assert (sent["direction"], sent["packets"]) == ("egress", 1)
    assert not has_qdisc(near)


def test_a_killed_tracer_leaves_nothing(hosts: tuple[Host, Host]) -> None:
    near, _ = hosts
    with traced(near) as tracer:
        guards = guards_of(tracer.pid)
        assert len(guards) == 1
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(guards[0], number)
        tracer.process.kill()
        tracer.process.wait()
        assert become(lambda: not has_qdisc(near))
        assert become(lambda: not Path(f"/proc/{guards[0]}").exists())


def test_what_others_put_there_stays(hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    device = ("dev", near.interface)
    tc(near, "qdisc", "add", *device, "clsact")
    try:
        passing = ("bpf", "da", "bytecode", "1,6 0 0 4294967295")
        tc(near, "filter", "add", *device, "egress", *passing)
    except subprocess.CalledProcessError:
        pytest.skip("this kernel has no classifier of BPF")
    before = filters(near)
    with traced(near) as tracer:
        assert len(filters(near)) == 2
        near.run(sys.executable, "-c", DATAGRAM, far.address)
        tracer.stop()
    assert filters(near) == before
    assert has_qdisc(near)


def test_a_qdisc_that_we_made_stays_while_others_use_it(hosts: tuple[Host, Host]) -> None:
    near, _ = hosts
    with traced(near) as tracer:
        passing = ("bpf", "da", "bytecode", "1,6 0 0 4294967295")
        tc(near, "filter", "add", "dev", near.interface, "ingress", *passing)
        tracer.stop()
    assert filters(near) == []
    assert len(filters(near, "ingress")) == 1


def test_doctor_sees_what_a_killed_guard_left(hosts: tuple[Host, Host]) -> None:
    near, _ = hosts
    with traced(near) as tracer:
        for guard in guards_of(tracer.pid):
            os.kill(guard, signal.SIGKILL)
        tracer.process.kill()
        tracer.process.wait()
    assert len(filters(near)) == 1
    told = run_tracer("doctor", prefix=near.prefix).stdout
    (line,) = [line for line in told.splitlines() if "handle_tc_egres" in line]
    assert "degraded" in line
    tc(near, "qdisc", "del", "dev", near.interface, "clsact")
