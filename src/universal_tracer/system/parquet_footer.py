"""Joining Parquet files: their footers become one, and the column chunks' places in it are corrected.

A footer is a Thrift structure in the compact protocol. Of it only what must change is understood (see
parquet.thrift); everything else is copied as it is. polars writes the chunks and footers that are joined.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Final

MAGIC: Final = b"PAR1"
_TAIL: Final = 8

# Kinds of values in the compact protocol.
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
_NUM_ROWS, _ROW_GROUPS = 3, 4
_I64, _LONG_LIST = 6, 15

# Field numbers of what holds an offset into the file, by structure.
_SHIFT: Final = object()
_COLUMN_METADATA: Final = {9: _SHIFT, 10: _SHIFT, 11: _SHIFT, 14: _SHIFT}
_COLUMN_CHUNK: Final = {2: _SHIFT, 3: _COLUMN_METADATA, 4: _SHIFT, 6: _SHIFT}
_ROW_GROUP: Final = {1: _COLUMN_CHUNK, 5: _SHIFT}


@dataclass(slots=True)
class Footer:
    """The footer of a file that grows by row groups of one schema."""

    before: bytes
    after: bytes
    rows: int = 0
    groups: list[bytes] = field(default_factory=list)

    @classmethod
    def of(cls, file: bytes) -> Footer:
        """That of a whole Parquet file, without its row groups."""
        return _parsed(file)[0]

    def add(self, file: bytes, place: int) -> bytes:
        """Take in the row groups of a whole Parquet file; returns the bytes that must stand at `place`.

        Raises ValueError where its schema is another one.
        """
        other, (rows, groups, count) = _parsed(file)
        if other.before != self.before:
            message = "the columns have changed"
            raise ValueError(message)
        source = _Reader(groups)
        for _ in range(count):
            target = bytearray()
            _copy_struct(source, target, _ROW_GROUP, place - len(MAGIC))
            self.groups.append(bytes(target))
        self.rows += rows
        return file[len(MAGIC) : _start(file)]

    def encoded(self) -> bytes:
        """What stands at the end of the file, the magic bytes included."""
        count = len(self.groups)
        head = bytearray(self.before)
        head += bytes([1 << 4 | _I64])
        _put_zigzag(head, self.rows)
        head += bytes([1 << 4 | _LIST])
        if count < _LONG_LIST:
            head.append(count << 4 | _STRUCT)
        else:
            head.append(_LONG_LIST << 4 | _STRUCT)
            _put_varint(head, count)
        body = b"".join((head, *self.groups, self.after))
        return body + len(body).to_bytes(4, "little") + MAGIC


def _start(file: bytes) -> int:
    return len(file) - _TAIL - int.from_bytes(file[-_TAIL:-4], "little")


def _parsed(file: bytes) -> tuple[Footer, tuple[int, bytes, int]]:
    """An empty footer with the file's schema; its rows, its row groups as they are, and their number."""
    data = file[_start(file) : -_TAIL]
    reader = _Reader(data)
    number = 0
    while True:
        start = reader.place
        kind, number = reader.field(number)
        if number == _NUM_ROWS:
            break
        reader.skip(kind)
    before = data[:start]
    rows = reader.zigzag()
    _, number = reader.field(number)
    if number != _ROW_GROUPS:
        message = "a Parquet footer without row groups"
        raise ValueError(message)
    count, _ = reader.list_head()
    start = reader.place
    for _ in range(count):
        reader.skip(_STRUCT)
    # The field after the row groups is written relative to theirs, here as there.
    return Footer(before, data[reader.place :]), (rows, data[start : reader.place], count)


class _Reader:
    """Reads the compact protocol; `place` is where it is."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def byte(self) -> int:
        self.place += 1
        return self.data[self.place - 1]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def field(self, last: int) -> tuple[int, int]:
        """A field's kind and number; `last` is the number of the one before."""
        byte = self.byte()
        if byte == _STOP:
            return _STOP, 0
        delta = byte >> 4
        return byte & 0x0F, last + delta if delta else self.zigzag()

    def list_head(self) -> tuple[int, int]:
        """The number of items and their kind."""
        byte = self.byte()
        count = byte >> 4
        return (self.varint() if count == _LONG_LIST else count), byte & 0x0F

    def skip(self, kind: int, *, is_item: bool = False) -> None:
        """Pass over a value; a truth value is in its field's head, and a byte of its own in a list."""
        if kind in (_TRUE, _FALSE):
            self.place += is_item
        elif kind == _BYTE:
            self.place += 1
        elif kind == _DOUBLE:
            self.place += 8
        elif kind == _BINARY:
            size = self.varint()
            self.place += size
        elif kind in (_LIST, _SET):
            count, item = self.list_head()
            for _ in range(count):
                self.skip(item, is_item=True)
        elif kind == _STRUCT:
            self._skip_struct()
        elif kind == _MAP:
            message = "a map in a Parquet footer"
            raise ValueError(message)
        else:
            self.varint()

    def _skip_struct(self) -> None:
        number = 0
        while True:
            kind, number = self.field(number)
            if kind == _STOP:
                return
            self.skip(kind)


def _copy_struct(source: _Reader, target: bytearray, changes: dict[int, Any], shift: int) -> None:
    """Copy one structure; offsets in it, as `changes` names them, grow by `shift`."""
    number = 0
    while True:
        start = source.place
        kind, number = source.field(number)
        change = changes.get(number)
        if change is _SHIFT:
            target += source.data[start : source.place]
            _put_zigzag(target, source.zigzag() + shift)
        elif change is not None and kind == _LIST:
            count, _ = source.list_head()
            target += source.data[start : source.place]
            for _ in range(count):
                _copy_struct(source, target, change, shift)
        elif change is not None and kind == _STRUCT:
            target += source.data[start : source.place]
            _copy_struct(source, target, change, shift)
        else:
            if kind != _STOP:
                source.skip(kind)
            target += source.data[start : source.place]
            if kind == _STOP:
                return


def _put_varint(target: bytearray, value: int) -> None:
    while value >= 0x80:
        target.append(value & 0x7F | 0x80)
        value >>= 7
    target.append(value)


def _put_zigzag(target: bytearray, value: int) -> None:
    _put_varint(target, value << 1 if value >= 0 else (-value << 1) - 1)


def has_footer(descriptor: int) -> bool:
    """Whether a file ends as a Parquet file does."""
    size = os.fstat(descriptor).st_size
    if size < len(MAGIC) + _TAIL:
        return False
    tail = os.pread(descriptor, _TAIL, size - _TAIL)
    return tail.endswith(MAGIC) and int.from_bytes(tail[:4], "little") <= size - len(MAGIC) - _TAIL
