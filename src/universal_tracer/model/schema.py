"""The described columns as polars sees them, and the shaping of frames to them."""

from __future__ import annotations

from functools import cache

import polars as pl

from universal_tracer.model.columns import Array, Object, Type
from universal_tracer.model.events import EVENT_TYPES


def polars_type(described: Type) -> pl.DataType:
    """The polars data type of a described column."""
    if isinstance(described, Object):
        return pl.Struct({member.name: polars_type(member.type) for member in described.members})
    if isinstance(described, Array):
        return pl.List(polars_type(described.item))
    scalar: type[pl.DataType] = getattr(pl, described.value)
    return scalar()


@cache
def schema(event_type: str) -> pl.Schema:
    """Names and data types of an event type's columns, in the order of the output."""
    return pl.Schema({column.name: polars_type(column.type) for column in EVENT_TYPES[event_type].columns})


def shape(event_type: str, frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with exactly the columns of its event type, in order; `type` is set, missing ones are null.

    A frame that has this shape already is returned as it is, and columns of the right type are not copied.
    Raises `polars.exceptions.PolarsError` where a column cannot be converted to its type.
    """
    wanted = schema(event_type)
    present = frame.schema
    if present == wanted:
        return frame
    wrong = [pl.col(name).cast(dtype) for name, dtype in wanted.items() if present.get(name, dtype) != dtype]
    typed = frame.with_columns(wrong) if wrong else frame
    missing = [
        _empty_column(event_type, name).new_from_index(0, frame.height)
        for name in wanted
        if name not in present
    ]
    # Unlike `select`, taking columns by name costs the same for one row as for thousands: hardly anything.
    return typed.hstack(missing)[wanted.names()]


@cache
def _empty_column(event_type: str, name: str) -> pl.Series:
    """The one row that a missing column repeats."""
    value = event_type if name == "type" else None
    return pl.Series(name, [value], dtype=schema(event_type)[name])
