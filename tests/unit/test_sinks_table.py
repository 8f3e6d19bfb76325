"""The live table: what is shown at which width, what hostile data does to it, and its footer."""

from __future__ import annotations

import os
import re
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from harness import event_rows as rows
from hypothesis import given, settings
from hypothesis import strategies as st

from universal_tracer.model.ports import StandardOutput
from universal_tracer.sinks import open_sinks
from universal_tracer.sinks.network_table import NetworkTable
from universal_tracer.sinks.table import Contents, Layout, TableSink
from universal_tracer.system.terminal import Style, Terminal, cells, duration, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN = Style(color=False)
ESCAPE = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])")


class Shown:
    """A table on a pretended terminal, and what was written to it."""

    def __init__(self, width: int = 100, lines: int = 24, **more: Any) -> None:
        self.size = os.terminal_size((width, lines))
        self.now = 0.0
        self.reader, self.writer = os.pipe()
        style = Style(color=more.get("color", False), only_ascii=more.get("only_ascii", False))
        terminal = Terminal(self.writer, style, more.get("is_live", True), lambda _: self.size)
        contents = Contents(
            requests=more.get("requests", True),
            connections=more.get("with_connections", False),
            panel=NetworkTable(style) if more.get("network") else None,
        )
        self.table = TableSink("standard output", terminal, contents=contents, clock=self.clock)

    def clock(self) -> float:
        return self.now

    def text(self) -> str:
        """Everything since the last time."""
        os.set_blocking(self.reader, False)
        try:
            return os.read(self.reader, 1 << 20).decode()
        except BlockingIOError:
            return ""

    def lines(self) -> list[str]:
        return ESCAPE.sub("", self.text()).replace("\r", "").split("\n")

    def close(self) -> None:
        self.table.close()
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def shown() -> Iterator[Shown]:
    made = Shown(width=101)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def request(**changes: Any) -> Any:
    return rows.shaped("http", rows.REQUEST | changes)


def test_a_request_on_a_terminal(shown: Shown) -> None:
    shown.table.write("http", request())
    header, line, *_ = shown.lines()
    assert header.split() == ["TIME", "METHOD", "PATH", "STATUS", "LATENCY", "PROCESS", "AND", "PEER"]
    assert line == (
        "03:06:40.123 GET     /users/7                      200        1.50 ms nginx 4242 ← 127.0.0.1:40000"
    )
    assert header.index("PATH") == line.index("/users")


def test_clients_point_at_their_servers(shown: Shown) -> None:
    shown.table.write("http", request(role="client", comm="curl", peer=rows.UNIX_PEER))
    assert shown.lines()[1].endswith("curl 4242 → /run/app.sock")


def test_errors_take_the_place_of_the_status(shown: Shown) -> None:
    shown.table.write("http", request(error="timeout", status=None, latency_ms=None, method=None, path=None))
    assert shown.lines()[1].split()[1:5] == ["-", "-", "timeout", "-"]


def test_unknown_and_ipv6_peers(shown: Shown) -> None:
    shown.table.write("http", request(peer=None))
    assert shown.lines()[1].endswith("nginx 4242 ← -")
    shown.table.write("http", request(peer={"address": "::1", "port": 80, "path": None}, pid=None))
    assert shown.lines()[0].endswith("← [::1]:80")


@pytest.mark.parametrize("width", range(40, 201, 7))
def test_lines_keep_within_the_width(width: int) -> None:
    shown = Shown(width)
    shown.table.write("http", request(path="/" + "long" * 100, comm="a-long-name-here", query="x" * 500))
    shown.table.write("loss", rows.shaped("loss", rows.LOSS))
    shown.table.flush()
    lines = shown.lines()
    shown.close()
    assert max(map(cells, lines)) <= width - 1
    assert "/long" in lines[1]


@given(st.integers(20, 250))
def test_columns_fill_the_width(width: int) -> None:
    layout = Layout.for_width(width)
    widths = [layout.time, layout.method, layout.path, layout.status, layout.latency, layout.who]
    used = [column for column in widths if column]
    total = sum(used) + len(used) - 1
    assert total == width or layout.path == 1
    assert layout.who == 0 or layout.who >= 10


def test_a_resized_terminal_gets_a_new_header(shown: Shown) -> None:
    shown.table.write("http", request())
    assert "METHOD" in shown.text()
    shown.table.write("http", request())
    assert "METHOD" not in shown.text()
    shown.size = os.terminal_size((60, 24))
    shown.table.write("http", request())
    assert "METHOD" in shown.text()


HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n\x00\x7f\x9b31m\u202eevil\u2028\u200b"


@pytest.mark.parametrize("field", ["method", "path", "comm", "error"])
def test_hostile_bytes_never_reach_the_terminal(field: str) -> None:
    for is_live in (True, False):
        shown = Shown(width=200, is_live=is_live)
        shown.table.write("http", request(**{field: HOSTILE}, peer=rows.UNIX_PEER | {"path": HOSTILE}))
        text = shown.text()
        shown.close()
        assert {command for _, command in ESCAPE.findall(text)} <= ({"J", "A"} if is_live else set())
        assert all(char.isprintable() for char in ESCAPE.sub("", text).replace("\r", "").replace("\n", ""))
        assert "\\x1b]0;owned\\x07" in text or field in ("method", "error")


@given(st.text())
@settings(deadline=None)
def test_visible_text_is_visible(text: str) -> None:
    assert visible(text).isprintable()
    assert visible(text, only_ascii=True).isascii()
    if text.isprintable():
        assert visible(text) == text


@given(st.text(), st.integers(0, 40))
@settings(deadline=None)
def test_fitted_text_takes_exactly_its_room(text: str, width: int) -> None:
    fitted = PLAIN.fit(visible(text), width)
    assert cells(fitted) == width
    assert cells(PLAIN.fit(visible(text), -width)) == width


def test_wide_and_combining_characters_are_measured() -> None:
    assert cells("日本") == 4
    assert cells("e\u0301") == 1
    assert PLAIN.fit("日本語", 4) == "日… "
    assert len(PLAIN.clip("a" + "\u0301" * 1000, 10)) <= 21


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "-"),
        (0.0, "0 µs"),
        (0.0523, "52.3 µs"),
        (0.213, "0.21 ms"),
        (12.34, "12.3 ms"),
        (123.4, "123 ms"),
        (1234.0, "1.23 s"),
        (3_600_000.0, "3600 s"),
    ],
)
def test_durations(milliseconds: float | None, text: str) -> None:
    assert duration(milliseconds, PLAIN) == text
    assert duration(milliseconds, Style(color=False, only_ascii=True)).isascii()


def test_the_footer_tells_rate_percentiles_errors_and_losses(shown: Shown) -> None:
    shown.table.write(
        "http", rows.shaped("http", *[rows.REQUEST] * 98, *[rows.REQUEST | {"status": 500}] * 2)
    )
    shown.table.write("loss", rows.shaped("loss", rows.LOSS))
    shown.now = 1.0
    shown.text()
    shown.table.flush()
    blank, *footer = shown.lines()
    assert blank == ""
    assert "  ".join(footer).split("  ") == [
        "100 requests/s",
        "p50 1.50 ms",
        "p90 1.50 ms",
        "p99 1.50 ms",
        "2 errors",
        "3 lost",
        "100 served, 0 made",
    ]


def test_the_rate_is_of_late(shown: Shown) -> None:
    shown.table.write("http", rows.shaped("http", *[rows.REQUEST] * 100))
    for second in range(1, 6):
        shown.now = float(second)
        shown.table.flush()
    assert "\n0 requests/s" in shown.text().rpartition("\x1b[J")[2]


def test_the_cursor_rests_above_the_footer(shown: Shown) -> None:
    shown.table.flush()
    text = shown.text()
    assert text.startswith("\r\x1b[J")
    footer_lines = text.count("\n", text.index("requests/s"), len(text)) + 1
    assert text.endswith(f"\x1b[{footer_lines}A\r")


def test_the_footer_is_not_drawn_too_often(shown: Shown) -> None:
    shown.table.flush()
    assert shown.text()
    shown.now = 0.1
    shown.table.flush()
    assert not shown.text()


def test_the_last_figures_stay_when_it_closes(shown: Shown) -> None:
    shown.table.write("http", request())
    shown.text()
    shown.table.close()
    text = shown.text()
    assert text.startswith("\r\x1b[J")
    assert text.endswith("\n")
    assert "1 served" in text
    shown.table.close()
    assert not shown.text()


def test_of_too_many_the_failed_and_the_latest_are_shown(shown: Shown) -> None:
    events = [rows.REQUEST | {"path": f"/{number}", "timestamp_ns": number} for number in range(500)]
    events[7]["status"] = 503
    shown.table.write("http", rows.shaped("http", *events))
    lines = shown.lines()
    assert lines[1] == "480 more, not shown"
    paths = [line.split()[2] for line in lines[2:22]]
    assert paths == ["/7", *[f"/{number}" for number in range(481, 500)]]


def test_a_pipe_gets_every_row_whole_and_no_escape_codes() -> None:
    shown = Shown(is_live=False)
    long = "/" + "long" * 100
    shown.table.write("http", rows.shaped("http", *[rows.REQUEST | {"path": long}] * 50))
    shown.table.write("loss", rows.shaped("loss", rows.LOSS))
    shown.table.flush()
    shown.table.close()
    text = shown.text()
    shown.close()
    assert text.count(long) == 50
    assert text.count("\n") == 50
    assert "\x1b" not in text
    assert "\r" not in text


def test_colours_are_of_the_status_only() -> None:
    shown = Shown(color=True)
    shown.table.write(
        "http", rows.shaped("http", *[rows.REQUEST | {"status": 100 * n + 4} for n in range(1, 6)])
    )
    rows_shown = shown.text().split("\n")[1:6]
    shown.close()
    assert [ESCAPE.findall(row) for row in rows_shown] == [
        [],
        [("32", "m"), ("0", "m")],
        [("36", "m"), ("0", "m")],
        [("33", "m"), ("0", "m")],
        [("31", "m"), ("0", "m")],
    ]


def test_without_colour_nothing_is_coloured(shown: Shown) -> None:
    shown.table.write("http", request(status=503))
    assert "m" not in {command for _, command in ESCAPE.findall(shown.text())}


def test_ascii_terminals_get_ascii() -> None:
    shown = Shown(only_ascii=True)
    shown.table.write("http", request(path="/日本" * 20, latency_ms=0.05))
    assert shown.text().isascii()
    shown.close()


def test_connections_are_shown_where_asked_for() -> None:
    for asked_for in (False, True):
        shown = Shown(with_connections=asked_for)
        shown.table.write("connection", rows.shaped("connection", rows.CONNECTION))
        text = shown.text()
        shown.close()
        assert ("1 request, 238 bytes sent" in text) == asked_for


@pytest.mark.parametrize(
    ("term", "color", "codes"),
    [("xterm", True, "mJA"), ("xterm", False, "JA"), ("dumb", True, ""), (None, True, "")],
)
def test_what_terminals_get(
    monkeypatch: pytest.MonkeyPatch, term: str | None, color: bool, codes: str
) -> None:
    leader, follower = os.openpty()
    monkeypatch.setattr(sys, "stdout", os.fdopen(follower, "w", encoding="utf-8", closefd=False))
    monkeypatch.delenv("TERM", raising=False)
    if term:
        monkeypatch.setenv("TERM", term)
    [table] = open_sinks([], StandardOutput("table", is_terminal=True, color=color))
    table.write("http", request())
    table.close()
    text = os.read(leader, 65536).decode()
    os.close(leader)
    os.close(follower)
    assert {command for _, command in ESCAPE.findall(text)} == set(codes)
