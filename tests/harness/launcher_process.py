"""The root of a traced process tree: starts what the test asks for and ends it when the test goes away.

Runs with the standard library alone. It reads one JSON command a line from standard input and answers one
JSON object a line. Its children get sessions of their own, so that ending one ends its workers too. Pipes
carry all of this, not sockets: what the tracer sees of the tree is only what the test does there.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

GRACE_SECONDS = 3.0


class Launcher:
    """The processes started so far, by pid."""

    def __init__(self) -> None:
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def spawn(self, command: dict[str, Any]) -> dict[str, Any]:
        """Start ``argv`` with its standard streams on the named paths."""
        with contextlib.ExitStack() as stack:
            stdin = stack.enter_context(open(command.get("stdin") or os.devnull, "rb"))  # noqa: PTH123
            stdout = stack.enter_context(open(command["stdout"], "ab", buffering=0))  # noqa: PTH123
            stderr = stack.enter_context(open(command["stderr"], "ab", buffering=0))  # noqa: PTH123
            child = subprocess.Popen(
                command["argv"],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=command.get("cwd"),
                env={**os.environ, **command.get("env", {})},
                start_new_session=True,
            )
        self._children[child.pid] = child
        return {"pid": child.pid}

    def wait(self, command: dict[str, Any]) -> dict[str, Any]:
        """Wait for the child ``pid`` to end; the code is null when it runs on after ``timeout`` seconds."""
        child = self._children[command["pid"]]
        try:
            return {"exit_code": child.wait(command["timeout"])}
        except subprocess.TimeoutExpired:
            return {"exit_code": None}

    def poll(self, command: dict[str, Any]) -> dict[str, Any]:
        """Tell the child's exit code, null while it runs."""
        return {"exit_code": self._children[command["pid"]].poll()}

    def end(self, command: dict[str, Any]) -> dict[str, Any]:
        """End the child ``pid`` and the session it leads; nothing where that has been done."""
        child = self._children.pop(command["pid"], None)
        if child is None:
            return {"exit_code": None}
        end_session(child, command.get("signal", signal.SIGTERM))
        return {"exit_code": child.returncode}

    def end_all(self) -> None:
        """End every child, the latest first."""
        for pid in reversed(list(self._children)):
            self.end({"pid": pid})


def end_session(child: subprocess.Popen[bytes], signal_number: int) -> None:
    """Ask *child* to end, then make its whole session end."""
    if child.poll() is None:
        child.send_signal(signal_number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS)
    # The session's other members may outlive their leader (nginx's workers do when the master is killed).
    deadline = time.monotonic() + GRACE_SECONDS
    while session_lives(child.pid) and time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        time.sleep(0.005)
    child.wait()


def session_lives(session: int) -> bool:
    """Tell whether the process group *session* still has members that are not zombies of ours."""
    try:
        os.killpg(session, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def main() -> None:
    """Serve commands until standard input closes."""
    launcher = Launcher()
    actions = {"spawn": launcher.spawn, "wait": launcher.wait, "poll": launcher.poll, "end": launcher.end}
    try:
        for line in sys.stdin:
            command = json.loads(line)
            try:
                answer = actions[command["do"]](command)
            except OSError as error:
                answer = {"failed": str(error)}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    finally:
        launcher.end_all()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main()
