"""What the program says about itself, and how little it loads for that."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from harness.capability import missing

from universal_tracer import __version__
from universal_tracer.cli.flags import FLAGS, RATE_OF_ONE_TRACER, STDOUT_FORMATS
from universal_tracer.cli.quick import generated
from universal_tracer.cli.tracers import TRACERS, available_events
from universal_tracer.config import outputs
from universal_tracer.config.keys import keys
from universal_tracer.config.tree import EVENT_TYPES

HEAVY = (
    "polars",
    "universal_tracer._native",
    "universal_tracer.sinks",
    "universal_tracer.sources",
    "asyncio",
)
# Runs the command line and tells on stderr which modules were loaded by its end.
TELLING = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
from universal_tracer.cli.entry import main
main()
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "universal_tracer", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["config", "--help"],
        ["config", "show"],
        ["config", "show", "--help"],
        ["config", "schema"],
        ["config", "check", "/dev/null"],
    ],
)
def test_nothing_heavy_is_loaded_unless_something_is_traced(arguments: list[str]) -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("UT_")}
    done = subprocess.run(
        [sys.executable, "-c", TELLING, *arguments], capture_output=True, text=True, check=True, env=plain
    )
    assert done.stdout
    loaded = json.loads(done.stderr)
    assert [name for name in HEAVY if name in loaded] == []
    if arguments[-1] in ("--help", "--version"):
        assert [name for name in ("msgspec", "yaml") if name in loaded] == []
    if arguments in (["--help"], ["--version"], ["config", "show"]):
        if generated("help.txt") is None:
            missing("what the build writes, made of the sources as they are (make setup)")
        assert "click" not in loaded


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_flags_subcommands_and_values(shell: str) -> None:
    script = run(_UNIVERSAL_TRACER_COMPLETE=f"{shell}_source")
    assert script.returncode == 0
    assert "universal-tracer" in script.stdout


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("universal-tracer --pi", "--pid"),
        ("universal-tracer conf", "config"),
        ("universal-tracer --output-format nd", "ndjson"),
    ],
)
def test_completion_completes(words: str, wanted: str) -> None:
    count = str(len(words.split()) - 1)
    done = run(_UNIVERSAL_TRACER_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count)
    assert wanted in [line.split(",")[-1] for line in done.stdout.splitlines()]


def test_the_version_is_told() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"universal-tracer {__version__}\n", "")


def test_a_full_standard_output_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "universal_tracer", "config", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write standard output\ncause: no space left on device\n")


@pytest.mark.parametrize("arguments", [["--help"], ["config", "show", "--help"], ["config", "--help"]])
def test_help_fits_a_small_terminal(arguments: list[str]) -> None:
    done = run(*arguments, COLUMNS="200")
    assert done.returncode == 0
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout


def test_help_groups_the_flags_and_ends_with_examples() -> None:
    text = run("--help").stdout
    headings = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert headings == [
        *("Whom to trace", "What to record", "Where it goes", "How it runs"),
        *("Subcommands", "Examples"),
    ]
    for flag in FLAGS:
        assert all(
            re.search(rf"^  (-\w, )?{name}\b|^  {name},", text, re.MULTILINE) for name in flag.names
        ), flag


def test_the_examples_are_understood() -> None:
    examples = run("--help").stdout.partition("Examples:\n")[2]
    commands = [
        line.strip() for line in examples.splitlines() if line.strip() and not line.strip().startswith("#")
    ]
    assert len(commands) >= 4
    for command in commands:
        words = shlex.split(command.partition(" | ")[0].removeprefix("sudo "))
        assert words[0] == "universal-tracer"
        flags = words[1:] if "--" not in words else words[1 : words.index("--")]
        if flags[:1] == ["doctor"]:
            flags.append("--help")
        checked = run(*flags) if flags[:1] in (["config"], ["doctor"]) else run("config", "show", *flags)
        assert checked.returncode == 0, checked.stderr


def test_every_flag_sets_a_key_that_exists() -> None:
    for flag in FLAGS:
        assert flag.key in keys() or flag.key == RATE_OF_ONE_TRACER, flag


def test_the_tables_of_choices_agree_with_the_tree() -> None:
    assert keys()["output.format"].kind.choices == tuple(sorted(STDOUT_FORMATS))
    assert outputs.STDOUT_FORMATS == STDOUT_FORMATS
    assert set(available_events()) <= set(EVENT_TYPES)
    assert all(tracer.rate_key in keys() for tracer in TRACERS.values())
