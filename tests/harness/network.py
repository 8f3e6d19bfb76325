"""Two hosts on one cable: network namespaces with a veth pair between them, gone after the test."""

from __future__ import annotations

import itertools
import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.capability import need_command, need_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_numbers = itertools.count()
_QUIET = ("accept_dad", "router_solicitations")


@dataclass(frozen=True)
class Host:
    """One end: its namespace, its interface there, its addresses."""

    namespace: str
    interface: str
    address: str
    address6: str

    @property
    def prefix(self) -> list[str]:
        """Words before a command that make it run on this host."""
        return [need_command("ip"), "netns", "exec", self.namespace]

    def run(self, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command on this host to its end; raises where it fails."""
        command = [*self.prefix, *map(str, words)]
        return subprocess.run(command, check=True, capture_output=True, text=True, **options)

    def start(self, *words: object, **options: Any) -> subprocess.Popen[str]:
        """Start a command on this host."""
        return subprocess.Popen([*self.prefix, *map(str, words)], text=True, **options)


def ip(*words: object) -> None:
    """Run `ip`."""
    subprocess.run([need_command("ip"), *map(str, words)], check=True, capture_output=True)


@contextmanager
def cable(setup: Sequence[str] = ()) -> Iterator[tuple[Host, Host]]:
    """Yield two hosts that reach each other; `setup` are more words for `ip link add`."""
    need_root()
    stem = f"ut{os.getpid()}-{next(_numbers)}"
    hosts = [Host(f"{stem}{end}", "wire", f"10.77.0.{at}", f"fd77::{at}") for at, end in ((1, "a"), (2, "b"))]
    try:
        for host in hosts:
            ip("netns", "add", host.namespace)
            # no neighbour discovery and no multicast reports in between: tests count packets
            host.run("sysctl", "-qw", *(f"net.ipv6.conf.default.{setting}=0" for setting in _QUIET))
        connect(hosts[0], hosts[1], setup)
        yield hosts[0], hosts[1]
    finally:
        for host in hosts:
            words = [need_command("ip"), "netns", "del", host.namespace]
            subprocess.run(words, check=False, capture_output=True)


def connect(near: Host, far: Host, setup: Sequence[str] = ()) -> None:
    """Put a cable between hosts that have none."""
    ends = ([host.interface, "netns", host.namespace] for host in (near, far))
    ip("link", "add", *next(ends), "type", "veth", "peer", "name", *next(ends), *setup)
    for host in (near, far):
        _bring_up(host)


def _bring_up(host: Host) -> None:
    ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", host.interface)
    ip("-n", host.namespace, "addr", "add", f"{host.address6}/64", "dev", host.interface, "nodad")
    for interface in ("lo", host.interface):
        ip("-n", host.namespace, "link", "set", interface, "up")
