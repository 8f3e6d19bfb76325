"""What this process may do to the kernel, and how a user gets the rest."""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from universal_tracer.model.errors import PrivilegeError
from universal_tracer.system.procfs import PROC, read_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

_SYS_ADMIN = 21
_ALL_IDS = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Capability:
    """A right that the tracer uses: its bit in the kernel's sets (capability.h), and what it is for.

    Without one that `is_needed` nothing can be traced; what another is good for depends on the tracer.
    `in_sys_admin`: CAP_SYS_ADMIN gives the same.
    """

    name: str
    bit: int
    purpose: str
    is_needed: bool
    in_sys_admin: bool


CAPABILITIES = (
    Capability("CAP_PERFMON", 38, "attach to tracepoints", is_needed=True, in_sys_admin=True),
    Capability("CAP_BPF", 39, "load kernel programs", is_needed=True, in_sys_admin=True),
    Capability("CAP_NET_ADMIN", 12, "attach to network interfaces", is_needed=False, in_sys_admin=True),
    Capability(
        "CAP_SYS_PTRACE", 19, "see what other users' processes run", is_needed=False, in_sys_admin=False
    ),
    Capability("CAP_SYSLOG", 34, "name functions of the kernel", is_needed=False, in_sys_admin=True),
)


@dataclass(frozen=True, slots=True)
class Privileges:
    """`capabilities` is the effective set. In a user namespace of its own it means nothing to the kernel."""

    capabilities: int
    is_root: bool
    in_initial_namespace: bool

    @classmethod
    def of_this_process(cls, proc: Path = PROC) -> Privileges:
        """What /proc says."""
        status = read_text(proc / "self/status") or ""
        fields = dict(line.partition(":")[::2] for line in status.splitlines())
        id_map = (read_text(proc / "self/uid_map") or f"0 0 {_ALL_IDS}").split()
        return cls(
            capabilities=int(fields.get("CapEff", "0"), 16),
            is_root=os.geteuid() == 0,
            in_initial_namespace=id_map == ["0", "0", str(_ALL_IDS)],
        )

    def holds(self, capability: Capability) -> bool:
        """Whether the kernel would let us. CAP_SYS_ADMIN, all there was before Linux 5.8, includes some."""
        bits = 1 << capability.bit | (1 << _SYS_ADMIN if capability.in_sys_admin else 0)
        return self.in_initial_namespace and bool(self.capabilities & bits)

    def missing(self, also: Collection[str] = ()) -> list[str]:
        """What tracing lacks, and tracers that need `also` these."""
        needed = [known for known in CAPABILITIES if known.is_needed or known.name in also]
        return [known.name for known in needed if not self.holds(known)]


def require_tracing(
    command: Sequence[str], also: Collection[str] = (), privileges: Privileges | None = None
) -> None:
    """Raises PrivilegeError unless we may trace; its hint is how to run `command` with privilege."""
    held = privileges or Privileges.of_this_process()
    missing = held.missing(also)
    if not missing:
        return
    lacking = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    if not held.in_initial_namespace:
        lacking += ", and root of this user namespace cannot have them"
    raise PrivilegeError("tracing needs more privilege", cause=lacking, hint=remedy(command, held))


def remedy(command: Sequence[str], held: Privileges) -> str:
    """How to run `command` with the privilege that is missing."""
    if held.is_root or not held.in_initial_namespace:
        # Root without the capabilities: a container, which only whoever starts it can give more.
        return "run it on the host, or start this container with --privileged --pid=host"
    if shutil.which("sudo"):
        return shlex.join(["sudo", *command])
    return shlex.join(["su", "-c", shlex.join(command)])
