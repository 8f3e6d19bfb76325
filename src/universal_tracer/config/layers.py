"""The three layers over the defaults: file, environment, flags."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from universal_tracer.config.collect import Collected, Place, plain
from universal_tracer.config.document import (
    MAX_BYTES,
    REFUSED,
    Entry,
    Listing,
    Mapping,
    Node,
    Scalar,
    plain_scalar,
    read_document,
)
from universal_tracer.config.keys import Key, keys, keys_of, sections, shown
from universal_tracer.config.suggest import closest, did_you_mean
from universal_tracer.model.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping as Mapped
    from collections.abc import Sequence
    from pathlib import Path

_PREFIX: Final = "UT_"


@dataclass(frozen=True, slots=True)
class FlagValue:
    """What the command line says about one key: the flag as typed, and its text, texts or boolean."""

    flag: str
    value: Any


def take_file(collected: Collected, file: Path) -> None:
    """Read a YAML file; its faults come in the order of its lines. Raises UsageError if it cannot be read."""
    document = read_document(_content(file))
    for fault in document.faults:
        collected.fault(Place(str(file), fault.key, has_lines=True), fault.line, fault.message)
    root = document.root
    if isinstance(root, Mapping):
        for name, entry in root.entries.items():
            _take_section(collected, str(file), name, entry)
    elif root is not None and not _is_empty(root):
        message = f"sections such as `http_tracer:` are expected, not {shown(plain(root))}"
        collected.fault(Place(str(file), has_lines=True), root.line, message)
    collected.faults.sort(key=lambda located: located[0])


def _is_empty(node: Node) -> bool:
    return isinstance(node, Scalar) and (node.value is None or node.value is REFUSED)


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read the configuration {str(file)!r}",
            cause=(getattr(error, "strerror", None) or str(error)).lower(),
            hint=f"ls -l {shlex.quote(str(file.parent))}",
        ) from error


def _take_section(collected: Collected, file: str, section: str, entry: Entry) -> None:
    place = Place(file, section, has_lines=True)
    if section not in sections():
        collected.fault(place, entry.line, f"unknown section{did_you_mean(section, sections())}")
    elif isinstance(entry.node, Mapping):
        for name, key_entry in entry.node.entries.items():
            _take_key(collected, file, section, name, key_entry)
    elif not _is_empty(entry.node):
        collected.fault(place, entry.line, f"must hold keys, not {shown(plain(entry.node))}")


def _take_key(collected: Collected, file: str, section: str, name: str, entry: Entry) -> None:
    dotted = f"{section}.{name}"
    place = Place(file, dotted, has_lines=True)
    key = keys().get(dotted)
    if key is None:
        collected.fault(place, entry.line, f"unknown key{_near_key(section, name)}")
    else:
        collected.take(key, entry.node, f"{file}:{entry.line}", place)


def _near_key(section: str, name: str) -> str:
    """A similar key of the section, else the same key of another section."""
    elsewhere = [key.dotted for key in keys().values() if key.name == name]
    if elsewhere:
        return f" (did you mean {elsewhere[0]!r}?)"
    return did_you_mean(name, keys_of(section))


def take_environment(collected: Collected, environment: Mapped[str, str]) -> None:
    """Read `UT_SECTION__KEY`; the values are YAML. Variables of no known section are somebody else's."""
    for variable in sorted(environment):
        section, separator, name = variable.removeprefix(_PREFIX).lower().partition("__")
        if variable.startswith(_PREFIX) and separator and section in sections():
            _take_variable(collected, variable, section, name, environment[variable])


def _take_variable(collected: Collected, variable: str, section: str, name: str, text: str) -> None:
    place = Place(variable)
    key = keys().get(f"{section}.{name}")
    if key is None or key.variable != variable:
        near = closest(name, keys_of(section))
        meant = f" (did you mean {keys()[f'{section}.{near}'].variable}?)" if near is not None else ""
        collected.fault(place, 0, f"unknown key{meant}")
        return
    document = read_document(text.encode("utf-8", "surrogateescape"))
    for fault in document.faults:
        collected.fault(place, 0, fault.message)
    if not document.faults:
        collected.take(key, document.root or Scalar(0, None), variable, place)


def take_flags(collected: Collected, flags: Mapped[str, Sequence[FlagValue]]) -> None:
    """Take what the command line says, by dotted key. Two flags for one key contradict each other."""
    for dotted, given in flags.items():
        key, flag = keys()[dotted], given[0]
        if len(given) > 1:
            named = " and ".join(value.flag for value in given)
            collected.fault(Place(named), 0, "contradict each other; give one of them")
        else:
            collected.take(key, _flag_node(key, flag.value), flag.flag, Place(flag.flag))


def _flag_node(key: Key, value: Any) -> Node:
    if isinstance(value, (list, tuple)):
        return Listing(0, [_flag_node(key, item) for item in value])
    if isinstance(value, str) and not key.kind.takes_text:
        return Scalar(0, plain_scalar(value))
    return Scalar(0, value)
