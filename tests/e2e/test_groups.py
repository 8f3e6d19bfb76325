"""`--cgroup` and `--container`, in groups of both versions; containers are groups that are called so."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import messages
from harness.capability import missing, need_command, need_root
from harness.peers import Peer, connect
from harness.processes import ProcessTree
from harness.traced import holds, unique
from harness.tracer import Tracer, run_tracer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e


def version_2() -> Path:
    """Return where version 2 is mounted."""
    mounts = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
    return next((mount for mount in mounts if (mount / "cgroup.controllers").exists()), None) or missing(
        "a mounted cgroup2"
    )


@contextmanager
def named_hierarchy(directory: Path) -> Iterator[Path]:
    """Mount a hierarchy of version 1 that has no controllers and nobody but the test in it."""
    name, mount = unique(), directory / "hierarchy"
    mount.mkdir()
    command = [need_command("mount"), "-t", "cgroup", "-o", f"none,name={name}", name, str(mount)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        missing("hierarchies of cgroup version 1")
    try:
        yield mount
    finally:
        subprocess.run([need_command("umount"), mount], check=True)


class Groups:
    """Groups below one mount point, emptied and removed in the end."""

    def __init__(self, mount: Path) -> None:
        self.mount = mount
        self._made: list[Path] = []

    def make(self, name: str) -> Path:
        """Make a group, with its parents where these are missing."""
        group = self.mount / name
        missing_ones = [path for path in (group, *group.parents) if not path.exists()]
        for path in reversed(missing_ones):
            path.mkdir()
            self._made.append(path)
        return group

    def remove(self) -> None:
        """Remove what was made."""
        for group in reversed(self._made):
            self.clear(group)

    def clear(self, group: Path) -> None:
        """Move everybody out of a group and remove it."""
        if group.exists():
            for pid in (group / "cgroup.procs").read_text(encoding="ascii").split():
                (self.mount / "cgroup.procs").write_text(pid, encoding="ascii")
            group.rmdir()


@pytest.fixture(params=[1, 2])
def groups(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Groups]:
    """Yield a place for groups of either version."""
    need_root()
    with ExitStack() as stack:
        mount = version_2() if request.param == 2 else stack.enter_context(named_hierarchy(tmp_path))
        made = Groups(mount)
        stack.callback(made.remove)
        yield made


def enter(group: Path, peer: Peer) -> None:
    """Move a peer into a group."""
    (group / "cgroup.procs").write_text(str(peer.pid), encoding="ascii")


class Traffic:
    """Three peers that no tracer knows of."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.tree = stack.enter_context(ProcessTree(directory))
        self.client, self.inside, self.outside = (Peer(self.tree) for _ in range(3))
        for peer in (self.client, self.inside, self.outside):
            stack.callback(peer.close)

    def request(self, server: Peer, word: str) -> None:
        """Do one request whose path is *word*."""
        connection = connect(self.client, server)
        connection.exchange(messages.request(f"/{word}"), messages.response())
        connection.close()


def told(tracer: Tracer, word: str) -> list[tuple[str, str]]:
    """Return (end of the path, role) of what was told."""
    found = tracer.events(lambda event: holds(word, event))
    return sorted((str(event["path"]).rpartition("-")[2], str(event["role"])) for event in found)


def test_who_is_in_a_group_and_who_enters_it(tmp_path: Path, groups: Groups) -> None:
    word, group = unique(), groups.make(f"ut-{unique()}/inner").parent
    with ExitStack() as stack:
        traffic = Traffic(tmp_path, stack)
        enter(group / "inner", traffic.inside)
        tracer = stack.enter_context(Tracer("--cgroup", group))
        traffic.request(traffic.outside, f"{word}-outside")
        traffic.request(traffic.inside, f"{word}-inside")
        enter(group, traffic.client)
        traffic.request(traffic.outside, f"{word}-joined")
        tracer.wait_for(lambda event: holds(f"{word}-joined", event))
        tracer.stop()
        assert told(tracer, word) == [("inside", "server"), ("joined", "client")]


def test_children_born_in_a_group(tmp_path: Path, groups: Groups) -> None:
    word, group, curl = unique(), groups.make(f"ut-{unique()}"), need_command("curl")
    with ExitStack() as stack:
        traffic = Traffic(tmp_path, stack)
        shell = traffic.tree.spawn(
            ["/bin/sh", "-c", "while ! test -e go; do sleep 0.1; done; . ./go"], cwd=tmp_path
        )
        (group / "cgroup.procs").write_text(str(shell.pid), encoding="ascii")
        tracer = stack.enter_context(Tracer("--cgroup", group))
        traffic.inside.do("listen", name="web", family="inet", address="127.0.0.1")
        port = traffic.inside.do("listen", name="other", family="inet", address="127.0.0.1")["port"]
        (tmp_path / "going").write_text(
            f"{curl} -s -m 5 http://127.0.0.1:{port}/{word}-child\n", encoding="ascii"
        )
        (tmp_path / "going").rename(tmp_path / "go")
        shell.wait()
        tracer.wait_for(lambda event: holds(f"{word}-child", event))
        tracer.stop()
        assert told(tracer, word) == [("child", "client")]


def wait_told(tracer: Tracer, traffic: Traffic, server: Peer, word: str) -> None:
    """Send requests until one is told."""
    deadline = time.monotonic() + 30
    while not tracer.events(lambda event: holds(word, event)):
        assert time.monotonic() < deadline, tracer.stderr
        traffic.request(server, word)
        time.sleep(0.1)


def test_a_group_of_the_configuration_may_come_later(tmp_path: Path, groups: Groups) -> None:
    word, path = unique(), groups.mount / f"ut-{unique()}"
    with ExitStack() as stack:
        traffic = Traffic(tmp_path, stack)
        tracer = stack.enter_context(Tracer(env={"UT_TARGETS__CGROUPS": f"[{path}]"}))
        assert f"warning: waiting for cgroup {path}: " in tracer.stderr
        assert f"of cgroup {path} (not there yet)" in tracer.stderr
        traffic.request(traffic.inside, f"{word}-early")
        group = groups.make(path.name)
        enter(group, traffic.inside)
        wait_told(tracer, traffic, traffic.inside, f"{word}-late")
        # From now on the kernel follows: who enters is traced at once.
        enter(group, traffic.outside)
        traffic.request(traffic.outside, f"{word}-entered")
        tracer.wait_for(lambda event: holds(f"{word}-entered", event))
        # A group that is removed and made again is another one to the kernel, the same to a user.
        groups.clear(group)
        second = Peer(traffic.tree)
        stack.callback(second.close)
        enter(groups.make(path.name), second)
        wait_told(tracer, traffic, second, f"{word}-again")
        tracer.stop()
        assert {kind for kind in told(tracer, word) if kind[0] != "late"} >= {
            ("entered", "server"),
            ("again", "server"),
        }
        assert ("early", "server") not in told(tracer, word)


CONTAINER_ID = "1f2e3d4c5b6a79880716253443526170" + "0" * 20


@pytest.fixture
def container() -> Iterator[tuple[str, str]]:
    """Yield (id, name) of a container that docker's files know; there is no docker needed for that."""
    need_root()
    identifier = CONTAINER_ID + unique()[1:]
    name, directory = f"shop-{unique()}", Path("/var/lib/docker/containers") / identifier
    topmost = next(path for path in (directory, *directory.parents) if path.parent.exists())
    directory.mkdir(parents=True)
    (directory / "config.v2.json").write_text(
        json.dumps({"Name": f"/{name}", "Config": {}}), encoding="utf-8"
    )
    try:
        yield identifier, name
    finally:
        shutil.rmtree(directory)
        for path in directory.parents:
            if path.is_relative_to(topmost) and not any(path.iterdir()):
                path.rmdir()


@pytest.mark.parametrize("by", ["name", "id", "first-digits"])
def test_a_container(tmp_path: Path, groups: Groups, container: tuple[str, str], by: str) -> None:
    word, (identifier, name) = unique(), container
    asked = {"name": name, "id": identifier, "first-digits": identifier[:60]}[by]
    group = groups.make(f"ut-{unique()}/docker/{identifier}/init").parent
    with ExitStack() as stack:
        traffic = Traffic(tmp_path, stack)
        enter(group / "init", traffic.inside)
        tracer = stack.enter_context(Tracer("--container", asked))
        assert f"of container {asked}" in tracer.stderr
        traffic.request(traffic.outside, f"{word}-outside")
        traffic.request(traffic.inside, f"{word}-inside")
        enter(group, traffic.client)
        traffic.request(traffic.outside, f"{word}-joined")
        (event,) = tracer.wait_for(lambda event: holds(f"{word}-joined", event))
        tracer.stop()
        assert told(tracer, word) == [("inside", "server"), ("joined", "client")]
        assert event["role"] == "client"
        (served,) = tracer.events(lambda event: holds(f"{word}-inside", event))
        assert served["container"]["id"] == identifier
        assert served["service"] == name


def test_a_container_of_the_configuration_may_come_later(
    tmp_path: Path, groups: Groups, container: tuple[str, str]
) -> None:
    word, (identifier, name) = unique(), container
    with ExitStack() as stack:
        traffic = Traffic(tmp_path, stack)
        tracer = stack.enter_context(Tracer(env={"UT_TARGETS__CONTAINERS": f"[{name}]"}))
        assert f"warning: waiting for container {name}: " in tracer.stderr
        group = groups.make(f"ut-{unique()}/docker-{identifier}.scope")
        enter(group, traffic.inside)
        wait_told(tracer, traffic, traffic.inside, f"{word}-late")
        enter(group, traffic.outside)
        traffic.request(traffic.outside, f"{word}-entered")
        tracer.wait_for(lambda event: holds(f"{word}-entered", event))
        tracer.stop()


def test_a_container_that_nobody_has_is_exit_6(groups: Groups, container: tuple[str, str]) -> None:
    identifier, name = container
    groups.make(f"ut-{unique()}/docker/{identifier}")
    done = run_tracer("--container", name + "x", "--duration", "1s")
    assert done.returncode == 6
    what, cause, hint = done.stderr.splitlines()
    assert what == f"error: no container '{name}x' to trace"
    assert "no running container has that name or id" in cause
    assert f"(did you mean '{name}'?)" in cause
    assert hint.startswith("hint: docker ps")
    assert run_tracer("--container", name, "--duration", "1s").returncode == 6, "nobody is in it"


def test_a_name_that_a_process_gives_itself(tmp_path: Path) -> None:
    """Servers rename their processes; what matters is the name that `ps` shows."""
    word, name = unique(), f"n{unique()[:9]}"
    program = (
        "import ctypes, http.server, sys, os\n"
        "server = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)\n"
        "print(server.server_address[1], flush=True)\n"
        "sys.stdin.readline()\n"
        "ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)\n"
        "print('named', flush=True)\n"
        "server.handle_request()\n"
    )
    with ExitStack() as stack:
        tracer = stack.enter_context(Tracer(env={"UT_TARGETS__PROCESSES": f"[{name}]"}))
        server = stack.enter_context(
            subprocess.Popen(
                ["python3", "-c", program, name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
        )
        stack.callback(server.kill)
        assert server.stdin is not None
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        server.stdin.write("\n")
        server.stdin.flush()
        assert server.stdout.readline() == "named\n"
        subprocess.run(
            [need_command("curl"), "-s", "-o", "/dev/null", f"http://127.0.0.1:{port}/{word}"], check=True
        )
        (event,) = tracer.wait_for(lambda event: holds(word, event))
        tracer.stop()
        assert (event["role"], event["comm"]) == ("server", name)
