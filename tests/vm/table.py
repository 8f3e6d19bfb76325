"""Writes docs/kernels.json and the table of docs/KERNELS.md from the reports in build/vm: `make kernels`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vm import kernels
from vm.matrix import RESULTS

DOCS = Path("docs")
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
NOT_THERE = "-"

Reports = dict[str, dict[str, Any]]


def main() -> None:
    """Write both."""
    reports = collect(RESULTS)
    (DOCS / "kernels.json").write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
    page = DOCS / "KERNELS.md"
    page.write_text(with_table(page.read_text(encoding="utf-8"), reports), encoding="utf-8")


def collect(folder: Path) -> Reports:
    """Return what the last runs found: for each kernel its release and the adapter of every hook."""
    reports: Reports = {}
    for name in kernels.SUITES:
        for file in sorted(folder.glob(f"{name}-*.json")):
            told = json.loads(file.read_text(encoding="utf-8"))
            hooks = {hook: adapter for hook, adapter in told["hooks"].items() if adapter and "(" not in hook}
            reports[file.stem] = {"release": told["kernel"], "machine": told["machine"], "hooks": hooks}
    return reports


def table(reports: Reports) -> str:
    """Return the table: a row for each hook, a column for each kernel, an adapter in each cell."""
    hooks = list(dict.fromkeys(hook for report in reports.values() for hook in report["hooks"]))
    hooks.sort(key=lambda hook: hook.split()[0])
    lines = [
        ["", *(f"{short(report['release'])} {report['machine']}" for report in reports.values())],
        ["---"] * (len(reports) + 1),
        *([hook, *(report["hooks"].get(hook, NOT_THERE) for report in reports.values())] for hook in hooks),
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def short(release: str) -> str:
    """Return a release without what the distribution adds."""
    return release.partition("+")[0].partition("-")[0]


def with_table(page: str, reports: Reports) -> str:
    """Return *page* with the table of *reports* in its place."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(reports)}\n{END}{after}"


if __name__ == "__main__":
    main()
