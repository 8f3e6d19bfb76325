"""What each way to reach sockets costs, compared on one kernel: ratios of runs that follow each other.

    .venv/bin/python benchmarks/adapters.py [--rounds 9] [--count 5000]

A program does HTTP exchanges with itself and calls that have nothing to do with sockets, untraced and traced
by each adapter that the kernel takes. Every round tries all of them in changing order; the figure is the
median of the rounds' ratios to the untraced run. Times of an emulated processor mean nothing, ratios of them
a little. Needs root and gcc.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from universal_tracer.cli.http_settings import http_settings
from universal_tracer.cli.targets import Targets
from universal_tracer.config.tree import Config

HERE = Path(__file__).resolve().parent
UNTRACED, ADAPTERS = "untraced", ("hooks", "sys_exit")
SWITCH = "UNIVERSAL_TRACER_ADAPTERS"

Times = tuple[float, float]


def main() -> None:
    """Print a line for each adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--count", type=int, default=5000)
    options = parser.parse_args()
    ratios: dict[str, list[Times]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "adapters"
        subprocess.run(["gcc", "-O2", "-pthread", "-o", program, HERE / "adapters.c"], check=True)
        ways = [UNTRACED, *(adapter for adapter in ADAPTERS if works(adapter))]
        for number in range(options.rounds):
            turn = number % len(ways)
            times = {way: measure(program, way, options.count) for way in ways[turn:] + ways[:turn]}
            for way, (exchange, other) in times.items():
                ratios[way].append((exchange / times[UNTRACED][0], other / times[UNTRACED][1]))
    what = f"Linux {os.uname().release}, {options.rounds} rounds of {options.count}"
    print(f"{what}: times the untraced run, median (range)")
    for way, both in ratios.items():
        exchanges, others = zip(*both, strict=True)
        print(f"{way}: an exchange {spread(exchanges)}, a call that is none {spread(others)}")


def spread(ratios: tuple[float, ...]) -> str:
    """Return the median and the range of *ratios*."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def session(adapter: str, *pids: int) -> Any:
    """Return an HTTP session on *pids* that reaches sockets by *adapter*."""
    os.environ[SWITCH] = f"sockets={adapter}"
    native = import_module("universal_tracer._native")
    return native.HttpSession({**http_settings(Config(), Targets()), "filter": True, "pids": list(pids)})


def works(adapter: str) -> bool:
    """Tell whether this kernel takes *adapter*."""
    try:
        tried = session(adapter)
        tried.attach()
        tried.close()
    except import_module("universal_tracer._native").NativeError:
        return False
    return True


def measure(program: Path, way: str, count: int) -> Times:
    """Run the program once; return the nanoseconds of an exchange, and of another call."""
    with ExitStack() as stack:
        command = [program, str(count)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(process.wait)
        stack.callback(process.kill)
        if way != UNTRACED:
            tracer = session(way, process.pid)
            tracer.attach()
            stack.callback(tracer.close)
        told, _ = process.communicate("\n")
        exchange, other = told.split()
        return float(exchange), float(other)


if __name__ == "__main__":
    main()
