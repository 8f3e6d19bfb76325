"""Watches the tracer's own resident memory against `limits.memory`.

What traffic can take is bounded where it is kept (`native/core/src/decode/limits.rs`); this is for the sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from universal_tracer.system.own_cost import give_memory_back, resident_memory_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY_S: Final = 5.0


class MemoryWatch:
    """Called with the monotonic time; gives memory back where it is above `limit_bytes`, else warns once."""

    def __init__(self, limit_bytes: int, warn: Callable[[str], None]) -> None:
        self._limit_bytes = limit_bytes
        self._warn = warn
        self._due_s = 0.0
        self._has_warned = False

    def __call__(self, now_s: float) -> None:
        """Look, unless that was a moment ago."""
        if now_s < self._due_s:
            return
        self._due_s = now_s + _EVERY_S
        if (resident_memory_bytes() or 0) <= self._limit_bytes:
            return
        give_memory_back()
        taken = resident_memory_bytes() or 0
        if taken > self._limit_bytes and not self._has_warned:
            self._has_warned = True
            self._warn(
                f"{taken // 10**6} MB of memory are in use, limits.memory is "
                f"{self._limit_bytes // 10**6} MB; trace fewer processes, or set it higher"
            )
