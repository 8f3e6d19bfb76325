"""Debian's kernels as files: packages, fetched and unpacked, never installed, without the machine's apt."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "universal-tracer" / "kernels"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
SECURITY_MIRROR = os.environ.get("DEBIAN_SECURITY_MIRROR", f"{MIRROR}-security")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# By name: sets of suites, tried in turn. A mirror may list a security build that it does not have, and what
# is newest moves and vanishes: the next set is good enough then.
SUITES: dict[str, tuple[tuple[str, ...], ...]] = {
    "5.10": (("bullseye", "bullseye-security"), ("bullseye",)),
    "6.1": (("bookworm", "bookworm-security"), ("bookworm",)),
    "6.12": (("trixie", "trixie-security"), ("trixie",)),
    "newest": (("trixie-backports",), ("sid",), ("forky",), ("trixie",)),
}
BUSYBOX_SUITE = "bookworm"
DEBIAN_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}
# Newer packages are split; linux-base-* has the configuration only.
_KERNEL_PACKAGE = re.compile(r"linux-(image|binary|modules)-\d")


class UnavailableError(Exception):
    """Something that virtual machines need cannot be had; the message says what and what to do."""


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel."""

    name: str
    release: str
    machine: str
    directory: Path

    @property
    def image(self) -> Path:
        """What QEMU boots."""
        packed = self.directory / "boot" / f"vmlinuz-{self.release}"
        return packed if packed.exists() else self.modules / "vmlinuz"

    @property
    def modules(self) -> Path:
        """Its /lib/modules/RELEASE."""
        return self.directory / "usr" / "lib" / "modules" / self.release


def get(name: str, machine: str) -> Kernel:
    """Return the kernel *name* for *machine* (as ``uname -m`` says), from the cache or freshly fetched.

    Raises:
        UnavailableError: where no package of it can be had.
    """
    directory = CACHE / f"{name}-{machine}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}-{machine}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "release").exists():
            _fetch(name, machine, directory)
    release = (directory / "release").read_text(encoding="ascii").strip()
    return Kernel(name, release, machine, directory)


def _fetch(name: str, machine: str, directory: Path) -> None:
    if not KEYRING.exists():
        raise UnavailableError(f"{KEYRING} is missing: apt-get install debian-archive-keyring")
    causes = []
    for suites in SUITES[name]:
        shutil.rmtree(directory, ignore_errors=True)
        try:
            _unpack_newest(suites, DEBIAN_ARCHITECTURE[machine], directory)
        except (subprocess.CalledProcessError, LookupError) as error:
            causes.append(f"{' '.join(suites)}: {_told(error)}")
        else:
            return
    raise UnavailableError(
        f"no package of Linux {name} can be had from {MIRROR} (DEBIAN_MIRROR names another)\n"
        + "\n".join(causes)
    )


def _told(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"{' '.join(error.cmd)}: {(error.stderr or '').strip()}"
    return str(error)


def busybox(machine: str) -> Path:
    """Return a busybox for *machine* that needs no library: from the cache or freshly fetched.

    Raises:
        UnavailableError: where its package cannot be had.
    """
    directory = CACHE / f"busybox-{machine}"
    program = directory / "bin" / "busybox"
    if not program.exists():
        shutil.rmtree(directory, ignore_errors=True)
        try:
            apt = _private_apt((BUSYBOX_SUITE,), DEBIAN_ARCHITECTURE[machine], directory / "apt")
            _unpack(["busybox-static"], apt, directory)
        except (subprocess.CalledProcessError, LookupError) as error:
            message = f"no busybox for {machine} can be had from {MIRROR}\n{_told(error)}"
            raise UnavailableError(message) from error
    return program


def _unpack_newest(suites: tuple[str, ...], architecture: str, directory: Path) -> None:
    apt = _private_apt(suites, architecture, directory / "apt")
    names = _kernel_packages(f"linux-image-cloud-{architecture}", apt)
    (directory / "usr" / "lib").mkdir(parents=True)
    (directory / "lib").symlink_to("usr/lib")
    _unpack(names, apt, directory)
    shutil.rmtree(directory / "apt")
    release = next((directory / "usr" / "lib" / "modules").iterdir()).name
    _run("depmod", "-b", str(directory), release)
    (directory / "release").write_text(f"{release}\n", encoding="ascii")


def _unpack(names: list[str], apt: dict[str, str], directory: Path) -> None:
    packages = directory / "packages"
    packages.mkdir()
    _run("apt-get", "-qq", "download", *names, env=apt, cwd=packages)
    for package in packages.glob("*.deb"):
        archive = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
        subprocess.run(
            ["tar", "-x", "--keep-directory-symlink", "-C", directory], stdin=archive.stdout, check=True
        )
        if archive.wait() != 0:
            raise LookupError(f"{package.name} is damaged")
    shutil.rmtree(packages)


def _kernel_packages(metapackage: str, apt: dict[str, str]) -> list[str]:
    """Follow the metapackage's dependencies to the packages that hold the kernel."""
    found: list[str] = []
    left = [metapackage]
    while left:
        depends = _run("apt-cache", "depends", "--important", left.pop(), env=apt)
        new = [name for name in re.findall(r"Depends: (\S+)", depends) if _KERNEL_PACKAGE.match(name)]
        left += [name for name in new if name not in found]
        found += [name for name in new if name not in found]
    if not found:
        raise LookupError(f"{metapackage} is not there")
    return found


def _private_apt(suites: tuple[str, ...], architecture: str, root: Path) -> dict[str, str]:
    """Make apt's lists and cache anew in *root*, and return the environment that uses them.

    Only the machine's proxies and the like hold here as well.
    """
    for folder in ("lists/partial", "cache/archives/partial"):
        (root / folder).mkdir(parents=True)
    (root / "status").touch()
    mirrors = {suite: SECURITY_MIRROR if suite.endswith("-security") else MIRROR for suite in suites}
    (root / "sources").write_text(
        "".join(f"deb [signed-by={KEYRING}] {mirror} {suite} main\n" for suite, mirror in mirrors.items()),
        encoding="ascii",
    )
    (root / "apt.conf").write_text(
        f"""APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "{root}";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Etc::sourcelist "{root}/sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
""",
        encoding="ascii",
    )
    environment = {**os.environ, "APT_CONFIG": str(root / "apt.conf"), "LC_ALL": "C"}
    _run("apt-get", "-qq", "update", env=environment)
    return environment


def _run(*command: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=True).stdout
