"""What `stack_tracer.trigger` says: conditions, any of which starts a capture.

    CONDITION [OR CONDITION]…
    TYPE.COLUMN …    an SQL condition on events of one type, such as http.status>=500 AND http.role='server'
    cpu>80%          processor time of the targets
    runqueue_ms>50   how long the targets' threads waited for a CPU in a second
    file:/PATH       a file that appears
    SIGUSR1          the signal, which starts a capture in any case

Whether the SQL is right is for polars to say when a run begins; everything else is found out here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from universal_tracer.config.condition import Token, marked, refused, tokens
from universal_tracer.config.suggest import did_you_mean
from universal_tracer.model.events import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SIGNAL: Final = "SIGUSR1"
CPU: Final = "cpu"
RUN_QUEUE: Final = "runqueue_ms"
_TYPICAL: Final = {
    "http": "latency_ms",
    "connection": "duration_ms",
    "flow": "retransmits",
    "interface": "dropped",
}
EVENTS: Final = tuple(_TYPICAL)
"""The event types that a condition can be about."""

_FILE: Final = "file:"
_LEVELS: Final = {CPU: "%", RUN_QUEUE: "ms"}
_LEVEL: Final = re.compile(
    r"\s*(?P<name>\w+)\s*(?P<operator>[<>]=?|[=!]=|=)\s*(?P<limit>\d+(?:\.\d+)?)\s*(?P<unit>%|ms)?\s*"
)
_ONLY_LEVEL: Final = re.compile(r"\s*(cpu|runqueue_ms)\b(?!.*\band\b)", re.IGNORECASE | re.DOTALL)
_OR: Final = re.compile(r"\s+or\s+", re.IGNORECASE)
# Words of a condition in SQL that name nothing; functions are known by their parenthesis.
_SQL_WORDS: Final = frozenset(
    [
        "and",
        "or",
        "not",
        "in",
        "is",
        "null",
        "true",
        "false",
        "like",
        "ilike",
        "rlike",
        "regexp",
        "between",
        "case",
        "when",
        "then",
        "else",
        "end",
        "escape",
    ]
)
ALLOWED: Final = (
    f"{', '.join(f'{name}.COLUMN' for name in EVENTS)} (compared with a value), cpu>80%, runqueue_ms>50, "
    "file:/PATH and SIGUSR1, joined by OR"
)


class WrongTriggerError(ValueError):
    """The text is no trigger; says what is wrong, where, and what is allowed."""

    def __init__(self, what: str, text: str, start: int, end: int) -> None:
        super().__init__(f"{what}: {marked(text, start, end)}; allowed are {ALLOWED}")


@dataclass(frozen=True, slots=True)
class EventCondition:
    """A condition on the events of one type; `sql` is `text` with blanks instead of the type's name."""

    event_type: str
    text: str
    sql: str


@dataclass(frozen=True, slots=True)
class Level:
    """A figure of the last second, and what it is compared with."""

    name: str
    operator: str
    limit: float
    text: str


@dataclass(frozen=True, slots=True)
class Trigger:
    """Conditions, any of which is enough."""

    text: str = SIGNAL
    events: tuple[EventCondition, ...] = ()
    levels: tuple[Level, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def event_types(self) -> frozenset[str]:
        """The types whose events decide."""
        return frozenset(condition.event_type for condition in self.events)

    def describe(self) -> str:
        """For people: what starts a capture, the signal included."""
        return self.text if SIGNAL in self.text.upper() else f"{self.text} or {SIGNAL}"


@dataclass(slots=True)
class _Found:
    events: list[EventCondition] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def parse_trigger(text: str) -> Trigger:
    """Raises WrongTriggerError."""
    found = _Found()
    for start, end in _alternatives(text):
        _take(text, start, end, found)
    return Trigger(text.strip(), tuple(found.events), tuple(found.levels), tuple(found.files))


def _alternatives(text: str) -> Iterator[tuple[int, int]]:
    """Where the conditions begin and end that stand between the ORs outside of parentheses."""
    start = 0
    while True:
        end, following = _end_of_file(text, start) if _is_file(text[start:]) else _end_of_words(text, start)
        if not text[start:end].strip():
            raise WrongTriggerError("a condition is missing", text, start, end)
        yield start, end
        if following is None:
            return
        start = following


def _is_file(text: str) -> bool:
    return text.lstrip().lower().startswith(_FILE)


def _end_of_file(text: str, start: int) -> tuple[int, int | None]:
    found = _OR.search(text, start)
    return (found.start(), found.end()) if found is not None else (len(text), None)


def _end_of_words(text: str, start: int) -> tuple[int, int | None]:
    depth = 0
    for token in tokens(text[start:]):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and token.kind == "word" and token.text.lower() == "or":
            return start + token.start, start + token.end
    return len(text), None


def _take(text: str, start: int, end: int, found: _Found) -> None:
    part = text[start:end]
    if _is_file(part):
        found.files.append(_file(text, start, end))
    elif part.strip().upper() == SIGNAL:
        return
    elif (level := _LEVEL.fullmatch(part)) is not None and level["name"].lower() in _LEVELS:
        found.levels.append(_level(level, text, start))
    elif _ONLY_LEVEL.match(part) is not None:
        raise WrongTriggerError("a figure is compared with a number, such as cpu>80%", text, start, end)
    else:
        found.events.append(_event(text, start, end))


def _file(text: str, start: int, end: int) -> str:
    path = text[start:end].strip()[len(_FILE) :].strip()
    if not path.startswith("/") or "\0" in path:
        raise WrongTriggerError("a file is named by its whole path", text, start, end)
    return path


def _level(match: re.Match[str], text: str, start: int) -> Level:
    name = match["name"].lower()
    if match["unit"] not in (None, _LEVELS[name]):
        raise WrongTriggerError(
            f"{name} is told in {_LEVELS[name]}", text, start + match.start("unit"), start + match.end("unit")
        )
    operator = {"=": "=="}.get(match["operator"], match["operator"])
    return Level(name, operator, float(match["limit"]), match[0].strip())


def _event(text: str, start: int, end: int) -> EventCondition:
    parts = [Token(token.kind, token.text, token.start + start) for token in tokens(text[start:end])]
    wrong = refused(text[start:end])
    if wrong is not None:
        raise WrongTriggerError(wrong.what, text, start + wrong.at.start, start + wrong.at.end)
    names = list(_names(parts))
    for name in names:
        _check_name(name, text)
    types = {name[0].name: name[0] for name in names}
    if not types:
        raise WrongTriggerError("this names no event's column", text, start, end)
    if len(types) > 1:
        _, second, *_ = types.values()
        raise WrongTriggerError(
            "events of two types never come together; join them by OR", text, second.start, second.end
        )
    sql = list(text[:end])
    for name in names:
        sql[name[0].start : name[1].end] = " " * (name[1].end - name[0].start)
    return EventCondition(next(iter(types)), text[start:end].strip(), _compared("".join(sql), start))


def _compared(sql: str, start: int) -> str:
    """`==` is no SQL; what stands before the condition is blanked, so that places stay those of the text."""
    blank = " " * start + sql[start:]
    for token in reversed(tokens(blank)):
        if token.text == "=" and blank[token.end : token.end + 1] == "=":
            blank = f"{blank[: token.start]}= {blank[token.end + 1 :]}"
    return blank


def _names(parts: Sequence[Token]) -> Iterator[tuple[Token, ...]]:
    """Dotted names, dots included: every word or quoted word that is neither SQL's nor a function."""
    at = 0
    while at < len(parts):
        name = [parts[at]]
        while at + 2 < len(parts) and parts[at + 1].text == "." and parts[at + 2].kind in ("word", "quoted"):
            name += parts[at + 1 : at + 3]
            at += 2
        at += 1
        is_function = at < len(parts) and parts[at].text == "("
        first = name[0]
        is_name = first.kind == "quoted" or (first.kind == "word" and first.text.lower() not in _SQL_WORDS)
        if is_name and not (is_function and len(name) == 1):
            yield tuple(name)


def _check_name(name: Sequence[Token], text: str) -> None:
    first = name[0]
    if first.name.lower() in _LEVELS or first.name.upper() == SIGNAL:
        what = f"{first.name} is a condition of its own; join it by OR"
        raise WrongTriggerError(what, text, first.start, first.end)
    if first.name not in EVENTS:
        known = [*EVENTS, *_LEVELS, SIGNAL, *(f"{EVENTS[0]}.{column}" for column in _columns(EVENTS[0]))]
        meant = _meant(first.name, known)
        raise WrongTriggerError(f"there is no condition {first.name!r}{meant}", text, first.start, first.end)
    if len(name) == 1:
        what = (
            f"{first.name} is a type of events; name its column, such as {first.name}.{_TYPICAL[first.name]}"
        )
        raise WrongTriggerError(what, text, first.start, first.end)
    column = name[2]
    if column.name not in _columns(first.name):
        meant = did_you_mean(column.name, _columns(first.name))
        what = f"{first.name} events have no column {column.name!r}{meant}"
        raise WrongTriggerError(what, text, column.start, column.end)


def _meant(word: str, known: Sequence[str]) -> str:
    """A column without its type is what is meant most often."""
    if word in _columns(EVENTS[0]):
        return f" (did you mean '{EVENTS[0]}.{word}'?)"
    return did_you_mean(word, known)


def _columns(event_type: str) -> list[str]:
    return [column.name for column in EVENT_TYPES[event_type].columns]
