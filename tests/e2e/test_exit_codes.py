"""Every way to fail has its exit code; of several the first in the documented order counts.

Usage and configuration (2), privilege (4), kernel (5), target (6), outputs (1), endpoints (7).
"""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from harness.conditions import as_nobody, error_lines, tracer, without_types

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("exit-codes"), pytest.mark.timeout(400)]

NO_SUCH_PID = "4194305"  # beyond what the kernel hands out
USAGE = ("--duration", "soon")
TARGET = ("--pid", NO_SUCH_PID)
BOUNDED = ("--tracer", "http", "--duration", "100ms")


@pytest.fixture
def output(tmp_path: Path) -> tuple[str, ...]:
    """Return flags that name an output which cannot be made."""
    return ("--output", str(tmp_path / "missing" / "events.json"))


@pytest.fixture
def endpoint() -> Iterator[tuple[str, ...]]:
    """Yield flags that name a port in use."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield ("--prometheus-endpoint", f"127.0.0.1:{server.getsockname()[1]}/metrics")


def test_usage_comes_before_privilege(output: tuple[str, ...]) -> None:
    done = tracer("--tracer", "http", *USAGE, *TARGET, *output, before=as_nobody())
    assert (done.returncode, error_lines(done)) == (2, ["error", "cause", "hint"])


def test_privilege_comes_before_targets(output: tuple[str, ...], endpoint: tuple[str, ...]) -> None:
    done = tracer(*BOUNDED, *TARGET, *output, *endpoint, before=as_nobody())
    assert (done.returncode, error_lines(done)) == (4, ["error", "cause", "hint"])
    hint = done.stderr.splitlines()[-1]
    assert hint.endswith(" ".join([*BOUNDED, *TARGET, *output, *endpoint])), (
        "the command that mends it, whole"
    )


def test_the_kernel_comes_before_targets(output: tuple[str, ...], endpoint: tuple[str, ...]) -> None:
    done = tracer(*BOUNDED, *TARGET, *output, *endpoint, before=without_types())
    assert (done.returncode, error_lines(done)) == (5, ["error", "cause", "hint"])


def test_targets_come_before_outputs(output: tuple[str, ...], endpoint: tuple[str, ...]) -> None:
    for target in (TARGET, ("--target-process", "nobody-is-called-this"), ("--cgroup", "/no/such/group")):
        done = tracer(*BOUNDED, *target, *output, *endpoint)
        assert (done.returncode, error_lines(done)) == (6, ["error", "cause", "hint"]), target
    done = tracer(*BOUNDED, *output, "--", "no-such-command")
    assert (done.returncode, error_lines(done)) == (6, ["error", "cause", "hint"])


def test_outputs_come_before_endpoints(output: tuple[str, ...], endpoint: tuple[str, ...]) -> None:
    done = tracer(*BOUNDED, *output, *endpoint)
    assert (done.returncode, error_lines(done)) == (1, ["error", "cause", "hint"])


def test_endpoints_come_last(endpoint: tuple[str, ...]) -> None:
    done = tracer(*BOUNDED, *endpoint)
    assert (done.returncode, error_lines(done)) == (7, ["error", "cause", "hint"])
