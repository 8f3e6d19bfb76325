"""Runs inside a virtual machine: the tests that are marked for it, and a report on what this kernel can do.

``python -m vm.guest REPORT SELECT``; exits with 1 when a test failed, or less was found than must be there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from harness.capability import INSTALLED_COMMAND

from vm import expected

# Those that pytest would load without being asked take seconds of an emulated processor.
PLUGINS = ("-p", "pytest_timeout", "-p", "no:cacheprovider")
TEST_SECONDS = 600
SLOWEST = 15
RESULTS = Path("/run/vm/results.xml")


def marked_files() -> list[str]:
    """Return the files with tests that are marked ``vm``: to import all others takes too long here."""
    files = sorted(Path("tests").rglob("test_*.py"))
    return [str(file) for file in files if "pytest.mark.vm" in file.read_text(encoding="utf-8")]


def run_tests(select: str) -> dict[str, Any]:
    """Run the tests that are marked ``vm`` in one process, and count how they ended."""
    command = [sys.executable, "-m", "pytest", *PLUGINS, "-m", "vm", "-v", f"--timeout={TEST_SECONDS}"]
    options = [f"--durations={SLOWEST}", f"--junitxml={RESULTS}", "-k", select, *marked_files()]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    began = time.monotonic()
    exit_code = subprocess.run([*command, *options], env=environment, check=False).returncode
    told = counts(ET.parse(RESULTS)) if RESULTS.exists() else {}
    return {"exit_code": exit_code, "seconds": round(time.monotonic() - began), **told}


def counts(results: ET.ElementTree[ET.Element]) -> dict[str, Any]:
    """Return how tests ended, from pytest's JUnit file."""
    cases = list(results.iter("testcase"))
    ended = {
        kind: [str(case.get("name")) for case in cases if case.find(kind) is not None]
        for kind in ("failure", "error", "skipped")
    }
    failed = sorted({*ended["failure"], *ended["error"]})
    return {
        "passed": len(cases) - len(failed) - len(ended["skipped"]),
        "failed": failed,
        "skipped": sorted(ended["skipped"]),
    }


def checkup() -> list[dict[str, Any]]:
    """Return what ``doctor`` finds here: it tries every hook of every tracer."""
    command = [str(INSTALLED_COMMAND), "doctor", "--json"]
    told = subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout
    sections: list[dict[str, Any]] = json.loads(told)
    return sections


def main() -> int:
    """Compare the kernel with what it must offer, run the tests, write the report."""
    kernel = os.uname()
    sections = checkup()
    problems = expected.problems(expected.version_of(kernel.release), sections)
    for problem in problems:
        print(f"problem: {problem}", flush=True)
    tests = run_tests(sys.argv[2])
    report = {
        "kernel": kernel.release,
        "machine": kernel.machine,
        "hooks": expected.found_by(sections),
        "problems": problems,
        "tests": tests,
        "doctor": sections,
    }
    Path(sys.argv[1]).write_text(json.dumps(report, indent=1), encoding="utf-8")
    return int(bool(problems) or tests["exit_code"] != 0)


if __name__ == "__main__":
    sys.exit(main())
