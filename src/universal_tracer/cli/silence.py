"""When nothing is seen for a while: say why, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from universal_tracer.cli.talk import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE_S: Final = 5.0
# Counters of a source that are no hooks.
_SOCKETS: Final = "sockets"
_NOT_HTTP: Final = "not_http"
_REQUESTS: Final = "requests"


class Silence:
    """Waits for the first event; an explanation is due once, where none comes in time.

    `started_s` on the monotonic clock.
    """

    def __init__(self, whom: str, started_s: float) -> None:
        self._whom = whom
        self._deadline_s = started_s + PATIENCE_S
        self._is_over = False

    def broken(self) -> None:
        """An event has come: nothing needs explaining any more."""
        self._is_over = True

    def is_due(self, now_s: float) -> bool:
        """Whether it has been quiet for too long and nothing was said about it yet."""
        return not self._is_over and now_s >= self._deadline_s

    def explanation(self, hits: Mapping[str, int], processes: int | None) -> str:
        """The note. `hits` as in `Batches`; `processes` are traced, None stands for the whole machine."""
        self._is_over = True
        return f"note: no event in {PATIENCE_S:.0f} s: {self._reason(hits, processes)}"

    def _reason(self, hits: Mapping[str, int], processes: int | None) -> str:
        if processes == 0:
            return f"nobody of {self._whom} runs at the moment"
        who = (
            self._whom if processes is None else f"{self._whom} ({plural(processes, 'process', 'processes')})"
        )
        hooks = {name: runs for name, runs in hits.items() if name not in (_SOCKETS, _NOT_HTTP, _REQUESTS)}
        told = ", ".join(f"{name} {runs:,}" for name, runs in sorted(hooks.items()) if runs)
        if not told:
            return f"{who} used no socket since the start"
        seen = f"{who}: hooks ran ({told}) on {plural(hits.get(_SOCKETS, 0), 'socket')}"
        if hits.get(_NOT_HTTP, 0):
            return f"{seen}, {hits[_NOT_HTTP]:,} of which do not speak plain HTTP"
        if hits.get(_REQUESTS, 0):
            return f"{seen}; {plural(hits[_REQUESTS], 'request')} began, none is complete yet"
        return f"{seen}, without an HTTP request yet"
