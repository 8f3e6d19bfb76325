"""Instants as events tell them."""

from __future__ import annotations

import time


def rfc3339(unix_ns: int) -> str:
    """In UTC with microseconds: `2026-01-31T12:00:00.000000Z`."""
    seconds, rest_ns = divmod(unix_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest_ns // 1000:06d}Z"
