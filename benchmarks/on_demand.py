"""What waiting for a trigger costs: the tracer on demand beside programs that compute, and nothing fires.

    .venv/bin/python benchmarks/on_demand.py [--rounds 3] [--seconds 20]

Measured are the processor time of the tracer's threads (/proc/PID/task/*/schedstat) and the time in its
kernel programs, in percent of one core, once it waits. Each round runs every variant once, in turns, with one
and with several programs that compute all the time; the figure is the median of the rounds. Where others use
the machine the programs get less of it, and fewer samples are taken: the last column says how many of the 99
a second for each of the machine's CPUs were due. Needs root.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness.captures import compiled, running  # noqa: E402  # the tests' harness starts and ends processes
from harness.tracer import Tracer  # noqa: E402

BPF_STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")
HZ = 99
PROGRAMS = (1, 4)
# What a start leaves to do: names for the terminal's footer, tables of programs that were just mapped.
SETTLE_SECONDS = 2.0
VARIANTS = {
    "on demand, SIGUSR1": ["--mode", "on-demand"],
    "on demand, cpu>100000% OR runqueue_ms>1000000": ["--trigger", "cpu>100000% OR runqueue_ms>1000000"],
    "on demand, http.latency_ms>500": ["--trigger", "http.latency_ms>500"],
    "sampling, into a flame graph": ["--output", "flamegraph.svg"],
}


@dataclass(frozen=True)
class Reading:
    """Seconds so far: of the tracer's threads, of its kernel programs, of the traced programs."""

    at: float
    threads: float
    kernel: float
    traced: float

    def since(self, before: Reading) -> Cost:
        """Return what came in between."""
        elapsed = self.at - before.at
        return Cost(
            100 * (self.threads - before.threads) / elapsed,
            100 * (self.kernel - before.kernel) / elapsed,
            HZ * (self.traced - before.traced) / elapsed,
        )


@dataclass(frozen=True)
class Cost:
    """In percent of one core, and the samples that were due in a second."""

    threads: float
    kernel: float
    samples: float


def thread_seconds(pid: int) -> float:
    """Return the processor time of all threads."""
    texts = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(text.split()[0]) for text in texts) / 1e9


def kernel_seconds(pid: int) -> float:
    """Return the time in the programs that a process holds."""
    times = {}
    for file in Path(f"/proc/{pid}/fdinfo").iterdir():
        fields = dict(re.findall(r"^(prog_id|run_time_ns):\s*(\d+)", file.read_text(), re.MULTILINE))
        if "run_time_ns" in fields:
            times[fields["prog_id"]] = int(fields["run_time_ns"]) / 1e9
    return sum(times.values())


def read(tracer: int, traced: list[int]) -> Reading:
    """Read everything once."""
    return Reading(
        time.monotonic(), thread_seconds(tracer), kernel_seconds(tracer), sum(map(thread_seconds, traced))
    )


def measure(program: Path, count: int, arguments: list[str], seconds: float, place: Path) -> Cost:
    """Run one variant beside *count* programs."""
    with ExitStack() as stack:
        pids = [stack.enter_context(running(program, "early")).pid for _ in range(count)]
        whom = [word for pid in pids for word in ("--pid", str(pid))]
        words = ["--tracer", "stack", "--output-format", "none", *arguments, *whom]
        tracer = stack.enter_context(Tracer(*words, cwd=place))
        time.sleep(SETTLE_SECONDS)
        before = read(tracer.pid, pids)
        time.sleep(seconds)
        cost = read(tracer.pid, pids).since(before)
        tracer.stop()
    return cost


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    costs: dict[tuple[str, int], list[Cost]] = {}
    was = BPF_STATISTICS.read_text()
    BPF_STATISTICS.write_text("1")
    try:
        with tempfile.TemporaryDirectory() as place:
            program = compiled("phases", Path(place))
            for _ in range(options.rounds):
                for count in PROGRAMS:
                    for name, arguments in VARIANTS.items():
                        cost = measure(program, count, arguments, options.seconds, Path(place))
                        costs.setdefault((name, count), []).append(cost)
    finally:
        BPF_STATISTICS.write_text(was)
    print_table(costs)


def print_table(costs: dict[tuple[str, int], list[Cost]]) -> None:
    """Print a row for each variant and number of programs."""
    cpus = os.cpu_count() or 1
    print("| variant | programs | threads, % of a core | kernel, % | together: median (range) | samples |")
    print("|---|---|---|---|---|---|")
    for (name, count), found in costs.items():
        sums = [cost.threads + cost.kernel for cost in found]
        threads = statistics.median(cost.threads for cost in found)
        kernel = statistics.median(cost.kernel for cost in found)
        samples = statistics.median(cost.samples for cost in found)
        print(
            f"| {name} | {count} | {threads:.3f} | {kernel:.3f} | {statistics.median(sums):.3f} "
            f"({min(sums):.3f} to {max(sums):.3f}) | {samples:.0f} of {HZ * min(count, cpus)} |"
        )


if __name__ == "__main__":
    main()
