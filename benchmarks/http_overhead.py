"""What HTTP tracing costs: nginx and wrk at saturation on this machine, traced and untraced in turns.

    .venv/bin/python benchmarks/http_overhead.py [--pairs 5] [--seconds 3] [--connections 64]

nginx answers ``return 200``, the smallest work a server can do for a request, so that the tracer's share is
as large as it gets. Both ends are traced: each request is seen four times, once per send and receive. A
pair is one run without and one with the tracer, right after each other and in changing order; the figure is
the median of the pairs' ratios, so that what changes on the machine in the meantime cancels out. Where others
use the machine, look at the processor time: a request's without the tracer, over a request's with it and
the tracer's own. Needs root, nginx, wrk and bpftool.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness.processes import APPS, ProcessTree  # noqa: E402  # the tests' harness starts and ends processes
from harness.programs import Service, start_nginx  # noqa: E402
from harness.tracer import kernel_objects_of, tracer_environment  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMMAND = REPOSITORY / ".venv" / "bin" / "universal-tracer"
BPF_STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")
CATCH_UP_SECONDS = 1.0
IDLE_SECONDS = 10.0
HELP_RUNS = 11
FIRST_EVENT_RUNS = 5
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """One run of wrk: requests a second, nginx' and wrk's processor time, latency percentiles in µs."""

    per_second: float
    cpu_us: float  # per request
    p50_us: float
    p99_us: float


@dataclass(frozen=True)
class Traced:
    """One run of wrk under the tracer."""

    load: Load
    served: int
    told: int
    lost: int
    cpu_seconds: float
    peak_memory_mb: float
    bpf_ns: int

    @property
    def unaccounted(self) -> int:
        """Requests, of both ends, that were neither told nor counted as lost; 0 when the books balance."""
        return 2 * self.served - self.told - self.lost


@dataclass(frozen=True)
class Variant:
    """A way to run the tracer; *sampled* when it is not to tell every request."""

    name: str
    arguments: Sequence[str]
    sampled: bool = False


class Bench:
    """nginx and wrk in one process tree, which the tracer is told to trace."""

    def __init__(self, tree: ProcessTree, directory: Path, options: argparse.Namespace) -> None:
        self.tree = tree
        self.directory = directory
        self.options = options
        self.nginx: Service = start_nginx(tree)

    def served(self) -> int:
        """Return nginx's count of requests, this one included."""
        url = f"http://127.0.0.1:{self.nginx.port}/served"
        figures = subprocess.run(["curl", "-sS", url], capture_output=True, text=True, check=True)
        return int(figures.stdout.splitlines()[2].split()[2])

    def load(self) -> Load:
        """Run wrk once."""
        words = ["wrk", "--latency", "-t2", f"-c{self.options.connections}", f"-d{self.options.seconds}s"]
        started_cpu = family_cpu_seconds(self.tree.pid)
        text = self.tree.spawn([*words, f"http://127.0.0.1:{self.nginx.port}/echo/"]).succeed()
        used_cpu = family_cpu_seconds(self.tree.pid) - started_cpu
        per_second = float(found_in(text, r"Requests/sec:\s+([\d.]+)")[1])
        requests = int(found_in(text, r"(\d+) requests in")[1])
        return Load(per_second, used_cpu / requests * 1e6, percentile_us(text, 50), percentile_us(text, 99))

    def traced_load(self, variant: Variant) -> Traced:
        """Run wrk once under the tracer."""
        arguments = [word.format(directory=self.directory) for word in variant.arguments]
        talk = self.directory / "talk"
        # nginx counts before and after the tracer's time, so that the tracer does not see the counting.
        before = self.served()
        with talk.open("w") as file:
            process = subprocess.Popen(
                [COMMAND, "--tracer", "http", "--pid", str(self.tree.pid), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                env=tracer_environment(),
            )
            await_start(process, talk)
            started_cpu = cpu_seconds(process.pid)
            load = self.load()
            # What the tracer still has to tell after the load is part of its cost.
            time.sleep(CATCH_UP_SECONDS)
            used_cpu = cpu_seconds(process.pid) - started_cpu
            bpf_ns = bpf_time_ns(process.pid)
            peak = peak_memory_mb(process.pid)
            process.terminate()
            process.wait()
        said = talk.read_text(encoding="utf-8")
        if process.returncode:
            sys.exit(f"the tracer ended with {process.returncode}:\n{said}")
        told, lost = counts_of(said)
        served = self.served() - before - 1
        return Traced(load, served, told, lost, used_cpu, peak, bpf_ns)


def found_in(text: str, pattern: str) -> re.Match[str]:
    """Find *pattern* in what a program has said, or end."""
    found = re.search(pattern, text)
    if found is None:
        sys.exit(f"no {pattern} in:\n{text}")
    return found


def percentile_us(text: str, percent: int) -> float:
    """Read one of wrk's latency percentiles."""
    found = found_in(text, rf"{percent}%\s+([\d.]+)(us|ms|s)\b")
    return float(found[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[found[2]]


def await_start(process: subprocess.Popen[bytes], talk: Path) -> None:
    """Wait until the tracer says that everything is attached."""
    while "tracing:" not in talk.read_text(encoding="utf-8"):
        if process.poll() is not None:
            sys.exit(f"the tracer did not start:\n{talk.read_text(encoding='utf-8')}")
        time.sleep(0.01)


def counts_of(said: str) -> tuple[int, int]:
    """Read from the tracer's summary how many requests it told and how many it lost."""
    summary = next(line for line in said.splitlines() if line.startswith("summary:"))
    told = re.search(r"\bhttp ([\d,]+)[,)]", summary)
    lost = re.search(r"lost: ([\d,]+) ", summary)
    return as_count(told), as_count(lost)


def as_count(found: re.Match[str] | None) -> int:
    """Turn ``12,345`` into a number; nothing found is none."""
    return int(found[1].replace(",", "")) if found else 0


def cpu_seconds(pid: int) -> float:
    """Return the processor time that *pid* has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def family_cpu_seconds(pid: int) -> float:
    """Return the processor time that *pid*, its ended children and its living descendants have used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    own = sum(int(field) for field in fields[11:15]) / TICKS_PER_SECOND
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return own + sum(family_cpu_seconds(int(child)) for child in children)


def peak_memory_mb(pid: int) -> float:
    """Return the most memory that *pid* has held resident."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def bpf_time_ns(pid: int) -> int:
    """Return how long the programs that *pid* holds have run; 0 while the kernel does not count."""
    own = kernel_objects_of(pid)["prog"]
    shown = json.loads(
        subprocess.run(["bpftool", "prog", "show", "-j"], capture_output=True, check=True).stdout
    )
    return sum(int(program.get("run_time_ns", 0)) for program in shown if program["id"] in own)


def bpf_ns_per_request(bench: Bench, variant: Variant) -> float:
    """Measure the kernel programs' time per request (both ends) in a run of its own: counting costs, too."""
    before = BPF_STATISTICS.read_text(encoding="ascii")
    BPF_STATISTICS.write_text("1", encoding="ascii")
    try:
        run = bench.traced_load(variant)
    finally:
        BPF_STATISTICS.write_text(before, encoding="ascii")
    return run.bpf_ns / run.served


def pairs(bench: Bench, variant: Variant, count: int) -> Iterator[tuple[Load, Traced]]:
    """Yield *count* pairs of an untraced and a traced run, in changing order."""
    for number in range(count):
        if number % 2:
            traced = bench.traced_load(variant)
            yield bench.load(), traced
        else:
            plain = bench.load()
            yield plain, bench.traced_load(variant)


def report_variant(bench: Bench, variant: Variant, count: int) -> None:
    """Measure *variant* and print its row."""
    measured = list(pairs(bench, variant, count))
    kept = [traced.load.per_second / plain.per_second for plain, traced in measured]
    runs = [traced for _, traced in measured]
    by_cpu = [
        plain.cpu_us / (traced.load.cpu_us + traced.cpu_seconds / traced.served * 1e6)
        for plain, traced in measured
    ]
    balance = "sampled" if variant.sampled else ", ".join(sorted({f"{run.unaccounted}" for run in runs}))
    lost_share = statistics.median(run.lost / (2 * run.served) for run in runs)
    row = [
        variant.name,
        f"{statistics.median(plain.per_second for plain, _ in measured):,.0f}",
        f"{statistics.median(run.load.per_second for run in runs):,.0f}",
        f"{statistics.median(kept):.1%} ({min(kept):.1%} to {max(kept):.1%})",
        f"{statistics.median(by_cpu):.1%}",
        f"{statistics.median(plain.cpu_us for plain, _ in measured):.1f}",
        f"{statistics.median(run.load.cpu_us for run in runs):.1f}",
        f"{statistics.median(traced.load.p99_us / plain.p99_us for plain, traced in measured):.2f}",
        f"{lost_share:.2%}",
        balance,
        f"{statistics.median(run.cpu_seconds / run.served * 1e6 for run in runs):.2f}",
        f"{bpf_ns_per_request(bench, variant) / 1e3:.2f}",
        f"{max(run.peak_memory_mb for run in runs):.0f}",
    ]
    print("| " + " | ".join(row) + " |", flush=True)


HEADER = (
    "| output | untraced, requests/s | traced, requests/s | kept: median (range) | kept by processor time "
    "| untraced CPU, µs/request | traced CPU, µs/request | p99 ratio | lost "
    "| neither told nor lost | tracer CPU, µs/request | BPF, µs/request | peak memory, MB |"
)


def report_idle(bench: Bench) -> None:
    """Print what the tracer uses while nothing happens."""
    words = [str(COMMAND), "--tracer", "http", "--pid", str(bench.tree.pid), "--output-format", "none"]
    talk = bench.directory / "talk-idle"
    with talk.open("w") as file:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=file, env=tracer_environment())
        await_start(process, talk)
        time.sleep(1)
        before = cpu_seconds(process.pid)
        time.sleep(IDLE_SECONDS)
        used = cpu_seconds(process.pid) - before
        memory = peak_memory_mb(process.pid)
        process.terminate()
        process.wait()
    print(f"\nIdle: {used / IDLE_SECONDS:.2%} of a core, {memory:.0f} MB.")


def report_start() -> None:
    """Print how long a user waits for help and for the first event."""
    help_ms = []
    for _ in range(HELP_RUNS):
        started = time.monotonic()
        subprocess.run([COMMAND, "--help"], stdout=subprocess.DEVNULL, check=True)
        help_ms.append((time.monotonic() - started) * 1e3)
    first_ms = [first_event_ms() for _ in range(FIRST_EVENT_RUNS)]
    print(f"`--help`: {statistics.median(help_ms):.0f} ms (median of {HELP_RUNS}).")
    print(
        f"First event after the start: {statistics.median(first_ms):.0f} ms (median of {FIRST_EVENT_RUNS})."
    )


def first_event_ms() -> float:
    """Measure the time from the start of the tracer to its first event of a command that talks at once."""
    words = [str(COMMAND), "--tracer", "http", "--output-format", "ndjson"]
    words += ["--", sys.executable, str(APPS / "traffic.py"), "--forever"]
    started = time.monotonic()
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    stdout = process.stdout or sys.exit("no pipe")
    for line in stdout:
        if b'"http"' in line:
            break
    waited = (time.monotonic() - started) * 1e3
    process.terminate()
    stdout.close()
    process.wait()
    return waited


def machine() -> str:
    """Describe where this was measured."""
    information = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"model name\s+: (.*)", information)
    release = os.uname().release
    return f"{os.cpu_count()} CPUs ({model[1].strip() if model else os.uname().machine}), Linux {release}"


def variants(names: Sequence[str]) -> list[Variant]:
    """Return the variants that are asked for."""
    known = {
        "none": Variant("none", ["--output-format", "none"]),
        "ndjson": Variant(".ndjson file", ["--output", "{directory}/events.ndjson"]),
        "sampled": Variant(
            "none, `--http-sampling-rate 0.1`",
            ["--output-format", "none", "--http-sampling-rate", "0.1"],
            sampled=True,
        ),
    }
    return [known[name] for name in names]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--variants", nargs="+", default=["none", "ndjson", "sampled"])
    parser.add_argument("--no-idle", action="store_true", help="leave out idle cost and start-up")
    options = parser.parse_args()
    for needed in ("nginx", "wrk", "curl", "bpftool"):
        if shutil.which(needed) is None:
            sys.exit(f"needs {needed}")
    print(f"{machine()}; {options.pairs} pairs of {options.seconds} s, {options.connections} connections.\n")
    with tempfile.TemporaryDirectory() as name, ProcessTree(Path(name)) as tree:
        bench = Bench(tree, Path(name), options)
        bench.load()  # warms nginx, wrk and the caches; not counted
        print(HEADER)
        print("|" + " --- |" * HEADER.count(" |"))
        for variant in variants(options.variants):
            report_variant(bench, variant, options.pairs)
        if not options.no_idle:
            report_idle(bench)
            report_start()


if __name__ == "__main__":
    main()
