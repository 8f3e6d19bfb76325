"""Loaded and unloaded again and again, on the whole machine: nothing is left, and nothing piles up."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness.processes import wait_until
from harness.tracer import living_kernel_objects

from universal_tracer.cli.http_settings import http_settings
from universal_tracer.cli.stack_settings import stack_settings
from universal_tracer.cli.targets import Targets
from universal_tracer.config.tree import Config

if TYPE_CHECKING:
    from collections.abc import Callable

# Enough of them take minutes here: on one kernel.
ROUNDS = 100 if os.environ.get("TEST_KERNEL") == "6.12" else 20
KINDS: tuple[tuple[str, Callable[[Config, Targets], dict[str, Any]]], ...] = (
    ("HttpSession", http_settings),
    ("StackSession", stack_settings),
)


def open_files() -> int:
    """Return how many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def load_and_unload(round_number: int) -> None:
    """Attach one of the tracers to the whole machine, and detach it."""
    kind, settings = KINDS[round_number % len(KINDS)]
    session = getattr(import_module("universal_tracer._native"), kind)(settings(Config(), Targets()))
    session.attach()
    session.stop()
    session.close()


@pytest.mark.vm
@pytest.mark.timeout(1200)
def test_again_and_again() -> None:
    before = living_kernel_objects()
    for number in range(len(KINDS)):
        load_and_unload(number)
    descriptors = open_files()
    for number in range(ROUNDS):
        load_and_unload(number)
    assert open_files() == descriptors
    wait_until(lambda: living_kernel_objects() == before, "the kernel to let go of all")
