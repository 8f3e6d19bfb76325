"""`--where`: an SQL expression over an event's columns that says which events are kept.

It is checked before anything is attached: parsed, typed and tried on made-up rows of every event type.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from polars.exceptions import PanicException, PolarsError

from universal_tracer.config.condition import (
    Token,
    marked,
    refused,
    token_named,
    tokens,
    with_quoted_columns,
)
from universal_tracer.config.suggest import did_you_mean
from universal_tracer.model.columns import Array, Object
from universal_tracer.model.errors import RunFailedError, UsageError
from universal_tracer.model.events import EVENT_TYPES
from universal_tracer.model.schema import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from universal_tracer.model.columns import Column, Type

# A fault of polars' own is a fault of the expression as far as a user is concerned.
_FAULTS: Final = (PolarsError, PanicException)
_QUERY: Final = "SELECT * FROM t WHERE "
_PLACE: Final = re.compile(r"(?:, found: (?P<found>.*?))? at Line: (?P<line>\d+), Column: (?P<column>\d+)")
# Parts of an expression, written as JSON, that look at several rows or make several of one.
_NOT_BY_ROW: Final = re.compile(
    r'(?<!\\)"(Agg|Explode|Over|Rolling|SubPlan)":|(?<!"String":)(?<!"Column":)(?<!\\)"Len"'
)


class Where:
    """Keeps the rows that meet the condition; of event types that it does not fit, none.

    Raises UsageError where the expression is wrong; `origin` is how it is called there. `shown` is what a
    user wrote, where `text` is a part of it with blanks for everything else.
    """

    def __init__(self, text: str, event_types: Sequence[str], origin: str, shown: str | None = None) -> None:
        self._origin = origin
        checked = _Check(text, event_types, origin, shown or text)
        self._expression = checked.expression
        self._fitting = frozenset(checked.fitting)

    def __call__(self, event_type: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows for which it is false or unknown (null) are dropped."""
        if event_type not in self._fitting:
            return frame.clear()
        try:
            return frame.filter(self._expression)
        except _FAULTS as error:
            raise RunFailedError(
                f"{self._origin} cannot be evaluated for an event",
                cause=_first_line(error),
                hint="where a value may not convert, write TRY_CAST(... AS ...)",
            ) from error


class _Check:
    """Everything that can be wrong with the text, found out step by step."""

    def __init__(self, text: str, event_types: Sequence[str], origin: str, shown: str) -> None:
        self._text, self._event_types, self._origin, self._shown = text, event_types, origin, shown
        self._refuse_queries()
        self.expression = self._parsed()
        self._refuse_what_is_not_by_row()
        self.fitting = self._fitting_types()

    def _refuse_queries(self) -> None:
        found = refused(self._text)
        if found is not None:
            raise self._error(found.what, found.at)

    def _parsed(self) -> pl.Expr:
        names = {
            column.name for event_type in self._event_types for column in EVENT_TYPES[event_type].columns
        }
        text = with_quoted_columns(self._text, names)
        try:
            pl.SQLContext(t=pl.LazyFrame()).execute(_QUERY + text)
        except _FAULTS as error:
            if _is_syntax(error):
                raise self._syntax_error(error, text) from error
        try:
            return pl.sql_expr(text)
        except _FAULTS as error:
            raise self._error(f"the expression is refused: {_first_line(error)}") from error

    def _syntax_error(self, error: BaseException, parsed: str) -> UsageError:
        what = _first_line(error).removeprefix("sql parser error: ")
        place = _PLACE.search(what)
        if place is None or int(place["line"]) != 1 or parsed != self._text:
            what = what.replace(", found: EOF", ", found the end")
            return self._error(f"this is not SQL: {_lower(what)}", Token("other", "", len(self._text)))
        start = max(0, int(place["column"]) - 1 - len(_QUERY))
        at = next((token for token in tokens(self._text) if token.end > start), None)
        what = what[: place.start()] + (f", found {place['found']}" if place["found"] else "")
        return self._error(f"this is not SQL: {_lower(what)}", at)

    def _refuse_what_is_not_by_row(self) -> None:
        meta = self.expression.meta
        if not meta.undo_aliases().meta.eq(self.expression) or meta.has_multiple_outputs():
            raise self._error("the expression makes columns; a condition makes none")
        if _NOT_BY_ROW.search(_as_json(self.expression)):
            raise self._error("the expression looks at several events; a condition sees one")

    def _fitting_types(self) -> list[str]:
        roots = set(self.expression.meta.root_names())
        have_all = [name for name in self._event_types if roots <= set(schema(name))]
        if not have_all:
            raise self._unknown_column(roots)
        faults = {name: fault for name in have_all if (fault := self._type_fault(name)) is not None}
        fitting = [name for name in have_all if name not in faults]
        if not fitting:
            raise faults[have_all[0]]
        return fitting

    def _unknown_column(self, roots: set[str]) -> UsageError:
        known = {name for event_type in self._event_types for name in schema(event_type)}
        unknown = sorted(roots - known, key=self._text.find)
        if not unknown:
            return self._error(f"no event type has all of the columns {', '.join(sorted(roots))}")
        name = unknown[0]
        if name in EVENT_TYPES:
            return self._error("table names are not used, columns stand alone", token_named(self._text, name))
        meant = did_you_mean(name, known)
        return self._error(f"there is no column {name!r}{meant}", token_named(self._text, name))

    def _type_fault(self, event_type: str) -> UsageError | None:
        """What is wrong with the expression for events of this type."""
        try:
            made = _made_up(event_type)
            (dtype,) = made.lazy().select(self.expression).collect_schema().dtypes()
            made.filter(self.expression) if dtype == pl.Boolean else None
        except pl.exceptions.StructFieldNotFoundError as error:
            name = _first_line(error)
            return self._error(f"there is no member {name!r}", token_named(self._text, name))
        except _FAULTS as error:
            return self._error(f"the expression does not fit {event_type} events: {_first_line(error)}")
        if dtype != pl.Boolean:
            return self._error(f"the expression gives {_told(dtype)}, not true or false")
        return None

    def _error(self, what: str, at: Token | None = None) -> UsageError:
        at = at or Token("other", self._text, 0)
        columns = dict.fromkeys(name for event_type in self._event_types for name in _names(event_type))
        return UsageError(
            f"{self._origin}: {what}",
            cause=marked(self._shown, at.start, at.end),
            hint=f"the columns are {', '.join(columns)}",
        )


def _is_syntax(error: BaseException) -> bool:
    return str(error).startswith("sql parser error")


def _first_line(error: BaseException) -> str:
    """What polars says, on one line: without the pictures of plans and expressions below it."""
    first, *others = str(error).strip().splitlines() or ["it is refused"]
    reason = next((line for line in others if line.startswith("error: ")), "")
    return f"{first} {reason}".rstrip()


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _told(dtype: pl.DataType) -> str:
    if dtype == pl.String:
        return "text"
    return "a number" if dtype.is_numeric() else str(dtype).lower()


def _as_json(expression: pl.Expr) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the form may change with polars' version, which is locked
        return expression.meta.serialize(format="json")


def _made_up(event_type: str) -> pl.DataFrame:
    """Two rows: one of nulls, and one where every column, every member and every list has something."""
    columns = {column.name: [None, _something(column.type)] for column in EVENT_TYPES[event_type].columns}
    return pl.DataFrame(columns, schema=schema(event_type))


def _something(described: Type) -> Any:
    if isinstance(described, Object):
        return {member.name: _something(member.type) for member in described.members}
    if isinstance(described, Array):
        return [_something(described.item)]
    return {"TEXT": "", "BOOLEAN": False}.get(described.name, 1)


def _names(event_type: str) -> Iterator[str]:
    for column in EVENT_TYPES[event_type].columns:
        yield from _names_of(column, "")


def _names_of(column: Column, parent: str) -> Iterator[str]:
    if isinstance(column.type, Object):
        for member in column.type.members:
            yield from _names_of(member, f"{parent}{column.name}.")
    else:
        yield f"{parent}{column.name}"
