"""Processes for a test to trace: all children of one launcher, so that one pid names the whole tree."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from harness.capability import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

HERE = Path(__file__).resolve().parent
APPS = HERE / "apps"
READY_SECONDS = 20.0 * PATIENCE
FIRST_TEST_PORT = 21_000
TEST_PORTS_PER_WORKER = 1_000

Found = TypeVar("Found")


class ProcessTreeError(AssertionError):
    """A process of the tree did not do what the test relied on."""


def wait_until(probe: Callable[[], Found | None], what: str, seconds: float = READY_SECONDS) -> Found:
    """Return *probe*'s first result that is neither None nor False; fail naming *what* after *seconds*."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            message = f"waited {seconds:g} s in vain for {what}"
            raise ProcessTreeError(message)
        time.sleep(0.01)


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether something accepts connections on *port*."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def port_candidates() -> itertools.cycle[int]:
    """Cycle through ports below the ephemeral range, a range of its own for each xdist worker."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = FIRST_TEST_PORT + worker % 10 * TEST_PORTS_PER_WORKER
    start = os.getpid() % TEST_PORTS_PER_WORKER
    order = [first + (start + step) % TEST_PORTS_PER_WORKER for step in range(TEST_PORTS_PER_WORKER)]
    return itertools.cycle(order)


_candidates = port_candidates()


def free_port() -> int:
    """Return a port that nothing is bound to; for servers that cannot choose one themselves."""
    for port in _candidates:
        with socket.socket(socket.AF_INET6) as trial:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("::", port))
            except OSError:
                continue
            return port
    raise AssertionError  # the cycle never ends


@dataclass
class Spawned:
    """A process of the tree, with the files that hold what it wrote."""

    tree: ProcessTree
    pid: int
    stdout_path: Path
    stderr_path: Path

    def stdout(self) -> str:
        """Return what it has written to standard output so far."""
        return self.stdout_path.read_text(encoding="utf-8", errors="replace")

    def stderr(self) -> str:
        """Return what it has written to standard error so far."""
        return self.stderr_path.read_text(encoding="utf-8", errors="replace")

    def wait(self, seconds: float = 60.0) -> int:
        """Return the exit code; fail when it still runs after *seconds*."""
        code = self.tree.ask({"do": "wait", "pid": self.pid, "timeout": seconds})["exit_code"]
        if code is None:
            message = f"process {self.pid} still runs after {seconds:g} s\n{self.stderr()}"
            raise ProcessTreeError(message)
        return int(code)

    def succeed(self, seconds: float = 60.0) -> str:
        """Wait for a successful end and return standard output."""
        code = self.wait(seconds)
        if code != 0:
            message = f"process {self.pid} ended with {code}\n{self.stderr()}"
            raise ProcessTreeError(message)
        return self.stdout()

    def first_line(self) -> str:
        """Wait for the first whole line of standard output (servers print their port there)."""

        def probe() -> str | None:
            line, ended, _ = self.stdout().partition("\n")
            if not ended and self.tree.ask({"do": "poll", "pid": self.pid})["exit_code"] is not None:
                message = f"process {self.pid} ended early\n{self.stderr()}"
                raise ProcessTreeError(message)
            return line if ended else None

        return wait_until(probe, f"the first line of process {self.pid}")

    def end(self, signal_number: int = signal.SIGTERM) -> None:
        """End it and the session it leads, if that has not been done."""
        self.tree.ask({"do": "end", "pid": self.pid, "signal": signal_number})


class ProcessTree:
    """A launcher process and what it started; leaving the context ends all of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._serial = itertools.count(1)
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "launcher_process.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """The pid whose children, present and future, are the tree."""
        return self._process.pid

    def ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Send one command to the launcher and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            message = "the launcher ended"
            raise ProcessTreeError(message)
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise ProcessTreeError(answer["failed"])
        return answer

    def spawn(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Path | None = None,
        stdout: Path | None = None,
    ) -> Spawned:
        """Start *argv* in the tree; its output goes to files."""
        name = f"{next(self._serial):03}-{Path(argv[0]).name}"
        stdout = stdout or self.directory / f"{name}.stdout"
        stderr = self.directory / f"{name}.stderr"
        answer = self.ask(
            {
                "do": "spawn",
                "argv": [str(word) for word in argv],
                "env": dict(env or {}),
                "cwd": str(cwd) if cwd else None,
                "stdin": str(stdin) if stdin else None,
                "stdout": str(stdout),
                "stderr": str(stderr),
            }
        )
        return Spawned(self, int(answer["pid"]), stdout, stderr)

    def __enter__(self) -> Self:
        """Return the tree."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process of the tree."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.stdout is not None
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._process.stdout.close()
