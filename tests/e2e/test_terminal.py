"""The live table on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest
from harness.capability import need_command, need_tracer
from harness.processes import APPS
from harness.traced import unique
from harness.tracer import tracer_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.e2e

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLUMNS = 120


def on_a_terminal(
    *words: str, env: Mapping[str, str], seconds: float = 25.0, keys: bytes = b""
) -> tuple[str, int]:
    """Run the command on a terminal of its own; return all that appeared there and the exit code.

    *keys* are typed once the first request has appeared.
    """
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    process = subprocess.Popen(
        # Makes the terminal the controlling one, so that a typed Ctrl-C becomes a signal.
        [need_command("setsid"), "--ctty", str(need_tracer()), *words],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**tracer_environment(), **env},
    )
    os.close(its)
    seen = bytearray()
    deadline = time.monotonic() + seconds
    with contextlib.suppress(OSError):  # the terminal's other side is gone
        while time.monotonic() < deadline:
            ready, _, _ = select.select([mine], [], [], 0.2)
            if ready:
                seen += os.read(mine, 65_536)
            if keys and b"/echo/" in seen:
                os.write(mine, keys)
                keys = b""
    try:
        code = process.wait(max(1.0, deadline - time.monotonic()))
    finally:
        process.kill()
        process.wait()
        os.close(mine)
    return seen.decode("utf-8", "replace"), code


def traffic(*options: str) -> list[str]:
    """Return the words of a command that makes requests to itself."""
    return [sys.executable, str(APPS / "traffic.py"), *options]


def test_the_table_shows_requests_and_a_footer() -> None:
    word = unique()
    screen, code = on_a_terminal(
        "--", *traffic("--word", word, "--forever"), env={"TERM": "xterm"}, keys=b"\x03"
    )
    assert code == 0, screen
    text = ESCAPE.sub("", screen)
    row = next(line for line in text.splitlines() if f"{word}-0" in line)
    assert "GET" in row
    assert "200" in row
    assert re.search(r"\d(\.\d+)? ?(ms|µs|us|s)\b|\d+\.\d", row), row
    assert re.search(r"p50.*p99", text), "the footer has percentiles"
    assert re.search(r"lost|loss", text), "the footer has losses"
    assert re.search(r"/s\b", text), "the footer has a rate"
    assert "summary:" in text
    table = text.partition("tracing:")[2].partition("summary:")[0].splitlines()[1:]
    assert max(len(line) for line in table) <= COLUMNS, "no row and no footer is broken over lines"


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"TERM": "dumb", "NO_COLOR": "1"}])
def test_a_dumb_terminal_gets_no_escape_codes(env: dict[str, str]) -> None:
    word = unique()
    screen, code = on_a_terminal("--", *traffic("--word", word), env=env)
    assert code == 0, screen
    assert "\x1b" not in screen
    assert f"{word}-0" in screen


@pytest.mark.parametrize(("words", "env"), [(["--no-color"], {}), ([], {"NO_COLOR": "1"})])
def test_no_color(words: list[str], env: dict[str, str]) -> None:
    screen, code = on_a_terminal(*words, "--", *traffic(), env={"TERM": "xterm-256color", **env})
    assert code == 0, screen
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", screen) is None


HOSTILE_TRAFFIC = r"""
import socket, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
def serve():
    connection, _ = listener.accept()
    connection.recv(9999)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    connection.close()
threading.Thread(target=serve).start()
client = socket.create_connection(listener.getsockname())
path = b"/" + sys.argv[1].encode() + b"\x1b[31m\x1b]0;owned\x07\xe2\x80\xae\x9b1A"
client.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: h\x9b\r\n\r\n")
client.recv(9999)
"""


def test_hostile_paths_cannot_drive_the_terminal() -> None:
    screen, _ = on_a_terminal("--", sys.executable, "-c", HOSTILE_TRAFFIC, unique(), env={"TERM": "xterm"})
    assert "\x1b]0;" not in screen
    assert "\x1b[31m\x1b]" not in screen
    assert "\x07" not in screen
    assert "\u202e" not in screen
