"""Ctrl-C and its kin: the first asks the run to end, the second ends it at once.

The signals are blocked in every thread and taken one by one by a thread of their own. So nothing is
interrupted half way, and a second Ctrl-C works even where the run is stuck in the kernel or in a full pipe.
"""

from __future__ import annotations

import os
import signal
import termios
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

IMMEDIATE_END: Final = 130
_NAMES: Final = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
_SENT_BY_KERNEL: Final = 0x80  # SI_KERNEL: the terminal sent it, to the whole foreground group


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Which signal asked for the end; one from the terminal has reached a traced command as well."""

    name: str
    number: int
    from_terminal: bool


@contextmanager
def blocked_in_new_threads() -> Iterator[None]:
    """Threads that a library starts meanwhile never get the signals, which would end the process there."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [*_NAMES, signal.SIGUSR1])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StopSignals:
    """Blocks the signals where it is made; `listen` starts taking them.

    Make it before other threads (they inherit the blocking) and call `listen` after forking.
    """

    def __init__(self, others: Mapping[signal.Signals, Callable[[], None]] | None = None) -> None:
        """`others` are signals that ask for something else; what they call runs in the thread of signals."""
        self.request: StopRequest | None = None
        self._others = dict(others or {})
        self.before_immediate_end: list[Callable[[], None]] = []
        # Who started us with SIGHUP ignored (nohup) wants it ignored.
        self._signals = {number for number in _NAMES if not _is_ignored_hangup(number)} | set(self._others)
        self.mask_before: set[int] = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        self._terminal = _terminal_state()

    def listen(self) -> None:
        """Take signals from now on, those included that came since this object was made."""
        threading.Thread(target=self._take, name="signals", daemon=True).start()

    def _take(self) -> None:
        while True:
            information = signal.sigwaitinfo(self._signals)
            number = signal.Signals(information.si_signo)
            if number in self._others:
                self._others[number]()
            elif self.request is None:
                self.request = StopRequest(_NAMES[number], number, information.si_code == _SENT_BY_KERNEL)
            elif number == signal.SIGINT:
                self._end_at_once()

    def _end_at_once(self) -> None:
        for action in self.before_immediate_end:
            with suppress(OSError):
                action()
        if self._terminal is not None:
            descriptor, state = self._terminal
            with suppress(OSError, termios.error):
                termios.tcsetattr(descriptor, termios.TCSANOW, state)
        os._exit(IMMEDIATE_END)


def _is_ignored_hangup(number: signal.Signals) -> bool:
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


def _terminal_state() -> tuple[int, list[Any]] | None:
    for descriptor in (0, 1, 2):
        with suppress(OSError, termios.error):
            return descriptor, list(termios.tcgetattr(descriptor))
    return None
