"""Rows as lines of JSON: the text form of events, the same in every output.

The native core writes it: polars' own writer takes five times as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from universal_tracer import _native

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

ROWS_PER_CHUNK: Final = 2048
"""Keeps a chunk within the processor's cache and memory bounded: 2 MB of text at 1 KB an event."""


def json_lines(frame: pl.DataFrame) -> Iterator[bytes]:
    """The rows as JSON objects, a line each, in chunks of at most `ROWS_PER_CHUNK` lines.

    Unknown values are `null`, but of `local` and `peer` only the members that apply are written:
    `{"address", "port"}` or `{"path"}`.
    """
    for start in range(0, frame.height, ROWS_PER_CHUNK):
        yield _native.json_lines(frame.slice(start, ROWS_PER_CHUNK))
