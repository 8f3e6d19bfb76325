"""Figures of processes and of the machine, from made-up files."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from universal_tracer.model.errors import KernelError
from universal_tracer.system.usage import usage

if TYPE_CHECKING:
    from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the monotonic clock, in seconds, to be set."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def process(proc: Path, pid: int, ticks: int, waited_ms: dict[int, int]) -> None:
    """Write what /proc says of a process, half of its *ticks* in the kernel."""
    fields = ["S", "1", *["0"] * 9, str(ticks - ticks // 2), str(ticks // 2), *["0"] * 6, "7"]
    (proc / str(pid)).mkdir(parents=True, exist_ok=True)
    (proc / str(pid) / "stat").write_text(f"{pid} (a) b) {' '.join(fields)}\n")
    for tid, milliseconds in waited_ms.items():
        (proc / str(pid) / "task" / str(tid)).mkdir(parents=True, exist_ok=True)
        (proc / str(pid) / "task" / str(tid) / "schedstat").write_text(f"1 {milliseconds * 1_000_000} 1\n")


def test_processor_time_of_processes_is_in_percent_of_one_cpu(tmp_path: Path, clock: list[float]) -> None:
    process(tmp_path, 1, 5, {})
    process(tmp_path, 2, 1000, {})
    cpu = usage("cpu", lambda: [1, 2, 3], tmp_path)
    assert cpu() == 0
    clock[0] += 2
    process(tmp_path, 1, 5 + 2 * TICKS, {})
    process(tmp_path, 2, 1000 + TICKS, {})
    process(tmp_path, 3, 10**6, {})  # what it did before it came is no matter
    assert cpu() == pytest.approx(150)


def test_processor_time_of_the_machine_is_in_percent_of_all_cpus(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    (tmp_path / "stat").write_text("cpu  10 10 10 9999 9999 10 10 0 0 0\ncpu0 1\n")
    cpu = usage("cpu", None, tmp_path)
    cpu()
    clock[0] += 1
    (tmp_path / "stat").write_text(f"cpu  {10 + 2 * TICKS} 10 10 99999 99999 10 10 0 0 0\ncpu0 1\n")
    assert cpu() == pytest.approx(50)


def test_waiting_is_summed_over_threads(tmp_path: Path, clock: list[float]) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/schedstat").touch()
    process(tmp_path, 1, 0, {1: 100, 11: 0})
    waited = usage("runqueue_ms", lambda: [1, 9], tmp_path)
    waited()
    clock[0] += 1
    process(tmp_path, 1, 0, {1: 130, 11: 25, 12: 999})
    assert waited() == pytest.approx(55)


@pytest.mark.parametrize("has_total", [True, False])
def test_waiting_of_the_machine(tmp_path: Path, clock: list[float], has_total: bool) -> None:
    """Of the CPUs where the kernel sums it up, else of all processes."""

    def write(milliseconds: int) -> None:
        process(tmp_path, 1, 0, {1: milliseconds})
        if has_total:
            text = f"version 15\ncpu0 0 0 0 0 0 0 5 {milliseconds * 1_000_000} 5\ndomain0 3 1\n"
            (tmp_path / "schedstat").write_text(text)

    (tmp_path / "self").mkdir()
    (tmp_path / "self/schedstat").touch()
    write(5)
    waited = usage("runqueue_ms", None, tmp_path)
    waited()
    clock[0] += 1
    write(45)
    assert waited() == pytest.approx(40)


def test_a_kernel_that_does_not_count_waiting_is_told(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="runqueue_ms cannot be watched"):
        usage("runqueue_ms", None, tmp_path)
