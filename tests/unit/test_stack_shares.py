"""What the end of a run says of its stacks."""

from __future__ import annotations

import polars as pl

from universal_tracer.pipeline.stack_shares import StackShares


def frame(*rows: tuple[str | None, str, int]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"comm": pl.String, "end": pl.String, "count": pl.UInt64}, orient="row")


def test_programs_that_miss_most_are_named() -> None:
    shares = StackShares()
    shares.measure("profile", frame(("a", "complete", 90), ("a", "error", 8), ("b", "complete", 1)))
    shares.measure("profile", frame(("a", "complete", 1), ("c", "truncated", 1), (None, "complete", 899)))
    assert shares.described() == "1,000 samples, 99.1 % complete; less than all of a 91.9 %, c 0 %"


def test_all_of_them_and_none() -> None:
    shares = StackShares()
    assert shares.described() is None
    shares.measure("http", pl.DataFrame({"comm": ["a"]}))
    shares.measure("profile", frame(("a", "complete", 3)))
    assert shares.described() == "3 samples, 100 % complete"


def test_nearly_all_is_not_all_and_a_long_list_is_cut() -> None:
    shares = StackShares()
    rows = [(f"p{number}", "error", 1) for number in range(7)]
    shares.measure("profile", frame(*rows, ("p0", "complete", 99_999)))
    told = shares.described()
    assert told is not None
    assert told.startswith("100,006 samples, 99.9 % complete; less than all of p0 99.9 %, p1 0 %, p2")
    assert told.endswith("p4 0 %, 2 more programs")


def test_the_number_of_programs_is_bounded() -> None:
    shares = StackShares()
    shares.measure("profile", frame(*((f"p{number}", "complete", 1) for number in range(10_000))))
    assert shares.described() == "10,000 samples, 100 % complete"
