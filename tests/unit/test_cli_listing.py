"""`--list`: what could be traced, as text and as objects; no rights, nothing attached."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
int twice(int value) { return 2 * value; }
int again(int value) __attribute__((alias("twice")));
int main(void) { return twice(1); }
"""


def listed(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "universal_tracer", "--tracer", "stack", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    source, made = tmp_path / "program.c", tmp_path / "program"
    source.write_text(SOURCE)
    subprocess.run(["gcc", "-o", made, source], check=True, timeout=60)
    return made


def test_a_line_each_that_can_be_traced_again(program: Path) -> None:
    done = listed("--list", f"u:{program}:*[nt]*")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert f"u:{program}:main" in {line.split(" ")[0] for line in lines}
    (again,) = [line for line in lines if line.startswith(f"u:{program}:again")]
    assert re.search(r"# also twice$", again)
    for line in lines:
        spec = line.split(" ")[0]
        assert listed("--list", spec).stdout.splitlines() == [line]


def test_objects_for_programs(program: Path) -> None:
    done = listed("--list", f"u:{program}:main", "--list", f"u:{program}:twice", "--output-format", "json")
    main, twice = map(json.loads, done.stdout.splitlines())
    assert main.keys() == {
        *("place", "spec", "function", "symbol", "module", "aliases", "arguments", "returns", "note")
    }
    assert (main["place"], main["function"], main["module"]) == ("user", "main", str(program))
    assert twice["aliases"] == ["twice"] or twice["symbol"] == "twice"
    assert listed("--list", f"u:{program}:main", "--output-format", "none").stdout == ""


def test_what_a_process_and_a_command_run(program: Path) -> None:
    own = listed("--list", "u:Py_BytesMain", "--pid", str(os.getpid()))
    assert own.returncode == 0, own.stderr
    assert "python" in own.stdout
    marker = program.with_name("started")
    done = listed("--list", "u:main", "--", str(program), str(marker))
    assert done.stdout.startswith(f"u:{program}:main"), done.stderr


@pytest.mark.parametrize(
    ("spec", "code", "said"),
    [
        ("main", 2, "it does not say where the function is"),
        ("u:/no/such/file:main", 6, "cannot read /no/such/file"),
        ("u:main", 2, "does not say in which file it is"),
        ("u:libnobodyhas:main", 6, "no program or library libnobodyhas"),
        ("t:no:such_tracepoint", 6, "no tracepoint no:such_tracepoint"),
    ],
)
def test_errors_have_three_lines_and_their_code(spec: str, code: int, said: str) -> None:
    done = listed("--list", spec)
    assert (done.returncode, done.stdout) == (code, "")
    lines = done.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "cause", "hint"]
    assert said in done.stderr


def test_a_reader_that_has_seen_enough(program: Path) -> None:
    command = f"{sys.executable} -m universal_tracer --tracer stack --list 'u:libc:*' | head -n 1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=False, timeout=60, cwd=program.parent
    )
    assert done.stdout.startswith("u:/")
    assert done.stderr == ""
