"""The command line with a made-up source, in a process of its own: `python cli_fakes.py SCENARIO ARGS…`.

SCENARIO is JSON: `rows` (rows per tick), `ticks` (ticks with rows), `lose` (events lost in the first tick),
`hits`, `log` (a file for the calls that the source got), `tick_ms`, `stop_s` (how long stopping takes),
`fails` (a call that raises, or `trial`), `cannot` (a tracer and its call that raises; there are two tracers
then, `http` and `stack`), `bug` (a call that raises what is no error of ours),
`privilege` (check for it, as `root` or as a `user`).
"""

from __future__ import annotations

import json
import os
import sys
import time
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import universal_tracer.cli.run as run_module
import universal_tracer.sources
from universal_tracer.cli.app import main
from universal_tracer.cli.tracers import TRACERS
from universal_tracer.model.errors import KernelError
from universal_tracer.model.ports import Batches, Loss, PlannedHook
from universal_tracer.model.trial import Table, Trial, TriedHook


class FakeSource:
    def __init__(self, settings: dict[str, Any], scenario: dict[str, Any], tracer: str = "http") -> None:
        self.settings, self.scenario, self.tracer = settings, scenario, tracer
        self.ticks = 0
        self.stopped = False
        self.threads_of_polars: int | None = None
        self.log("open", {key: settings[key] for key in ("filter", "pids", "names", "sampling_rate")})

    def log(self, call: str, detail: Any = None) -> None:
        if "log" in self.scenario:
            with Path(self.scenario["log"]).open("a") as stream:
                stream.write(json.dumps([call, detail]) + "\n")

    def plan(self) -> list[PlannedHook]:
        return [PlannedHook("http", "sock_send_length", "tp_btf", "the kernel has it", "0.1 us")]

    def start(self) -> None:
        self.log("start")
        self.fail_in("start")

    def fail_in(self, call: str) -> None:
        if self.scenario.get("bug") == call:
            value = "2retnuh"[::-1]  # not in the sources, which a traceback quotes
            raise ValueError(f"cannot read {value!r} of column 'path', Authorization: Bearer {value}")
        if self.scenario.get("fails") == call or self.scenario.get("cannot") == [self.tracer, call]:
            raise KernelError(f"cannot {call}", cause="it was told to fail", hint="tell it otherwise")

    def add_target(self, pid: int) -> None:
        self.log("add_target", pid)

    def add_cgroup(self, hierarchy: int, identifier: int) -> None:
        self.log("add_cgroup", [hierarchy, identifier])

    def set_local_addresses(self, addresses: list[Any]) -> None:
        self.log("set_local_addresses", len(addresses))

    def live_targets(self) -> list[int]:
        return list(self.settings["pids"])

    def tick(self, wait_ms: int) -> Batches:
        self.fail_in("tick")
        time.sleep(min(wait_ms, self.scenario.get("tick_ms", 20)) / 1000)
        self.ticks += 1
        losses = (
            [Loss("http", "ring_full", self.scenario["lose"])]
            if self.ticks == 1 and "lose" in self.scenario
            else []
        )
        has_rows = self.stopped or self.ticks <= self.scenario.get("ticks", 1)
        frames = {"http": self.rows(self.scenario["rows"])} if has_rows and self.scenario.get("rows") else {}
        return Batches(frames, losses, self.scenario.get("hits", {}), time.time_ns())

    def rows(self, count: int) -> Any:
        import polars as pl  # noqa: PLC0415  as late as a real source

        self.threads_of_polars = pl.thread_pool_size()
        return pl.DataFrame(
            {
                "timestamp": ["2026-01-01T00:00:00.000000Z"] * count,
                "timestamp_ns": [1_767_225_600_000_000_000] * count,
                "method": ["GET"] * count,
                "path": [f"/{self.ticks}" for _ in range(count)],
            }
        )

    def stop(self) -> None:
        self.stopped = True
        self.log("stop", self.threads_of_polars)
        time.sleep(self.scenario.get("stop_s", 0))

    def close(self) -> None:
        self.log("close")


def tried(scenario: dict[str, Any]) -> Trial:
    hook = PlannedHook("http", "sock_send_length", "tp_btf", "the kernel has it", "0.1 us")
    is_refused = scenario.get("fails") == "trial"
    error = KernelError("cannot try", cause="the verifier says: no", hint="ask it") if is_refused else None
    return Trial([TriedHook(hook, error)], [Table("events", "RingBuf", 4096, 8192, False)], ["handle_send"])


def pretend(scenario: dict[str, Any]) -> None:
    live = types.ModuleType("universal_tracer.sources.live")
    live.open_http = lambda settings: FakeSource(settings, scenario)  # type: ignore[attr-defined]
    live.open_stack = lambda settings: FakeSource(settings, scenario, "stack")  # type: ignore[attr-defined]
    http = TRACERS["http"]
    TRACERS.clear()
    TRACERS["http"] = http
    if "cannot" in scenario:
        TRACERS["stack"] = replace(http, name="stack", sees="stacks", opener=f"{live.__name__}:open_stack")
    trial = types.ModuleType("universal_tracer.sources.trial")
    trial.try_http = lambda settings: tried(scenario)  # type: ignore[attr-defined]
    universal_tracer.sources.live = live  # type: ignore[assignment]
    sys.modules["universal_tracer.sources.live"] = live
    sys.modules["universal_tracer.sources.trial"] = trial
    if not scenario.get("privilege"):
        run_module.require_tracing = lambda *_: None
    elif scenario["privilege"] == "user":
        os.geteuid = lambda: 1000
    run_module.require_kernel = lambda: None


if __name__ == "__main__":
    pretend(json.loads(sys.argv[1]))
    sys.argv[1:] = sys.argv[2:]
    main()
