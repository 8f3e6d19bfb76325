"""A flame graph as one SVG file: it opens in any browser, and shows everything without its script too."""

from __future__ import annotations

import re
import time
import zlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape, quoteattr

from universal_tracer.model.flame_graph import placed, tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from universal_tracer.model.flame_graph import Placed
    from universal_tracer.model.stack_counts import StackCounts

_WIDTH: Final = 1200
_PAD: Final = 10
_SPACE: Final = _WIDTH - 2 * _PAD
_ROW: Final = 17
_TOP: Final = 70
_BOTTOM: Final = 46
_LETTER: Final = 7.0
_FEWEST_LETTERS: Final = 3
# A tenth of a pixel: what is thinner cannot be seen, and would make the file large.
_LEAST_SHARE: Final = 0.1 / _SPACE
# Characters that XML does not allow.
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# kind → (what the legend says, hue, saturation and lightness in percent)
_COLORS: Final = {
    "user": ("program", 18, 85, 66),
    "inlined": ("inlined", 176, 45, 68),
    "kernel": ("kernel", 38, 90, 62),
    "python": ("Python", 212, 65, 72),
    "jit": ("made at run time", 110, 45, 66),
    "off-cpu": ("waiting", 235, 40, 76),
    "calls": ("traced calls", 300, 35, 78),
    "process": ("process", 0, 0, 82),
}
_STYLE: Final = (
    "text{font:12px monospace;fill:#111}.t{font-size:17px;text-anchor:middle}.s{text-anchor:middle;fill:#444}"
    ".b{cursor:pointer}.b:hover rect{stroke:#000;stroke-width:.7}.m{fill:#e600e6}"
    ".a{cursor:pointer;fill:#06c}.e{text-anchor:end}"
)


def flame_graph(counts: StackCounts, subject: str) -> bytes:
    """The picture, callers below callees."""
    found = list(placed(tree(counts), _LEAST_SHARE))
    depth = max((box.depth for box in found), default=0)
    height = _TOP + (depth + 1) * _ROW + _BOTTOM
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"',
        f' viewBox="0 0 {_WIDTH} {height}" data-pad="{_PAD}" data-space="{_SPACE}" data-letter="{_LETTER}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fdfdf6"/>',
        f'<text class="t" x="{_WIDTH / 2:g}" y="24">{_text(title(counts, subject))}</text>',
        f'<text class="s" x="{_WIDTH / 2:g}" y="42">{_text(subtitle(counts))}</text>',
        f'<text id="reset" class="a" x="{_PAD}" y="62" style="display:none">reset zoom</text>',
        f'<text id="found" class="e" x="{_WIDTH - 110}" y="62"></text>',
        f'<text id="search" class="a e" x="{_WIDTH - _PAD}" y="62" style="display:none">search</text>',
        *(_box(box, _TOP + (depth - box.depth) * _ROW, counts) for box in found),
        *_legend(height - 22),
        f"<script><![CDATA[\n{_script()}]]></script>",
        "</svg>\n",
    ]
    return "\n".join(lines).encode(errors="replace")


def title(counts: StackCounts, subject: str) -> str:
    """What the graph shows."""
    parts = ["Flame graph", counts.host, subject]
    return " · ".join(part for part in parts if part)


def subtitle(counts: StackCounts) -> str:
    """When, and how many samples."""
    if counts.first_ns is None:
        return "no samples"
    seconds = (counts.last_ns - counts.first_ns) // 1_000_000_000 + 1
    begin = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(counts.first_ns / 1e9))
    total, complete = counts.total.count, counts.complete + counts.complete_calls
    share = 100 * complete / total if total else 0
    samples = f"{total - counts.calls:,} samples" if total > counts.calls or not total else ""
    calls = f"{counts.calls:,} calls" if counts.calls else ""
    what = ", ".join(part for part in (samples, calls) if part)
    return f"{begin} UTC, {seconds:,} s · {what}, {complete:,} complete ({share:.1f} %)"


def _box(box: Placed, top: int, counts: StackCounts) -> str:
    name, kind, detail = box.node.box
    left, width = _PAD + box.start * _SPACE, box.width * _SPACE
    share = 100 * box.node.count / counts.weight(counts.total)
    amount = f"{box.node.count / 1e6:,.3f} ms" if counts.calls else f"{box.node.count:,} samples"
    about = f"{name}{f' ({detail})' if detail else ''}: {amount}, {share:.2f} %"
    return (
        f'<g class="b" data-x="{box.start:.9g}" data-w="{box.width:.9g}" data-d="{box.depth}" '
        f"data-n={quoteattr(_clean(name))}><title>{_text(about)}</title>"
        f'<rect x="{left:.2f}" y="{top}" width="{width:.2f}" height="{_ROW - 1}" rx="1.5" '
        f'fill="{color(name, kind)}"/>'
        f'<text x="{left + 3:.2f}" y="{top + 12}">{_text(_fitting(name, width))}</text></g>'
    )


def _fitting(name: str, width: float) -> str:
    letters = int((width - 6) / _LETTER)
    if letters < _FEWEST_LETTERS:
        return ""
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def color(name: str, kind: str) -> str:
    """The kind's colour, a little different for each name, the same in every graph."""
    _, hue, saturation, lightness = _COLORS.get(kind, _COLORS["user"])
    number = zlib.crc32(name.encode(errors="replace"))
    spread = 0 if kind == "process" else number % 21 - 10
    return f"hsl({hue + spread},{saturation}%,{lightness + number // 32 % 9 - 4}%)"


def _legend(top: int) -> Iterator[str]:
    left = float(_PAD)
    for label, hue, saturation, lightness in _COLORS.values():
        fill = f"hsl({hue},{saturation}%,{lightness}%)"
        yield f'<rect x="{left:g}" y="{top}" width="12" height="12" fill="{fill}"/>'
        yield f'<text x="{left + 16:g}" y="{top + 10}">{label}</text>'
        left += 16 + (len(label) + 2) * _LETTER


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def _text(text: str) -> str:
    return escape(_clean(text))


@cache
def _script() -> str:
    return files("universal_tracer.sinks").joinpath("flamegraph.js").read_text(encoding="utf-8")
