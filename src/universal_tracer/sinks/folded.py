"""Folded stacks: a line per distinct stack, functions parted by semicolons, then the number of samples.

With traced calls nanoseconds stand there: the time that samples stand for, and that of calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from universal_tracer.model.flame_graph import boxes

if TYPE_CHECKING:
    from universal_tracer.model.stack_counts import StackCounts

# What parts functions and lines cannot be in a name.
_FORBIDDEN = str.maketrans({";": ":", "\n": " ", "\r": " "})


def folded(counts: StackCounts) -> bytes:
    """The lines, in the order of their text: the same stacks make the same file."""
    sums: dict[str, int] = {}
    for key, found in counts.sums.items():
        text = ";".join(box.name.translate(_FORBIDDEN) for box in boxes(key))
        sums[text] = sums.get(text, 0) + counts.weight(found)
    lines = [f"{text} {count}\n" for text, count in sorted(sums.items()) if count]
    return "".join(lines).encode(errors="replace")
