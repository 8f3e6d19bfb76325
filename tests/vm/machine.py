"""One virtual machine: boots a kernel under QEMU without KVM and runs a command on the host's files.

The guest's root is the host's, served read-only by virtiofsd, under a layer in memory: the same paths,
libraries and virtual environment, everything can be written and nothing lasts. What the guest says goes
through virtio ports into files here, so that nothing has to be pumped while it runs.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vm import initramfs
from vm.kernels import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vm.kernels import Kernel

PORTS = ("status", "output", "report")
VIRTIOFSD_PLACES = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")
SERVER_SECONDS = 20.0


@dataclass(frozen=True)
class Emulator:
    """How QEMU is asked for an architecture."""

    program: str
    machine: str
    cpu: str
    console: str


EMULATORS = {
    "x86_64": Emulator("qemu-system-x86_64", "q35", "max,la57=off", "ttyS0"),
    "aarch64": Emulator("qemu-system-aarch64", "virt", "max,pauth-impdef=on", "ttyAMA0"),
}
# Quicker to boot, and addresses that can be compared between runs.
KERNEL_ARGUMENTS = (
    "loglevel=5 panic=-1 oops=panic nokaslr mitigations=off tsc=reliable no_timer_check cryptomgr.notests "
    "net.ifnames=0 selinux=0 apparmor=0 audit=0"
)


@dataclass(frozen=True)
class Outcome:
    """What a machine left behind; ``exit_code`` is None where the command did not come to its end."""

    exit_code: int | None
    output: str
    report: str
    console: str
    seconds: float

    @property
    def why(self) -> str:
        """What happened, in a word or two."""
        if self.exit_code is None:
            return "did not come to an end" if "booted" in self.console else "did not boot"
        return "passed" if self.exit_code == 0 else f"failed with exit code {self.exit_code}"


def run(
    kernel: Kernel,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    root: Path = Path("/"),
    busybox: Path | None = None,
    cpus: int = 1,
    memory: str = "1536M",
    seconds: float = 900.0,
) -> Outcome:
    """Boot *kernel*, run *command* as root in the current directory, and power off.

    Raises:
        UnavailableError: where QEMU or its file server is missing, or the right to use them.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vm-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        image = initramfs.write(kernel, command, environment, folder, busybox)
        stack.enter_context(_file_server(root, kernel, folder))
        qemu = [*_qemu(kernel, image, folder, cpus, memory)]
        stack.enter_context(_process(qemu, folder / "qemu.log", seconds))
        said = {port: _text(folder / port) for port in PORTS}
        console = _text(folder / "console") + _text(folder / "qemu.log") + _text(folder / "server.log")
    code = [line.removeprefix("exit ") for line in said["status"].splitlines() if line.startswith("exit ")]
    return Outcome(
        exit_code=int(code[0]) if code else None,
        output=said["output"],
        report=said["report"],
        console=console + said["status"],
        seconds=time.monotonic() - began,
    )


def _qemu(kernel: Kernel, image: Path, folder: Path, cpus: int, memory: str) -> Iterator[str]:
    emulator = EMULATORS[kernel.machine]
    if not shutil.which(emulator.program):
        raise UnavailableError(f"{emulator.program} is missing: make test-vm installs it on Debian")
    yield from (emulator.program, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot")
    yield from ("-machine", f"{emulator.machine},memory-backend=memory", "-accel", "tcg,thread=multi")
    yield from ("-cpu", emulator.cpu, "-smp", str(cpus), "-m", memory)
    # the file server reads and writes the guest's memory
    yield from ("-object", f"memory-backend-memfd,id=memory,size={memory},share=on")
    yield from ("-kernel", str(kernel.image), "-initrd", str(image))
    yield from ("-append", f"console={emulator.console} {KERNEL_ARGUMENTS}")
    yield from (
        "-serial",
        f"file:{folder}/console",
        "-device",
        "virtio-rng-pci",
        "-device",
        "virtio-serial-pci",
    )
    for port in PORTS:
        yield from ("-chardev", f"file,id={port},path={folder}/{port}")
        yield from ("-device", f"virtserialport,chardev={port},name={port}")
    yield from ("-chardev", f"socket,id=host,path={folder}/server")
    yield from ("-device", "vhost-user-fs-pci,chardev=host,tag=host")


@contextlib.contextmanager
def _file_server(root: Path, kernel: Kernel, folder: Path) -> Iterator[None]:
    """Serve *root* read-only, without what is mounted below it but for the places that the guest needs."""
    places = [str(place) for place in _other_file_systems([Path.cwd(), kernel.modules, Path(sys.prefix)])]
    tree = folder / "tree"
    tree.mkdir()
    script = f"""
set -e
mount --make-rprivate /
mount --bind {shlex.quote(str(root))} {tree}
for place in {shlex.join(places)}; do
    mount --bind "$place" {tree}"$place"
    mount -o remount,bind,ro {tree}"$place"
done
mount -o remount,bind,ro {tree}
exec {_server_command(folder / "server", tree)}
"""
    with _process(["unshare", "--mount", "sh", "-c", script], folder / "server.log", None) as server:
        until = time.monotonic() + SERVER_SECONDS
        while not (folder / "server").exists():
            if server.poll() is not None or time.monotonic() > until:
                raise UnavailableError(f"the file server did not start: {_text(folder / 'server.log')}")
            time.sleep(0.02)
        yield


def _server_command(socket: Path, tree: Path) -> str:
    program = shutil.which("virtiofsd") or next(filter(os.path.exists, VIRTIOFSD_PLACES), None)
    if program is None:
        raise UnavailableError("virtiofsd is missing: scripts/install-packages vm")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    if "Fabrice" in version:  # the one that came with QEMU before version 8
        return (
            f"{program} -f --socket-path={socket} -o source={tree} -o sandbox=chroot -o cache=always "
            "-o log_level=err --thread-pool-size=0"
        )
    options = "--sandbox=none --cache=always --log-level=error"
    return f"{program} --socket-path={socket} --shared-dir={tree} {options}"


def _other_file_systems(places: Sequence[Path]) -> list[Path]:
    """Return the mount points of *places* that do not lie on the root's file system."""
    found = []
    for place in places:
        point = place.resolve()
        while not point.is_mount():
            point = point.parent
        if point != Path("/") and point not in found:
            found.append(point)
    return found


@contextlib.contextmanager
def _process(command: Sequence[str], log: Path, seconds: float | None) -> Iterator[subprocess.Popen[bytes]]:
    """Start *command*, which ends with this process at the latest; with *seconds* wait for its end first."""
    if os.geteuid() != 0:
        raise UnavailableError("virtual machines on this machine's files need root: run make test-vm as root")
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        if seconds is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
