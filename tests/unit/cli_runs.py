"""Runs of the command line with the made-up source of cli_fakes.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

FAKES = Path(__file__).with_name("cli_fakes.py")
Text = subprocess.CompletedProcess[str]


def command_line(scenario: dict[str, Any], *arguments: str | Path | int) -> list[str]:
    return [sys.executable, str(FAKES), json.dumps(scenario), *map(str, arguments)]


def run(scenario: dict[str, Any], *arguments: str | Path | int, **options: Any) -> Text:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
    return subprocess.run(command_line(scenario, *arguments), text=True, check=False, timeout=30, **pipes)


class Running:
    """A run that goes on: `line` waits for a line of standard error."""

    def __init__(self, scenario: dict[str, Any], *arguments: str | Path | int, **options: Any) -> None:
        self.process = subprocess.Popen(
            command_line(scenario, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.said: list[str] = []

    def line(self, start: str) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith(start):
                return line
        raise AssertionError(f"no line {start!r}: {self.said}")

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, "".join(self.said) + err


def calls(log: Path) -> list[str]:
    return [json.loads(line)[0] for line in log.read_text().splitlines()]
