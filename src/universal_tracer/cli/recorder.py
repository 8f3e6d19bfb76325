"""What was planned and said so far, for the report that a bug leaves. Light: every run imports it."""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import threading

_MESSAGES_KEPT: Final = 100


class Recorder:
    """The hooks of the run, and its last messages, shown or not."""

    def __init__(self) -> None:
        self.plan: list[str] = []
        self.messages: deque[str] = deque(maxlen=_MESSAGES_KEPT)

    def take_over(self) -> None:
        """Keep errors of threads and of clearing up, which nobody can catch, instead of printing them."""
        import threading  # noqa: PLC0415  subcommands do without

        threading.excepthook = self._thread_failed
        sys.unraisablehook = self._clearing_up_failed

    def _thread_failed(self, failed: threading.ExceptHookArgs) -> None:
        name = failed.thread.name if failed.thread is not None else "unknown"
        self.messages.append(
            f"thread {name} failed: {failed.exc_type.__name__} at {_place(failed.exc_traceback)}"
        )

    def _clearing_up_failed(self, failed: sys.UnraisableHookArgs) -> None:
        self.messages.append(
            f"clearing up failed: {failed.exc_type.__name__} at {_place(failed.exc_traceback)}"
        )


def _place(where: object) -> str:
    """The innermost FILE:LINE."""
    import traceback  # noqa: PLC0415  only failures pay for it
    from types import TracebackType  # noqa: PLC0415

    frames = traceback.extract_tb(where) if isinstance(where, TracebackType) else []
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"


recorder: Final = Recorder()
