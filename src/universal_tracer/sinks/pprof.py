"""Stacks as pprof reads them: `profile.proto`, compressed.

https://github.com/google/pprof/blob/main/proto/profile.proto names the fields; the few that are needed are
written here without a library for protocol buffers.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from universal_tracer.model.stack_counts import Frame, StackCounts, StackKey

_VARINT, _BYTES = 0, 2
_NS_PER_S: Final = 1_000_000_000


def pprof(counts: StackCounts) -> bytes:
    """The file's content: samples and nanoseconds by stack, labelled by thread and kind."""
    return gzip.compress(bytes(_Profile().encode(counts)), compresslevel=6, mtime=0)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _number(field_number: int, value: int) -> bytes:
    """Zero is what is absent."""
    return _varint(field_number << 3 | _VARINT) + _varint(value) if value else b""


def _message(field_number: int, content: bytes) -> bytes:
    return _varint(field_number << 3 | _BYTES) + _varint(len(content)) + content


def _packed(field_number: int, values: Iterable[int]) -> bytes:
    return _message(field_number, b"".join(_varint(value) for value in values))


@dataclass(slots=True)
class _Profile:
    """Tables of what samples refer to by number; numbers begin with 1, those of texts with 0."""

    texts: dict[str, int] = field(default_factory=lambda: {"": 0})
    mappings: dict[str, int] = field(default_factory=dict)
    functions: dict[tuple[str, str], int] = field(default_factory=dict)
    locations: dict[tuple[Frame, ...], int] = field(default_factory=dict)

    def encode(self, counts: StackCounts) -> bytearray:
        """The message `Profile`."""
        kinds = {key.kind for key in counts.sums}
        types = [("samples", "count"), ("time" if kinds - {"cpu"} else "cpu", "nanoseconds")]
        out = bytearray()
        for name, unit in types:
            out += _message(1, self._type(name, unit))
        for key, found in counts.sums.items():
            out += _message(2, self._sample(key, found.count, found.value_ns))
        for module, number in self.mappings.items():
            out += _message(3, self._mapping(module, number))
        for frames, number in self.locations.items():
            out += _message(4, self._location(frames, number))
        for (name, file), number in self.functions.items():
            texts = _number(2, self._text(name)) + _number(3, self._text(name)) + _number(4, self._text(file))
            out += _message(5, _number(1, number) + texts)
        out += self._times(counts)
        out += _message(11, self._type(*types[1]))
        for text in self.texts:
            out += _message(6, text.encode(errors="replace"))
        return out

    def _times(self, counts: StackCounts) -> bytes:
        if counts.first_ns is None or not counts.total.count:
            return b""
        duration = _number(10, counts.last_ns - counts.first_ns + _NS_PER_S)
        return (
            _number(9, counts.first_ns) + duration + _number(12, counts.total.value_ns // counts.total.count)
        )

    def _type(self, name: str, unit: str) -> bytes:
        return _number(1, self._text(name)) + _number(2, self._text(unit))

    def _sample(self, key: StackKey, count: int, value_ns: int) -> bytes:
        locations = [self._location_number(group) for group in _physical(key.frames)]
        labels = [("thread", key.comm), ("kind", key.kind)]
        encoded = [
            _message(3, _number(1, self._text(name)) + _number(2, self._text(value)))
            for name, value in labels
        ]
        return _packed(1, reversed(locations)) + _packed(2, (count, value_ns)) + b"".join(encoded)

    def _mapping(self, module: str, number: int) -> bytes:
        has = b"".join(_number(place, 1) for place in (7, 8, 9, 10))
        return _number(1, number) + _number(5, self._text(module)) + has

    def _location(self, frames: tuple[Frame, ...], number: int) -> bytes:
        """Inlined functions are lines of one location, the innermost first."""
        mapping = self._mapping_number(frames[0].module)
        lines = b"".join(_message(4, self._line(frame)) for frame in reversed(frames))
        return _number(1, number) + _number(2, mapping) + lines

    def _location_number(self, frames: tuple[Frame, ...]) -> int:
        """Notes the mapping as well: mappings come before locations in the file."""
        if frames[0].module:
            self.mappings.setdefault(frames[0].module, len(self.mappings) + 1)
        return self.locations.setdefault(frames, len(self.locations) + 1)

    def _mapping_number(self, module: str | None) -> int:
        return self.mappings.get(module, 0) if module else 0

    def _line(self, frame: Frame) -> bytes:
        function = self.functions.setdefault((frame.name, frame.file or ""), len(self.functions) + 1)
        return _number(1, function) + _number(2, frame.line or 0)

    def _text(self, text: str) -> int:
        return self.texts.setdefault(text, len(self.texts))


def _physical(frames: tuple[Frame, ...]) -> Iterator[tuple[Frame, ...]]:
    """Each function with those that were inlined into it."""
    group: list[Frame] = []
    for frame in frames:
        if group and not frame.inlined:
            yield tuple(group)
            group = []
        group.append(frame)
    if group:
        yield tuple(group)
