"""A made-up machine: a /proc that tests can change."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from universal_tracer.system.processes import ProcessTable

if TYPE_CHECKING:
    from pathlib import Path

ID = "0123456789abcdef" * 4


class Machine:
    """A /proc that one can change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.proc = root / "proc"
        self.now = 100.0

    def start(self, pid: int, comm: str = "app", **more: Any) -> None:
        directory = self.proc / str(pid)
        directory.mkdir(parents=True, exist_ok=True)
        ticks, parent = more.get("start_ticks", 1), more.get("parent", 1)
        (directory / "stat").write_text(f"{pid} ({comm}) S {parent} " + "0 " * 17 + f"{ticks} 0 0\n")
        (directory / "cgroup").write_text(f"0::{more.get('cgroup', '/')}\n")
        (directory / "exe").unlink(missing_ok=True)
        if "exe" in more:
            (directory / "exe").symlink_to(more["exe"])

    def end(self, pid: int) -> None:
        shutil.rmtree(self.proc / str(pid))

    def table(self, **more: Any) -> ProcessTable:
        return ProcessTable(proc=self.proc, root=self.root, clock=lambda: self.now, **more)


def put(root: Path, path: str, content: Any) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content if isinstance(content, str) else json.dumps(content))
