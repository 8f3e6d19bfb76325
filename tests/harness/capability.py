"""What a test needs from the machine, and what happens where it is missing.

Away from CI a missing capability skips the test and names what is missing. On CI (``CI=true``) everything
that the suite needs is installed beforehand, so a missing capability is a failure there: a green run must
mean that the tests ran.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# The variable lets the same tests try another installation, such as that of a wheel.
INSTALLED_COMMAND = Path(
    os.environ.get("TRACER_UNDER_TEST", REPOSITORY / ".venv" / "bin" / "universal-tracer")
)
# An emulated processor is about twenty times slower; what waits for something waits longer there.
IN_VIRTUAL_MACHINE = "TEST_KERNEL" in os.environ
PATIENCE = 10 if IN_VIRTUAL_MACHINE else 1


def on_ci() -> bool:
    """Tell whether this run is CI's, where nothing may skip."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def missing(capability: str) -> NoReturn:
    """End the test because *capability* is not to be had: a skip here, a failure on CI."""
    reason = f"needs {capability}"
    if on_ci():
        pytest.fail(f"{reason}, which CI must have", pytrace=False)
    pytest.skip(reason)


def need_command(name: str) -> str:
    """Return the path of the command *name*, or end the test."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/go/bin")
    return found or missing(f"the command {name}")


def need_root() -> None:
    """End the test unless it may load BPF programs and make namespaces."""
    if os.geteuid() != 0:
        missing("root (BPF programs, namespaces)")


def need_known_uring_requests() -> None:
    """End the test where the kernel does not say which request of a ring is done (before 5.19).

    That is no lack that CI could mend, so it is a skip there, too.
    """
    told = Path("/sys/kernel/tracing/events/io_uring/io_uring_complete/format")
    if told.exists() and " req;" not in told.read_text(encoding="ascii"):
        pytest.skip("needs a kernel that tells a ring's requests (5.19)")


def need_socket_hooks() -> None:
    """End the test where sockets have no hooks of their own (before 6.3): a skip on CI, too."""
    if b"btf_trace_sock_send_length" not in Path("/sys/kernel/btf/vmlinux").read_bytes():
        pytest.skip("needs a kernel whose sockets have hooks (6.3)")


def need_tracer() -> Path:
    """Return the installed command, or end the test."""
    need_root()
    if not INSTALLED_COMMAND.exists():
        missing(f"the installed command {INSTALLED_COMMAND} (make build)")
    return INSTALLED_COMMAND
