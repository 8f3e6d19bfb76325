"""The stages: who rows belong to, and bounded routes."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import polars as pl
from harness import event_rows as rows

from universal_tracer.config.tree import Config
from universal_tracer.model.schema import schema
from universal_tracer.pipeline import stages
from universal_tracer.pipeline.identify import Identify
from universal_tracer.pipeline.routes import BoundRoutes
from universal_tracer.system.containers import Container
from universal_tracer.system.processes import Process

DEAD_PID = 4_194_305  # beyond what the kernel hands out


class KnownProcesses:
    """Stands for the machine's processes."""

    def __init__(self, *processes: Process) -> None:
        self.known = {process.pid: process for process in processes}

    def find(self, pid: int) -> Process | None:
        return self.known.get(pid)


def process(
    pid: int, executable: str, container: Container | None = None, unit: str | None = None
) -> Process:
    return Process(pid, 1, "comm", executable, container, unit)


CONTAINER = Container("ab" * 32, name="shop", runtime="docker")
PROCESSES = KnownProcesses(
    process(1, "/usr/sbin/nginx"),
    process(2, "/usr/bin/python3", unit="api.service"),
    process(3, "/app", CONTAINER),
)


def test_all_stages_give_a_shaped_frame() -> None:
    for event_type, row in (("http", rows.REQUEST), ("connection", rows.CONNECTION), ("loss", rows.LOSS)):
        frame = rows.native(event_type, row)
        for stage in stages(Config()):
            frame = stage(event_type, frame)
        assert frame.schema == schema(event_type)
        assert frame["type"].to_list() == [event_type]
        assert frame["host"].to_list() == [socket.gethostname()]


def test_identify_names_services_and_containers() -> None:
    frame = rows.native("http", *[rows.REQUEST | {"pid": pid} for pid in (3, 1, 2, 3)])
    found = Identify(PROCESSES, host="here")("http", frame)
    assert found["service"].to_list() == ["shop", "nginx", "api.service", "shop"]
    assert found["container"].to_list() == [
        expected := {"id": "ab" * 32, "name": "shop", "runtime": "docker", "pod": None, "namespace": None},
        None,
        None,
        expected,
    ]
    assert found["host"].to_list() == ["here"] * 4
    assert found["pid"].to_list() == [3, 1, 2, 3]


def test_identify_names_dead_processes_by_what_the_event_tells() -> None:
    frame = rows.native("http", *[rows.REQUEST | {"pid": pid, "comm": "curl"} for pid in (1, DEAD_PID, None)])
    found = Identify(PROCESSES)("http", frame)
    assert found["service"].to_list() == ["nginx", "curl", "curl"]
    assert found["container"].null_count() == 3


def test_identify_notices_new_processes() -> None:
    known = KnownProcesses()
    identify = Identify(known)
    frame = rows.requests(pid=7, comm="sh")
    assert identify("http", frame)["service"].to_list() == ["sh"]
    known.known[7] = process(7, "/bin/app")
    assert identify("http", frame)["service"].to_list() == ["app"]


def test_identify_reads_this_machine() -> None:
    frame = rows.requests(2, pid=os.getpid())
    [service] = set(Identify()("http", frame)["service"])
    executable = Path(sys.executable).resolve().name
    assert service == executable or service.endswith(".service")


def test_identify_without_pids() -> None:
    frame = rows.native("loss", rows.LOSS).drop("pid")
    assert Identify(PROCESSES, host="here")("loss", frame)["host"].to_list() == ["here"]


def routed(*pairs: tuple[str | None, str | None]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema={"service": pl.String, "route": pl.String}, orient="row")


def test_routes_beyond_the_bound_are_other() -> None:
    bound = BoundRoutes(max_routes_per_service=2)
    assert bound("http", routed(("a", "/1"), ("a", "/2"), ("b", "/3")))["route"].to_list() == [
        "/1",
        "/2",
        "/3",
    ]
    second = bound("http", routed(("a", "/3"), ("a", "/1"), ("b", "/4"), ("b", "/5"), ("b", "/3")))
    assert second["route"].to_list() == ["other", "/1", "/4", "other", "/3"]


def test_routes_keep_order_and_other_columns() -> None:
    bound = BoundRoutes(max_routes_per_service=1)
    frame = routed(*[("a", f"/{number}") for number in range(50)]).with_row_index()
    bounded = bound("http", frame)
    assert bounded.columns == frame.columns
    assert bounded["index"].to_list() == list(range(50))
    assert bounded["route"].n_unique() == 2


def test_at_most_200_routes_a_service_over_all_batches() -> None:
    bound = BoundRoutes()
    seen: set[str] = set()
    for batch in range(30):
        seen |= set(bound("http", routed(*[("a", f"/{batch}/{number}") for number in range(20)]))["route"])
    assert len(seen - {"other"}) == 200
    assert "other" in seen


def test_unknown_routes_and_services() -> None:
    bound = BoundRoutes(max_routes_per_service=1)
    bounded = bound("http", routed((None, None), (None, "/1"), ("a", None)))
    assert bounded["route"].to_list() == [None, "/1", None]
    assert bound("http", routed((None, "/2"), (None, None)))["route"].to_list() == ["other", None]


def test_services_are_bounded_too() -> None:
    bound = BoundRoutes(max_services=2)
    bounded = bound("http", routed(*[(f"service {number}", "/") for number in range(5)]))
    assert bounded["route"].to_list().count("other") == 3


def test_frames_without_routes_pass_as_they_are() -> None:
    frame = rows.native("connection", rows.CONNECTION)
    assert BoundRoutes()("connection", frame) is frame
