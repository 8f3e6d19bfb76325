"""What tshark reads from a capture."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from harness.capability import need_command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def said(program: str, *words: object) -> str:
    """What a program says; anything on its standard error is a fault."""
    done = subprocess.run(
        [need_command(program), *map(str, words)], capture_output=True, text=True, check=True
    )
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("Running as")]
    assert not complaints
    return done.stdout


def dissected(capture: Path, fields: Sequence[str], *options: str) -> list[dict[str, str]]:
    """A row per packet, in the order of time; what a field has several times is joined by commas."""
    words = [word for field in ("frame.time_epoch", *fields) for word in ("-e", field)]
    text = said("tshark", "-n", *options, "-r", capture, "-T", "fields", *words)
    names = ("frame.time_epoch", *fields)
    rows = [dict(zip(names, line.split("\t"), strict=True)) for line in text.splitlines()]
    return sorted(rows, key=lambda row: row["frame.time_epoch"])
