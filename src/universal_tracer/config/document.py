"""A YAML document as a tree of located values.

Only what a configuration needs is let in: UTF-8, at most 1 MiB, one document, mappings, lists and scalars.
Aliases, anchors, tags and duplicate keys are faults, so that what a reader sees is what there is, and no
small file can unfold into a large one. YAML itself constructs nothing but null, booleans and numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES: Final = 1_048_576
_MAX_DEPTH: Final = 8
_EXPONENT: Final = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]{1,3}")
_PLAIN_TAGS: Final = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float")}
# libyaml is many times faster; PyYAML's wheels bring it, some distributions do not.
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


# Stands for a value that was refused already, so that it is not found fault with again.
REFUSED: Final = object()


@dataclass(frozen=True, slots=True)
class Scalar:
    """Null, a boolean, a number or a text, on a line (counted from 1)."""

    line: int
    value: Any


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of nodes."""

    line: int
    items: list[Node]


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and their nodes in the file's order; the first of duplicate keys is kept."""

    line: int
    entries: dict[str, Entry]


Node = Scalar | Listing | Mapping


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's line and what it holds."""

    line: int
    node: Node


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong on a line; `key` is empty where it concerns the document as a whole."""

    line: int
    key: str
    message: str


@dataclass(slots=True)
class Document:
    """What was read: the root (None for an empty document) and the faults, in the file's order."""

    root: Node | None = None
    faults: list[Fault] = field(default_factory=list)


class _UnreadableError(Exception):
    """Reading cannot go on after this fault."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(line, "", message)


def read_document(content: bytes) -> Document:
    """Parse the bytes of a file; never raises for what they contain."""
    document = Document()
    try:
        text = _decoded(content)
        document.root = _Builder(text, document.faults).build()
    except _UnreadableError as error:
        document.faults.append(error.fault)
    return document


def plain_scalar(text: str) -> Any:
    """The value that an unquoted YAML scalar stands for: `0.5` a number, `yes` a boolean, `nginx` itself."""
    loader = _Loader("")
    try:
        return _scalar_value(loader, text, (True, False))
    finally:
        loader.dispose()


def _decoded(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise _UnreadableError(1, f"the file is larger than 1 MiB ({MAX_BYTES} bytes)")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _UnreadableError(
            line, f"not UTF-8: byte 0x{content[error.start]:02x} has no meaning here"
        ) from error


class _Builder:
    """Turns the parser's events into nodes, noting faults on the way."""

    def __init__(self, text: str, faults: list[Fault]) -> None:
        self._text = text
        self._faults = faults
        self._loader = _Loader(text)
        self._events = self._located_events()

    def build(self) -> Node | None:
        try:
            return self._first_document()
        finally:
            self._loader.dispose()

    def _first_document(self) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _UnreadableError(_line(event), "a second document begins here; only one is allowed")
            elif not isinstance(event, (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentEndEvent)):
                root = self._node(event, "", depth=0)
        return root

    def _located_events(self) -> Iterator[yaml.Event]:
        try:
            while self._loader.check_event():
                yield self._loader.get_event()
        except yaml.reader.ReaderError as error:
            line = self._text.count("\n", 0, error.position) + 1
            raise _UnreadableError(line, "a control character is not allowed here") from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark is not None else 1
            raise _UnreadableError(line, f"not YAML: {error.problem or error.context}") from error

    def _node(self, event: yaml.Event, key: str, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise _UnreadableError(_line(event), "nested too deeply")
        self._refuse_references(event, key)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, key, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._listing(event, key, depth)
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(_line(event), _scalar_value(self._loader, event.value, event.implicit))
        return Scalar(_line(event), REFUSED)

    def _refuse_references(self, event: yaml.Event, key: str) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._fault(event, key, f"aliases are not allowed (*{event.anchor}); write the value out")
            return
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor is not None:
            self._fault(event, key, f"anchors are not allowed (&{anchor})")
        if tag is not None:
            self._fault(event, key, f"tags are not allowed ({tag})")

    def _mapping(self, start: yaml.Event, key: str, depth: int) -> Mapping:
        entries: dict[str, Entry] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            name, line = self._key_name(event, key, depth), _line(event)
            dotted = f"{key}.{name}" if key else name
            node = self._node(next(self._events), dotted, depth + 1)
            if name in entries:
                self._fault(event, dotted, f"appears twice, first on line {entries[name].line}")
            else:
                entries[name] = Entry(line, node)
        return Mapping(_line(start), entries)

    def _key_name(self, event: yaml.Event, parent: str, depth: int) -> str:
        if isinstance(event, yaml.ScalarEvent):
            self._refuse_references(event, parent)
            return str(event.value)
        node = self._node(event, parent, depth + 1)
        self._fault(event, parent, "a key must be a single word")
        return f"(key on line {node.line})"

    def _listing(self, start: yaml.Event, key: str, depth: int) -> Listing:
        items: list[Node] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event, key, depth + 1))
        return Listing(_line(start), items)

    def _fault(self, event: yaml.Event, key: str, message: str) -> None:
        self._faults.append(Fault(_line(event), key, message))


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _scalar_value(loader: Any, text: str, implicit: tuple[bool, bool]) -> Any:
    """YAML's own reading of a scalar, without its dates and numbers of base 60, which nobody means here."""
    if implicit[0] and _EXPONENT.fullmatch(text):
        return float(text)
    tag = loader.resolve(yaml.ScalarNode, text, implicit)
    if tag not in _PLAIN_TAGS or ":" in text:
        return text
    try:
        return loader.construct_object(yaml.ScalarNode(tag, text))
    except (ValueError, yaml.YAMLError):
        return text
