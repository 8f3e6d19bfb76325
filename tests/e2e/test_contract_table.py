"""Everything that the command line promises, each with the command that shows it.

Four tables: flags, keys, exit codes, output forms. What no tracer of this build can do yet stands in
`WAITING` with what it waits for; once it is there its line fails until it has a row of its own.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import messages
from harness.capability import need_command, need_root
from harness.peers import Peer, connect
from harness.processes import ProcessTree
from harness.tracer import Tracer, run_tracer

from universal_tracer.cli.root import root
from universal_tracer.config.keys import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.e2e

# A run takes a second or two; the machine may have a lot else to do.
PATIENCE_S = 100
Done = subprocess.CompletedProcess[str]


class Answers(http.server.BaseHTTPRequestHandler):
    """Says 200 to everything, and 500 to what asks for it."""

    def do_GET(self) -> None:
        """Answer one request."""
        self.send_response(500 if "fail" in self.path else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Yield the address of a server of this process."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


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
    **dict.fromkeys(
        ("--mode", "--trace-function", "--list", "--trigger"),
        "the stack tracer's modes",
    ),
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


@dataclass
class Place:
    """What the rows' words stand for."""

    directory: Path
    port: int
    url: str

    def fill(self, text: str) -> str:
        """Put the values in."""
        values = {
            "{dir}": str(self.directory),
            "{pid}": str(os.getpid()),
            "{comm}": Path("/proc/self/comm").read_text(encoding="utf-8").strip(),
            "{port}": str(self.port),
            "{sample}": str(Path(__file__).parents[2] / "config" / "production.yaml"),
        }
        for word, value in values.items():
            text = text.replace(word, value)
        return text

    def run(self, row: Row) -> Done:
        """Run a row's command."""
        arguments = [self.fill(word) for word in row.arguments]
        if row.asks is not None:
            arguments += ["--", need_command("curl"), "-s", f"{self.url}{row.asks}"]
        return run_tracer(*arguments, seconds=PATIENCE_S)


@pytest.fixture
def place(tmp_path: Path, url: str) -> Iterator[Place]:
    """Yield a directory and a port that is in use."""
    need_root()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Place(tmp_path, listener.getsockname()[1], url)


def hold(row: Row, place: Place) -> None:
    """Run the row and compare."""
    done = place.run(row)
    assert done.returncode == row.code, (done.stderr, done.stdout[-2000:])
    for pattern, text in ((row.out, done.stdout), (row.err, done.stderr)):
        assert re.search(place.fill(pattern), text, re.MULTILINE), (pattern, text[-3000:])
    if row.check is not None:
        row.check(done, place.directory)


FLAG_ROWS = [(name, number) for name, rows in FLAGS.items() for number in range(len(rows))]


@pytest.mark.parametrize(("name", "number"), FLAG_ROWS)
def test_flags(place: Place, name: str, number: int) -> None:
    hold(FLAGS[name][number], place)


def test_every_flag_is_in_the_tables() -> None:
    present = {
        max(parameter.opts, key=len) if parameter.opts[0] != "-h" else "--help" for parameter in root.params
    }
    short = {"--verbose": "-v", "--quiet": "-q"}
    present = {short.get(name, name) for name in present}
    assert present - set(FLAGS) == set(), (
        "these are there: give each a row in FLAGS and take it out of WAITING"
    )
    assert set(FLAGS) - present == {"--help"}
    assert set(FLAGS) & set(WAITING) == set()


@pytest.mark.parametrize("name", WAITING)
def test_flags_that_wait_are_refused(name: str) -> None:
    done = run_tracer("config", "show", name, "1")
    assert done.returncode == 2, "it is there: give it a row in FLAGS and take it out of WAITING"
    assert f"unknown flag '{name}'" in done.stderr


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs(place: Place, name: str) -> None:
    hold(OUTPUTS[name], place)


@pytest.mark.parametrize("suffix", WAITING_OUTPUTS)
def test_outputs_that_wait_are_refused(place: Place, suffix: str) -> None:
    done = run_tracer("config", "show", "--output", f"{place.directory}/a{suffix}")
    assert done.returncode == 2
    assert "has no suffix that names a format" in done.stderr


@pytest.mark.parametrize("row", CODES, ids=lambda row: f"{row.code}-{row.arguments[-1]}")
def test_exit_codes(place: Place, row: Code) -> None:
    if row.prefix:
        need_command(row.prefix[0])
    done = run_tracer(*map(place.fill, row.arguments), prefix=row.prefix, seconds=PATIENCE_S)
    assert done.returncode == row.code, done.stderr
    assert re.search(row.err, done.stderr), done.stderr
    if row.code:
        lines = done.stderr.splitlines()
        assert [line.partition(":")[0] for line in lines[-3:]] == ["error", "cause", "hint"]
    assert "Traceback" not in done.stderr


def test_exit_code_3(tmp_path: Path) -> None:
    """A tracer that is held up loses events, and says so."""
    with ProcessTree(tmp_path) as tree:
        client, server = Peer(tree), Peer(tree)
        with Tracer("--pid", tree.pid, "--strict", "--duration", "60s") as tracer:
            os.kill(tracer.pid, signal.SIGSTOP)
            request = messages.request("/much", headers=[messages.HOST, ("X-Filler", "f" * 3900)])
            connection = connect(client, server)
            for _ in range(3000):
                connection.exchange(request, messages.response())
            os.kill(tracer.pid, signal.SIGCONT)
            run = tracer.stop()
        for peer in (client, server):
            peer.close()
    assert run.exit_code == 3
    assert run.lost > 0
    assert "error: events were lost" in run.stderr
    assert len(run.of_type("http")) + run.lost >= 6000


SAMPLE = Path(__file__).with_name("contract.yaml")


def test_every_key_is_there_with_its_default(tmp_path: Path) -> None:
    """The documented tree is valid, and but for the examples in it nothing differs from the defaults."""
    assert run_tracer("config", "check", SAMPLE).returncode == 0
    shown = run_tracer("config", "show", SAMPLE).stdout.splitlines()
    plain = run_tracer("config", "show").stdout.splitlines()

    def values(lines: list[str]) -> list[str]:
        return [line.partition("  # ")[0] for line in lines]

    differing = {line.split(":")[0].strip() for line in set(values(shown)) ^ set(values(plain))}
    assert differing == {"interfaces", "target_processes"}
    assert sum("contract.yaml:" in line for line in shown) == 62
    copy = tmp_path / "shown.yaml"
    copy.write_text("\n".join(shown) + "\n", encoding="utf-8")
    assert run_tracer("config", "check", copy).returncode == 0


@pytest.mark.parametrize("dotted", keys())
def test_every_key_is_checked_with_its_place(tmp_path: Path, dotted: str) -> None:
    """A wrong value, and a key that is misspelt, by file, line and key; the same from the environment."""
    section, _, name = dotted.partition(".")
    file = tmp_path / "c.yaml"
    file.write_text(f"{section}:\n  {name}x: 1\n  {name}: {{a: b}}\n", encoding="utf-8")
    done = run_tracer("config", "check", file)
    assert done.returncode == 2
    assert f"cause: {file}:2: {section}.{name}x: unknown key (did you mean {name!r}?)\n" in done.stderr
    assert re.search(rf"^cause: {file}:3: {dotted}: must be .*, not a mapping$", done.stderr, re.MULTILINE)
    variable = keys()[dotted].variable
    told = run_tracer("config", "show", env={variable: "{a: b}"})
    assert told.returncode == 2
    assert f"cause: {variable}: must be " in told.stderr


def test_every_key_of_a_flag_can_be_set_by_it() -> None:
    told = {flag.flag.key for flag in root.params if hasattr(flag, "flag")}
    assert told <= {*keys(), "sampling rate of the one chosen tracer"}


def test_curl_is_there() -> None:
    assert shutil.which("curl")
