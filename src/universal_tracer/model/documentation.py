"""Writes docs/EVENTS.md: `python -m universal_tracer.model.documentation > docs/EVENTS.md`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from universal_tracer.model.columns import Array, Column, EventType, Object, Type
from universal_tracer.model.common import COMMON_COLUMNS
from universal_tracer.model.events import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_INTRODUCTION = """\
# Events

Generated from `src/universal_tracer/model/events.py` by `python -m universal_tracer.model.documentation`; a
test fails when this page is out of date.

Every event is one JSON object on a line of its own (`.ndjson`, and `json` on standard output) or one element
of an array (`.json`). All columns are always there, in this order; what is unknown is `null`. Columns are
added in later versions, never renamed or removed. Of `local` and `peer` only the members that apply are
written: `address` and `port` for TCP, `path` for Unix sockets.
"""


def events_page() -> str:
    """The text of docs/EVENTS.md."""
    sections = [_INTRODUCTION, "## Columns of all events\n", *_table(COMMON_COLUMNS)]
    for event in EVENT_TYPES.values():
        sections.extend(_section(event))
    return "\n".join(sections)


def _section(event: EventType) -> Iterator[str]:
    yield f"## `{event.name}`\n"
    yield f"{event.summary}\n"
    yield from _table(column for column in event.columns if column not in COMMON_COLUMNS)


def _table(columns: Iterable[Column]) -> Iterator[str]:
    yield "| column | type | unit | meaning |"
    yield "|---|---|---|---|"
    for column in columns:
        yield from _rows(column, prefix="")
    yield ""


def _rows(column: Column, prefix: str) -> Iterator[str]:
    name = f"{prefix}{column.name}"
    meaning = f"{column.description}; never null" if column.always and not prefix else column.description
    yield f"| `{name}` | {column.type.json_name} | {column.unit or ''} | {meaning} |"
    for member in _members(column.type):
        yield from _rows(member, prefix=f"{name}[]." if isinstance(column.type, Array) else f"{name}.")


def _members(described: Type) -> tuple[Column, ...]:
    if isinstance(described, Array):
        return _members(described.item)
    return described.members if isinstance(described, Object) else ()


if __name__ == "__main__":
    sys.stdout.write(events_page())
