"""The demo: a small real system on loopback, traced for some seconds.

Starts nginx, two Python services behind it and a little load, traces these processes and nothing else, shows
the requests as they happen, and says where they were written. Ends all that it started.

    run.py TRACER [SECONDS [FOLDER]]      TRACER: the command; FOLDER: for the files, by default build/demo
"""

# ruff: noqa: INP001 -- a script, no package

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).resolve().parent
DEFAULT_FOLDER = HERE.parents[1] / "build" / "demo"
SECONDS = 8.0
READY_SECONDS = 10.0
GRACE_SECONDS = 3.0
PLACES_FOR_NGINX = "/usr/sbin:/usr/local/sbin:/usr/local/nginx/sbin"


class DemoError(Exception):
    """The demo cannot run; the message says what would help."""


def say(text: str) -> None:
    """Tell the person who watches."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def end(process: subprocess.Popen[str]) -> None:
    """End a process that the demo started; nginx's master ends its workers."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def running(words: Sequence[str | Path]) -> Iterator[subprocess.Popen[str]]:
    """Run a process for as long as the context lasts."""
    process = subprocess.Popen(
        [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            end(process)


@contextlib.contextmanager
def service(*words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run one of the Python services; yields it and its port."""
    with running([sys.executable, HERE / "services.py", *words]) as process:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise DemoError(f"the {words[0]} service did not start")
        yield process, int(line)


def free_port() -> int:
    """Return a port of loopback that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def front(shop_port: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run nginx in front of the shop; yields it and its port."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:{PLACES_FOR_NGINX}")
    if nginx is None:
        raise DemoError("nginx is not installed; try: apt-get install nginx-light")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="universal-tracer-demo-") as prefix:
        configuration = Path(prefix) / "nginx.conf"
        values = {
            "PREFIX": prefix,
            "PORT": str(port),
            "SHOP_PORT": str(shop_port),
            # Workers of another user could not enter the temporary directory.
            "USER": "user root;" if os.geteuid() == 0 else "",
        }
        text = (HERE / "nginx.conf.in").read_text(encoding="utf-8").partition("daemon off;")
        filled = text[1] + text[2]
        for name, value in values.items():
            filled = filled.replace(f"@{name}@", value)
        configuration.write_text(filled, encoding="utf-8")
        with running([nginx, "-p", prefix, "-e", f"{prefix}/error.log", "-c", configuration]) as process:
            await_port(port)
            yield process, port


def await_port(port: int) -> None:
    """Wait until something accepts connections on *port*."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise DemoError("nginx did not start") from None
            time.sleep(0.02)
        else:
            return


def trace(tracer: str, processes: Sequence[subprocess.Popen[str]], seconds: float, folder: Path) -> int:
    """Trace *processes* for *seconds* into files in *folder*; returns the tracer's exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [] if os.geteuid() == 0 else ["sudo"]
    words += [tracer, "--tracer", "http", "--tracer", "stack", "--events", "http,profile"]
    words += ["--output-format", "table"]
    words += ["--duration", f"{seconds:g}s"]
    for process in processes:
        words += ["--pid", str(process.pid)]
    words += ["--output", f"{folder}/", "--output", str(folder / "http-events.ndjson")]
    # A Ctrl-C is for the tracer, which then ends as it always does; the rest is ended after it.
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.call(words, stdin=subprocess.DEVNULL, preexec_fn=default_interrupt)
    finally:
        signal.signal(signal.SIGINT, previous)


def default_interrupt() -> None:
    """Let Ctrl-C through: a child would inherit that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def demonstrate(tracer: str, seconds: float, folder: Path) -> int:
    """Start everything, trace it, end everything; returns the exit code."""
    with (
        service("stock") as (stock, stock_port),
        service("shop", str(stock_port)) as (shop, shop_port),
        front(shop_port) as (nginx, port),
        running([sys.executable, HERE / "customers.py", str(port)]) as customers,
    ):
        chain = {"customers": customers, "nginx": nginx, "shop": shop, "stock": stock}
        say(" → ".join(f"{name} ({process.pid})" for name, process in chain.items()))
        say(f"None of them knows of the tracer, which now watches for {seconds:g} seconds.\n")
        code = trace(tracer, [nginx, shop, stock], seconds, folder)
    if code == 0:
        say_what_next(folder)
    return code


def say_what_next(folder: Path) -> None:
    """Say where the requests are and what could be asked of them."""
    events = folder / "http-events.json"
    shown = events.relative_to(Path.cwd()) if events.is_relative_to(Path.cwd()) else events
    say(f"\nWhere they spend their processor time: {shown.with_name('flamegraph.svg')} in a browser.")
    say(f"Every request, with its headers, sizes and times, is in {shown}")
    say(f"and, one a line, in {shown.with_suffix('.ndjson')}. Two questions to ask of them:\n")
    say("  # what went wrong")
    say(
        f"  jq -r '.[] | select(.status >= 400) | \"\\(.status) \\(.method) \\(.path) by \\(.comm)\"' {shown}"
    )
    say("  # what was slow, the slowest last")
    say('  jq -r \'map(select(.role == "server" and .latency_ms > 100)) | sort_by(.latency_ms)[]')
    say(f'    | "\\(.latency_ms) ms \\(.method) \\(.path) at \\(.comm)"\' {shown}')


def main() -> int:
    """Run the demo; returns the exit code."""
    if len(sys.argv) < 2:
        say("usage: run.py TRACER [SECONDS [FOLDER]]")
        return 2
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    folder = Path(sys.argv[3]).resolve() if len(sys.argv) > 3 else DEFAULT_FOLDER
    try:
        return demonstrate(sys.argv[1], seconds, folder)
    except DemoError as error:
        sys.stderr.write(f"error: the demo cannot run\ncause: {error}\nhint: make setup\n")
        return 1
    except BrokenPipeError:
        # Whoever read has seen enough; nothing may be written at the interpreter's end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
