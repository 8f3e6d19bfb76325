"""What `doctor` found, for people and as JSON."""

from __future__ import annotations

import textwrap
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

import msgspec

from universal_tracer.model.checkup import State
from universal_tracer.system.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from universal_tracer.model.checkup import Check, Section
    from universal_tracer.system.terminal import Style

_WIDTH: Final = 80
_STATE_COLUMN: Final = 11
_LONGEST_NAME: Final = 26
_NARROWEST_REASON: Final = 30
_COLORS: Final = {State.OK: "green", State.DEGRADED: "yellow", State.MISSING: "red"}


def as_json(sections: Sequence[Section]) -> str:
    """`[{section, checks: [{name, state, reason, remedy}]}]`."""
    rows = [
        {
            "section": section.section,
            "checks": [
                {"name": check.name, "state": check.state, "reason": check.reason, "remedy": check.remedy}
                for check in section.checks
            ],
        }
        for section in sections
    ]
    return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode()


def as_text(sections: Sequence[Section], style: Style, *, with_details: bool) -> str:
    """A paragraph a section, within 80 columns; details of failures where they are asked for."""
    paragraphs = [
        "\n".join([style.paint(section.section, "bold"), *_lines(section, style, with_details)])
        for section in sections
    ]
    return "\n\n".join(paragraphs)


def _lines(section: Section, style: Style, with_details: bool) -> Iterator[str]:
    names = [len(check.name) for check in section.checks]
    column = min(max(names, default=0), _LONGEST_NAME) + 2
    for check, following in zip_longest(section.checks, section.checks[1:]):
        yield from _check_lines(check, column, style)
        for line in check.details if with_details else ():
            yield f"{'':{_STATE_COLUMN}}| {visible(line, only_ascii=style.only_ascii)}"
        # What mends several checks is said once, below the last of them.
        if check.remedy is not None and (following is None or following.remedy != check.remedy):
            # A command stays on one line: it is there to be copied.
            remedy = visible(check.remedy, only_ascii=style.only_ascii)
            yield f"{'':{_STATE_COLUMN}}{style.arrow_right} {remedy}"


def _check_lines(check: Check, column: int, style: Style) -> Iterator[str]:
    state = style.paint(check.state.value, _COLORS[check.state]) + " " * (9 - len(check.state.value))
    name, reason = (visible(text, only_ascii=style.only_ascii) for text in (check.name, check.reason))
    indent = _STATE_COLUMN + column
    first, *others = _wrapped(reason, _WIDTH - indent) or [""]
    if len(name) + 2 > column:
        yield f"  {state}{name}"
        others, first = [first, *others], ""
    else:
        yield f"  {state}{name:<{column}}{first}".rstrip()
    yield from (f"{'':{indent}}{line}" for line in others)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, _NARROWEST_REASON), break_on_hyphens=False)
