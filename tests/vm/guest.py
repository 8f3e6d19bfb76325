"""Runs inside a virtual machine: the tests that are marked for it, and a report on what this kernel can do.

``python -m vm.guest REPORT``; exits with 1 when a test failed.
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

SUITES: dict[str, tuple[str, ...]] = {
    "kernel": ("tests/kernel",),
    "e2e": ("tests/e2e",),
}
# The same tests by the adapters that this kernel would not choose.
FORCED: dict[str, tuple[str, ...]] = {"sockets=sys_exit": ("tests/e2e/test_sockets.py",)}
TEST_SECONDS = 600
ADAPTERS = "UNIVERSAL_TRACER_ADAPTERS"


def run_suite(name: str, places: tuple[str, ...], environment: dict[str, str]) -> dict[str, Any]:
    """Run the tests of *places* that are marked ``vm``, and count how they ended."""
    results = Path(f"/run/vm/{name}.xml")
    command = [sys.executable, "-m", "pytest", "-m", "vm", "-p", "no:cacheprovider", "-q"]
    options = [f"--timeout={TEST_SECONDS}", f"--junitxml={results}", *places]
    began = time.monotonic()
    exit_code = subprocess.run(
        [*command, *options], env={**os.environ, **environment}, check=False
    ).returncode
    return {
        "suite": name,
        "exit_code": exit_code,
        "seconds": round(time.monotonic() - began),
        **(_counts(results) if results.exists() else {}),
    }


def _counts(results: Path) -> dict[str, Any]:
    cases = list(ET.parse(results).iter("testcase"))
    ended = {
        kind: [case.get("name") for case in cases if case.find(kind) is not None]
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


def hooks_of(sections: list[dict[str, Any]]) -> list[str]:
    """Return the names of the hooks that ``doctor`` found to work."""
    checks = [check for section in sections if section["section"] == "hooks" for check in section["checks"]]
    return [check["name"] for check in checks if check["state"] == "ok"]


def main() -> int:
    """Run every suite; write the report; tell whether all passed."""
    kernel = os.uname()
    report: dict[str, Any] = {"kernel": kernel.release, "machine": kernel.machine, "doctor": checkup()}
    report["suites"] = [run_suite(name, places, {}) for name, places in SUITES.items()]
    if "http sock_send_length" in hooks_of(report["doctor"]):
        report["suites"] += [run_suite(name, places, {ADAPTERS: name}) for name, places in FORCED.items()]
    Path(sys.argv[1]).write_text(json.dumps(report, indent=1), encoding="utf-8")
    return int(any(suite["exit_code"] != 0 for suite in report["suites"]))


if __name__ == "__main__":
    sys.exit(main())
