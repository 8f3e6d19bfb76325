"""Every key of the tree by its dotted name, and what its type says about values.

The tree is two levels deep: sections and their keys. A value is a scalar or a list of scalars.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, cast, get_args, get_origin, get_type_hints

import msgspec
import msgspec.inspect as reflect

from universal_tracer.config.suggest import did_you_mean
from universal_tracer.config.tree import Config
from universal_tracer.config.units import ByteSize, Duration

if TYPE_CHECKING:
    from collections.abc import Iterator

_AMOUNT_WANTED: Final[dict[type, str]] = {
    Duration: "a duration with its unit, such as 500ms or 1m30s",
    ByteSize: "a size with its unit, such as 1MB or 64MiB",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What msgspec cannot say: ranges of durations and sizes, syntax of expressions, words for a pattern."""

    at_least: str | None = None
    at_most: str | None = None
    wanted: str | None = None
    regex: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of value with its constraints, the way msgspec sees it and the way a user is told."""

    type: reflect.Type
    bounds: Bounds
    annotation: Any = None

    @property
    def alternatives(self) -> list[Kind]:
        """The members of a union, or the kind itself."""
        if isinstance(self.type, reflect.UnionType):
            return [_kind(member, self.bounds) for member in self.type.types]
        return [self]

    @property
    def element(self) -> Kind | None:
        """What the elements of a list must be; None where the kind is no list."""
        for kind in self.alternatives:
            if isinstance(kind.type, reflect.VarTupleType):
                return _kind(kind.type.item_type, Bounds(), _element_annotation(self.annotation))
        return None

    @property
    def accepts_null(self) -> bool:
        """Whether `null` is a value."""
        return any(isinstance(kind.type, reflect.NoneType) for kind in self.alternatives)

    @property
    def takes_text(self) -> bool:
        """Whether any text may be a value, so that a flag's argument must not be read as a number."""
        textual = (reflect.StrType, reflect.CustomType)
        return any(isinstance(kind.type, textual) for kind in (self.element or self).alternatives)

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that are allowed, in alphabetical order; empty where others are too."""
        words: list[str] = []
        for kind in self.alternatives:
            if isinstance(kind.type, reflect.LiteralType):
                words.extend(str(value) for value in kind.type.values)
        return tuple(words)

    @property
    def wanted(self) -> str:
        """In words, what a value must be."""
        return " or ".join(_wanted(kind) for kind in self.alternatives)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration."""

    section: str
    name: str
    kind: Kind
    description: str
    default: Any

    @property
    def dotted(self) -> str:
        """`section.name`, as messages call it."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"UT_{self.section.upper()}__{self.name.upper()}"


@cache
def sections() -> dict[str, type[msgspec.Struct]]:
    """The sections' types by name, in the order of the tree."""
    return dict(get_type_hints(Config))


@cache
def keys() -> dict[str, Key]:
    """All keys by dotted name, in the order of the tree."""
    return {key.dotted: key for section, cls in sections().items() for key in _keys_of(section, cls)}


def keys_of(section: str) -> list[str]:
    """The names of one section's keys."""
    return [key.name for key in keys().values() if key.section == section]


def _keys_of(section: str, cls: type[msgspec.Struct]) -> Iterator[Key]:
    hints = get_type_hints(cls, include_extras=True)
    defaults = cls()
    for field in cast("reflect.StructType", reflect.type_info(cls)).fields:
        metadata = cast("reflect.Metadata", field.type)
        description = (metadata.extra_json_schema or {})["description"]
        kind = _kind(metadata, Bounds(), hints[field.name])
        yield Key(section, field.name, kind, description, getattr(defaults, field.name))


def _kind(described: reflect.Type, inherited: Bounds, annotation: Any = None) -> Kind:
    bounds = inherited
    while isinstance(described, reflect.Metadata):
        if described.extra is not None:
            bounds = Bounds(**described.extra)
        described = described.type
    return Kind(described, bounds, annotation)


def _element_annotation(annotation: Any) -> Any:
    """`X` of `tuple[X, ...]`, wherever that stands within unions and annotations."""
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0]
    members = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
    return next((found for member in members if (found := _element_annotation(member)) is not None), None)


def _wanted(kind: Kind) -> str:  # noqa: PLR0911  one answer per type
    described, bounds = kind.type, kind.bounds
    if bounds.wanted is not None and isinstance(described, reflect.StrType):
        return bounds.wanted
    match described:
        case reflect.BoolType():
            return "true or false"
        case reflect.NoneType():
            return "null"
        case reflect.IntType():
            return f"a whole number from {described.ge} to {described.le}"
        case reflect.FloatType():
            return f"a number from {described.ge} to {described.le}"
        case reflect.LiteralType():
            return "one of " + ", ".join(str(value) for value in described.values)
        case reflect.CustomType():
            return f"{_AMOUNT_WANTED[described.cls]}, from {bounds.at_least} to {bounds.at_most}"
        case reflect.VarTupleType():
            least = " (at least one)" if described.min_length else ""
            return f"a list{least} of {_kind(described.item_type, Bounds()).wanted}"
        case _:
            return "text"


def check(kind: Kind, value: Any) -> tuple[Any, str | None]:
    """Convert one value to what `kind` asks for.

    Returns the converted value and None, or None and what is wrong in words.
    """
    try:
        converted = msgspec.convert(value, kind.annotation, dec_hook=_convert_amount)
    except (msgspec.ValidationError, ValueError, RecursionError):
        return None, _refusal(kind, value)
    complaint = _out_of_bounds(kind, converted)
    return (converted, None) if complaint is None else (None, complaint)


def _convert_amount(cls: type, value: Any) -> Any:
    if not isinstance(value, str):
        if cls is ByteSize and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return ByteSize(value)
        message = "not written as text"
        raise ValueError(message)
    return Duration.parse(value) if cls is Duration else ByteSize.parse(value)


def _refusal(kind: Kind, value: Any) -> str:
    meant = did_you_mean(value, kind.choices) if isinstance(value, str) and kind.choices else ""
    return f"must be {kind.wanted}, not {shown(value)}{meant}"


def _out_of_bounds(kind: Kind, value: Any) -> str | None:
    """What is wrong with a value of the right type, or with the first such element of a list."""
    if isinstance(value, tuple) and kind.element is not None:
        complaints = (_out_of_bounds(kind.element, item) for item in value)
    else:
        complaints = (_beyond_bounds(alternative, value) for alternative in kind.alternatives)
    return next((complaint for complaint in complaints if complaint is not None), None)


def _beyond_bounds(kind: Kind, value: Any) -> str | None:
    if isinstance(value, (Duration, ByteSize)):
        return _beyond_range(kind.bounds, value)
    if isinstance(value, str) and "\0" in value:
        return "must not contain a null byte"
    if kind.bounds.regex and isinstance(value, str):
        return _expression_fault(value)
    return None


def _beyond_range(bounds: Bounds, amount: Duration | ByteSize) -> str | None:
    if bounds.at_least is None or bounds.at_most is None:
        return None
    least, most = type(amount).parse(bounds.at_least), type(amount).parse(bounds.at_most)
    if least.amount <= amount.amount <= most.amount:
        return None
    return f"must be from {least} to {most}, not {amount}"


def _expression_fault(pattern: str) -> str | None:
    """What is wrong with a `/…/` pattern. It must run in linear time: what needs backtracking is refused."""
    if len(pattern) < 2 or not (pattern.startswith("/") and pattern.endswith("/")):
        return None
    expression = pattern[1:-1]
    if not expression:
        return "the regular expression between the slashes is empty"
    if re.search(r"\(\?<?[=!]|\(\?P=|\\[1-9]", expression):
        return "look-around and back references are not supported in regular expressions"
    try:
        # Unicode classes are fine later but unknown to this module: any character stands for them here.
        re.compile(re.sub(r"\\[pP](\{[^}]*\}|.)", ".", expression))
    except (re.error, OverflowError, RecursionError) as error:
        return f"the regular expression between the slashes is wrong: {error}"
    return None


def shown(value: Any) -> str:
    """A value as a message shows it: short, and with its type where that is the fault."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {_shortened(repr(value))}"
    if isinstance(value, (list, tuple)):
        return "a list" if value else "an empty list"
    if isinstance(value, dict):
        return "a mapping"
    return _shortened(str(value))


def _shortened(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
