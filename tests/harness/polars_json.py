"""Rows as lines of JSON: the text form of events, the same in every output."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS_PER_CHUNK = 2048
"""Keeps a chunk within the processor's cache and memory bounded: 2 MB of text at 1 KB an event."""

_ENDPOINT_COLUMNS = ("local", "peer")
_TCP = pl.Struct({"address": pl.String, "port": pl.UInt16})
_UNIX = pl.Struct({"path": pl.String})

# These byte sequences can only be structure: within a JSON string every quotation mark has a backslash before
# it, never a comma, and what follows a string's closing mark is never a name.
_UNKNOWN_ENDPOINT = b'{"address":null,"port":null,"path":null}'
_NO_PATH = b',"path":null}'
_NO_ADDRESS = b'"address":null,"port":null,'


def json_lines(frame: pl.DataFrame) -> Iterator[bytes]:
    """The rows as JSON objects, a line each, in chunks of at most `ROWS_PER_CHUNK` lines.

    Unknown values are `null`, but of `local` and `peer` only the members that apply are written:
    `{"address", "port"}` or `{"path"}`.
    """
    for start in range(0, frame.height, ROWS_PER_CHUNK):
        yield _encode(frame.slice(start, ROWS_PER_CHUNK))


def _encode(chunk: pl.DataFrame) -> bytes:
    is_mixed = _narrow_endpoints(chunk)
    buffer = io.BytesIO()
    chunk.write_ndjson(buffer)
    text = buffer.getvalue()
    if is_mixed:
        text = text.replace(_UNKNOWN_ENDPOINT, b"null").replace(_NO_PATH, b"}").replace(_NO_ADDRESS, b"")
    return text


def _narrow_endpoints(chunk: pl.DataFrame) -> bool:
    """Drop the members that no row uses, in place; tells whether some are left that only some rows use.

    Dropping is nearly free. Editing the encoded text instead costs up to a third of the encoding, and is
    needed only where TCP and Unix sockets mix.
    """
    is_mixed = False
    for name in _ENDPOINT_COLUMNS:
        if name not in chunk.columns:
            continue
        column = chunk[name]
        members = column.struct.unnest()
        known = chunk.height - column.null_count()
        paths = chunk.height - members["path"].null_count()
        addresses = chunk.height - members["address"].null_count()
        if paths == 0 and addresses == known:
            _replace(chunk, column, _TCP)
        elif paths == known and addresses == 0:
            _replace(chunk, column, _UNIX)
        else:
            is_mixed = True
    return is_mixed


def _replace(chunk: pl.DataFrame, column: pl.Series, kind: pl.Struct) -> None:
    """Not strict: members are taken by name, those that `kind` lacks are left out."""
    chunk.replace_column(chunk.get_column_index(column.name), column.cast(kind, strict=False))
