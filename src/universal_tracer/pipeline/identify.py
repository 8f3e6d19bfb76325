"""Who: the machine's name, and the service and container of each row's process."""

from __future__ import annotations

import socket

import polars as pl

from universal_tracer.model.common import CONTAINER
from universal_tracer.model.schema import polars_type
from universal_tracer.system.processes import Process, ProcessTable

_CONTAINER_TYPE = polars_type(CONTAINER)
_CONTAINER_MEMBERS = tuple(member.name for member in CONTAINER.members)


class Identify:
    """Adds `host`, `service` and `container`. Processes are looked up once per distinct pid of a batch.

    A process that has gone before it was ever looked up is named by the `comm` that the event carries.
    """

    def __init__(self, processes: ProcessTable | None = None, host: str | None = None) -> None:
        self._processes = processes or ProcessTable()
        self._host = pl.lit(host or socket.gethostname()).alias("host")
        self._found: list[Process] = []
        self._identities = _identities([])

    def __call__(self, event_type: str, frame: pl.DataFrame) -> pl.DataFrame:  # noqa: ARG002
        """Rows without a pid get the host only. Works for every event type."""
        if "pid" not in frame.columns:
            return frame.with_columns(self._host)
        pids = frame["pid"].unique()
        found = [process for pid in pids if pid is not None and (process := self._processes.find(pid))]
        if found != self._found:
            self._found, self._identities = found, _identities(found)
        joined = frame.join(self._identities, on="pid", how="left", maintain_order="left")
        if len(found) == len(pids) or "comm" not in frame.columns:
            return joined.with_columns(self._host)
        return joined.with_columns(self._host, pl.coalesce("service", "comm").alias("service"))


def _identities(processes: list[Process]) -> pl.DataFrame:
    """One row per process: pid, service, container."""
    containers = [
        {name: getattr(process.container, name) for name in _CONTAINER_MEMBERS} if process.container else None
        for process in processes
    ]
    return pl.DataFrame(
        {
            "pid": pl.Series([process.pid for process in processes], dtype=pl.UInt32),
            "service": pl.Series([process.service for process in processes], dtype=pl.String),
            "container": pl.Series(containers, dtype=_CONTAINER_TYPE),
        }
    )
