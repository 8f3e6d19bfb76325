"""The ELF launcher, with a stand-in for the interpreter that tells what it was given."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

LAUNCHER = Path(__file__).parents[2] / "build" / "universal-tracer"
NOBODY = 65534

# Prints one "NAME=VALUE" a line; arguments are separated by the unit separator.
STAND_IN = """#!/bin/bash
printf 'arguments='; printf '%s\\x1f' "$0" "$@"; echo
printf 'directory=%s\\n' "$PWD"
if [ -n "$UNIVERSAL_TRACER_ENVIRONMENT_FD" ]; then
    printf 'original='; tr '\\0' '\\037' <"/proc/self/fd/$UNIVERSAL_TRACER_ENVIRONMENT_FD"; echo
fi
printf 'environment='; tr '\\0' '\\037' </proc/$$/environ; echo
exec sed -nE '/^(Sig|Cap)/s/:\\t/=/p' /proc/self/status
"""

pytestmark = pytest.mark.skipif(not LAUNCHER.exists(), reason="make build makes the launcher")


class Tree:
    """DIRECTORY/build/universal-tracer and DIRECTORY/.venv, as `make build` leaves them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.launcher = directory / "build" / "universal-tracer"
        self.interpreter = directory / ".venv" / "bin" / "python"
        self.script = directory / ".venv" / "bin" / "universal-tracer"
        self.packages = directory / ".venv" / "lib" / "python3.11" / "site-packages"
        for folder in (self.launcher.parent, self.interpreter.parent, self.packages):
            folder.mkdir(parents=True)
        shutil.copy(LAUNCHER, self.launcher)
        self.interpreter.write_text(STAND_IN)
        self.interpreter.chmod(0o755)
        self.script.write_text("never run by these tests")
        (self.packages / "module.py").write_text("")

    def run(self, *arguments: str, **options: object) -> dict[str, str]:
        """What the stand-in says."""
        done = self.start(*arguments, **options)
        assert done.returncode == 0, done.stderr
        return dict(line.split("=", 1) for line in done.stdout.splitlines())

    def start(self, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        command = [str(options.pop("launcher", self.launcher)), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, **options)


@pytest.fixture
def tree() -> Iterator[Tree]:
    """Not in tmp_path: other users have to get at it."""
    directory = Path(tempfile.mkdtemp(prefix="launcher-"))
    directory.chmod(0o755)
    yield Tree(directory)
    shutil.rmtree(directory)


@pytest.fixture
def capable_tree(tree: Tree) -> Tree:
    """Its launcher carries two capabilities."""
    if os.geteuid() != 0:
        pytest.skip("giving a file capabilities needs root")
    subprocess.run(["setcap", "cap_net_raw,cap_sys_ptrace+ep", str(tree.launcher)], check=True)
    return tree


def words(text: str) -> list[str]:
    return text.split("\x1f")[:-1]


def test_arguments_reach_the_script_unchanged(tree: Tree) -> None:
    told = words(tree.run("--where", "status >= 500", "", "--", "sh", "-c", "a\tb")["arguments"])
    assert told[:1] == [str(tree.interpreter)]
    assert told[2:] == [str(tree.script), "--where", "status >= 500", "", "--", "sh", "-c", "a\tb"]


def test_python_is_isolated_and_only_the_owner_leaves_compiled_files(tree: Tree) -> None:
    assert words(tree.run()["arguments"])[1] == "-I"
    if os.geteuid() == 0:
        assert words(tree.run(user=NOBODY)["arguments"])[1] == "-IB"


def test_links_lead_to_the_environment_and_the_directory_stays(tree: Tree, tmp_path: Path) -> None:
    link = tmp_path / "anything"
    link.symlink_to(tree.launcher)
    told = tree.run(launcher=link, cwd=tmp_path)
    assert words(told["arguments"])[0] == str(tree.interpreter)
    assert told["directory"] == str(tmp_path)


def test_environment_is_untouched_without_capabilities(tree: Tree) -> None:
    environment = {"PYTHONPATH": "/elsewhere", "PATH": "/usr/bin:/bin", "ODD": "a=b", "EMPTY": ""}
    assert words(tree.run(env=environment)["environment"]) == [f"{n}={v}" for n, v in environment.items()]


def test_signals_are_untouched(tree: Tree) -> None:
    told, direct = tree.run(), tree.run(launcher=tree.interpreter)
    for kind in ("SigIgn", "SigBlk"):
        assert told[kind] == direct[kind], kind


def test_exit_code_is_the_interpreters(tree: Tree) -> None:
    tree.interpreter.write_text("#!/bin/sh\nexit 5\n")
    assert tree.start().returncode == 5


def test_missing_environment_names_the_command_that_makes_it(tree: Tree) -> None:
    shutil.rmtree(tree.directory / ".venv")
    done = tree.start()
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "cause", "hint"]
    assert f"make -C {tree.directory} setup" in done.stderr


def test_closed_standard_files_are_no_reason_to_crash(tree: Tree) -> None:
    shutil.rmtree(tree.directory / ".venv")
    command = f"exec {tree.launcher} <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], check=False, timeout=30).returncode == 1


def test_capabilities_reach_an_unprivileged_users_interpreter(capable_tree: Tree) -> None:
    told = capable_tree.run(user=NOBODY, group=NOBODY, extra_groups=[])
    both = 1 << 13 | 1 << 19
    for kind in ("CapEff", "CapPrm", "CapAmb"):
        assert int(told[kind], 16) == both, kind


def test_root_needs_no_capabilities_of_the_file(capable_tree: Tree) -> None:
    told = capable_tree.run(env={"PYTHONPATH": "/elsewhere"})
    assert words(told["environment"]) == ["PYTHONPATH=/elsewhere"]


def test_only_harmless_variables_survive_capabilities(capable_tree: Tree) -> None:
    harmless = {
        "HOME": "/",
        "LC_ALL": "C",
        "UT_OUTPUT__INTERVAL": "1s",
        "_UNIVERSAL_TRACER_COMPLETE": "zsh_source",
    }
    harmful = {"LD_LIBRARY_PATH": "/x", "PYTHONPATH": "/x", "PATH": "/x", "POLARS_VERBOSE": "1"}
    told = capable_tree.run(user=NOBODY, env=harmless | harmful)
    kept = dict(variable.split("=", 1) for variable in words(told["environment"]))
    assert kept.pop("PATH").startswith("/usr/local/sbin:")
    assert kept.pop("UNIVERSAL_TRACER_ENVIRONMENT_FD").isdigit()
    assert kept == harmless


def test_original_environment_is_kept_for_the_traced_command(capable_tree: Tree) -> None:
    original = {"PATH": "/usr/bin", "PYTHONPATH": "/x", "EMPTY": ""}
    told = capable_tree.run(user=NOBODY, env=original)
    assert words(told["original"]) == [f"{name}={value}" for name, value in original.items()]


@pytest.mark.parametrize("writable", ["interpreter", "script", "packages"])
def test_capabilities_are_refused_where_others_can_write(capable_tree: Tree, writable: str) -> None:
    path: Path = getattr(capable_tree, writable)
    path.chmod(path.stat().st_mode | 0o020)
    done = capable_tree.start(user=NOBODY)
    assert done.returncode == 4
    assert f"cause: {path} can be written by others" in done.stderr
    assert "hint: chmod " in done.stderr


def test_capabilities_are_refused_for_somebody_elses_files(capable_tree: Tree) -> None:
    module = capable_tree.packages / "module.py"
    os.chown(module, NOBODY, NOBODY)
    done = capable_tree.start(user=NOBODY)
    assert done.returncode == 4
    assert f"cause: {module} belongs to user {NOBODY}" in done.stderr


def test_capabilities_are_refused_for_a_linked_source_tree_of_others(capable_tree: Tree) -> None:
    sources = capable_tree.directory / "src"
    sources.mkdir()
    (sources / "module.py").write_text("")
    (capable_tree.packages / "linked.pth").write_text(f"{sources}\n")
    assert capable_tree.start(user=NOBODY).returncode == 0
    (sources / "module.py").chmod(0o666)
    assert capable_tree.start(user=NOBODY).returncode == 4


def test_capabilities_are_refused_where_others_can_write_the_standard_library(capable_tree: Tree) -> None:
    prefix = capable_tree.directory / "python"
    library = prefix / "lib" / capable_tree.packages.parent.name
    library.mkdir(parents=True)
    (library / "os.py").write_text("")
    (prefix / "bin").mkdir()
    shutil.move(capable_tree.interpreter, prefix / "bin" / "python3")
    capable_tree.interpreter.symlink_to(prefix / "bin" / "python3")
    assert capable_tree.start(user=NOBODY).returncode == 0
    (library / "os.py").chmod(0o666)
    done = capable_tree.start(user=NOBODY)
    assert done.returncode == 4
    assert f"cause: {library / 'os.py'} can be written by others" in done.stderr


def test_set_user_id_is_refused(tree: Tree) -> None:
    if os.geteuid() != 0:
        pytest.skip("the set-user-id bit means something for root's files only")
    tree.launcher.chmod(0o4755)
    done = tree.start(user=NOBODY)
    assert done.returncode == 4
    assert "set-user-id" in done.stderr
