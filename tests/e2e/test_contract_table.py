"""Everything that the command line promises, each with the command that shows it.

Four tables: flags, keys, exit codes, output forms. What no tracer of this build can do yet stands in
`WAITING` with what it waits for; once it is there its line fails until it has a row of its own.
"""

from __future__ import annotations

import http.server
import os
import re
import shutil
import signal
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import messages
from harness.capability import need_command, need_root
from harness.contract_rows import CODES, FLAGS, OUTPUTS, WAITING, WAITING_OUTPUTS, Code, Done, Row
from harness.peers import Peer, connect
from harness.processes import ProcessTree
from harness.tracer import Tracer, run_tracer

from universal_tracer.cli.root import root
from universal_tracer.config.keys import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e

# A run takes a second or two; the machine may have a lot else to do.
PATIENCE_S = 100


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
