"""What the tracer itself costs: processor time, memory, and time in its kernel programs."""

from __future__ import annotations

import ctypes
import os
import platform
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from universal_tracer.system.procfs import PROC, read_text

if TYPE_CHECKING:
    from pathlib import Path

_BPF_ENABLE_STATS: Final = 32
_BPF_STATS_RUN_TIME: Final = 0
_BPF_CALL: Final = {"x86_64": 321, "aarch64": 280}
_PROGRAM: Final = "prog_type"


def cpu_seconds() -> float:
    """Of all threads of this process, user and system."""
    return time.process_time()


def resident_memory_bytes(proc: Path = PROC) -> int | None:
    """Of this process; None where /proc does not say."""
    fields = (read_text(proc / "self/statm") or "").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else None


def give_memory_back() -> None:
    """To the kernel, what the allocator keeps for later; nothing where the C library cannot."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class ProgramTime:
    """Time in the kernel programs that this process holds; the kernel measures it only while asked to.

    Being measured costs each program about 70 ns a run, on the whole machine.
    """

    def __init__(self, proc: Path = PROC) -> None:
        self._descriptors = proc / "self/fdinfo"
        self._asked = _enable_statistics()
        self._seconds: dict[str, float] = {}

    def seconds(self) -> float | None:
        """So far, programs that have gone included; None where the kernel does not measure it."""
        if self._asked is None:
            return None
        for information in _texts(self._descriptors):
            fields = dict(line.split(":", 1) for line in information.splitlines() if ":" in line)
            if _PROGRAM in fields and "run_time_ns" in fields:
                self._seconds[fields["prog_id"].strip()] = int(fields["run_time_ns"]) / 1e9
        return sum(self._seconds.values())

    def close(self) -> None:
        """The kernel stops measuring, unless others have asked, too. Idempotent."""
        if self._asked is not None:
            os.close(self._asked)
        self._asked = None


def _texts(folder: Path) -> list[str]:
    return [text for name in os.listdir(folder) if (text := read_text(folder / name)) is not None]  # noqa: PTH208  names only, and cheaper


def _enable_statistics() -> int | None:
    """A descriptor for as long as which the kernel measures programs; None where that is not allowed."""
    number = _BPF_CALL.get(platform.machine())
    if number is None:
        return None
    attributes = ctypes.create_string_buffer(_BPF_STATS_RUN_TIME.to_bytes(4, "little"), 128)
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(number, _BPF_ENABLE_STATS, attributes, 128)
    if descriptor < 0:
        return None
    os.set_inheritable(descriptor, False)
    return int(descriptor)
