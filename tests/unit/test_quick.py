"""What the build prepares is what would be worked out, and completion says what click would say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import get_completion_class
from harness.capability import missing, need_command
from unit.test_cli_help import HEAVY, TELLING

from universal_tracer.cli import quick
from universal_tracer.cli.complete import completions
from universal_tracer.cli.generate import generated_files, write_all
from universal_tracer.cli.root import PROGRAM, root

TABLE = generated_files()["completion.table"]


def complete(line: str, shell: str = "bash", table: str = TABLE) -> list[str]:
    """What is offered for the last word of a line."""
    words = line.split(" ")
    cword = words[-1] if shell == "fish" else str(len(words) - 1)
    told = completions(shell, {"COMP_WORDS": line, "COMP_CWORD": cword}, table)
    assert told is not None
    return told.strip("\n").split("\n")


def values(line: str) -> list[str]:
    return [told.partition(",")[2] for told in complete(line) if told]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UT_")}
    return subprocess.run(
        [sys.executable, "-m", "universal_tracer", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, **environment},
    )


def test_prepared_answers_are_the_ones_that_would_be_worked_out(tmp_path: Path) -> None:
    for arguments, name in ((["--help"], "help.txt"), (["config", "show"], "config.yaml")):
        # With a variable of ours that is nobody's, the answer is worked out.
        assert run(*arguments, UT_X="1").stdout == generated_files()[name]
        assert run(*arguments).stdout == generated_files()[name]
    write_all(tmp_path / "man" / "page.8", tmp_path / "made")
    assert (tmp_path / "man" / "page.8").read_text().startswith(".TH ")


def test_what_is_outdated_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "src" / "universal_tracer"
    for folder in ("cli/doctor", "config", "model", "generated"):
        (package / folder).mkdir(parents=True)
    (package / "generated" / "help.txt").write_text("prepared\n")
    source = package / "config" / "tree.py"
    source.write_text("")
    monkeypatch.setattr(quick, "_PACKAGE", str(package))
    monkeypatch.setattr(quick, "GENERATED", str(package / "generated"))
    monkeypatch.setattr(quick, "_BUILD_FILE", str(tmp_path / "pyproject.toml"))
    os.utime(source, (2e9, 2e9))
    assert quick.quick_answer(["--help"], {}) == "prepared\n", "nothing changes in an installed package"
    (tmp_path / "pyproject.toml").write_text("")
    assert quick.quick_answer(["--help"], {}) is None
    os.utime(source, (1e9, 1e9))
    assert quick.quick_answer(["--help"], {}) == "prepared\n"
    assert quick.quick_answer(["config", "show"], {"UT_RUN__STRICT": "true"}) is None
    assert quick.quick_answer(["--help", "--pid", "1"], {}) is None
    assert quick.quick_answer([], {}) is None


def test_completion_loads_nothing() -> None:
    if quick.generated("completion.table") is None:
        missing("what the build writes, made of the sources as they are (make setup)")
    done = subprocess.run(
        [sys.executable, "-c", TELLING],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "_UNIVERSAL_TRACER_COMPLETE": "bash_complete",
            "COMP_WORDS": "x --p",
            "COMP_CWORD": "1",
        },
    )
    assert "plain,--pid" in done.stdout
    for name in (*HEAVY, "click", "msgspec", "yaml"):
        assert f'"{name}"' not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    "line",
    [
        *(f"{PROGRAM} {rest}" for rest in ("--", "--ou", "--no-color --st", "co", "config ", "config s")),
        *(f"{PROGRAM} config show --o", f"{PROGRAM} --output-format ", f"{PROGRAM} --output-format nd"),
        *(f"{PROGRAM} --duration 5s --tr", f"{PROGRAM} --pid 5 --output-format t", f"{PROGRAM} doctor --j"),
        *(
            f"{PROGRAM} config check ",
            f"{PROGRAM} config check fi",
            f"{PROGRAM} --config fi",
            f"{PROGRAM} --nix",
        ),
    ],
)
def test_completion_is_clicks(shell: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = line.split(" ")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words) - 1))
    made = get_completion_class(shell)
    assert made is not None
    wanted = made(root, {}, PROGRAM, quick.COMPLETION_VARIABLE).complete().split("\n")
    without_help = [told.partition("\t")[0] for told in complete(line, shell)]
    if shell == "zsh":  # value, then help, whose layout is ours
        wanted, without_help = wanted[1::3], complete(line, shell)[1::3]
    assert set(without_help) == {told.partition("\t")[0] for told in wanted}


def test_values_are_completed() -> None:
    assert values(f"{PROGRAM} --events ht") == ["http"]
    assert values(f"{PROGRAM} --events http,co") == ["http,connection"]
    assert "http,http" not in values(f"{PROGRAM} --events http,")
    assert "lo" in values(f"{PROGRAM} --interface ")
    assert str(os.getpid()) in values(f"{PROGRAM} --pid {os.getpid()}")
    comm = Path("/proc/self/comm").read_text().strip()
    assert comm in values(f"{PROGRAM} --target-process {comm[:3]}")
    assert complete(f"{PROGRAM} --output so") == ["file,so"]
    assert values(f"{PROGRAM} --output-format=js") == ["--output-format=json"]
    assert values(f"{PROGRAM} --output-format = js") == ["json"], "bash splits the word there"
    assert complete(f"{PROGRAM} -- ls ") == ["file,"]


def test_words_in_quotes_are_left_to_click() -> None:
    assert completions("bash", {"COMP_WORDS": "x 'a b' --p", "COMP_CWORD": "2"}, TABLE) is None
    done = run(_UNIVERSAL_TRACER_COMPLETE="bash_complete", COMP_WORDS="x --where 'a b' --pi", COMP_CWORD="3")
    assert done.stdout.strip() == "plain,--pid"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_clicks(shell: str) -> None:
    made = get_completion_class(shell)
    assert made is not None
    completion = made(root, {}, PROGRAM, quick.COMPLETION_VARIABLE)
    script = run(_UNIVERSAL_TRACER_COMPLETE=f"{shell}_source").stdout
    assert script == completion.source_template % completion.source_vars()


def test_bash_completes() -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    script = run(_UNIVERSAL_TRACER_COMPLETE="bash_source").stdout
    # The script asks by `env VARIABLES… PROGRAM`; the program is not in everybody's PATH.
    ours = f'env() {{ command env "${{@:1:3}}" {sys.executable} -m universal_tracer; }}'
    ask = "COMP_WORDS=(ut --output-format nd); COMP_CWORD=2; _universal_tracer_completion ut; echo $COMPREPLY"
    done = subprocess.run(
        [
            bash,
            "--norc",
            "-c",
            f"{ours}\n{script}\n{ask}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "ndjson\n", done.stderr


SHELLS = {
    "fish": 'printf %s "$SCRIPT" | source; complete -C "universal-tracer --output-format nd"',
    # what the script's function would offer, without a terminal to offer it on
    "zsh": """
        compdef() { :; }; compadd() { print -l -- "${(P@)argv[-1]}"; }; _describe() { compadd "${argv[3]}"; }
        eval "$SCRIPT"; words=(universal-tracer --output-format nd); CURRENT=3; _universal_tracer_completion
    """,
}


@pytest.mark.parametrize("shell", SHELLS)
def test_other_shells_complete(tmp_path: Path, shell: str) -> None:
    program = tmp_path / "universal-tracer"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m universal_tracer "$@"\n')
    program.chmod(0o755)
    script = run(_UNIVERSAL_TRACER_COMPLETE=f"{shell}_source").stdout
    path = f"{tmp_path}:{os.environ['PATH']}"
    words = [need_command(shell), *(["-f"] if shell == "zsh" else ["--no-config"]), "-c", SHELLS[shell]]
    environment = {**os.environ, "PATH": path, "SCRIPT": script, "HOME": str(tmp_path)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert "ndjson" in done.stdout.split(), (done.stdout, done.stderr)


@pytest.mark.parametrize("checker", ["man", "mandoc"])
def test_the_manual_page_has_no_faults(tmp_path: Path, checker: str) -> None:
    commands = {
        "man": ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"],
        "mandoc": ["mandoc", "-Tlint", "-Wwarning"],
    }
    write_all(tmp_path / "page.8", tmp_path / "made")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}
    done = subprocess.run(
        [*commands[checker], str(tmp_path / "page.8")], capture_output=True, check=False, env=environment
    )
    complaints = done.stdout if checker == "mandoc" else b""  # man's standard output is the page
    assert (done.returncode, done.stderr, complaints) == (0, b"", b"")


def test_the_manual_page_tells_everything_that_help_tells(tmp_path: Path) -> None:
    write_all(tmp_path / "page.8", tmp_path / "made")
    page = (tmp_path / "page.8").read_text().replace("\\-", "-")
    names = [name for parameter in root.params for name in parameter.opts]
    assert [name for name in names if name.startswith("-") and name not in page] == []
    for heading in ("NAME", "SYNOPSIS", "OPTIONS", "SUBCOMMANDS", "EXIT STATUS", "ENVIRONMENT", "EXAMPLES"):
        assert f".SH {heading}" in page
