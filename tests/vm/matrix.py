"""Boots every supported kernel, runs the tests in each, and tells how each did.

``python -m vm.matrix`` from the repository's folder; logs and reports go to build/vm/.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from vm import kernels, machine

if TYPE_CHECKING:
    from vm.machine import Outcome

RESULTS = Path("build/vm")
KERNEL_SECONDS = 1800.0
LAST_LINES = 60


def main() -> int:
    """Run the matrix that the command line asks for; 0 when all passed."""
    options = parse()
    RESULTS.mkdir(parents=True, exist_ok=True)
    try:
        found = [kernels.get(name, os.uname().machine) for name in options.kernel or kernels.SUITES]
        failed = run_all(found, options.jobs)
    except kernels.UnavailableError as error:
        print(f"error: no virtual machine can be had\ncause: {error}", file=sys.stderr)
        return 1
    if failed:
        print(f"failed: {' '.join(failed)}; see {RESULTS}/", file=sys.stderr)
    return int(bool(failed))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", action="append", choices=list(kernels.SUITES), help="default: all")
    parser.add_argument("--jobs", type=int, default=2, help="machines at a time, each with one processor")
    return parser.parse_args()


def run_all(found: list[kernels.Kernel], jobs: int) -> list[str]:
    """Run the tests on *found*, *jobs* machines at a time, and return the names of those that failed."""
    failed = []
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(run_one, kernel): kernel for kernel in found}
        for future in as_completed(running):
            kernel, outcome = running[future], future.result()
            tell(kernel, outcome)
            if outcome.exit_code != 0:
                failed.append(kernel.name)
    return failed


def run_one(kernel: kernels.Kernel) -> Outcome:
    """Run the tests on one kernel."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/root"),
        "LANG": "C.UTF-8",
        "CI": os.environ.get("CI", ""),
        "PYTHONPATH": "tests",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TEST_KERNEL": kernel.name,
    }
    command = [sys.executable, "-m", "vm.guest", "/run/vm/report/report.json"]
    outcome = machine.run(kernel, command, environment=environment, seconds=KERNEL_SECONDS)
    left = {"log": outcome.output, "console": outcome.console, "json": outcome.report}
    for suffix, text in left.items():
        (RESULTS / f"{kernel.name}-{kernel.machine}.{suffix}").write_text(text, encoding="utf-8")
    return outcome


def tell(kernel: kernels.Kernel, outcome: Outcome) -> None:
    """Print one line on a kernel, and the end of what it said where it failed."""
    suites = json.loads(outcome.report)["suites"] if outcome.report else []
    counts = ", ".join(f"{suite['suite']} {suite.get('passed', 0)} passed" for suite in suites)
    print(f"Linux {kernel.release}: {outcome.why} in {outcome.seconds:.0f} s ({counts})", flush=True)
    if outcome.exit_code != 0:
        said = outcome.output if outcome.exit_code is not None else outcome.output + outcome.console
        print("\n".join(said.splitlines()[-LAST_LINES:]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
