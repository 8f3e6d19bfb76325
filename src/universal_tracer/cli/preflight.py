"""How this program was started, and whether the kernel can be traced at all; before anything is opened."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from universal_tracer.model.errors import KernelError, RunFailedError

KERNEL_TYPES: Final = Path("/sys/kernel/btf/vmlinux")


def require_kernel(types: Path = KERNEL_TYPES) -> None:
    """Raises KernelError where the kernel does not describe its types."""
    if not types.exists():
        raise KernelError(
            "this kernel cannot be traced",
            cause=f"it was built without BTF: {types} is missing",
            hint="mount -t sysfs sysfs /sys, or boot a kernel with CONFIG_DEBUG_INFO_BTF=y (most are)",
        )


def own_command() -> list[str]:
    """The words that start this program from any directory, whatever the PATH is."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return [sys.executable, "-m", "universal_tracer"]
    found = shutil.which(sys.argv[0]) or sys.argv[0]
    return [os.path.abspath(found)]  # noqa: PTH100  links are kept: they may be what a user knows


def imported(path: str) -> Any:
    """What `MODULE:NAME` names. Raises RunFailedError where the installation lacks it."""
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise RunFailedError(
            "this installation is not complete",
            cause=str(error),
            hint=f"make build, or install it again; it was started as {' '.join(own_command())}",
        ) from error
