"""What a newcomer runs first."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from harness.capability import REPOSITORY, need_command, need_tracer

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("demo")]

DEMO = REPOSITORY / "scripts" / "demo"
EVENTS = REPOSITORY / "build" / "demo" / "http-events.json"


def processes_of_the_demo() -> list[str]:
    """Return the command lines of the demo's processes."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if "examples/demo" in words or "universal-tracer-demo-" in words:
                found.append(words)
    return found


def test_the_demo_shows_requests_and_leaves_nothing_running() -> None:
    need_tracer()
    need_command("nginx")
    assert processes_of_the_demo() == [], "no other demo runs"
    done = subprocess.run(
        [DEMO, "5"], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout + done.stderr
    for word in ("/items/", "/orders", "404", "500", "nginx", "jq", "http-events.json"):
        assert word in shown, word
    assert "made-up-secret" not in shown
    assert processes_of_the_demo() == []
    events = json.loads(EVENTS.read_text(encoding="utf-8"))
    assert {event["status"] for event in events} >= {200, 201, 404}
    assert {event["comm"] for event in events} >= {"nginx"}
    assert {event["role"] for event in events} == {"client", "server"}
    lines = EVENTS.with_suffix(".ndjson").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == events
    assert "made-up-secret" not in EVENTS.read_text(encoding="utf-8")


def test_the_questions_that_the_demo_suggests_work() -> None:
    need_tracer()
    done = subprocess.run(
        [DEMO, "3"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
    )
    suggested = done.stdout.partition("Two questions")[2]
    lines = [line for line in suggested.splitlines()[1:] if line.strip() and not line.startswith("  #")]
    answer = subprocess.run(
        ["/bin/bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert "404" in answer.stdout
    assert " ms GET" in answer.stdout
