"""The described columns, what polars makes of them, and the page about them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from harness import event_rows as rows

from universal_tracer.config.tree import EVENT_TYPES as CONFIGURABLE_EVENT_TYPES
from universal_tracer.model.common import COMMON_COLUMNS
from universal_tracer.model.documentation import events_page
from universal_tracer.model.events import EVENT_TYPES
from universal_tracer.model.schema import schema, shape

if TYPE_CHECKING:
    from universal_tracer.model.columns import EventType

HTTP_COLUMNS = [
    "type",
    "timestamp",
    "timestamp_ns",
    "host",
    "pid",
    "tid",
    "comm",
    "service",
    "container",
    "protocol",
    "role",
    "method",
    "path",
    "query",
    "route",
    "authority",
    "status",
    "latency_ms",
    "ttfb_ms",
    "request_bytes",
    "response_bytes",
    "streaming",
    "tls",
    "local",
    "peer",
    "connection_id",
    "request_id",
    "trace_id",
    "span_id",
    "parent_span_id",
    "request_headers",
    "response_headers",
    "request_body",
    "response_body",
    "user_agent",
    "content_type",
    "error",
    "breakdown",
    "tcp",
]


def test_http_columns_are_the_promised_ones_in_order() -> None:
    assert schema("http").names() == HTTP_COLUMNS


def test_connection_columns_are_the_promised_ones_in_order() -> None:
    expected = [
        "event",
        "role",
        "local",
        "peer",
        "connection_id",
        "duration_ms",
        "sent_bytes",
        "received_bytes",
        "requests",
    ]
    assert schema("connection").names()[len(COMMON_COLUMNS) :] == expected


def test_loss_columns_are_the_promised_ones_in_order() -> None:
    assert schema("loss").names()[len(COMMON_COLUMNS) :] == ["tracer", "where", "count"]


@pytest.mark.parametrize("event", EVENT_TYPES.values(), ids=lambda event: event.name)
def test_units_are_in_the_names(event: EventType) -> None:
    for column in event.columns:
        name_ends_with_unit = column.name.endswith(("_ms", "_us", "_ns", "_bytes"))
        has_unit = name_ends_with_unit or column.name == "bytes"
        assert has_unit == (column.unit is not None), column.name


def test_every_event_type_can_be_configured() -> None:
    assert set(EVENT_TYPES) <= set(CONFIGURABLE_EVENT_TYPES)


def test_documentation_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "EVENTS.md"
    assert page.read_text() == events_page(), (
        "python -m universal_tracer.model.documentation > docs/EVENTS.md"
    )


def test_shape_orders_and_fills() -> None:
    frame = shape("http", rows.requests(2).select(pl.col("status"), pl.col("pid"), pl.col("timestamp_ns")))
    assert frame.schema == schema("http")
    assert frame["type"].to_list() == ["http", "http"]
    assert frame["status"].to_list() == [200, 200]
    assert frame["tls"].null_count() == 2


def test_shape_drops_foreign_columns() -> None:
    frame = shape("loss", rows.native("loss", rows.LOSS).with_columns(foreign=pl.lit(1)))
    assert frame.schema == schema("loss")


def test_shape_converts_types() -> None:
    frame = shape("loss", pl.DataFrame({"count": [3], "where": ["ring_full"]}))
    assert frame.schema == schema("loss")
    assert frame["count"].to_list() == [3]


def test_shape_returns_a_shaped_frame_itself() -> None:
    frame = rows.shaped("http", rows.REQUEST)
    assert shape("http", frame) is frame


def test_shape_does_not_change_its_input() -> None:
    frame = rows.requests()
    before = frame.clone()
    shape("http", frame)
    assert frame.equals(before)
    assert frame.columns == before.columns


def test_shape_of_no_rows() -> None:
    assert shape("http", rows.requests(0)).schema == schema("http")
