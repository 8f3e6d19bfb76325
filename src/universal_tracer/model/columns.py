"""How the columns of an event type are described: once, for polars, the documentation and checks alike.

Nothing here loads polars; `schema` translates the descriptions when frames are handled.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Scalar(Enum):
    """A single value. The members' values are the names of polars' data types."""

    TEXT = "String"
    BOOLEAN = "Boolean"
    UINT16 = "UInt16"
    UINT32 = "UInt32"
    UINT64 = "UInt64"
    INT64 = "Int64"
    FLOAT64 = "Float64"

    @property
    def json_name(self) -> str:
        """What a reader of JSON sees."""
        if self is Scalar.TEXT:
            return "string"
        if self is Scalar.BOOLEAN:
            return "boolean"
        return "number" if self is Scalar.FLOAT64 else "integer"


@dataclass(frozen=True, slots=True)
class Object:
    """Members under one name, always all of them, in this order."""

    members: tuple[Column, ...]

    @property
    def json_name(self) -> str:
        """What a reader of JSON sees."""
        return "object"


@dataclass(frozen=True, slots=True)
class Array:
    """Any number of items of one type."""

    item: Scalar | Object

    @property
    def json_name(self) -> str:
        """What a reader of JSON sees."""
        return f"array of {self.item.json_name}s"


Type = Scalar | Object | Array


@dataclass(frozen=True, slots=True)
class Column:
    """One column, or one member of an object in a column. Every column may be null unless `always` is set.

    `unit` is None for texts, identifiers and plain counts.
    """

    name: str
    type: Type
    description: str
    unit: str | None = None
    always: bool = False


@dataclass(frozen=True, slots=True)
class EventType:
    """One kind of event: its name in `type`, and its columns in the order of the output."""

    name: str
    summary: str
    columns: tuple[Column, ...]
