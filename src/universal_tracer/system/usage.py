"""How much processor time processes use, and how long they wait for it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from universal_tracer.model.errors import KernelError
from universal_tracer.system.procfs import PROC, pids, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    Pids = Callable[[], Sequence[int]] | None
    """Gives the processes that count; None: the whole machine."""

CPU: Final = "cpu"
RUN_QUEUE: Final = "runqueue_ms"
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
# Of /proc/PID/stat behind the name: time in the program and in the kernel, in ticks.
_UTIME, _STIME, _START = 11, 12, 19
# Of a line of /proc/schedstat: time that its CPU's threads have waited, in ns.
_WAITED: Final = 8


class Rate:
    """How fast totals grow, summed up; one that is seen for the first time counts from then on."""

    def __init__(self, totals: Callable[[], dict[object, float]]) -> None:
        """`totals` gives what only grows, by what it belongs to."""
        self._totals = totals
        self._before: dict[object, float] = {}
        self._at_s = 0.0

    def __call__(self) -> float:
        """Growth a second since the last call; 0 the first time."""
        now_s, before_s = time.monotonic(), self._at_s
        now, before = self._totals(), self._before
        self._before, self._at_s = now, now_s
        grown = sum(max(0.0, total - before[key]) for key, total in now.items() if key in before)
        return grown / (now_s - before_s) if before else 0.0


def usage(name: str, targets: Pids, proc: Path = PROC) -> Callable[[], float]:
    """`cpu`: percent of a CPU (the machine: of all CPUs); `runqueue_ms`: ms that all threads waited a second.

    Raises KernelError where the kernel does not count it.
    """
    if name == CPU:
        return _cpu(targets, proc)
    if not (proc / "self/schedstat").exists():
        raise KernelError(
            "runqueue_ms cannot be watched",
            cause="the kernel does not count how long threads wait: /proc/self/schedstat is missing",
            hint="boot a kernel with CONFIG_SCHED_INFO=y, or use cpu>80% instead",
        )
    return _run_queue(targets, proc)


def _cpu(targets: Pids, proc: Path) -> Callable[[], float]:
    if targets is None:
        share = Rate(lambda: _machine_seconds(proc))
        cpus = os.cpu_count() or 1
        return lambda: 100 * share() / cpus
    seconds = Rate(lambda: dict(_cpu_seconds(targets(), proc)))
    return lambda: 100 * seconds()


def _machine_seconds(proc: Path) -> dict[object, float]:
    line = (read_text(proc / "stat") or "").partition("\n")[0]
    user, nice, system, _idle, _iowait, *interrupts = [int(word) for word in line.split()[1:8]]
    return {"machine": (user + nice + system + sum(interrupts)) / _TICKS_PER_S}


def _cpu_seconds(of: Iterable[int], proc: Path) -> Iterator[tuple[object, float]]:
    for pid in of:
        text = read_text(proc / str(pid) / "stat")
        if text:
            fields = text.rpartition(")")[2].split()
            ticks = int(fields[_UTIME]) + int(fields[_STIME])
            yield (pid, fields[_START]), ticks / _TICKS_PER_S


def _run_queue(targets: Pids, proc: Path) -> Callable[[], float]:
    if targets is not None:
        return Rate(lambda: dict(_waited_ms(targets(), proc)))
    if (proc / "schedstat").exists():
        return Rate(lambda: _machine_waited_ms(proc))
    return Rate(lambda: dict(_waited_ms(pids(proc), proc)))


def _machine_waited_ms(proc: Path) -> dict[object, float]:
    lines = [line.split() for line in (read_text(proc / "schedstat") or "").splitlines()]
    return {words[0]: int(words[_WAITED]) / 1e6 for words in lines if words and words[0].startswith("cpu")}


def _waited_ms(of: Iterable[int], proc: Path) -> Iterator[tuple[object, float]]:
    """By thread."""
    for pid in of:
        with suppress(OSError):  # it has ended
            for thread in (proc / str(pid) / "task").iterdir():
                text = read_text(thread / "schedstat")
                if text:
                    yield thread, int(text.split()[1]) / 1e6
