"""The real launcher in front of the real environment: other users, sudo, file capabilities."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.capability import REPOSITORY, missing, need_command, need_root
from harness.conditions import TIMEOUT_SECONDS, as_nobody
from harness.tracer import tracer_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("launcher"), pytest.mark.timeout(400)]

LAUNCHER = REPOSITORY / "build" / "universal-tracer"
CAPABILITIES = "cap_bpf,cap_perfmon,cap_sys_ptrace,cap_syslog+ep"
BOUNDED = ("--tracer", "http", "--output-format", "none")
# Who it is, what it may do, and what it was given.
TELL = "id -u; grep -E ^Cap /proc/self/status; echo given $GIVEN; echo path $PATH; pwd"
Done = subprocess.CompletedProcess[str]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder that all users can reach, with a launcher of its own before the real environment."""
    need_root()
    if not LAUNCHER.exists():
        missing("the launcher (make build)")
    made = Path(tempfile.mkdtemp(prefix="tracer-launcher-"))
    made.chmod(0o755)
    (made / "build").mkdir()
    shutil.copy(LAUNCHER, made / "build" / LAUNCHER.name)
    (made / ".venv").symlink_to(REPOSITORY / ".venv")
    yield made
    shutil.rmtree(made)


@pytest.fixture
def capable(folder: Path) -> Path:
    """Return a launcher that carries capabilities."""
    launcher = folder / "build" / LAUNCHER.name
    setcap = [need_command("setcap"), CAPABILITIES, str(launcher)]
    if subprocess.run(setcap, capture_output=True, check=False).returncode:
        missing("a file system that keeps file capabilities")
    return launcher


def run(*command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Done:
    """Run a command line to its end."""
    words = list(map(str, command))
    environment = tracer_environment(env)
    return subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS, env=environment, cwd=cwd
    )


def trusted(done: Done) -> Done:
    """Return *done*, unless this installation is one that the launcher must not trust."""
    if done.returncode == 4 and "using them is not safe" in done.stderr:
        missing(f"an installation that nobody else can write ({done.stderr.splitlines()[1]})")
    return done


def test_any_user_runs_it_by_a_link_from_any_directory(folder: Path) -> None:
    link = folder / "anything"
    link.symlink_to(folder / "build" / LAUNCHER.name)
    done = run(*as_nobody(), link, "--version", cwd=Path("/"))
    assert (done.returncode, done.stderr) == (0, "")
    assert run(*as_nobody(), link, "--tracer", "http", cwd=Path("/")).returncode == 4
    assert list(REPOSITORY.joinpath("src").rglob("*.pyc")) != []
    assert not [path for path in REPOSITORY.joinpath("src").rglob("*.pyc") if path.owner() == "nobody"]


def test_file_capabilities_are_enough(capable: Path) -> None:
    done = trusted(run(*as_nobody(), capable, "doctor", "--json", env={"PYTHONPATH": "/nonexistent"}))
    assert done.returncode == 0, done.stderr
    checks = {check["name"]: check for section in json.loads(done.stdout) for check in section["checks"]}
    assert checks["CAP_BPF"]["state"] == checks["http trial"]["state"] == "ok"
    assert checks["CAP_NET_ADMIN"]["state"] == "degraded"


def test_a_command_gets_its_environment_and_no_capability(capable: Path) -> None:
    given = {"GIVEN": "as it was", "PATH": f"/nonexistent:{os.environ['PATH']}"}
    done = trusted(run(*as_nobody(), capable, *BOUNDED, "--", "sh", "-c", TELL, env=given, cwd=Path("/")))
    assert done.returncode == 0, done.stderr
    user, *lines = done.stdout.splitlines()
    assert user == "65534"
    capabilities = dict(line.split() for line in lines if line.startswith("Cap"))
    assert {int(capabilities[f"Cap{kind}:"], 16) for kind in ("Inh", "Prm", "Eff", "Amb")} == {0}
    assert lines[-3:] == ["given as it was", f"path {given['PATH']}", "/"]


def test_sudo_runs_a_command_as_the_user_behind_it(folder: Path) -> None:
    need_command("sudo")
    launcher = folder / "build" / LAUNCHER.name
    rule = "mount -t tmpfs -o mode=755 none /etc/sudoers.d && "
    rule += "echo 'nobody ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/test && chmod 440 /etc/sudoers.d/test && "
    sudo = ("unshare", "--mount", "sh", "-c", rule + 'exec "$@"', "sh", *as_nobody(), "sudo", "-n")
    if run(*sudo, "true").returncode:
        missing("a sudo that takes rules from /etc/sudoers.d")
    done = run(*sudo, launcher, *BOUNDED, "--", "sh", "-c", TELL, cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    user, *lines = done.stdout.splitlines()
    assert user == "65534"
    assert "CapEff:\t0000000000000000" in lines
