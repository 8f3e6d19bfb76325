"""The live table on a terminal."""

from __future__ import annotations

import re
import sys

import pytest
from harness.processes import APPS
from harness.terminal import COLUMNS, ESCAPE, on_a_terminal
from harness.traced import unique

pytestmark = pytest.mark.e2e


def traffic(*options: str) -> list[str]:
    """Return the words of a command that makes requests to itself."""
    return [sys.executable, str(APPS / "traffic.py"), *options]


def test_the_table_shows_requests_and_a_footer() -> None:
    word = unique()
    screen, code = on_a_terminal(
        "--", *traffic("--word", word, "--forever"), env={"TERM": "xterm"}, keys=b"\x03", after=b"/echo/"
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
