"""The installed command, run as a user would run it, and what came out of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from harness.capability import PATIENCE, need_command, need_tracer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

Event = dict[str, Any]

START_SECONDS = 30.0 * PATIENCE
# The contract flushes every second; the rest is room for a machine that other tests load.
EVENT_SECONDS = 15.0 * PATIENCE
END_SECONDS = 30.0 * PATIENCE


class TracerError(AssertionError):
    """The tracer did not start, did not end, or did not say what a test waited for."""


def tracer_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this environment without the tracer's settings that a shell may carry, plus *extra*.

    Only the HTTP tracer runs unless a test names others: without a name the packets' tracer would attach to
    the machine's own interfaces.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UT_")}
    return {**kept, "UT_RUN__TRACERS": "[http]", **(extra or {})}


def shortly(events: Sequence[Event]) -> str:
    """Name *events*, for messages: the first few."""
    lines = [
        " ".join(
            str(event.get(name)) for name in ("type", "role", "event", "method", "path", "status", "error")
        )
        for event in events[:20]
    ]
    return "\n".join([*lines, "..."] if len(events) > len(lines) else lines)


@dataclass(frozen=True)
class TracerRun:
    """What a finished run left: events of standard output, the text of standard error, the exit code."""

    events: list[Event]
    stderr: str
    exit_code: int

    def of_type(self, kind: str) -> list[Event]:
        """Return the events of one type."""
        return [event for event in self.events if event["type"] == kind]

    @property
    def lost(self) -> int:
        """How much the run says it lost."""
        return sum(int(event["count"]) for event in self.of_type("loss"))


class Tracer:
    """A running tracer whose ndjson events are read from its standard output as they come."""

    def __init__(
        self,
        *arguments: str | float | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        """Start it and wait for the line that says that everything is attached."""
        command = [*prefix, str(need_tracer()), "--output-format", "ndjson", *map(str, arguments)]
        self._events: list[Event] = []
        self._stderr: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=tracer_environment(env),
            cwd=cwd,
        )
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_talk, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        self._await_start()

    @property
    def pid(self) -> int:
        """The tracer's own pid."""
        return self.process.pid

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            with self._changed:
                self._events.append(event)
                self._changed.notify_all()

    def _read_talk(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self._stderr.append(line)
                self._changed.notify_all()

    def _await_start(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with self._changed:
            while not any(line.startswith("tracing:") for line in self._stderr):
                ended = self.process.poll() is not None
                if ended or time.monotonic() > deadline:
                    break
                self._changed.wait(0.05)
            else:
                return
        self.process.kill()
        self.process.wait()
        self._close()
        message = f"the tracer did not start (exit {self.process.returncode}):\n{self.stderr}"
        raise TracerError(message)

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        return "".join(self._stderr)

    def events(self, matches: Callable[[Event], bool] = lambda _: True) -> list[Event]:
        """Return the events so far that match."""
        with self._changed:
            return [event for event in self._events if matches(event)]

    def wait_for(
        self, matches: Callable[[Event], bool], count: int = 1, seconds: float = EVENT_SECONDS
    ) -> list[Event]:
        """Wait until *count* events match and return all that do."""
        deadline = time.monotonic() + seconds
        found: list[Event] = []
        seen = 0
        with self._changed:
            while True:
                # Only what is new: under load there are ten thousands of them.
                found += [event for event in self._events[seen:] if matches(event)]
                seen = len(self._events)
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or self.process.poll() is not None:
                    break
                self._changed.wait(min(left, 0.2))
        message = (
            f"{len(found)} of {count} events came within {seconds:g} s:\n{shortly(found)}\n{self.stderr}"
        )
        raise TracerError(message)

    def stop(self, signal_number: int = signal.SIGINT) -> TracerRun:
        """Ask it to end, as Ctrl-C does, and return everything it said."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        return self.finish()

    def finish(self, seconds: float = END_SECONDS) -> TracerRun:
        """Wait for its end and return everything it said."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            message = f"the tracer did not end within {seconds:g} s\n{self.stderr}"
            raise TracerError(message) from None
        for reader in self._readers:
            reader.join(5)
        return TracerRun(list(self._events), self.stderr, self.process.returncode)

    def __enter__(self) -> Self:
        """Return the running tracer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Make sure that it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(END_SECONDS)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._close()

    def _close(self) -> None:
        for reader in self._readers:
            reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def run_tracer(
    *arguments: str | float | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    prefix: Sequence[str] = (),
    seconds: float = END_SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end with the arguments as they are."""
    return subprocess.run(
        [*prefix, str(need_tracer()), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=tracer_environment(env),
        cwd=cwd,
        timeout=seconds,
        check=False,
    )


def kernel_objects_of(pid: int) -> dict[str, set[int]]:
    """Return the ids of the BPF programs, maps and links that the process *pid* holds, by kind."""
    held: dict[str, set[int]] = {"prog": set(), "map": set(), "link": set()}
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            fields = dict(
                line.split(":", 1) for line in entry.read_text(encoding="ascii").splitlines() if ":" in line
            )
            for kind, ids in held.items():
                if f"{kind}_id" in fields:
                    ids.add(int(fields[f"{kind}_id"]))
    return held


def living_kernel_objects() -> dict[str, set[int]]:
    """Return the ids of all BPF programs, maps and links of the machine, by kind."""
    bpftool = need_command("bpftool")
    living = {}
    for kind in ("prog", "map", "link"):
        shown = subprocess.run([bpftool, kind, "show", "-j"], capture_output=True, check=True)
        living[kind] = {int(item["id"]) for item in json.loads(shown.stdout or "[]")}
    return living


def duplicates(events: Sequence[Event]) -> list[str]:
    """Return the request ids that occur more than once."""
    return [name for name, count in Counter(event["request_id"] for event in events).items() if count > 1]
