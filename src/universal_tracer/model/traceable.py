"""What could be traced: functions of the kernel and of files, tracepoints, USDT probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument: its name where one is known, its type in words, and whether its value can be read."""

    name: str | None
    type: str
    readable: bool


@dataclass(frozen=True, slots=True)
class Traceable:
    """One function. `spec` is what `--trace-function` takes to mean it, `symbol` its name for linkers.

    `place` is `user`, `kernel`, `tracepoint` or `usdt`; `module` is a path, `kernel` or the kernel module's
    name, a tracepoint's category. `returns` is None where nothing is returned or known.
    """

    place: str
    spec: str
    function: str
    symbol: str
    module: str
    aliases: Sequence[str]
    arguments: Sequence[Argument]
    returns: str | None
    note: str | None
