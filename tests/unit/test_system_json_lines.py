"""Rows as lines of JSON: what is written, the same as polars writes, whatever the data hold."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from harness import event_rows as rows
from harness.polars_json import json_lines as polars_json_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from universal_tracer.model.columns import Array, Object, Scalar, Type
from universal_tracer.model.events import ENDPOINT, EVENT_TYPES
from universal_tracer.model.schema import schema
from universal_tracer.system import json_lines as module
from universal_tracer.system.json_lines import json_lines

GOLDEN = (
    '{"type":"http","timestamp":"2025-11-25T03:06:40.123456Z","timestamp_ns":1764040000123456000,"host":null,'
    '"pid":4242,"tid":4243,"comm":"nginx","service":null,"container":null,"protocol":"HTTP/1.1","role":"server",'
    '"method":"GET","path":"/users/7","query":"page=2","route":"/users/{id}","authority":"localhost:8080",'
    '"status":200,"latency_ms":1.5,"ttfb_ms":1.25,"request_bytes":78,"response_bytes":238,"streaming":false,'
    '"tls":null,"local":{"address":"127.0.0.1","port":8080},"peer":{"address":"127.0.0.1","port":40000},'
    '"connection_id":"1f-2","request_id":"1f-2-1","trace_id":null,"span_id":null,"parent_span_id":null,'
    '"request_headers":[{"name":"Host","value":"localhost:8080"}],'
    '"response_headers":[{"name":"Server","value":"nginx"},{"name":"Set-Cookie","value":"***"}],'
    '"request_body":null,"response_body":null,"user_agent":"curl/8.5","content_type":"text/plain",'
    '"error":null,"breakdown":null,"tcp":{"rtt_us":25,"retransmits":0}}\n'
)


def text(frame: pl.DataFrame) -> str:
    return b"".join(json_lines(frame)).decode()


def endpoints(*peers: dict[str, Any] | None) -> list[Any]:
    frame = rows.shaped("http", *[rows.REQUEST | {"local": None, "peer": peer} for peer in peers])
    lines = text(frame).splitlines()
    assert all(json.loads(line)["local"] is None for line in lines)
    return [json.loads(line)["peer"] for line in lines]


def test_a_request_reads_as_promised() -> None:
    assert text(rows.shaped("http", rows.REQUEST)) == GOLDEN


def test_no_rows_are_no_text() -> None:
    assert text(rows.shaped("http")) == ""


TCP = {"address": "127.0.0.1", "port": 40_000}
UNIX = {"path": "/run/app.sock"}
NOTHING = {"address": None, "port": None, "path": None}


def test_tcp_endpoints_have_address_and_port_only() -> None:
    assert endpoints(rows.TCP_PEER, rows.TCP_PEER) == [TCP, TCP]


def test_unix_endpoints_have_a_path_only() -> None:
    assert endpoints(rows.UNIX_PEER, rows.UNIX_PEER) == [UNIX, UNIX]


def test_unknown_endpoints_are_null() -> None:
    assert endpoints(None, None) == [None, None]
    assert endpoints(None, rows.TCP_PEER) == [None, TCP]
    assert endpoints(rows.UNIX_PEER, None) == [UNIX, None]
    assert endpoints(NOTHING) == [None]


def test_mixed_endpoints_have_what_applies() -> None:
    assert endpoints(rows.TCP_PEER, rows.UNIX_PEER, None, NOTHING) == [TCP, UNIX, None, None]


def test_encoding_does_not_change_the_frame() -> None:
    frame = rows.shaped("http", rows.REQUEST)
    before = frame.clone()
    text(frame)
    assert frame.equals(before)
    assert frame.schema == before.schema


def test_chunks_hold_whole_lines() -> None:
    count = 2 * module.ROWS_PER_CHUNK + 1
    chunks = list(json_lines(rows.shaped("loss", *[rows.LOSS] * count)))
    assert [chunk.count(b"\n") for chunk in chunks] == [module.ROWS_PER_CHUNK, module.ROWS_PER_CHUNK, 1]
    assert all(chunk.endswith(b"\n") for chunk in chunks)


# Texts made of what the editing looks for, and of anything else.
tricky = (
    st.lists(
        st.sampled_from(
            [
                ',"path":null}',
                '"address":null,"port":null,',
                '"',
                "\\",
                ",",
                "null}",
                "\n",
                "\x00",
                "é",
                "\u2028",
            ]
        )
    ).map("".join)
    | st.text()
)
peers = (
    st.none()
    | st.sampled_from([rows.TCP_PEER, rows.UNIX_PEER, NOTHING])
    | tricky.map(lambda path: {"address": None, "port": None, "path": path})
)


def whole_numbers(name: str) -> st.SearchStrategy[int]:
    """Of a data type of this name, such as `UInt16`."""
    bits = int(name.removeprefix("U").removeprefix("Int"))
    if name.startswith("U"):
        return st.integers(0, 2**bits - 1)
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def values_of(described: Type) -> st.SearchStrategy[Any]:
    """Anything that a column of this type may hold."""
    if described == ENDPOINT:
        known: st.SearchStrategy[Any] = st.sampled_from([rows.TCP_PEER, rows.UNIX_PEER, NOTHING])
    elif isinstance(described, Object):
        known = st.fixed_dictionaries({member.name: values_of(member.type) for member in described.members})
    elif isinstance(described, Array):
        known = st.lists(values_of(described.item), max_size=3)
    elif described is Scalar.TEXT:
        known = tricky
    elif described is Scalar.BOOLEAN:
        known = st.booleans()
    elif described is Scalar.FLOAT64:
        known = st.floats() | st.integers(-(10**18), 10**18).map(lambda whole: whole / 1000)
    else:
        known = whole_numbers(described.value)
    return st.none() | known


@pytest.mark.parametrize("event_type", EVENT_TYPES)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_the_text_is_what_polars_writes(event_type: str, data: st.DataObject) -> None:
    columns = {column.name: values_of(column.type) for column in EVENT_TYPES[event_type].columns}
    count = data.draw(st.integers(1, 5))
    drawn = {
        name: data.draw(st.lists(kind, min_size=count, max_size=count)) for name, kind in columns.items()
    }
    frame = pl.DataFrame(drawn, schema=schema(event_type))
    assert text(frame) == b"".join(polars_json_lines(frame)).decode()
    assert text(frame[1:]) == b"".join(polars_json_lines(frame[1:])).decode()
    apart = pl.concat([frame, frame[-1:]], rechunk=False)
    assert text(apart) == text(frame) + text(frame[-1:])


def test_columns_of_other_kinds() -> None:
    frame = pl.DataFrame(
        {
            "short": pl.Series([1.5, 1e30, None], dtype=pl.Float32),
            "small": pl.Series([-128, 127, None], dtype=pl.Int8),
            "local": [1, 2, 3],
            "nested": [[[1, None], []], None, [None]],
        }
    )
    assert text(frame) == frame.write_ndjson()


def test_a_kind_that_no_event_has_is_refused() -> None:
    with pytest.raises(ValueError, match="as JSON"):
        text(pl.DataFrame({"at": [1]}).cast(pl.Duration))


@given(st.lists(st.tuples(st.none() | tricky, tricky, peers, peers), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_data_comes_through_whatever_it_holds(events: list[tuple[Any, ...]]) -> None:
    made = [
        rows.REQUEST
        | {"path": path, "request_headers": [{"name": value, "value": value}], "local": local, "peer": peer}
        for path, value, local, peer in events
    ]
    lines = text(rows.shaped("http", *made)).split("\n")
    assert lines.pop() == ""
    for event, line in zip(made, lines, strict=True):
        read = json.loads(line)
        assert read["path"] == event["path"]
        assert read["request_headers"] == event["request_headers"]
        for name in ("local", "peer"):
            known = {key: value for key, value in (event[name] or {}).items() if value is not None}
            assert read[name] == (known or None)
