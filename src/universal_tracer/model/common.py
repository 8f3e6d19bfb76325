"""The columns that every event has."""

from __future__ import annotations

from universal_tracer.model.columns import Column, Object, Scalar

CONTAINER = Object(
    (
        Column("id", Scalar.TEXT, "the full identifier", always=True),
        Column("name", Scalar.TEXT, "the container's name; in a pod the name within the pod"),
        Column("runtime", Scalar.TEXT, "`docker`, `containerd`, `cri-o` or `podman`"),
        Column("pod", Scalar.TEXT, "the Kubernetes pod's name"),
        Column("namespace", Scalar.TEXT, "the Kubernetes namespace"),
    )
)

COMMON_COLUMNS = (
    Column("type", Scalar.TEXT, "the event type", always=True),
    Column(
        "timestamp",
        Scalar.TEXT,
        "start of what is told (request, connection, loss interval), RFC 3339 in UTC with microseconds",
        always=True,
    ),
    Column("timestamp_ns", Scalar.INT64, "the same instant as Unix time", unit="ns", always=True),
    Column("host", Scalar.TEXT, "the machine's host name", always=True),
    Column("pid", Scalar.UINT32, "the process"),
    Column("tid", Scalar.UINT32, "the thread"),
    Column("comm", Scalar.TEXT, "the thread's name as the kernel has it (at most 15 bytes)"),
    Column(
        "service", Scalar.TEXT, "the container's name, else the systemd unit, else the executable's base name"
    ),
    Column("container", CONTAINER, "the container of the process; null outside of containers"),
)
