"""What the tracer says of its own memory."""

from __future__ import annotations

import pytest

from universal_tracer.cli import memory_watch
from universal_tracer.cli.memory_watch import MemoryWatch
from universal_tracer.system.own_cost import give_memory_back, resident_memory_bytes


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    figures = [10_000_000]
    monkeypatch.setattr(memory_watch, "resident_memory_bytes", lambda: figures[0])
    return figures


def test_below_the_limit_it_is_silent(taken: list[int]) -> None:
    said: list[str] = []
    MemoryWatch(taken[0], said.append)(0.0)
    assert said == []


def test_above_the_limit_it_says_so_once(taken: list[int]) -> None:
    said: list[str] = []
    watch = MemoryWatch(9_000_000, said.append)
    for now_s in (0.0, 1.0, 6.0, 12.0):
        watch(now_s)
    (line,) = said
    assert line.startswith("10 MB of memory are in use, limits.memory is 9 MB; ")


def test_what_can_be_given_back_needs_no_word(taken: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_watch, "give_memory_back", lambda: taken.__setitem__(0, 1))
    said: list[str] = []
    MemoryWatch(9_000_000, said.append)(0.0)
    assert said == []


def test_memory_goes_back_to_the_kernel() -> None:
    kept = [bytearray(50_000) for _ in range(2000)]  # below the size that is mapped by itself
    before = resident_memory_bytes()
    last = kept[-1]  # holds the heap's end
    del kept
    give_memory_back()
    after = resident_memory_bytes()
    assert before is not None
    assert after is not None
    assert before - after > 50_000_000, len(last)
