"""Tracers on the running kernel: the native session behind the `Source` port.

The native module decodes; this one takes batches over as frames, without a copy, and gives errors their exit
code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

from universal_tracer import _native
from universal_tracer.model.ports import Batches, Loss, PlannedHook
from universal_tracer.sources.native_errors import told_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from universal_tracer.model.ports import Source


# Batches that hold no events: packets for captures, counts for metrics.
_CAPTURE: Final = "capture"
_TOTALS: Final = frozenset({"network", "functions"})
_LIVE: Final = frozenset({"functions", "interfaces", "flows", "talkers"})


def open_http(settings: Mapping[str, object]) -> Source:
    """The HTTP tracer, planned and not yet attached.

    `settings` as `_native.HttpSession` takes them. Raises TracerError where the kernel or the installation
    lacks something.
    """
    with told_errors():
        return LiveSource("http", _native.HttpSession(dict(settings)))


def open_stack(settings: Mapping[str, object]) -> Source:
    """The stack tracer, planned and not yet attached; `settings` as `_native.StackSession` takes them.

    Raises TracerError as `open_http` does.
    """
    with told_errors():
        return LiveSource("stack", _native.StackSession(dict(settings)))


def open_xdp(settings: Mapping[str, object]) -> Source:
    """The packet tracer, planned and not yet attached.

    `settings` as `_native.XdpSession` takes them; without an interface, those of the default routes.
    Raises TracerError where there is none, or the kernel or the installation lacks something.
    """
    with told_errors():
        return LiveSource("xdp", _native.XdpSession(dict(settings)))


class LiveSource:
    """A tracer's session as a Source; see `model.ports`."""

    def __init__(self, tracer: str, session: _native.Session) -> None:
        self.tracer = tracer
        self._session = session

    def plan(self) -> Sequence[PlannedHook]:
        """See `Source`."""
        with told_errors():
            return [PlannedHook(**hook) for hook in self._session.plan()]

    def start(self) -> None:
        """See `Source`."""
        with told_errors():
            self._session.attach()

    def add_target(self, pid: int) -> None:
        """See `Source`."""
        with told_errors():
            self._session.add_target(pid)

    def add_cgroup(self, hierarchy: int, identifier: int) -> None:
        """See `Source`."""
        with told_errors():
            self._session.add_cgroup(hierarchy, identifier)

    def set_local_addresses(self, addresses: Sequence[tuple[int, bytes, int]]) -> None:
        """See `Source`."""
        if isinstance(self._session, _native.HttpSession):
            with told_errors():
                self._session.set_local_addresses(list(addresses))

    def capture(self, number: int, cuts_ns: Sequence[int]) -> None:
        """See `Source`."""
        if isinstance(self._session, _native.StackSession):
            with told_errors():
                self._session.capture(number, list(cuts_ns))

    def live_targets(self) -> Sequence[int]:
        """See `Source`."""
        return self._session.live_targets()

    def tick(self, wait_ms: int) -> Batches:
        """See `Source`."""
        with told_errors():
            tick = self._session.tick(wait_ms)
        frames = {name: _frame(batch) for name, batch in tick.frames.items()}
        return Batches(
            frames={name: frame for name, frame in frames.items() if name not in {_CAPTURE, *_TOTALS}},
            totals={name: frame for name, frame in frames.items() if name in _TOTALS},
            live={name: frame for name, frame in frames.items() if name in _LIVE},
            packets=frames[_CAPTURE]["blocks"].to_list() if _CAPTURE in frames else (),
            losses=[Loss(self.tracer, where, count) for where, count in tick.losses],
            hits=tick.hits,
            complete_until_ns=tick.complete_until_ns,
            notes=tick.notes,
        )

    def stop(self) -> None:
        """See `Source`."""
        with told_errors():
            self._session.stop()

    def close(self) -> None:
        """See `Source`."""
        self.stop()


def _frame(batch: Any) -> pl.DataFrame:
    return pl.DataFrame(batch)
