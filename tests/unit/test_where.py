"""`--where`: what is kept, and what is said of an expression that cannot be one."""

from __future__ import annotations

import polars as pl
import pytest

from universal_tracer.config.condition import marked, tokens
from universal_tracer.model.errors import RunFailedError, UsageError
from universal_tracer.model.schema import shape
from universal_tracer.pipeline.where import Where

TYPES = ("http", "connection", "loss")


def http_events() -> pl.DataFrame:
    rows = [
        {
            "path": "/slow",
            "status": 500,
            "latency_ms": 250.0,
            "peer": {"address": "10.0.0.1", "port": 80, "path": None},
        },
        {
            "path": "/fast",
            "status": 500,
            "latency_ms": 1.0,
            "peer": {"address": "10.0.0.1", "port": 81, "path": None},
        },
        {
            "path": "/fine",
            "status": 200,
            "latency_ms": 250.0,
            "peer": {"address": "10.0.0.2", "port": 80, "path": None},
        },
        {"path": "/cut", "status": None, "latency_ms": None, "peer": None, "error": "reset"},
    ]
    return shape("http", pl.DataFrame(rows, infer_schema_length=None))


def kept(text: str) -> list[str]:
    return Where(text, TYPES, "--where")("http", http_events())["path"].to_list()


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("status >= 500 AND latency_ms > 100", ["/slow"]),
        ("status >= 500 and latency_ms > 100 -- slow errors", ["/slow"]),
        ("peer.port = 80", ["/slow", "/fine"]),
        ("peer.port = 80 OR error IS NOT NULL", ["/slow", "/fine", "/cut"]),
        ("status IS NULL", ["/cut"]),
        ("NOT status = 500", ["/fine"]),
        ("path LIKE '/f%' AND status BETWEEN 200 AND 299", ["/fine"]),
        ("path IN ('/cut', '/slow')", ["/slow", "/cut"]),
        ('"status" / 100 = 2', ["/fine"]),
        ("CASE WHEN status > 400 THEN latency_ms < 100 ELSE false END", ["/fast"]),
        ("upper(path) = '/CUT'", ["/cut"]),
        ("error ~ '^re'", ["/cut"]),
        ("path IN ('/cut', 'Len', '\"Agg\":')", ["/cut"]),
        ("true", ["/slow", "/fast", "/fine", "/cut"]),
        ("TRY_CAST(path AS int) > 1", []),
    ],
)
def test_what_meets_the_condition_is_kept(text: str, paths: list[str]) -> None:
    assert kept(text) == paths


def test_events_without_a_named_column_are_dropped() -> None:
    loss = shape("loss", pl.DataFrame({"where": ["ring_full", "gaps"], "count": [3, 5]}))
    assert Where("status >= 500", TYPES, "--where")("loss", loss).is_empty()
    assert Where("status >= 500", TYPES, "--where")("loss", loss).schema == loss.schema
    assert Where("where = 'gaps'", TYPES, "--where")("loss", loss)["count"].to_list() == [5]
    assert Where("where = 'gaps'", TYPES, "--where")("http", http_events()).is_empty()


@pytest.mark.parametrize(
    ("text", "what", "place"),
    [
        ("statuss >= 500", "there is no column 'statuss' (did you mean 'status'?)", "-->statuss<-- >= 500"),
        ("status > 1 AND STATUS > 2", "there is no column 'STATUS' (did you mean 'status'?)", "-->STATUS<--"),
        ("peer.prot = 80", "there is no member 'prot'", "peer.-->prot<-- = 80"),
        ("http.status = 80", "table names are not used, columns stand alone", "-->http<--.status"),
        ("status >", "this is not SQL: expected: an expression, found the end", "status >--><--"),
        ("", "this is not SQL: expected: an expression, found the end", "--><--"),
        ("status > 500)", "this is not SQL: expected: end of statement, found )", "500-->)<--"),
        ("status = 'x", "this is not SQL: unterminated string literal", "-->'x<--"),
        ("status is very bad", "this is not SQL", "-->very<-- bad"),
        ("status", "the expression gives a number, not true or false", "-->status<--"),
        ("path", "the expression gives text, not true or false", "-->path<--"),
        ("path > 5", "the expression does not fit http events: cannot compare string", "-->path > 5<--"),
        ("CAST(path AS int) > 5", "does not fit http events: conversion from", "-->CAST"),
        ("count(*) > 5", "count looks at several events; a condition sees one", "-->count<--(*)"),
        ("status = max(status)", "max looks at several events; a condition sees one", "-->max<--"),
        ("row_number() OVER (ORDER BY pid) > 1", "row_number looks at several", "-->row_number<--"),
        ("unnest(request_headers) IS NULL", "unnest looks at several events", "-->unnest<--"),
        ("columns('status') > 5", "columns looks at several events", "-->columns<--"),
        ("pid IN (SELECT pid FROM http)", "a subquery is not allowed", "-->SELECT<--"),
        ("EXISTS (SELECT 1)", "a subquery is not allowed", "-->EXISTS<--"),
        ("status > 5; DROP TABLE http", "one expression is allowed, without ;", "-->;<--"),
        ("read_csv('/etc/passwd') = 1", "the expression is refused: unsupported function", "-->read_csv"),
        ("status > 5 AS x", "this is not SQL: expected: end of statement, found AS", "-->AS<--"),
        ("*", "this is not SQL", "-->*<--"),
        ("duration_ms > 5 AND status > 5", "no event type has all of the columns", "duration_ms, status"),
        ("path ~ '['", "regex parse error: error: unclosed character class", "-->path ~ '['<--"),
    ],
)
def test_what_is_no_condition_is_told_with_its_place_and_the_columns(
    text: str, what: str, place: str
) -> None:
    with pytest.raises(UsageError) as raised:
        Where(text, TYPES, "--where")
    first, cause, hint = raised.value.lines()
    assert what in first
    assert first.startswith("error: --where: ")
    assert place in cause or place in first
    assert "the columns are type, timestamp, " in hint
    assert "peer.port" in hint
    assert not any("\n" in line for line in raised.value.lines())


def test_a_value_that_cannot_be_converted_ends_the_run_in_words() -> None:
    where = Where("CAST(latency_ms AS tinyint) > 5", TYPES, "--where")
    with pytest.raises(RunFailedError) as raised:
        where("http", http_events())
    assert "TRY_CAST" in raised.value.hint


@pytest.mark.parametrize("depth", [10, 1000])
def test_deep_nesting_is_an_error_at_most(depth: int) -> None:
    text = "(" * depth + "status > 1" + ")" * depth
    try:
        assert Where(text, TYPES, "--where")("http", http_events()).height == 3
    except UsageError:
        assert depth > 10


def test_a_long_chain_fits() -> None:
    text = " OR ".join(["pid = 1"] * 740)
    assert len(text) <= 8192
    assert Where(text, TYPES, "--where")("http", http_events()).is_empty()


def test_tokens_and_marks() -> None:
    text = "a >= 'it''s -- no' /* b */ AND \"c d\" = .5 -- end"
    parts = [(token.kind, token.text) for token in tokens(text) if token.kind != "other"]
    assert parts[:4] == [("word", "a"), ("string", "'it''s -- no'"), ("word", "AND"), ("quoted", '"c d"')]
    assert marked("x" * 100 + "\ny" + "z" * 100, 101, 102) == "…" + "x" * 59 + " -->y<--" + "z" * 60 + "…"
