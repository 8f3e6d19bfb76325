"""The running kernel: its release, and the options that it was built with."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

# A whole configuration has 0.3 MB; more is no configuration.
_MAX_BYTES = 4 << 20


def release() -> str:
    """As `uname -r` has it."""
    return os.uname().release


def configuration(root: Path = Path("/")) -> tuple[Path, dict[str, str]] | None:
    """The file that tells, and the options that are set (`y`, `m`, or a value); None without a file."""
    for path in _places(root):
        options = _options(_read(path) or "")
        if options:
            return path, options
    return None


def _places(root: Path) -> list[Path]:
    named = release()
    return [
        root / "proc/config.gz",
        root / f"boot/config-{named}",
        root / f"lib/modules/{named}/config",
        root / f"usr/lib/modules/{named}/config",
        root / f"usr/lib/ostree-boot/config-{named}",
    ]


def _read(path: Path) -> str | None:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return stream.read(_MAX_BYTES).decode(errors="replace")
    except (OSError, EOFError, zlib.error):
        return None


def _options(text: str) -> dict[str, str]:
    lines = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
    return {name: value.strip('"') for name, _, value in lines}
