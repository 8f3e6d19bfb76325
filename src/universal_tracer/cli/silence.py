"""When nothing is seen for a while: say why, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from universal_tracer.cli.talk import plural

PATIENCE_S: Final = 5.0
# Counters of a source that are no hooks.
_CONNECTIONS: Final = "sockets"
_NOT_HTTP: Final = "not_http"
_REQUESTS: Final = "requests"


class Silence:
    """Waits for the first event; `explanation` is due once, when none has come in time."""

    def __init__(self, whom: str, started_at: float) -> None:
        self._whom = whom
        self._deadline = started_at + PATIENCE_S
        self._is_over = False

    def broken(self) -> None:
        """An event has come: nothing needs explaining any more."""
        self._is_over = True

    def explanation(self, now: float, hits: Mapping[str, int], processes: int | None) -> str | None:
        """The note, when it is due. `processes` is how many are traced, None for the whole machine."""
        if self._is_over or now < self._deadline:
            return None
        self._is_over = True
        return f"note: no event in the first {PATIENCE_S:.0f} s: {self._reason(hits, processes)}"

    def _reason(self, hits: Mapping[str, int], processes: int | None) -> str:
        if processes == 0:
            return f"no process of {self._whom} runs at the moment"
        who = self._whom if processes is None else f"{self._whom} ({plural(processes, 'process').replace('sss', 'sses')})"
        hooks = {name: runs for name, runs in hits.items() if name not in (_CONNECTIONS, _NOT_HTTP, _REQUESTS)}
        runs = sum(hooks.values())
        if runs == 0:
            return f"{who} sent and received nothing over sockets since then"
        told = ", ".join(f"{name} {count:,}" for name, count in sorted(hooks.items()) if count)
        seen = f"{who}: hooks ran {runs:,} times ({told}) on {plural(hits.get(_CONNECTIONS, 0), 'socket')}"
        if hits.get(_NOT_HTTP, 0):
            return f"{seen}, {hits[_NOT_HTTP]:,} of them did not speak HTTP (encrypted traffic is not HTTP here)"
        if hits.get(_REQUESTS, 0):
            return f"{seen}; {plural(hits[_REQUESTS], 'request')} began and none is complete yet"
        return f"{seen}, without an HTTP request yet"
