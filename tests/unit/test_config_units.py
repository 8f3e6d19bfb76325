"""Durations and sizes as users write them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from universal_tracer.config.units import ByteSize, Duration


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("500ms", 500_000_000),
        ("1m30s", 90_000_000_000),
        ("1.5h", 5_400_000_000_000),
        (".5s", 500_000_000),
        ("100us", 100_000),
        ("100µs", 100_000),
        ("7d", 604_800_000_000_000),
        ("0s", 0),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text: str, nanoseconds: int) -> None:
    assert Duration.parse(text).nanoseconds == nanoseconds


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5 s", "-5s", "5x", "1m30", "\u0661s", "5s\n", "1e3s", "9" * 30 + "s"]
)
def test_what_lacks_a_unit_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1MB", 10**6),
        ("1MiB", 2**20),
        ("10 GB", 10**10),
        ("64", 64),
        ("1.5KiB", 1536),
        ("2kB", 2000),
        ("0B", 0),
    ],
)
def test_a_size_has_decimal_or_binary_units(text: str, size: int) -> None:
    assert ByteSize.parse(text).bytes == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "1 M", "1mb", "1e6", "1MB "])
def test_an_unknown_unit_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        ByteSize.parse(text)


@given(st.integers(min_value=0, max_value=10**18))
def test_what_is_written_is_read_back(amount: int) -> None:
    assert Duration.parse(str(Duration(amount))) == Duration(amount)
    assert ByteSize.parse(str(ByteSize(amount))) == ByteSize(amount)


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    for unit in (Duration, ByteSize):
        with suppress(ValueError):
            assert unit.parse(text).amount >= 0


def test_the_spelling_of_the_user_is_kept() -> None:
    assert str(Duration.parse("300s")) == "300s"
    assert str(Duration(300_000_000_000)) == "5m"
    assert str(ByteSize(1_500_000)) == "1500KB"
    assert repr(Duration.parse("1s")) == "Duration.parse('1s')"
