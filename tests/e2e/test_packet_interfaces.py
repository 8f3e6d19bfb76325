"""Interfaces that come and go, that others use, that are elsewhere or not there; and what a filter keeps."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from harness.capability import PATIENCE, need_command
from harness.network import Host, cable, connect, ip
from harness.tracer import Event, Tracer, TracerRun, run_tracer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.kernel

PASSES_ALL = """
__attribute__((section("xdp"), used)) int passes_all(void *ctx) { return 2; }
__attribute__((section("tc"), used)) int lets_all_go(void *ctx) { return 0; }
char LICENSE[] __attribute__((section("license"), used)) = "GPL";
"""
DATAGRAMS = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(int(sys.argv[3])):
    sender.sendto(b"x" * 100, (sys.argv[1], int(sys.argv[2])))
"""


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with cable() as pair:
        yield pair


@pytest.fixture(scope="module")
def foreign_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    source = folder / "passes_all.c"
    source.write_text(PASSES_ALL)
    compile_ = [
        need_command("clang"),
        "-O2",
        "-g",
        "-target",
        "bpf",
        "-c",
        source,
        "-o",
        folder / "passes_all.o",
    ]
    subprocess.run(compile_, check=True)
    return folder / "passes_all.o"


def send(sender: Host, receiver: Host, port: int, count: int = 5) -> None:
    sender.run(sys.executable, "-c", DATAGRAMS, receiver.address, port, count)


def traced(host: Host, *words: object, **options: Any) -> Tracer:
    options.setdefault("prefix", host.prefix)
    return Tracer("--tracer", "xdp", "--interval", "500ms", *map(str, words), **options)


def ingress_packets(run: TracerRun, port: int) -> int:
    events = [event for event in run.of_type("flow") if event["direction"] == "ingress"]
    return sum(event["packets"] for event in events if event["flow"]["destination_port"] == port)


def modes(run: TracerRun) -> dict[str, str]:
    return {event["direction"]: event["mode"] for event in run.of_type("interface")}


def wait_until_said(tracer: Tracer, words: str, seconds: float = 20 * PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while words not in tracer.stderr:
        assert time.monotonic() < deadline, tracer.stderr
        time.sleep(0.05)


@contextmanager
def attached(host: Host, program: Path) -> Iterator[None]:
    link = ["ip", "link", "set", "dev", host.interface, "xdpgeneric"]
    host.run(*link, "obj", program, "sec", "xdp")
    try:
        yield
    finally:
        host.run(*link, "off")


def program_on(host: Host) -> str | None:
    (link,) = json.loads(host.run("ip", "-json", "link", "show", host.interface).stdout)
    name: str | None = link["xdp"]["prog"]["name"] if "xdp" in link else None
    return name


def test_an_interface_that_goes_is_waited_for(hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    with traced(near, "--interface", near.interface) as tracer:
        send(far, near, 1001)
        ip("-n", near.namespace, "link", "del", near.interface)
        wait_until_said(tracer, "warning: wire is gone: waiting for it to come back")
        connect(near, far)
        wait_until_said(tracer, "wire is there")
        send(far, near, 1002)
        run = tracer.stop()
    assert run.exit_code == 0, run.stderr
    assert ingress_packets(run, 1001) == 5
    assert ingress_packets(run, 1002) == 5


def test_what_the_configuration_names_may_come_later(tmp_path: Path, hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    config = tmp_path / "tracer.yaml"
    config.write_text("xdp_tracer: {interfaces: [wire, later0]}\n")
    with traced(near, "--config", config) as tracer:
        wait_until_said(tracer, "warning: waiting for interface later0")
        near.run("ip", "link", "add", "later0", "type", "veth", "peer", "name", "later1")
        wait_until_said(tracer, "later0 is there")
        send(far, near, 1001)
        run = tracer.stop()
    assert run.exit_code == 0, run.stderr
    assert ingress_packets(run, 1001) == 5
    assert {event["interface"] for event in run.of_type("interface")} == {"wire", "later0"}


def test_a_default_route_says_which_interface(hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    near.run("ip", "route", "add", "default", "via", far.address)
    with traced(near) as tracer:
        send(far, near, 1001)
        run = tracer.stop()
    assert ingress_packets(run, 1001) == 5


def test_another_program_stays_and_ingress_is_seen_behind_it(
    hosts: tuple[Host, Host], foreign_program: Path
) -> None:
    near, far = hosts
    with attached(near, foreign_program):
        with traced(near, "--interface", near.interface) as tracer:
            send(far, near, 1001)
            run = tracer.stop()
        assert program_on(near) == "passes_all"
    assert "warning: the XDP program passes_all (" in run.stderr
    assert modes(run) == {"ingress": "tc", "egress": "tc"}
    assert ingress_packets(run, 1001) == 5


def test_a_mode_that_cannot_be_had_beside_another_program_is_an_error(
    hosts: tuple[Host, Host], foreign_program: Path
) -> None:
    near, _ = hosts
    with attached(near, foreign_program):
        words = [
            "--tracer",
            "xdp",
            "--interface",
            near.interface,
            "--xdp-mode",
            "generic",
            "--duration",
            "1s",
        ]
        done = run_tracer(*words, prefix=near.prefix)
        assert program_on(near) == "passes_all"
    assert done.returncode == 1
    error, cause, hint = done.stderr.splitlines()
    assert error == "error: cannot attach XDP to wire"
    assert cause.startswith("cause: the XDP program passes_all (")
    assert "--xdp-mode" in hint


def test_programs_of_others_at_tc_stay(hosts: tuple[Host, Host], foreign_program: Path) -> None:
    near, far = hosts
    near.run("tc", "qdisc", "add", "dev", near.interface, "clsact")
    words = ["dev", near.interface, "egress"]
    near.run("tc", "filter", "add", *words, "bpf", "da", "obj", foreign_program, "sec", "tc")
    with traced(near, "--interface", near.interface) as tracer:
        send(near, far, 1001)
        run = tracer.stop()
    assert "passes_all.o" in near.run("tc", "filter", "show", *words).stdout
    sent = [event for event in run.of_type("flow") if event["direction"] == "egress"]
    assert sum(event["packets"] for event in sent if event["flow"]["destination_port"] == 1001) == 5


def test_a_process_says_in_which_network_its_interfaces_are(hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    sleeper = near.start("sleep", "600")
    try:
        words = ["--pid", sleeper.pid, "--interface", near.interface]
        with traced(near, *words, prefix=()) as tracer:
            send(far, near, 1001)
            run = tracer.stop()
    finally:
        sleeper.kill()
        sleeper.wait()
    assert run.exit_code == 0, run.stderr
    runs = sum(event["ledger"]["runs"] for event in run.of_type("interface"))
    assert runs >= 5


def test_an_unknown_interface_is_exit_6_with_the_likeliest(hosts: tuple[Host, Host]) -> None:
    words = ["--tracer", "xdp", "--interface", "wirr", "--duration", "1s"]
    done = run_tracer(*words, prefix=hosts[0].prefix)
    assert done.returncode == 6
    assert "did you mean 'wire'?" in done.stderr


def flows_to(run: TracerRun, host: Host) -> set[int]:
    def is_to(event: Event) -> bool:
        return bool(event["flow"]["destination"] == host.address)

    return {event["flow"]["destination_port"] for event in run.of_type("flow") if is_to(event)}


@pytest.mark.parametrize("mode", ["generic", "native"])
def test_a_filter_keeps_what_matches_and_counts_the_rest(hosts: tuple[Host, Host], mode: str) -> None:
    near, far = hosts
    expression = f"udp port 1002 and host {far.address}"
    words = ["--interface", near.interface, "--xdp-mode", mode, "--filter", expression]
    with traced(near, *words) as tracer:
        for port in (1001, 1002, 1003):
            send(far, near, port)
            send(near, far, port)
        run = tracer.stop()
    assert flows_to(run, near) == flows_to(run, far) == {1002}
    assert ingress_packets(run, 1002) == 5
    for direction in ("ingress", "egress"):
        ledgers = [event["ledger"] for event in run.of_type("interface") if event["direction"] == direction]
        assert sum(ledger["flows"] for ledger in ledgers) == 5
        assert sum(ledger["filtered"] for ledger in ledgers) >= 10


def test_a_wrong_filter_is_exit_2_with_the_place() -> None:
    done = run_tracer("--tracer", "xdp", "--filter", "tcp prot 80", "--duration", "1s")
    assert done.returncode == 2
    assert done.stderr.splitlines()[:2] == [
        'error: wrong filter expression: "tcp prot 80"',
        'cause: syntax error at "prot", character 5',
    ]
