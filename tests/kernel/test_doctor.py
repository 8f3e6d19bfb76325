"""`doctor` on this kernel: what it tries really happens, and nothing of it stays."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from importlib import import_module, resources
from typing import TYPE_CHECKING, Any

import pytest
from harness.capability import missing, need_command, need_tracer
from harness.conditions import TIMEOUT_SECONDS, Done, as_nobody, error_lines, tracer, without_types
from harness.tracer import kernel_objects_of, tracer_environment

from universal_tracer.cli.http_settings import http_settings
from universal_tracer.cli.targets import Targets
from universal_tracer.config.tree import Config

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kernel, pytest.mark.xdist_group("doctor"), pytest.mark.timeout(400)]


def doctor(*arguments: str, before: tuple[str, ...] = ()) -> Done:
    """Run it with *arguments*, as the last words of the command *before*."""
    return tracer("doctor", *arguments, before=before)


def sections(done: Done) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the checks by section and name."""
    told = json.loads(done.stdout)
    assert all(set(section) == {"section", "checks"} for section in told)
    assert all(set(check) == {"name", "state", "reason", "remedy"} for one in told for check in one["checks"])
    return {one["section"]: {check["name"]: check for check in one["checks"]} for one in told}


def test_every_hook_is_tried_and_nothing_is_missing() -> None:
    done = doctor("--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = sections(done)
    assert list(found) == [
        "privilege",
        "kernel",
        "hooks",
        "interfaces",
        "TLS",
        "runtimes",
        "leftovers",
        "tables",
    ]
    hooks = {name: check for name, check in found["hooks"].items() if name.startswith("http ")}
    assert {check["state"] for check in hooks.values()} == {"ok"}
    assert "loaded, attached, run once and detached again" in hooks["http trial"]["reason"]
    assert int(found["tables"]["http targets"]["reason"].split()[0].replace(",", "")) > 1 << 20


def test_text_is_readable_in_a_pipe() -> None:
    done = doctor()
    lines = done.stdout.splitlines()
    assert "\x1b" not in done.stdout
    assert [line for line in lines if len(line) > 80 and "→" not in line] == []
    assert lines[-1].endswith(" 0 missing")


def test_without_privilege_it_says_so_and_reports_the_rest() -> None:
    done = doctor("--json", before=as_nobody())
    assert done.returncode == 4
    assert error_lines(done) == ["error", "cause", "hint"]
    found = sections(done)
    assert found["privilege"]["CAP_BPF"]["state"] == "missing"
    assert found["kernel"]["BTF"]["state"] == "ok"
    assert found["hooks"]["http trial"]["state"] == "degraded"
    assert found["tables"]["all tables"]["reason"].startswith("about ")
    assert all(check["remedy"] for check in found["leftovers"].values())


def test_an_empty_network_namespace_is_fine() -> None:
    done = doctor("--json", before=(need_command("unshare"), "--net"))
    assert done.returncode == 0
    assert list(sections(done)["interfaces"]) == ["lo"]


def test_a_container_of_its_own_is_told() -> None:
    done = doctor("--json", before=(need_command("unshare"), "--pid", "--fork", "--mount-proc"))
    assert done.returncode == 0
    found = sections(done)
    assert found["privilege"]["processes"]["state"] == "degraded"
    assert "--pid=host" in found["privilege"]["processes"]["remedy"]
    assert found["hooks"]["http trial"]["state"] == "ok"


def test_polars_is_not_loaded() -> None:
    need_tracer()
    program = (
        "import sys; from universal_tracer.cli.app import run_command_line as run; "
        "code = run(['doctor', '--json']); sys.exit(code or 'polars' in sys.modules)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, capture_output=True, check=False, env=tracer_environment(), timeout=TIMEOUT_SECONDS
    )
    assert done.returncode == 0, done.stderr


def test_root_of_a_user_namespace_may_nothing() -> None:
    before = (*as_nobody(), need_command("unshare"), "--user", "--map-root-user")
    if subprocess.run([*before, "true"], check=False).returncode:
        missing("user namespaces for everybody")
    done = doctor("--json", before=before)
    assert done.returncode == 4
    assert "user namespace" in done.stderr


def test_a_kernel_without_types_is_told_by_all() -> None:
    done = doctor("--json", before=without_types())
    assert done.returncode == 5
    assert error_lines(done) == ["error", "cause", "hint"]
    found = sections(done)
    assert found["kernel"]["BTF"]["state"] == found["hooks"]["http"]["state"] == "missing"
    for arguments in (("--dry-run",), ("--duration", "1s"), ("--duration", "1s", "--pid", "4194305")):
        assert tracer("--tracer", "http", *arguments, before=without_types()).returncode == 5, arguments


def test_a_dry_run_tries_and_leaves_nothing() -> None:
    done = tracer("--tracer", "http", "--dry-run", "--pid", str(os.getpid()))
    assert (done.returncode, done.stderr) == (0, "")
    assert "by tp_btf" in done.stdout
    on_loopback = tracer("--tracer", "http", "--dry-run", "--pid", str(os.getpid()), "--interface", "lo")
    assert (on_loopback.returncode, on_loopback.stderr) == (0, "")
    assert "cost: " in done.stdout
    assert tracer("--tracer", "http", "--dry-run", before=as_nobody()).returncode == 4
    assert tracer("--tracer", "http", "--dry-run", "--pid", "4194305").returncode == 6


def test_a_program_that_the_verifier_refuses_does_not_hide_the_others(tmp_path: Path) -> None:
    need_tracer()
    from universal_tracer.sources.trial import try_http  # noqa: PLC0415  the native module may be missing

    settings = http_settings(Config(), Targets())
    settings["object_path"] = str(with_a_bad_program(tmp_path, "tp_btf/inet_sock_set_state"))
    outcomes = {tried.hook.hook: tried.error for tried in try_http(settings).hooks}
    refused = outcomes.pop("inet_sock_set_state")
    assert set(outcomes.values()) == {None}
    assert refused is not None
    assert refused.exit_code == 5
    assert refused.cause.startswith("the verifier says: ")
    assert "more lines with -v" in refused.cause
    assert any(line.startswith("processed ") for line in refused.details)


def with_a_bad_program(folder: Path, section: str) -> Path:
    """Return a copy of the object whose program in *section* begins with a read far beyond its context."""
    path = folder / "bad.o"
    shutil.copy(str(resources.files("universal_tracer") / "objects" / "http_tracer.o"), path)
    content = bytearray(path.read_bytes())
    offset = offset_of(bytes(content), section)
    content[offset : offset + 8] = struct.pack("<BBhi", 0x79, 0x10, 0x7FF8, 0)
    path.write_bytes(content)
    return path


def offset_of(elf: bytes, wanted: str) -> int:
    """Return where a section of a 64-bit little-endian ELF file begins."""
    (headers,) = struct.unpack_from("<Q", elf, 40)
    size, count, names = struct.unpack_from("<HHH", elf, 58)
    fields = [struct.unpack_from("<IIQQQ", elf, headers + size * index) for index in range(count)]
    text = fields[names][4]
    for name, _, _, _, offset in fields:
        start = text + name
        if elf[start : elf.index(b"\0", start)] == wanted.encode():
            return offset
    raise LookupError(wanted)


def test_another_run_and_a_pin_that_is_left_are_told(tmp_path: Path) -> None:
    need_command("bpftool")
    need_tracer()
    native = import_module("universal_tracer._native")
    session = native.HttpSession({**http_settings(Config(), Targets()), "filter": True})
    session.attach()
    try:
        program = min(kernel_objects_of(os.getpid())["prog"])
        assert str(os.getpid()) in "".join(sections(doctor("--json"))["leftovers"])
        script = f'mount -t bpf bpf {tmp_path} && bpftool prog pin id {program} {tmp_path}/x && exec "$@"'
        done = doctor("--json", before=("unshare", "--mount", "sh", "-c", script, "sh"))
    finally:
        session.close()
    pin = sections(done)["leftovers"][f"pin {tmp_path}/x"]
    assert (pin["state"], pin["remedy"]) == ("degraded", f"rm {tmp_path}/x")
