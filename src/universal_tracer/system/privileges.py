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
    from collections.abc import Sequence
    from pathlib import Path

# Bits of the kernel's capability sets; see capability.h.
_SYS_ADMIN = 21
_NEEDED_TO_TRACE = {"CAP_PERFMON": 38, "CAP_BPF": 39}
_ALL_IDS = 2**32 - 1


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

    def missing(self) -> list[str]:
        """What tracing lacks. CAP_SYS_ADMIN, all there was before Linux 5.8, includes the others."""
        if not self.in_initial_namespace:
            return list(_NEEDED_TO_TRACE)
        if self.capabilities >> _SYS_ADMIN & 1:
            return []
        return [name for name, bit in _NEEDED_TO_TRACE.items() if not self.capabilities >> bit & 1]


def require_tracing(command: Sequence[str], privileges: Privileges | None = None) -> None:
    """Raises PrivilegeError unless we may trace; its hint is how to run `command` with privilege."""
    held = privileges or Privileges.of_this_process()
    missing = held.missing()
    if not missing:
        return
    lacking = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    if not held.in_initial_namespace:
        lacking += ", and root of this user namespace cannot have them"
    raise PrivilegeError("tracing needs more privilege", cause=lacking, hint=_remedy(command, held))


def _remedy(command: Sequence[str], held: Privileges) -> str:
    if held.is_root or not held.in_initial_namespace:
        # Root without the capabilities: a container, which only whoever starts it can give more.
        return "run it on the host, or start this container with --privileged --pid=host"
    if shutil.which("sudo"):
        return shlex.join(["sudo", *command])
    return shlex.join(["su", "-c", shlex.join(command)])
