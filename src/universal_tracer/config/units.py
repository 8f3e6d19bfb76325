"""Durations and sizes as users write them: `1m30s`, `500ms`, `7d`; `1MB`, `64KiB`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, Self

_NANOSECONDS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_BYTES: Final = {
    "B": 1,
    "KB": 10**3,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_NUMBER: Final = r"(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})"
_DURATION_PART: Final = re.compile(rf"({_NUMBER})(ns|us|µs|ms|s|m|h|d)")
_DURATION: Final = re.compile(rf"(?:{_NUMBER}(?:ns|us|µs|ms|s|m|h|d))+")
_SIZE: Final = re.compile(rf"({_NUMBER}) ?({'|'.join(_BYTES)})?")

DURATION_PATTERN: Final = r"^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h|d))+$"
SIZE_PATTERN: Final = rf"^([0-9]+(\.[0-9]*)?|\.[0-9]+) ?({'|'.join(_BYTES)})?$"


class _Amount:
    """A whole number of a smallest unit, and how it was written."""

    __slots__ = ("_amount", "_text")

    def __init__(self, amount: int, text: str = "") -> None:
        self._amount = amount
        self._text = text

    @property
    def amount(self) -> int:
        """In the smallest unit."""
        return self._amount

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a user wrote; ValueError where it is not in this unit."""
        raise NotImplementedError

    def _spelled(self) -> str:
        raise NotImplementedError

    def __str__(self) -> str:
        """What `parse` reads back exactly: as it was written, otherwise in the largest fitting units."""
        return self._text or self._spelled()

    def __eq__(self, other: object) -> bool:
        return self._amount == other._amount if isinstance(other, type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._amount)

    def __repr__(self) -> str:
        return f"{type(self).__name__}.parse({str(self)!r})"


class Duration(_Amount):
    """A length of time, in whole nanoseconds."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a Go-style duration: numbers with units, largest first by custom, added up.

        Raises ValueError where a unit is missing or unknown.
        """
        if _DURATION.fullmatch(text) is None:
            message = f"{text!r} is no duration"
            raise ValueError(message)
        parts = (Decimal(number) * _NANOSECONDS[unit] for number, unit in _DURATION_PART.findall(text))
        return cls(int(sum(parts)), text)

    @property
    def nanoseconds(self) -> int:
        """The whole length."""
        return self.amount

    @property
    def seconds(self) -> float:
        """The whole length, rounded to what a float holds."""
        return self._amount / _NANOSECONDS["s"]

    def _spelled(self) -> str:
        if self._amount == 0:
            return "0s"
        rest, parts = self._amount, []
        for unit in ("d", "h", "m", "s", "ms", "us", "ns"):
            count, rest = divmod(rest, _NANOSECONDS[unit])
            if count:
                parts.append(f"{count}{unit}")
        return "".join(parts)


class ByteSize(_Amount):
    """An amount of memory or disk, in whole bytes."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `1MB` (10⁶), `1MiB` (2²⁰) or a plain number of bytes; ValueError otherwise."""
        match = _SIZE.fullmatch(text)
        if match is None:
            message = f"{text!r} is no size"
            raise ValueError(message)
        return cls(int(Decimal(match[1]) * _BYTES[match[2] or "B"]), text)

    @property
    def bytes(self) -> int:
        """The whole amount."""
        return self.amount

    def _spelled(self) -> str:
        for unit in ("TB", "TiB", "GB", "GiB", "MB", "MiB", "KB", "KiB"):
            if self._amount and self._amount % _BYTES[unit] == 0:
                return f"{self._amount // _BYTES[unit]}{unit}"
        return f"{self._amount}B"
