"""What a tracer on demand leaves, and programs that give it something to capture."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.capability import PATIENCE, REPOSITORY, need_command
from harness.processes import APPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.tracer import Tracer

HOW_TO = REPOSITORY / "docs" / "ON_DEMAND.md"
WINDOW_S = 5.0
# Named stacks come some seconds after the window is over, later on a machine that other tests load.
CAPTURE_S = 60.0 * PATIENCE


def how_to_blocks(language: str) -> list[str]:
    """Return the blocks of the how-to "Catch the slow request in the act" that are written in *language*."""
    _, _, text = HOW_TO.read_text().partition("## Catch the slow request")
    text, _, _ = text.partition("\n## ")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class CaptureFolder:
    """One capture as it was written."""

    path: Path

    def json(self, name: str) -> Any:
        """Return what is in one of its files."""
        return json.loads((self.path / name).read_text())

    @property
    def trigger(self) -> dict[str, Any]:
        """Why it was made."""
        return self.json("trigger.json")  # type: ignore[no-any-return]

    @property
    def stacks(self) -> list[dict[str, Any]]:
        """Its profile events."""
        return [event for event in self.json("stack-events.json") if event["type"] == "profile"]

    def times_of(self, function: str) -> list[int]:
        """Return when (Unix) the seconds began in which *function* was seen."""
        return sorted(event["timestamp_ns"] for event in self.stacks if function in event["stack"])


def captures_in(directory: Path) -> list[CaptureFolder]:
    """Return the complete captures, in their order."""
    return [CaptureFolder(file.parent) for file in sorted(directory.glob("capture-*/trigger.json"))]


def wait_for_captures(directory: Path, count: int, tracer: Tracer) -> list[CaptureFolder]:
    """Wait until there are so many."""
    deadline = time.monotonic() + CAPTURE_S
    while len(found := captures_in(directory)) < count:
        assert tracer.process.poll() is None, tracer.stderr
        assert time.monotonic() < deadline, tracer.stderr
        time.sleep(0.1)
    return found


def pid_in_start_line(tracer: Tracer) -> int:
    """Return whom the start line says to send SIGUSR1."""
    found = re.search(r"kill -USR1 (\d+)", tracer.stderr)
    assert found, tracer.stderr
    return int(found[1])


def fire(tracer: Tracer) -> None:
    """Send the signal that starts a capture."""
    os.kill(pid_in_start_line(tracer), signal.SIGUSR1)


def compiled(name: str, directory: Path) -> Path:
    """Return the program made of one of the C sources among the apps."""
    program = directory / name
    subprocess.run(
        [need_command("gcc"), "-O2", "-g", "-pthread", "-o", program, APPS / f"{name}.c"], check=True
    )
    return program


@contextmanager
def running(*command: str | Path, cpus: Sequence[int] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program meanwhile, on these CPUs only."""
    with subprocess.Popen([*command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            if cpus:
                os.sched_setaffinity(process.pid, cpus)
            yield process
        finally:
            process.kill()
