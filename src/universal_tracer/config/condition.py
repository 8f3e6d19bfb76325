"""The text of an `output.where`: its words and where they stand, so that what is wrong can be pointed at.

Whether it is right is for polars to say, which parses and evaluates it; nothing here needs polars.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

_TOKEN: Final = re.compile(
    r"""
      (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    | (?P<string>'(?:[^']|'')*(?:'|\Z))
    | (?P<quoted>"(?:[^"]|"")*(?:"|\Z)|`[^`]*(?:`|\Z))
    | (?P<number>\d[\w.]*)
    | (?P<word>[^\W\d]\w*)
    | (?P<other>\S)
    """,
    re.VERBOSE | re.DOTALL,
)
# Words of SQL that are columns, too; they are columns wherever SQL allows.
_RESERVED: Final = ("end", "where")
_QUERY_WORDS: Final = frozenset({"select", "exists", "with", "union", "intersect", "except"})
# Functions that look at several rows, or make several of one.
_OVER_ROWS: Final = frozenset(
    {
        *(
            "any_value",
            "approx_count_distinct",
            "array_agg",
            "arg_max",
            "arg_min",
            "avg",
            "bit_and",
            "bit_or",
        ),
        *(
            "bool_and",
            "bool_or",
            "columns",
            "corr",
            "count",
            "covar",
            "covar_pop",
            "covar_samp",
            "dense_rank",
        ),
        *(
            "explode",
            "first",
            "first_value",
            "kurtosis",
            "lag",
            "last",
            "last_value",
            "lead",
            "listagg",
            "max",
        ),
        *("mean", "median", "min", "mode", "ntile", "over", "quantile_cont", "quantile_disc", "rank"),
        *("row_number", "skewness", "stddev", "stddev_pop", "stddev_samp", "string_agg", "sum", "unnest"),
        *("var", "var_pop", "var_samp", "variance"),
    }
)
_MARK_BEFORE, _MARK_BEHIND = "-->", "<--"
_CONTEXT: Final = 60


@dataclass(frozen=True, slots=True)
class Token:
    """A part of the text: `kind` is comment, string, quoted, number, word or other."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """Where the next one may begin."""
        return self.start + len(self.text)

    @property
    def name(self) -> str:
        """What it names, without quotes."""
        return self.text[1:-1].replace('""', '"') if self.kind == "quoted" else self.text


@dataclass(frozen=True, slots=True)
class Refused:
    """What cannot be a condition on one event, and where."""

    what: str
    at: Token


def tokens(text: str) -> list[Token]:
    """The parts of the text but for blanks and comments."""
    found = (Token(match.lastgroup or "", match[0], match.start()) for match in _TOKEN.finditer(text))
    return [token for token in found if token.kind != "comment"]


def refused(text: str) -> Refused | None:
    """A subquery, an aggregate, a second statement: what is SQL and yet no condition on one event."""
    parts = tokens(text)
    for token, following in zip_longest(parts, parts[1:]):
        word = token.text.lower() if token.kind == "word" else ""
        if word in _QUERY_WORDS:
            return Refused("a subquery is not allowed", token)
        if word in _OVER_ROWS and following is not None and following.text == "(":
            return Refused(f"{token.text} looks at several events; a condition sees one", token)
        if token.text == ";":
            return Refused("one expression is allowed, without ;", token)
    return None


def with_quoted_columns(text: str, columns: Collection[str]) -> str:
    """The text with quotes around columns whose names are reserved in SQL, so that it can be parsed."""
    parts = tokens(text)
    has_case = any(token.kind == "word" and token.text.lower() == "case" for token in parts)
    names = {name for name in _RESERVED if name in columns and not (name == "end" and has_case)}
    for token in reversed(parts):
        if token.kind == "word" and token.text in names:
            text = f'{text[: token.start]}"{token.text}"{text[token.end :]}'
    return text


def token_named(text: str, name: str) -> Token | None:
    """The first part that names this column or member."""
    named = (token for token in tokens(text) if token.kind in ("word", "quoted") and token.name == name)
    return next(named, None)


def marked(text: str, start: int, end: int) -> str:
    """The text on one line with `-->` and `<--` around a part; what is far from it is left out."""
    before, part, behind = (
        " ".join(piece.split("\n")) for piece in (text[:start], text[start:end], text[end:])
    )
    if len(before) > _CONTEXT:
        before = "…" + before[-_CONTEXT:]
    if len(behind) > _CONTEXT:
        behind = behind[:_CONTEXT] + "…"
    return f"{before}{_MARK_BEFORE}{part}{_MARK_BEHIND}{behind}"
