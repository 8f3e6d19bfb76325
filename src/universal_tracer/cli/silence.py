"""When nothing is seen for a while: say why, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from universal_tracer.cli.talk import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE_S: Final = 5.0


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

    def explanation(self, hits: Mapping[str, int], processes: int | None, unmet: int = 0) -> str:
        """The note. `hits` as in `Batches`; `processes` are traced, None stands for the whole machine.

        `unmet` is how many events did not meet the condition of `--where`.
        """
        self._is_over = True
        reason = f"{plural(unmet, 'event')} came, none meets --where"
        return f"note: no event in {PATIENCE_S:.0f} s: {reason if unmet else self._reason(hits, processes)}"

    def _reason(self, hits: Mapping[str, int], processes: int | None) -> str:
        if processes == 0:
            return f"nothing that is traced ({self._whom}) runs at the moment"
        who = "the whole machine" if processes is None else plural(processes, "process", "processes")
        if "samples" in hits and "operations" not in hits:
            return f"{who} used no CPU so far"
        operations, requests = hits.get("operations", 0), hits.get("requests", 0)
        elsewhere = hits.get("elsewhere", 0)
        if not operations and elsewhere:
            return f"{plural(elsewhere, 'socket operation')} of {who}, all on other interfaces"
        if not operations:
            return f"{who} sent and received nothing over TCP or Unix sockets so far"
        if requests:
            return f"{plural(requests, 'request')} of {who}, {_without_event(requests, hits)}"
        return f"{plural(operations, 'socket operation')} of {who}, {_without_request(hits)}"


def _without_event(requests: int, hits: Mapping[str, int]) -> str:
    """Why requests that began have no event."""
    left_out = hits.get("sampled_out", 0)
    if left_out >= requests:
        return "all left out by sampling"
    return "none complete yet" + (f", {left_out:,} left out by sampling" if left_out else "")


def _without_request(hits: Mapping[str, int]) -> str:
    """Why socket operations are no requests."""
    promising, other = hits.get("sockets", 0), hits.get("not_http", 0)
    if promising:
        return f"{plural(promising, 'connection')} that may speak HTTP/1, no request yet"
    told = f" ({plural(other, 'connection')} with something else; TLS and HTTP/2 cannot be read)"
    return "none on a connection that speaks HTTP/1" + (told if other else "")
