"""What `doctor` finds: sections of checks, as `doctor --json` prints them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class State(Enum):
    """How a check ended: something needed is not there (`MISSING`), or works in part only (`DEGRADED`)."""

    OK = "ok"
    DEGRADED = "degraded"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `remedy` is a command where there is one, and null where all is well.

    `details` are shown by `-v` and are not part of the JSON form.
    """

    name: str
    state: State
    reason: str
    remedy: str | None = None
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """Checks that belong together."""

    section: str
    checks: list[Check] = field(default_factory=list)


def ok(name: str, reason: str) -> Check:
    """A check that found what it looked for."""
    return Check(name, State.OK, reason)


def degraded(name: str, reason: str, remedy: str | None = None) -> Check:
    """Something that works in part, or that is worth knowing."""
    return Check(name, State.DEGRADED, reason, remedy)


def missing(name: str, reason: str, remedy: str) -> Check:
    """Something needed that is not there."""
    return Check(name, State.MISSING, reason, remedy)
