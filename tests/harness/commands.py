"""The installed command by a line of shell, and what it traces there."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from harness.capability import need_tracer
from harness.processes import APPS
from harness.tracer import (
    tracer_environment,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


SHELL_SECONDS = 60.0


def traffic(*options: str) -> list[str]:
    """Return the words of a command that makes requests to itself."""
    return [sys.executable, str(APPS / "traffic.py"), *options]


def shell(script: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which ``$tracer`` is the command; the words after it are up to the line."""
    environment = {**tracer_environment(), "tracer": str(need_tracer())}
    return subprocess.run(
        ["/bin/bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=SHELL_SECONDS,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        **settings,
    )


def quoted(words: Sequence[str]) -> str:
    """Return *words* for a line of shell."""
    return shlex.join(words)


def start(*words: str | Path, env: Mapping[str, str] | None = None, **streams: Any) -> subprocess.Popen[str]:
    """Start the command with streams of the test's own."""
    return subprocess.Popen(
        [str(need_tracer()), *map(str, words)],
        stdin=subprocess.DEVNULL,
        text=True,
        env=tracer_environment(env),
        **streams,
    )
