"""What the machine is like: privilege, kernel, interfaces, and what runs on it. Only reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from universal_tracer.cli.preflight import KERNEL_TYPES
from universal_tracer.cli.talk import listed, plural
from universal_tracer.model.checkup import Check, Section, degraded, missing, ok
from universal_tracer.system import kernel_build, runtimes
from universal_tracer.system.net_devices import Interface, interfaces
from universal_tracer.system.privileges import CAPABILITIES, Privileges
from universal_tracer.system.procfs import PROC, is_first_pid_namespace, read_stat, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LOCKDOWN: Final = Path("/sys/kernel/security/lockdown")
_FILTERED: Final = "2"
_PROCESSES_NAMED: Final = 3
_SYMBOL_BYTES: Final = 200

_BOOT_ANOTHER: Final = "boot a kernel of your distribution that is built with it"
# Option, whether nothing works without it, and what it is for.
_OPTIONS: Final = (
    ("CONFIG_BPF", True, "kernel programs"),
    ("CONFIG_BPF_SYSCALL", True, "loading kernel programs"),
    ("CONFIG_BPF_JIT", False, "compiling kernel programs; interpreted ones are dear"),
    ("CONFIG_BPF_EVENTS", True, "kernel programs at tracepoints"),
    ("CONFIG_DEBUG_INFO_BTF", True, "types of the kernel that programs are fitted to"),
    ("CONFIG_FTRACE", False, "tracing functions of the kernel"),
    ("CONFIG_KPROBES", False, "tracing single functions of the kernel"),
    ("CONFIG_UPROBES", False, "tracing functions of programs and libraries"),
    ("CONFIG_XDP_SOCKETS", False, "AF_XDP sockets; the tracer does without"),
    ("CONFIG_BPF_STREAM_PARSER", False, "programs on streams; the tracer does without"),
)
# TLS libraries whose traffic this build reads.
_READABLE_TLS: Final[frozenset[str]] = frozenset()


def privilege(held: Privileges, remedy: str) -> Section:
    """What this process may do. `remedy` is the command that gives it the rest."""
    return Section("privilege", [*_capabilities(held, remedy), *_confinement()])


def _capabilities(held: Privileges, remedy: str) -> Iterator[Check]:
    for known in CAPABILITIES:
        if held.holds(known):
            yield ok(known.name, f"may {known.purpose}")
        elif known.is_needed:
            yield missing(known.name, f"may not {known.purpose}: nothing can be traced", remedy)
        else:
            yield degraded(known.name, f"may not {known.purpose}", remedy)


def _confinement() -> Iterator[Check]:
    """What keeps even root from tracing."""
    status = read_text(PROC / "self/status") or ""
    fields = dict(line.partition(":")[::2] for line in status.splitlines())
    if fields.get("Seccomp", "").strip() == _FILTERED:
        yield degraded(
            "seccomp",
            "a filter of system calls is active: it may refuse bpf()",
            "start the container with --security-opt seccomp=unconfined",
        )
    else:
        yield ok("seccomp", "no filter of system calls")
    if "[confidentiality]" in (read_text(_LOCKDOWN) or ""):
        yield missing(
            "lockdown", "the kernel lets nobody read its memory", "boot without lockdown=confidentiality"
        )
    else:
        yield ok("lockdown", "the kernel lets programs read what they trace")
    if is_first_pid_namespace():
        yield ok("processes", "all of the machine are in view")
    else:
        yield degraded(
            "processes",
            "only those of this container are in view, by other ids than the kernel's: none can be chosen",
            "run on the host, or start the container with --pid=host",
        )


def kernel(types: Path = KERNEL_TYPES, root: Path = Path("/")) -> Section:
    """Version, type information, options."""
    checks = [ok("version", f"Linux {kernel_build.release()} on {os.uname().machine}")]
    if types.exists():
        checks.append(ok("BTF", f"the kernel's types are in {types}"))
    else:
        checks.append(
            missing("BTF", f"{types} is not there", "mount -t sysfs sysfs /sys, or " + _BOOT_ANOTHER)
        )
    return Section("kernel", [*checks, _symbols(root / "proc/kallsyms"), _triggers(root), *_options(root)])


def _symbols(path: Path) -> Check:
    """Where its functions are; addresses are zeros to whom the kernel hides them."""
    try:
        with path.open("rb") as stream:
            address = stream.readline(_SYMBOL_BYTES).partition(b" ")[0]
    except OSError:
        address = b""
    if address.strip(b"0"):
        return ok("symbols", "the kernel's functions have names")
    return degraded(
        "symbols",
        "the kernel hides where its functions are: they have no names",
        "run as root, or with CAP_SYSLOG; where that is not enough: sysctl kernel.kptr_restrict=1",
    )


def _triggers(root: Path) -> Check:
    """What may start a capture on demand; one condition needs a figure of the kernel."""
    if (root / "proc/self/schedstat").exists():
        return ok("triggers", "events, cpu, runqueue_ms, file: and SIGUSR1 start captures (--trigger)")
    return degraded(
        "triggers",
        "the kernel does not count how long threads wait: --trigger has no runqueue_ms, and all else",
        "boot a kernel with CONFIG_SCHED_INFO=y",
    )


def _options(root: Path) -> Iterator[Check]:
    found = kernel_build.configuration(root)
    if found is None:
        yield degraded(
            "configuration",
            f"neither /proc/config.gz nor /boot/config-{kernel_build.release()} can be read; "
            "what counts is tried below",
            "modprobe configs",
        )
        return
    path, options = found
    yield ok("configuration", f"read from {path}")
    for name, is_needed, purpose in _OPTIONS:
        if options.get(name) in ("y", "m"):
            yield ok(name, purpose)
        elif is_needed:
            yield missing(name, f"not set; it is for {purpose}", _BOOT_ANOTHER)
        else:
            yield degraded(name, f"not set; it is for {purpose}")


def network() -> Section:
    """Each interface with its driver and what XDP can do there."""
    try:
        found = interfaces()
    except OSError as error:
        return Section("interfaces", [degraded("netlink", f"the kernel does not answer: {error.strerror}")])
    return Section("interfaces", [_interface(one) for one in found])


def _interface(found: Interface) -> Check:
    if found.is_loopback:
        return ok(found.name, "loopback: XDP generic; traced only when it is named")
    driver = f"driver {found.driver or 'unknown'}" + ("" if found.is_up else ", down")
    if found.xdp_program is not None:
        return degraded(
            found.name,
            f"{driver}; XDP program {found.xdp_program} is attached ({found.xdp_mode}): packets that come in "
            "are taken behind it",
            f"bpftool prog show id {found.xdp_program}",
        )
    modes = {True: "native or generic", False: "generic", None: "generic; native is not known"}
    return ok(found.name, f"{driver}; XDP {modes[found.native_xdp]}")


def programs(held: Privileges) -> tuple[Section, Section]:
    """TLS libraries and language runtimes of the processes that run."""
    found = runtimes.survey()
    seen = f"in {plural(found.looked_at, 'process', 'processes')}"
    tls = [_library(library) for library in found.libraries.values()]
    languages = [ok(runtime.name, _users(runtime)) for runtime in found.runtimes.values()]
    tls = tls or [ok("libraries", f"none {seen}; those linked into a program do not show")]
    languages = languages or [ok("languages", f"none that is known {seen}")]
    if found.hidden and not all(held.holds(known) for known in CAPABILITIES):
        reason = f"{plural(found.hidden, 'process', 'processes')} of other users or protected"
        languages.append(degraded("hidden", reason, "run with CAP_SYS_PTRACE, or as root"))
    if found.skipped:
        languages.append(degraded("skipped", f"{found.skipped} processes more than are looked at"))
    return Section("TLS", tls), Section("runtimes", languages)


def _library(library: runtimes.Found) -> Check:
    if library.name in _READABLE_TLS:
        return ok(library.name, _users(library))
    return degraded(library.name, f"{_users(library)}; encrypted traffic is not read yet")


def _users(found: runtimes.Found) -> str:
    names = [f"{_comm(pid)} {pid}" for pid in found.pids[:_PROCESSES_NAMED]]
    more = len(found.pids) - len(names)
    users = listed(names + ([f"{more} more"] if more > 0 else []))
    return f"{_files(found.files)} in {users}"


def _files(files: Sequence[str]) -> str:
    return ", ".join(sorted(files)[:_PROCESSES_NAMED])


def _comm(pid: int) -> str:
    stat = read_stat(pid)
    return stat.comm if stat is not None else "gone"
