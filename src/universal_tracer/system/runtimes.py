"""Which TLS libraries and runtimes the running processes use, told from the files that they have mapped.

Only names of files and the first page of executables are read: no memory, no environment.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from universal_tracer.system.procfs import PROC, pids, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_PROCESSES: Final = 4096
_MOST_SECONDS: Final = 0.7
_MAPS_BYTES: Final = 1 << 20
_FIRST_PAGE: Final = 4096
# An ELF note: the name's length, the description's, the type, the name.
_GO_NOTE: Final = re.compile(rb"\x04\0\0\0....\x04\0\0\0Go\0\0", re.DOTALL)

# What a mapped file or an executable of this name means. The first that fits counts.
_LIBRARIES: Final = {
    "OpenSSL": re.compile(r"libssl\.so(?:\.|$)|libssl-[0-9a-f]{8}"),
    "BoringSSL": re.compile(r"libboringssl"),
    "GnuTLS": re.compile(r"libgnutls\.so"),
    "NSS": re.compile(r"libssl3\.so$"),
    "wolfSSL": re.compile(r"libwolfssl"),
    "mbed TLS": re.compile(r"libmbedtls"),
    "s2n": re.compile(r"libs2n\.so"),
}
_RUNTIMES: Final = {
    "JVM": re.compile(r"libjvm\.so$"),
    "Python": re.compile(r"libpython\d|^python\d?(?:\.\d+)?$"),
    "Node.js": re.compile(r"^node(?:js)?$|libnode\.so"),
    "Deno": re.compile(r"^deno$"),
    "Bun": re.compile(r"^bun$"),
    ".NET": re.compile(r"libcoreclr\.so$"),
    "Ruby": re.compile(r"libruby[\d.-]*\.so|^ruby[\d.]*$"),
    "PHP": re.compile(r"^php[\d.]*(?:-fpm|-cgi)?[\d.]*$|libphp\d?\.so"),
    "Perl": re.compile(r"^perl[\d.]*$|libperl\.so"),
    "Erlang": re.compile(r"^beam\.smp$"),
    "Envoy": re.compile(r"^envoy$"),
}


@dataclass(frozen=True, slots=True)
class Found:
    """A library or runtime: the files that it was told by, and the processes that have it."""

    name: str
    files: list[str] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)

    def add(self, file: str, pid: int) -> None:
        """One more process."""
        if file not in self.files:
            self.files.append(file)
        self.pids.append(pid)


@dataclass(slots=True)
class Survey:
    """What was found. `hidden` processes did not let us look, `skipped` ones were too many."""

    libraries: dict[str, Found] = field(default_factory=dict)
    runtimes: dict[str, Found] = field(default_factory=dict)
    looked_at: int = 0
    hidden: int = 0
    skipped: int = 0


def survey(proc: Path = PROC, most_processes: int = MOST_PROCESSES) -> Survey:
    """Look at every process, within a bound of number and of time."""
    found = Survey()
    is_go: dict[tuple[int, int], bool] = {}
    until = time.monotonic() + _MOST_SECONDS
    for pid in pids(proc):
        if found.looked_at >= most_processes or time.monotonic() > until:
            found.skipped += 1
            continue
        _look_at(pid, proc, found, is_go)
    return found


def _look_at(pid: int, proc: Path, found: Survey, is_go: dict[tuple[int, int], bool]) -> None:
    try:
        executable = (proc / str(pid) / "exe").readlink()
        files = set(_mapped_files(proc / str(pid) / "maps"))
    except PermissionError:
        found.hidden += not _is_kernel_thread(pid, proc)
        return
    except OSError:  # a kernel thread, or gone
        return
    found.looked_at += 1
    name = executable.name.removesuffix(" (deleted)")
    for kind, known in ((found.libraries, _LIBRARIES), (found.runtimes, _RUNTIMES)):
        for title, file in _recognised({name, *files}, known):
            kind.setdefault(title, Found(title)).add(file, pid)
    if _was_made_by_go(proc / str(pid) / "exe", is_go):
        found.runtimes.setdefault("Go", Found("Go")).add(name, pid)


def _is_kernel_thread(pid: int, proc: Path) -> bool:
    """Threads of the kernel have no command line; everybody may read that."""
    return not read_text(proc / str(pid) / "cmdline")


def _recognised(files: set[str], known: dict[str, re.Pattern[str]]) -> Iterator[tuple[str, str]]:
    for title, shape in known.items():
        file = min((file for file in files if shape.search(file)), default=None)
        if file is not None:
            yield title, file


def _mapped_files(maps: Path) -> Iterator[str]:
    with maps.open("rb") as stream:
        text = stream.read(_MAPS_BYTES)
    for line in text.splitlines():
        _, slash, path = line.partition(b"/")
        if slash:
            yield Path(path.decode(errors="replace").removesuffix(" (deleted)")).name


def _was_made_by_go(executable: Path, known: dict[tuple[int, int], bool]) -> bool:
    """Go's linker leaves a note with a build id in the first page; each file is read once."""
    try:
        status = executable.stat()
        key = (status.st_dev, status.st_ino)
        if key not in known:
            with executable.open("rb") as stream:
                known[key] = _GO_NOTE.search(stream.read(_FIRST_PAGE)) is not None
    except OSError:
        return False
    return known[key]
