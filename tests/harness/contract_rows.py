"""The tables of test_contract_table.py: what the command line promises, with the command that shows it."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Row:
    """A command line and what must come of it.

    In the arguments `{url}`, `{dir}`, `{pid}` (of this process) and `{port}` (in use) are filled in. With
    `asks` a `curl` of that path is traced as `-- COMMAND`.
    """

    arguments: tuple[str, ...]
    out: str = ""
    err: str = ""
    code: int = 0
    asks: str | None = None
    check: Callable[[Done, Path], None] | None = None


def show(key: str, value: str, *flag: str) -> Row:
    """A flag that sets a key: `config show` tells both."""
    name, origin = key.rpartition(".")[2], flag[0].partition("=")[0]
    out = rf"^  {name}: {re.escape(value)}  # {re.escape(origin)}$"
    whose, of_tracer, _ = key.partition("_tracer.")
    return Row(("config", "show", "--tracer", whose if of_tracer else "http", *flag), out=out)


def traced(*flags: str, asks: str = "/x", **expected: Any) -> Row:
    """A run that traces one request."""
    return Row(("--tracer", "http", *flags), asks=asks, **expected)


def paths(done: Done) -> list[str]:
    """The paths of the http events on standard output."""
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [event["path"] for event in events if event["type"] == "http"]


def one_event(done: Done, _: Path) -> None:
    """The request, and as one line of JSON."""
    assert paths(done) == ["/x"]


def no_event(done: Done, _: Path) -> None:
    """Nothing of the request."""
    assert paths(done) == []


def file_holds_request(name: str) -> Callable[[Done, Path], None]:
    """A valid array, or lines, with the request in it; nothing on standard output."""

    def check(done: Done, directory: Path) -> None:
        text = (directory / name).read_text(encoding="utf-8")
        events = (
            json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
        )
        assert [event["path"] for event in events if event["type"] == "http"] == ["/x"]
        assert done.stdout == "ok", "the command's own output"

    return check


def recording(done: Done, directory: Path) -> None:
    """A folder with Parquet files of http events."""
    assert list((directory / "kept").rglob("*.parquet")), done.stderr


# flag → the command that shows it
FLAGS: dict[str, list[Row]] = {
    "--config": [
        Row(("--config", "/nonexistent/c.yaml"), code=2, err="error: cannot read the configuration"),
        Row(("config", "show", "--config", "{sample}"), out=r"# .*production.yaml:\d+$"),
    ],
    "--tracer": [
        traced(err="^tracing: HTTP ", check=one_event),
        Row(("--tracer", "htp"), code=2, err=r"did you mean 'http'\?"),
    ],
    "--interface": [
        traced("--interface", "lo", err="^tracing: .* on lo", check=one_event),
        Row(("--tracer", "http", "--interface", "loo"), code=6, err=r"did you mean 'lo'\?"),
    ],
    "--pid": [
        Row(("--tracer", "http", "--pid", "{pid}", "--duration", "100ms"), err="^tracing: .* of pid {pid} ")
    ],
    "--target-process": [
        Row(
            ("--tracer", "http", "--target-process", "no-such", "--duration", "1s"),
            code=6,
            err="no process named 'no-such'",
        ),
        Row(
            ("--tracer", "http", "--target-process", "{comm}", "--duration", "100ms"),
            err="^tracing: .* of processes named {comm}",
        ),
    ],
    "--container": [
        Row(("--tracer", "http", "--container", "no-such"), code=6, err="no container 'no-such' to trace")
    ],
    "--cgroup": [
        Row(("--tracer", "http", "--cgroup", "/no/such"), code=6, err="no process in cgroup '/no/such'")
    ],
    "--events": [
        traced("--events", "connection", out='"type":"connection"', check=no_event),
        Row(("--events", "htp"), code=2, err=r"did you mean 'http'\?"),
    ],
    "--where": [
        traced("--where", "status >= 500", asks="/fail", out='"status":500'),
        traced("--where", "status >= 500", check=no_event),
        Row(
            ("--where", "statuss > 5"),
            code=2,
            err=r"did you mean 'status'\?.*\ncause: -->statuss<-- > 5\nhint: the columns are ",
        ),
    ],
    "--dry-run": [
        Row(
            ("--tracer", "http", "--pid", "{pid}", "--dry-run"),
            out="(?s)sock_send_length.*nothing stays attached",
        )
    ],
    "--mode": [
        show("stack_tracer.mode", "mixed", "--mode", "mixed", "--trace-function", "u:libc:malloc"),
        Row(("--tracer", "stack", "--mode", "tracin"), code=2, err=r"did you mean 'tracing'\?"),
    ],
    "--trace-function": [
        Row(
            ("--tracer", "stack", "--pid", "{pid}", "--trace-function", "u:libc:maloc"),
            code=6,
            err=r"^error: no function maloc in /.*\n.*did you mean malloc\?",
        ),
    ],
    "--trigger": [
        show(
            "stack_tracer.trigger",
            '"http.latency_ms>500"',
            *("--trigger", "http.latency_ms>500", "--mode", "on-demand"),
        ),
        Row(("--tracer", "stack", "--trigger", "load>5"), code=2, err="there is no condition 'load'"),
    ],
    "--list": [
        Row(("--tracer", "stack", "--list", "u:libc:mall?c"), out=r"\Au:/\S*libc\S*:malloc"),
        Row(
            ("--tracer", "stack", "--list", "t:sched:sched_switch"),
            out=r"\At:sched:sched_switch \(prev_comm: string, prev_pid: i32, ",
        ),
        Row(
            ("--tracer", "stack", "--list", "u:libc:maloc"),
            code=6,
            err=r"^error: no function maloc in /.*\n.*did you mean malloc\?",
        ),
        Row(
            ("--tracer", "http", "--list", "u:libc:malloc"),
            code=2,
            err="--list is a flag of a tracer that does not run",
        ),
    ],
    "--sampling-rate": [
        traced("--sampling-rate", "0", check=no_event),
        Row(("--tracer", "http", "--sampling-rate", "2"), code=2, err="from 0 to 1"),
    ],
    "--http-sampling-rate": [
        traced("--http-sampling-rate", "0.0", check=no_event),
        show("http_tracer.sampling_rate", "0.5", "--http-sampling-rate", "0.5"),
    ],
    "--stack-sampling-frequency": [
        show("stack_tracer.sampling_frequency", "49", "--stack-sampling-frequency", "49")
    ],
    "--duration": [
        Row(("--tracer", "http", "--pid", "{pid}", "--duration", "1m30s", "--dry-run"), out="1m30s"),
        Row(("--tracer", "http", "--pid", "{pid}", "--duration", "200ms"), err="ended by its duration"),
        Row(("--duration", "5"), code=2, err="a duration with its unit"),
    ],
    "--output": [traced("--output", "{dir}/a.json", check=file_holds_request("a.json"))],
    "--output-format": [
        traced("--output-format", "json", check=one_event),
        traced("--output-format", "none", check=no_event, out="^ok$"),
    ],
    "--metrics-only": [traced("--metrics-only", "--interval", "1s", out='"type":"summary"', check=no_event)],
    "--interval": [show("output.interval", "1s", "--interval", "1s")],
    "--prometheus-endpoint": [
        traced(
            "--prometheus-endpoint", "127.0.0.1:0/metrics", err=r"^tracing: .*http://127\.0\.0\.1:\d+/metrics"
        ),
    ],
    "--correlation-table-size": [
        show("http_tracer.correlation_table_size", "128", "--correlation-table-size", "128")
    ],
    "--xdp-sampling-rate": [show("xdp_tracer.sampling_rate", "7", "--xdp-sampling-rate", "7")],
    "--enable-flow-tracking": [show("xdp_tracer.enable_flow_tracking", "true", "--enable-flow-tracking")],
    "--flow-timeout": [show("xdp_tracer.flow_timeout", "9s", "--flow-timeout", "9s")],
    "--xdp-mode": [show("xdp_tracer.mode", "generic", "--xdp-mode", "generic")],
    "--flow-table-size": [show("xdp_tracer.flow_table_size", "1024", "--flow-table-size", "1024")],
    "--filter": [show("xdp_tracer.filter", '"tcp port 443"', "--filter", "tcp port 443")],
    "--off-cpu": [show("stack_tracer.off_cpu", "true", "--off-cpu")],
    "--stack-map-size": [show("stack_tracer.stack_map_size", "4096", "--stack-map-size", "4096")],
    "--record": [traced("--record", "{dir}/kept", check=recording)],
    "--strict": [show("run.strict", "true", "--strict")],
    "-v": [traced("-v", err="^hook: http sock_send_length by ")],
    "-q": [
        traced("-q", check=one_event, err=r"\Aok\Z"),
        Row(("-q", "-v"), code=2, err="contradict each other"),
    ],
    "--no-color": [show("run.color", "false", "--no-color")],
    "--version": [Row(("--version",), out=r"\Auniversal-tracer \d+\.\d+\.\d+\n\Z")],
    "--help": [Row(("--help",), out=r"(?s)\AUsage: universal-tracer .*Examples:\n")],
}


# flag → the tracer or feature that brings it
WAITING = {
    **dict.fromkeys(("--enable-memory-profiling", "--allocation-threshold"), "memory profiling"),
    "--enable-deadlock-detection": "deadlock detection",
    **dict.fromkeys(
        (
            "--enable-distributed-tracing",
            "--trace-header",
            "--span-header",
            "--jaeger-endpoint",
            "--otlp-endpoint",
        ),
        "distributed tracing",
    ),
}


def assert_parquet(file: Path) -> None:
    """It begins and ends as such files do."""
    assert file.read_bytes()[:4] == file.read_bytes()[-4:] == b"PAR1"


# output → the command that shows it
OUTPUTS: dict[str, Row] = {
    "{dir}/a.json": traced("--output", "{dir}/a.json", check=file_holds_request("a.json")),
    "{dir}/a.ndjson": traced("--output", "{dir}/a.ndjson", check=file_holds_request("a.ndjson")),
    "ndjson:{dir}/a.log": traced("--output", "ndjson:{dir}/a.log", check=file_holds_request("a.log")),
    "{dir}/new/": traced("--output", "{dir}/new/", check=file_holds_request("new/http-events.json")),
    "ndjson:-": traced("--output", "ndjson:-", check=one_event),
    "several": traced(
        *("--output", "{dir}/a.json", "--output", "{dir}/b.ndjson", "--output-format", "ndjson"),
        check=one_event,
    ),
    "table": traced("--output-format", "table", out=r"^[\d:.]+ GET +/x +200 "),
    "json on standard output": traced("--output-format", "json", check=one_event),
    "a pipe": traced(check=one_event),
    "none beside a file": traced("--output", "{dir}/a.ndjson", check=no_event),
    "{dir}/a.parquet": traced(
        *("--events", "http", "--output", "{dir}/a.parquet"),
        check=lambda _, directory: assert_parquet(directory / "a.parquet"),
    ),
    "{dir}/a.pcapng": Row(("config", "show", "--output", "{dir}/a.pcapng"), out="a.pcapng"),
    "{dir}/a.svg": Row(("config", "show", "--output", "{dir}/a.svg"), out="a.svg"),
    "{dir}/a.pb.gz": Row(("config", "show", "--output", "{dir}/a.pb.gz"), out="a.pb.gz"),
    "{dir}/a.speedscope.json": Row(
        ("config", "show", "--output", "{dir}/a.speedscope.json"), out="a.speedscope"
    ),
    "{dir}/a.folded": Row(("config", "show", "--output", "{dir}/a.folded"), out="a.folded"),
}


WAITING_OUTPUTS = {
    ".html": "the report",
}


UNPRIVILEGED = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")


WITHOUT_TYPES = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/kernel/btf && exec "$0" "$@"')


@dataclass(frozen=True)
class Code:
    """A command that ends with an exit code, and what stands before it."""

    code: int
    arguments: tuple[str, ...]
    err: str
    prefix: tuple[str, ...] = ()


CODES = [
    Code(0, ("--tracer", "http", "--pid", "{pid}", "--duration", "100ms"), "summary: "),
    Code(0, ("--tracer", "http", "--", "false"), "command: exit code 1"),
    Code(
        1, ("--tracer", "http", "--pid", "{pid}", "--output", "{dir}/no/such/a.json"), "error: cannot write"
    ),
    Code(2, ("--no-such-flag",), "error: unknown flag '--no-such-flag'"),
    Code(2, ("--tracer", "http", "--output", "{dir}/a.json", "--output", "{dir}/a.json"), "the same output"),
    Code(2, ("--metrics-only", "--output", "{dir}/a.json"), "no events for an output file"),
    Code(2, ("confg",), "did you mean 'config'"),
    Code(2, ("--durration", "1s"), "did you mean '--duration'"),
    Code(4, ("--tracer", "http", "--pid", "1"), "error: .*\ncause: .*\nhint: .*sudo", UNPRIVILEGED),
    Code(
        5,
        ("--tracer", "http", "--pid", "{pid}", "--duration", "1s"),
        "error: this kernel cannot",
        WITHOUT_TYPES,
    ),
    Code(6, ("--tracer", "http", "--pid", "4194300"), "error: no process 4194300"),
    Code(6, ("--tracer", "http", "--", "no-such-command"), "error: cannot start 'no-such-command'"),
    Code(6, ("--tracer", "http", "--interface", "nosuch0"), "error: no interface 'nosuch0'"),
    Code(
        7,
        ("--tracer", "http", "--pid", "{pid}", "--prometheus-endpoint", "127.0.0.1:{port}/metrics"),
        "error: ",
    ),
]
