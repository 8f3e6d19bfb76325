"""Who: the machine's name, and the service and container of each row's process."""

from __future__ import annotations

import socket
from dataclasses import astuple

import polars as pl

from universal_tracer.model.events import CONTAINER
from universal_tracer.model.schema import polars_type
from universal_tracer.system.processes import ProcessTable

_CONTAINER_TYPE = polars_type(CONTAINER)
_CONTAINER_MEMBERS = tuple(member.name for member in CONTAINER.members)


class Identify:
    """Adds `host`, `service` and `container`. Processes are looked up once per distinct pid of a batch.

    A process that has gone before it was ever looked up is named by the `comm` that the event carries.
    """

    def __init__(self, processes: ProcessTable | None = None, host: str | None = None) -> None:
        self._processes = processes or ProcessTable()
        self._host = host or socket.gethostname()

    def __call__(self, event_type: str, frame: pl.DataFrame) -> pl.DataFrame:  # noqa: ARG002
        """Rows without a pid get the host only. Works for every event type."""
        host = pl.lit(self._host).alias("host")
        if "pid" not in frame.columns:
            return frame.with_columns(host)
        joined = frame.join(self._identities(frame["pid"]), on="pid", how="left", maintain_order="left")
        service = pl.coalesce("service", "comm") if "comm" in frame.columns else pl.col("service")
        return joined.with_columns(host, service)

    def _identities(self, pids: pl.Series) -> pl.DataFrame:
        """One row per distinct pid that is known: pid, service, container."""
        found = [process for pid in pids.unique().drop_nulls() if (process := self._processes.find(pid))]
        containers = [
            dict(zip(_CONTAINER_MEMBERS, astuple(process.container), strict=True))
            if process.container
            else None
            for process in found
        ]
        return pl.DataFrame(
            {
                "pid": pl.Series([process.pid for process in found], dtype=pids.dtype),
                "service": pl.Series([process.service for process in found], dtype=pl.String),
                "container": pl.Series(containers, dtype=_CONTAINER_TYPE),
            }
        )
