"""docs/KERNELS.md says what the kernels' reports say, and these say what is expected of such kernels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from vm import expected, table

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def reports() -> table.Reports:
    loaded: table.Reports = json.loads((DOCS / "kernels.json").read_text(encoding="utf-8"))
    return loaded


def test_the_table_is_the_reports(reports: table.Reports) -> None:
    page = (DOCS / "KERNELS.md").read_text(encoding="utf-8")
    assert table.with_table(page, reports) == page, "make kernels"


def test_every_kernel_has_what_it_must_have(reports: table.Reports) -> None:
    assert reports
    for report in reports.values():
        must = expected.hooks_of(expected.version_of(report["release"]))
        assert must.items() <= report["hooks"].items()


def test_what_the_runs_left_is_collected(tmp_path: Path) -> None:
    hooks = {"http sys_exit": "tp_btf", "http trial": "", "stack sys_exit (2)": "tp_btf"}
    told = {"kernel": "5.10.0-46-cloud-amd64", "machine": "x86_64", "hooks": hooks}
    (tmp_path / "5.10-x86_64.json").write_text(json.dumps(told))
    found = table.collect(tmp_path)
    assert found["5.10-x86_64"]["hooks"] == {"http sys_exit": "tp_btf"}
    assert table.table(found).splitlines() == [
        "|  | 5.10.0 x86_64 |",
        "| --- | --- |",
        "| http sys_exit | tp_btf |",
    ]


def sections(version: expected.Version, **changed: str) -> list[dict[str, Any]]:
    """Return what ``doctor`` says on a kernel of *version*, hooks that are named in other states."""
    checks = [
        {"name": name, "state": "ok", "reason": f"by {adapter}: as it must be"}
        for name, adapter in expected.hooks_of(version).items()
    ]
    checks += [{"name": "http trial", "state": "ok", "reason": "9 programs loaded"}]
    for check in checks:
        check["state"] = changed.get(check["name"].replace(" ", "_").replace("-", "_"), check["state"])
    return [{"section": "kernel", "checks": []}, {"section": "hooks", "checks": checks}]


@pytest.mark.parametrize("version", [(5, 10), (6, 1), (6, 12), (7, 3)])
def test_a_kernel_that_is_as_it_must_be(version: expected.Version) -> None:
    assert expected.problems(version, sections(version)) == []


def test_what_is_missing_is_a_problem() -> None:
    told = sections((6, 12), stack_cpu_clock="missing", http_trial="missing")
    found = expected.problems((6, 12), told)
    assert found == [
        "stack cpu-clock must be reached by perf_event, and is not",
        "http trial is missing: 9 programs loaded",
    ]


def test_another_adapter_is_a_problem() -> None:
    """A tracer that goes the way of older kernels where it need not."""
    found = expected.problems((6, 12), sections((6, 1)))
    assert "http sock_send_length must be reached by tp_btf, and is not" in found


def test_versions() -> None:
    assert expected.version_of("6.12.118+deb13-cloud-amd64") == (6, 12)
    with pytest.raises(ValueError, match="no version"):
        expected.version_of("unknown")
