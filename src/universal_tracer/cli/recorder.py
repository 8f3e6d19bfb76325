"""What was planned and said so far, for the report that a bug leaves. Light: every run imports it."""

from __future__ import annotations

from collections import deque
from typing import Final

_MESSAGES_KEPT: Final = 100


class Recorder:
    """The hooks of the run, and its last messages, shown or not."""

    def __init__(self) -> None:
        self.plan: list[str] = []
        self.messages: deque[str] = deque(maxlen=_MESSAGES_KEPT)


recorder: Final = Recorder()
