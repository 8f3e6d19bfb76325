"""What a newcomer runs first."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from harness.capability import REPOSITORY, need_command, need_tracer
from harness.traced import unique

pytestmark = pytest.mark.e2e

DEMO = REPOSITORY / "scripts" / "demo"


def processes_with(mark: str) -> list[str]:
    """Return the command lines of the processes that have *mark* in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
    return found


def run_demo(seconds: int, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the demo with its files in *folder*."""
    need_tracer()
    need_command("nginx")
    return subprocess.run(
        [DEMO, str(seconds), folder],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


def test_the_demo_shows_requests_and_leaves_nothing_running(tmp_path: Path) -> None:
    mark = unique()
    done = run_demo(5, tmp_path, DEMO_MARK=mark)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout + done.stderr
    for word in ("/items/", "/orders", "404", "500", "nginx", "jq", "http-events.json"):
        assert word in shown, word
    assert "made-up-secret" not in shown
    assert processes_with(mark) == []
    written = (tmp_path / "http-events.json").read_text(encoding="utf-8")
    events = json.loads(written)
    assert {event["status"] for event in events} >= {200, 201, 404}
    assert {event["comm"] for event in events} >= {"nginx"}
    assert {event["role"] for event in events} == {"client", "server"}
    lines = (tmp_path / "http-events.ndjson").read_text(encoding="utf-8").splitlines()
    assert [event for event in map(json.loads, lines) if event["type"] == "http"] == events
    picture = (tmp_path / "flamegraph.svg").read_text(encoding="utf-8")
    assert "_PyEval_EvalFrameDefault" in picture
    assert str(tmp_path / "flamegraph.svg") in shown
    assert "made-up-secret" not in written


def test_the_questions_that_the_demo_suggests_work(tmp_path: Path) -> None:
    done = run_demo(3, tmp_path)
    suggested = done.stdout.partition("Two questions")[2]
    lines = [line for line in suggested.splitlines()[1:] if line.strip() and not line.startswith("  #")]
    answer = subprocess.run(["/bin/bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert "404" in answer.stdout
    assert " ms GET" in answer.stdout
