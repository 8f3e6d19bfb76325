"""What it takes to ask the installed command something small, compared with an empty Python.

    python benchmarks/startup.py [--rounds 20] [--command .venv/bin/universal-tracer]

Prints per question the processor time and the time on the clock, the best of all rounds and as a multiple of
`python -c pass`; the rounds are interleaved, for the machine may be busy with other things.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

COMPLETION = {"COMP_WORDS": "universal-tracer --out", "COMP_CWORD": "1"}


@dataclass
class Question:
    """A command line, and the least that it took, in seconds."""

    name: str
    argv: list[str]
    environment: dict[str, str]
    cpu_s: float = float("inf")
    wall_s: float = float("inf")

    def ask(self) -> None:
        """Run it once."""
        before, began = _cpu_of_children_s(), time.monotonic()
        subprocess.run(self.argv, stdout=subprocess.DEVNULL, check=True, env=self.environment)
        self.wall_s = min(self.wall_s, time.monotonic() - began)
        self.cpu_s = min(self.cpu_s, _cpu_of_children_s() - before)


def main() -> None:
    """Parse the arguments, ask, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--command", type=Path, default=Path(".venv/bin/universal-tracer"))
    arguments = parser.parse_args()
    questions = questions_for(arguments.command.resolve(strict=True))
    for _ in range(arguments.rounds):
        for question in questions:
            question.ask()
    empty = questions[0]
    print(f"{'question':24} {'CPU':>8} {'':>6} {'clock':>9}")
    for one in questions:
        cpu, clock = f"{one.cpu_s * 1e3:.1f} ms", f"{one.wall_s * 1e3:.1f} ms"
        print(
            f"{one.name:24} {cpu:>8} {one.cpu_s / empty.cpu_s:5.1f}x"
            f" {clock:>9} {one.wall_s / empty.wall_s:5.1f}x"
        )


def questions_for(command: Path) -> list[Question]:
    """The empty Python of the same installation first."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("UT_")}
    completing = {**plain, "_UNIVERSAL_TRACER_COMPLETE": "bash_complete", **COMPLETION}
    ut = str(command)
    return [
        Question("python -c pass", [str(command.parent / "python"), "-c", "pass"], plain),
        Question("--version", [ut, "--version"], plain),
        Question("--help", [ut, "--help"], plain),
        Question("config show", [ut, "config", "show"], plain),
        Question("completion", [ut], completing),
        Question("config show --strict", [ut, "config", "show", "--strict"], plain),
        Question("doctor --help", [ut, "doctor", "--help"], plain),
    ]


def _cpu_of_children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
