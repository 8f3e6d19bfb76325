"""Values that passed their checks with where they came from, and everything that did not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from universal_tracer.config.document import REFUSED, Listing, Node, Scalar
from universal_tracer.config.keys import Key, check


@dataclass(frozen=True, slots=True)
class Place:
    """How a fault's position is written: `FILE:LINE: KEY`, `UT_SECTION__KEY` or `--flag`."""

    source: str
    key: str = ""
    has_lines: bool = False

    def told(self, line: int, message: str) -> str:
        """The fault as a user reads it."""
        start = f"{self.source}:{line}" if self.has_lines else self.source
        return ": ".join(part for part in (start, self.key, message) if part)


@dataclass(slots=True)
class Collected:
    """What the layers hold so far; a later layer replaces an earlier one's values, key by key."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)

    def fault(self, place: Place, line: int, message: str) -> None:
        """Note what is wrong."""
        self.faults.append((line, place.told(line, message)))

    def take(self, key: Key, node: Node, origin: str, place: Place) -> None:
        """Check one value; note it, or what is wrong with it. What was refused already is passed over."""
        if _is_refused(node):
            return
        converted, complaint = check(key.kind, plain(node))
        if complaint is None:
            self.values[key.dotted] = converted
            self.origins[key.dotted] = origin
            return
        element_faults = _element_faults(key, node)
        for line, message in element_faults:
            self.fault(place, line, message)
        if not element_faults and not _holds_refused(node):
            self.fault(place, node.line, complaint)


def plain(node: Node) -> Any:
    """The node without its lines: scalars, lists, dicts."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Listing):
        return [plain(item) for item in node.items]
    return {name: plain(entry.node) for name, entry in node.entries.items()}


def _element_faults(key: Key, node: Node) -> list[tuple[int, str]]:
    """The faults of a list's elements one by one; empty where it is not they that are wrong."""
    element = key.kind.element
    if element is None or not isinstance(node, Listing):
        return []
    checked = [(item.line, check(element, plain(item))[1]) for item in node.items if not _is_refused(item)]
    return [(line, complaint) for line, complaint in checked if complaint is not None]


def _is_refused(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is REFUSED


def _holds_refused(node: Node) -> bool:
    return isinstance(node, Listing) and any(_is_refused(item) for item in node.items)
