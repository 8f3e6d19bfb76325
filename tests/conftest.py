"""Fixtures that several kinds of tests share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from harness.capability import need_command
from harness.peers import uring_library
from harness.programs import build_go_program
from harness.traced import Traced

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.traced import Dialogue

# Without a name the packets' tracer would attach to the machine's own interfaces.
os.environ["UT_RUN__TRACERS"] = "[http]"


@pytest.fixture(scope="session")
def uring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the io_uring helper library."""
    return uring_library(tmp_path_factory.mktemp("uring"))


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """Yield a process tree with a tracer on it, the same for a module's tests."""
    with Traced(tmp_path_factory.mktemp("traced")) as running:
        yield running


@pytest.fixture
def dialogue(traced: Traced) -> Iterator[Dialogue]:
    """Yield a fresh connection between the two ends."""
    fresh = traced.dialogue()
    yield fresh
    fresh.close()


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Go test service and client, built once per run."""
    return build_go_program(need_command("go"), tmp_path_factory.mktemp("go"))
