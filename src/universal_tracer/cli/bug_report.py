"""The file that a bug leaves: versions, plan, the last messages and where it happened, without secrets.

No value of the environment or of a header is in it. Arguments are masked, but for numbers and words that are
the program's own; so is what an error's message quotes, unless it is a plain word, and whatever looks like a
credential; values of the environment are masked wherever they turn up.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
import time
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from universal_tracer import __version__
from universal_tracer.cli.recorder import recorder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MASK: Final = "***"
_LONGEST_LINE: Final = 400
_SHORTEST_VALUE: Final = 4
_PACKAGES: Final = ("click", "msgspec", "polars", "prometheus-client", "PyYAML")
# Where things are says nothing about anybody, and paths in a traceback need it.
_HARMLESS: Final = frozenset(
    {"HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "PWD", "OLDPWD", "SHELL", "TERM", "USER"}
)
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?[A-Za-z]{0,3}$")
_QUOTED: Final = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`")
_PLAIN_WORD: Final = re.compile(r"[A-Za-z_]{1,24}$")
_SECRETS: Final = (
    re.compile(r"(?i)((?:authorization|cookie|token|secret|passw\w*|api[-_]?key)[\"']?\s*[:=]\s*).+"),
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)\S+"),
    re.compile(r"(://)[^/@\s]+(?=@)"),
)


def write_report(error: BaseException, arguments: Sequence[str], words: frozenset[str]) -> Path | None:
    """Write the file; None where there is no place for it. `words` are those that flags choose among."""
    text = "\n".join(_lines(error, arguments, words))
    try:
        descriptor, path = tempfile.mkstemp(prefix="universal-tracer-bug-", suffix=".txt")
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:  # noqa: PTH123  a descriptor
            stream.write(_without_environment(text) + "\n")
    except OSError:
        return None
    return Path(path)


def _lines(error: BaseException, arguments: Sequence[str], words: frozenset[str]) -> Iterator[str]:
    yield f"universal-tracer {__version__}, {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"
    yield f"Python {platform.python_version()}, {platform.platform()}"
    yield ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    yield "\nstarted as: " + " ".join(["universal-tracer", *masked_arguments(arguments, words)])
    yield "\nplan:"
    yield from _indented(recorder.plan or ["none yet"])
    yield "\nlast messages:"
    yield from _indented(map(without_secrets, recorder.messages or ["none yet"]))
    yield "\nplaces where the native core gave up:"
    yield from _indented(_panics() or ["none"])
    yield "\nwhat happened:"
    yield from _indented(_frames(error))


def _panics() -> list[str]:
    """Not loaded only to be asked: what was never loaded cannot have given up."""
    if "universal_tracer._native" not in sys.modules:
        return []
    from universal_tracer.sources.native_errors import panics  # noqa: PLC0415  only where it is loaded

    return panics()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return ("  " + line[:_LONGEST_LINE] for line in lines)


def masked_arguments(arguments: Sequence[str], words: frozenset[str]) -> Iterator[str]:
    """Flags by name, numbers and choices; everything else masked, a traced command as a whole."""
    for argument in arguments:
        if argument == "--":
            yield from ("--", MASK)
            return
        name, equals, value = argument.partition("=")
        if argument.startswith("-") and name in words:
            yield name + equals + (_masked_value(value, words) if equals else "")
        else:
            yield _masked_value(argument, words)


def _masked_value(value: str, words: frozenset[str]) -> str:
    return value if value in words or _NUMBER.match(value) else MASK


def _frames(error: BaseException) -> Iterator[str]:
    """The chain of errors, the first cause first: places in our files, and messages without their data."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _frames(before)
        yield "which led to:"
    for line in traceback.format_tb(error.__traceback__):
        yield from line.rstrip().splitlines()
    yield summary(error)


def summary(error: BaseException) -> str:
    """The kind of an error and its message without anybody's data, in one line."""
    return f"{type(error).__name__}: {without_secrets(_without_data(str(error)))}"[:_LONGEST_LINE]


def _without_data(message: str) -> str:
    """Names in quotes (of columns, attributes, modules) stay, other quoted text may be anybody's."""

    def mask(match: re.Match[str]) -> str:
        text = match[0]
        return text if _PLAIN_WORD.match(text[1:-1]) else f"{text[0]}{MASK}{text[-1]}"

    return _QUOTED.sub(mask, message.replace("\n", " "))


def without_secrets(text: str) -> str:
    """What looks like a credential is masked."""
    for shape in _SECRETS:
        text = shape.sub(rf"\g<1>{MASK}", text)
    return text


def _without_environment(text: str) -> str:
    values = {value for name, value in os.environ.items() if name not in _HARMLESS}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _SHORTEST_VALUE and not value.isdecimal() and value not in __file__:
            text = text.replace(value, MASK)
    return text
