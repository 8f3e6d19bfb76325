"""What must be true before anything is opened: privilege, then the kernel."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

from universal_tracer.model.errors import KernelError, PrivilegeError

PROC_STATUS: Final = Path("/proc/self/status")
KERNEL_TYPES: Final = Path("/sys/kernel/btf/vmlinux")
# Bits of the kernel's capability sets; see capability.h.
_SYS_ADMIN: Final = 21
_NEEDED: Final = {"CAP_PERFMON": 38, "CAP_BPF": 39}


def require_privilege(arguments: list[str], status: Path = PROC_STATUS) -> None:
    """Raises PrivilegeError with the command to run instead."""
    effective = _effective_capabilities(status)
    missing = [name for name, bit in _NEEDED.items() if not effective >> bit & 1]
    if missing and not effective >> _SYS_ADMIN & 1:
        raise PrivilegeError(
            "tracing needs more privilege",
            cause=f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing",
            hint=_with_sudo(arguments),
        )


def require_kernel(types: Path = KERNEL_TYPES) -> None:
    """Raises KernelError where the kernel does not describe its types."""
    if not types.exists():
        raise KernelError(
            "this kernel cannot be traced",
            cause=f"it was built without BTF: {types} is missing",
            hint="mount -t sysfs sysfs /sys, or boot a kernel with CONFIG_DEBUG_INFO_BTF=y (most are)",
        )


def _effective_capabilities(status: Path) -> int:
    for line in status.read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _with_sudo(arguments: list[str]) -> str:
    return shlex.join(["sudo", *own_command(), *arguments])


def own_command() -> list[str]:
    """The words that start this program from any directory, whatever the PATH is."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return [sys.executable, "-m", "universal_tracer"]
    found = shutil.which(sys.argv[0]) or sys.argv[0]
    return [os.path.abspath(found)]  # noqa: PTH100  links are kept: they may be what a user knows
