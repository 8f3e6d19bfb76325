"""The layout of a flame graph: stacks merged to a tree, each function as wide as its share of the samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from universal_tracer.model.stack_counts import CALLS, OFF_CPU

if TYPE_CHECKING:
    from collections.abc import Iterator

    from universal_tracer.model.stack_counts import StackCounts, StackKey

OFF_CPU_NAME: Final = "[off-cpu]"
CALLS_NAME: Final = "[traced calls]"
PROCESS_KIND: Final = "process"


class Box(NamedTuple):
    """A function in the tree. `kind` is that of a frame, or `process`, `inlined`, `off-cpu`, `calls`."""

    name: str
    kind: str
    detail: str


@dataclass(slots=True)
class Node:
    """A function at one place of the tree, with its callees; `count` in samples or ns, callees' included."""

    box: Box
    count: int = 0
    children: dict[Box, Node] = field(default_factory=dict)

    def child(self, box: Box) -> Node:
        """The callee, made when it is new."""
        found = self.children.get(box)
        if found is None:
            found = self.children[box] = Node(box)
        return found


class Placed(NamedTuple):
    """A node with its place: `start` and `width` as shares of the whole, `depth` 0 for the root."""

    node: Node
    start: float
    width: float
    depth: int


def boxes(key: StackKey) -> Iterator[Box]:
    """The way from a process to a function, root first; a box tells waits and traced calls apart."""
    yield Box(key.comm or "[no name]", PROCESS_KIND, "")
    if key.kind == OFF_CPU:
        yield Box(OFF_CPU_NAME, OFF_CPU, "")
    if key.kind == CALLS:
        yield Box(CALLS_NAME, CALLS, "")
    for frame in key.frames:
        yield Box(frame.name, "inlined" if frame.inlined else frame.kind, frame.module or "")


def tree(counts: StackCounts) -> Node:
    """All stacks in one tree."""
    root = Node(Box("all", PROCESS_KIND, ""))
    for key, found in counts.sums.items():
        node = root
        weight = counts.weight(found)
        node.count += weight
        for box in boxes(key):
            node = node.child(box)
            node.count += weight
    return root


def placed(root: Node, least_width: float) -> Iterator[Placed]:
    """Every node that is at least so wide (a share of the whole), parents first, callees by name."""
    if not root.count:
        return
    waiting = [Placed(root, 0.0, 1.0, 0)]
    while waiting:
        here = waiting.pop()
        yield here
        start = here.start
        for child in sorted(here.node.children.values(), key=lambda node: node.box):
            width = child.count / root.count
            if width >= least_width:
                waiting.append(Placed(child, start, width, here.depth + 1))
            start += width
