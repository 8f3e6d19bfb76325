"""What `doctor` looks at and how it tells it: on made-up machines, without loading anything."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from universal_tracer.cli.doctor import machine, tracers
from universal_tracer.cli.doctor.text import as_json, as_text
from universal_tracer.model.checkup import Check, Section, State, degraded, missing, ok
from universal_tracer.model.errors import KernelError, PrivilegeError
from universal_tracer.model.ports import PlannedHook
from universal_tracer.model.trial import Table, Trial, TriedHook
from universal_tracer.system import kernel_build, netlink, runtimes
from universal_tracer.system.privileges import Privileges
from universal_tracer.system.terminal import Style

if TYPE_CHECKING:
    from collections.abc import Sequence

PLAIN = Style(color=False)
SUDO = "sudo universal-tracer doctor"
GO_PAGE = b"\x7fELF" + bytes(100) + struct.pack("<III", 4, 83, 4) + b"Go\0\0" + bytes(83)
HOOK = PlannedHook("http", "sock_send_length", "tp_btf", "the end of every send", "below 1 µs")


def states(section: Section) -> dict[str, State]:
    return {check.name: check.state for check in section.checks}


def with_configuration(root: Path, *options: str, place: str = "proc/config.gz") -> Path:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(["# CONFIG_KPROBES is not set", *(f"{option}=y" for option in options)]).encode()
    path.write_bytes(gzip.compress(text) if place.endswith(".gz") else text)
    return root


# --- text and JSON ---


def test_json_has_the_documented_form() -> None:
    sections = [Section("kernel", [ok("BTF", "there"), missing("CONFIG_BPF", "not set", "boot another")])]
    assert msgspec.json.decode(as_json(sections)) == [
        {
            "section": "kernel",
            "checks": [
                {"name": "BTF", "state": "ok", "reason": "there", "remedy": None},
                {"name": "CONFIG_BPF", "state": "missing", "reason": "not set", "remedy": "boot another"},
            ],
        }
    ]


def test_text_says_what_mends_several_checks_once() -> None:
    section = Section("privilege", [degraded("A", "not held", SUDO), degraded("B", "not held", SUDO)])
    assert as_text([section], PLAIN, with_details=False).splitlines() == [
        "privilege",
        "  degraded A  not held",
        "  degraded B  not held",
        f"           → {SUDO}",
    ]


@pytest.mark.parametrize("name", ["short", "a name that is far too long for its column"])
def test_text_stays_within_80_columns(name: str) -> None:
    told = as_text([Section("s", [ok(name, "word " * 60), ok("b", "w")])], PLAIN, with_details=False)
    assert all(len(line) <= 80 for line in told.splitlines())
    assert told.count("word") == 60


def test_text_shows_nothing_that_commands_a_terminal() -> None:
    hostile = Section("s", [degraded("eth\x1b[2J", "comm \x1b]0;title\x07", "rm \x1b[31m")])
    assert "\x1b" not in as_text([hostile], PLAIN, with_details=False)
    assert "\x1b[33mdegraded\x1b[0m" in as_text([hostile], Style(color=True), with_details=False)
    ascii_only = as_text([hostile], Style(color=False, only_ascii=True), with_details=False)
    assert ascii_only.isascii()


def test_details_are_shown_when_they_are_asked_for() -> None:
    check = Check(
        "hook", State.MISSING, "refused", "mend it", details=("R1 invalid mem access", "processed 7 insns")
    )
    shown = as_text([Section("hooks", [check])], PLAIN, with_details=True)
    assert "| R1 invalid mem access\n" in shown
    assert "R1" not in as_text([Section("hooks", [check])], PLAIN, with_details=False)
    assert "R1" not in as_json([Section("hooks", [check])])


# --- privilege ---


def test_without_any_right_the_needed_ones_are_missing() -> None:
    held = Privileges(capabilities=0, is_root=False, in_initial_namespace=True)
    found = machine.privilege(held, SUDO)
    assert {name for name, state in states(found).items() if state is State.MISSING} == {
        "CAP_BPF",
        "CAP_PERFMON",
    }
    assert states(found)["CAP_NET_ADMIN"] is State.DEGRADED
    assert all(check.remedy == SUDO for check in found.checks if check.name.startswith("CAP_"))


def test_sys_admin_includes_what_was_split_off_it() -> None:
    held = Privileges(capabilities=1 << 21, is_root=False, in_initial_namespace=True)
    found = states(machine.privilege(held, SUDO))
    assert found["CAP_BPF"] is found["CAP_PERFMON"] is found["CAP_NET_ADMIN"] is State.OK
    assert found["CAP_SYS_PTRACE"] is State.DEGRADED


def test_capabilities_in_a_user_namespace_are_none() -> None:
    held = Privileges(capabilities=2**41 - 1, is_root=True, in_initial_namespace=False)
    assert states(machine.privilege(held, SUDO))["CAP_BPF"] is State.MISSING


# --- kernel ---


@pytest.mark.parametrize("place", ["proc/config.gz", f"boot/config-{os.uname().release}"])
def test_options_are_read_where_the_kernel_has_them(tmp_path: Path, place: str) -> None:
    root = with_configuration(tmp_path, "CONFIG_BPF", "CONFIG_BPF_SYSCALL", place=place)
    found = states(machine.kernel(Path("/"), root))
    assert found["CONFIG_BPF"] is State.OK
    assert found["CONFIG_BPF_EVENTS"] is State.MISSING, "nothing works without it"
    assert found["CONFIG_KPROBES"] is State.DEGRADED, "the rest works without it"


@pytest.mark.parametrize(
    ("content", "state"),
    [
        ("ffffffff81000000 T _text\n", State.OK),
        ("0000000000000000 T _text\n", State.DEGRADED),
        (None, State.DEGRADED),
    ],
)
def test_hidden_symbols_are_told(tmp_path: Path, content: str | None, state: State) -> None:
    if content is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/kallsyms").write_text(content)
    assert states(machine.kernel(Path("/"), tmp_path))["symbols"] is state


def test_a_figure_that_triggers_lack_is_told(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    assert states(machine.kernel(Path("/"), tmp_path))["triggers"] is State.DEGRADED
    (tmp_path / "proc/self/schedstat").touch()
    assert states(machine.kernel(Path("/"), tmp_path))["triggers"] is State.OK


def test_a_module_counts_as_set(tmp_path: Path) -> None:
    path = with_configuration(tmp_path) / "proc/config.gz"
    path.write_bytes(gzip.compress(b'CONFIG_BPF=m\nCONFIG_LOCALVERSION="-x"\n'))
    found = kernel_build.configuration(tmp_path)
    assert found is not None
    assert found[1] == {"CONFIG_BPF": "m", "CONFIG_LOCALVERSION": "-x"}


@pytest.mark.parametrize(
    "content",
    [None, b"", b"no gzip", gzip.compress(b"CONFIG_BPF=y", mtime=0)[:-9]],
    ids=["none", "empty", "no gzip", "cut off"],
)
def test_an_unreadable_configuration_is_no_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/config.gz").write_bytes(content)
    found = states(machine.kernel(Path("/"), tmp_path))
    assert found["configuration"] is State.DEGRADED
    assert not [name for name in found if name.startswith("CONFIG_")]


def test_a_kernel_without_types_is_told_with_its_remedy(tmp_path: Path) -> None:
    (btf,) = [check for check in machine.kernel(tmp_path / "vmlinux", tmp_path).checks if check.name == "BTF"]
    assert btf.state is State.MISSING
    assert btf.remedy is not None
    assert btf.remedy.startswith("mount -t sysfs")


# --- hooks and tables ---


def outcome(*errors: KernelError | PrivilegeError | None) -> tracers.Outcome:
    tables = [Table("events", "RingBuf", 8 << 20, 8_433_992, is_estimate=any(errors))]
    return tracers.Outcome(
        "http", Trial([TriedHook(HOOK, error) for error in errors], tables, ["handle"]), None
    )


def test_hooks_say_adapter_and_why() -> None:
    first, trial = tracers.hooks([outcome(None)], SUDO).checks
    assert first == ok("http sock_send_length", "by tp_btf: the end of every send")
    assert trial == ok("http trial", "1 program loaded, attached, run once and detached again")


def test_programs_at_one_hook_have_names_of_their_own() -> None:
    names = [check.name for check in tracers.hooks([outcome(None, None)], SUDO).checks]
    assert names == ["http sock_send_length", "http sock_send_length (2)", "http trial"]


def test_a_rejected_program_is_told_with_its_log() -> None:
    error = KernelError(
        "cannot load", cause="R1 invalid", hint="doctor -v", details=["0: r0 = 0", "R1 invalid"]
    )
    first, _, trial = tracers.hooks([outcome(error, None)], SUDO).checks
    assert (first.state, first.reason, first.remedy) == (
        State.MISSING,
        "cannot load: R1 invalid",
        "doctor -v",
    )
    assert first.details == ("0: r0 = 0", "R1 invalid")
    assert trial.reason == "1 of 2 programs cannot be used"


def test_hooks_that_nobody_may_try_are_told_all_the_same() -> None:
    checks = tracers.hooks([outcome(PrivilegeError("no", cause="EPERM", hint="x"))], SUDO).checks
    assert [(check.state, check.remedy) for check in checks] == [(State.DEGRADED, SUDO)] * 2
    assert checks[0].reason == "by tp_btf: the end of every send"


def test_a_tracer_that_cannot_be_tried_is_missing() -> None:
    error = KernelError("this kernel describes no types", cause="no BTF", hint="boot another")
    (check,) = tracers.hooks([tracers.Outcome("http", None, error)], SUDO).checks
    assert (check.name, check.state, check.remedy) == ("http", State.MISSING, "boot another")


def test_every_table_is_told_with_its_bytes() -> None:
    events, total = tracers.tables([outcome(None)]).checks
    assert events == ok("http events", "8,433,992 bytes (RingBuf, 8,388,608 entries)")
    assert total == ok("all tables", "8.0 MiB of the kernel's memory")
    denied = outcome(PrivilegeError("no", cause="EPERM", hint="x"))
    assert tracers.tables([denied]).checks[0].reason.startswith("about ")


# --- processes ---


def process(proc: Path, pid: int, executable: Path, mapped: Sequence[str] = ()) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    executable.parent.mkdir(parents=True, exist_ok=True)
    if not executable.exists():
        executable.write_bytes(b"\x7fELF")
    (folder / "exe").symlink_to(executable)
    (folder / "cmdline").write_text("x")
    lines = [f"7f0000000000-7f0000001000 r-xp 00000000 08:01 42    {path}\n" for path in mapped]
    (folder / "maps").write_text(
        "".join(lines) + "7ffc00000000-7ffc00001000 rw-p 00000000 00:00 0  [stack]\n"
    )


def test_libraries_and_runtimes_are_told_by_files(tmp_path: Path) -> None:
    proc, bin_ = tmp_path / "proc", tmp_path / "bin"
    process(proc, 7, bin_ / "nginx", ["/usr/lib/libssl.so.3", "/usr/lib/libssl.so.3"])
    process(proc, 8, bin_ / "java", ["/opt/jdk/lib/server/libjvm.so"])
    process(proc, 9, bin_ / "python3.11", ["/usr/lib/libssl.so.1.1 (deleted)"])
    process(
        proc, 10, bin_ / "wget", ["/lib/x86_64-linux-gnu/libgnutls.so.30.34.3", "/tmp/my notes/libssl.txt"]
    )
    (bin_ / "server").write_bytes(GO_PAGE)
    process(proc, 11, bin_ / "server")
    found = runtimes.survey(proc)
    libraries = {name: sorted(library.pids) for name, library in found.libraries.items()}
    assert libraries == {"OpenSSL": [7, 9], "GnuTLS": [10]}
    assert sorted(found.libraries["OpenSSL"].files) == ["libssl.so.1.1", "libssl.so.3"]
    assert {name: runtime.pids for name, runtime in found.runtimes.items()} == {
        "JVM": [8],
        "Python": [9],
        "Go": [11],
    }
    assert (found.looked_at, found.hidden, found.skipped) == (5, 0, 0)


def test_looking_at_processes_is_bounded(tmp_path: Path) -> None:
    for pid in range(1, 8):
        process(tmp_path / "proc", pid, tmp_path / "bin" / "x")
    found = runtimes.survey(tmp_path / "proc", most_processes=3)
    assert (found.looked_at, found.skipped) == (3, 4)


def test_threads_of_the_kernel_and_what_has_gone_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "proc/2").mkdir(parents=True)
    assert runtimes.survey(tmp_path / "proc").looked_at == 0


# --- netlink ---


@given(st.binary(max_size=200))
def test_answers_of_any_shape_are_read_without_harm(data: bytes) -> None:
    netlink.attributes(data)
    list(netlink._messages(data))


def test_attributes_are_read_back() -> None:
    data = netlink.attribute(3, b"eth0\0") + netlink.attribute(0x8000 | 43, struct.pack("=I", 7))
    found = netlink.attributes(data)
    assert netlink.text(found[3]) == "eth0"
    assert netlink.number(found[43]) == 7
    assert netlink.number(found.get(1)) == 0


def test_the_loopback_interface_is_there() -> None:
    lines = {check.name: check.reason for check in machine.network().checks}
    assert lines["lo"].startswith("loopback")
