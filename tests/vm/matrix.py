"""Boots every supported kernel, runs the tests in each, and tells how each did.

``python -m vm.matrix`` from the repository's folder; logs and reports go to build/vm/.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from vm import kernels, machine
from vm.guest import PLUGINS, marked_files

if TYPE_CHECKING:
    from vm.machine import Outcome

RESULTS = Path("build/vm")
# Ten times what a kernel takes on a machine that does nothing else.
KERNEL_SECONDS = 2400.0
LAST_LINES = 60


def main() -> int:
    """Run the matrix that the command line asks for; 0 when all passed."""
    options = parse()
    RESULTS.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    try:
        found = [kernels.get(name, os.uname().machine) for name in options.kernel or kernels.SUITES]
        compile_tests()
        failed = run_all(found, options)
    except kernels.UnavailableError as error:
        print(f"error: no virtual machine can be had\ncause: {error}", file=sys.stderr)
        return 1
    count = len(found) - len(failed)
    print(f"{count} of {len(found)} kernels passed in {time.monotonic() - began:.0f} s", flush=True)
    if failed:
        print(f"failed: {' '.join(failed)}; see {RESULTS}/", file=sys.stderr)
    return int(bool(failed))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", action="append", choices=list(kernels.SUITES), help="default: all")
    parser.add_argument("--jobs", type=int, default=2, help="machines at a time, each with one processor")
    parser.add_argument("--limit", type=float, default=KERNEL_SECONDS, help="seconds that a kernel may take")
    parser.add_argument("--select", default="", help="only the tests that pytest -k chooses by this")
    return parser.parse_args()


def compile_tests() -> None:
    """Leave compiled tests beside the sources: guests can only read them, and are slow to compile.

    Raises:
        UnavailableError: where the tests cannot even be collected.
    """
    command = [sys.executable, "-m", "pytest", *PLUGINS, "--collect-only", "-q", "-m", "vm", *marked_files()]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TEST_KERNEL": "none"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        message = f"the tests cannot be collected\n{done.stdout}"
        raise kernels.UnavailableError(message)


def run_all(found: list[kernels.Kernel], options: argparse.Namespace) -> list[str]:
    """Run the tests on *found*, several machines at a time, and return the names of those that failed."""
    failed = []
    with ThreadPoolExecutor(options.jobs) as pool:
        running = {pool.submit(run_one, kernel, options.limit, options.select): kernel for kernel in found}
        for future in as_completed(running):
            kernel, outcome = running[future], future.result()
            tell(kernel, outcome)
            if outcome.exit_code != 0:
                failed.append(kernel.name)
    return failed


def run_one(kernel: kernels.Kernel, limit: float, select: str) -> Outcome:
    """Run the tests on one kernel."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/root"),
        "LANG": "C.UTF-8",
        # what is not there must not be skipped
        "CI": "true",
        "PYTHONPATH": "tests",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TEST_KERNEL": kernel.name,
    }
    command = [sys.executable, "-m", "vm.guest", "/run/vm/report/report.json", select]
    outcome = machine.run(kernel, command, environment=environment, seconds=limit)
    left = {"log": outcome.output, "console": outcome.console, "json": outcome.report}
    for suffix, text in left.items():
        (RESULTS / f"{kernel.name}-{kernel.machine}.{suffix}").write_text(text, encoding="utf-8")
    return outcome


def tell(kernel: kernels.Kernel, outcome: Outcome) -> None:
    """Print one line on a kernel, and the end of what it said where it failed."""
    tests = json.loads(outcome.report)["tests"] if outcome.report else {}
    counts = f"{tests.get('passed', 0)} passed, {len(tests.get('skipped', []))} skipped"
    print(f"Linux {kernel.release}: {outcome.why} in {outcome.seconds:.0f} s ({counts})", flush=True)
    if outcome.exit_code != 0:
        said = outcome.output if outcome.exit_code is not None else outcome.output + outcome.console
        print("\n".join(said.splitlines()[-LAST_LINES:]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
