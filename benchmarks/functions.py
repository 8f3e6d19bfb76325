"""What tracing a function costs: a program's processor time without, with bare probes, and traced.

    sudo .venv/bin/python benchmarks/functions.py [ROUNDS] [CALLS]

The bare pair is one empty kernel program at the entry and the return of the same function (uprobe.session).
"""

from __future__ import annotations

import ctypes
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOURCE: Final = r"""
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
__attribute__((noinline)) long work(long given) { __asm__ volatile("" ::: "memory"); return given + 1; }
int main(int count, char **words)
{
	struct timespec begin, end;
	long calls = atol(words[1]), sum = 0;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	for (long call = 0; call < calls; call++)
		sum += work(call);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	fprintf(stderr, "ns %f\n", ((end.tv_sec - begin.tv_sec) * 1e9 + end.tv_nsec - begin.tv_nsec) / calls);
	return sum < 0;
}
"""
_SYS_BPF: Final = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
_PROG_LOAD, _LINK_CREATE = 5, 28
_KPROBE, _UPROBE_SESSION = 2, 57
# a program that returns 0
_EMPTY: Final = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)
_SIZE: Final = 128


def _bpf(command: int, attribute: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attribute.ljust(_SIZE, b"\0"), _SIZE)
    descriptor: int = libc.syscall(_SYS_BPF, command, buffer, _SIZE)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return descriptor


@contextmanager
def bare_pair(path: Path, offset: int) -> Iterator[None]:
    """An empty program at a function's entry and return."""
    code, licence = ctypes.create_string_buffer(_EMPTY), ctypes.create_string_buffer(b"GPL")
    load = struct.pack("<IIQQ", _KPROBE, 2, ctypes.addressof(code), ctypes.addressof(licence))
    program = _bpf(_PROG_LOAD, load.ljust(68, b"\0") + struct.pack("<I", _UPROBE_SESSION))
    name, where = ctypes.create_string_buffer(bytes(path)), ctypes.c_uint64(offset)
    places = struct.pack("<QQQQIII", ctypes.addressof(name), ctypes.addressof(where), 0, 0, 1, 0, 0)
    link = _bpf(_LINK_CREATE, struct.pack("<IIII", program, 0, _UPROBE_SESSION, 0) + places)
    try:
        yield
    finally:
        os.close(link)
        os.close(program)


def _ns(stderr: str) -> float:
    return next(float(line.split()[1]) for line in stderr.splitlines() if line.startswith("ns "))


def traced(program: Path, calls: int, *flags: str) -> tuple[float, int, int]:
    """Nanoseconds a call, calls that were told or counted, and what was lost."""
    tracer = Path(sys.executable).with_name("universal-tracer")
    words = [tracer, "--tracer", "stack", "--trace-function", f"u:{program}:work", *flags]
    run = subprocess.run([*words, "--", program, str(calls)], capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in run.stdout.splitlines()]
    counted = sum(
        found["calls"]
        for event in events
        if event["type"] == "summary"
        for found in event["stack"]["functions"]
    )
    told = sum(1 for event in events if event["type"] == "function")
    lost = sum(
        event.get("lost") or event.get("count") or 0
        for event in events
        if event["type"] in ("loss", "summary")
    )
    return _ns(run.stderr), counted or told, lost


def main() -> None:
    rounds, calls = (int(word) for word in (*sys.argv[1:], "5", "100003")[:2])
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "work.c"), Path(folder, "work")
        source.write_text(_SOURCE)
        subprocess.run(["gcc", "-O0", "-o", program, source], check=True)
        symbols = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
        offset = next(int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(" T work"))
        without = Path(folder, "without.yaml")
        without.write_text("stack_tracer: {enable_user_stacks: false}\n")
        found: dict[str, list[float]] = {}
        exact: dict[str, set[tuple[int, int]]] = {}
        for _ in range(rounds):
            plain = subprocess.run([program, str(calls)], capture_output=True, text=True, check=True)
            found.setdefault("untraced", []).append(_ns(plain.stderr))
            with bare_pair(program, offset):
                bare = subprocess.run([program, str(calls)], capture_output=True, text=True, check=True)
            found.setdefault("bare pair", []).append(_ns(bare.stderr))
            for name, flags in (
                ("counted (--metrics-only)", ("--metrics-only", "--output-format", "ndjson")),
                ("told (ndjson)", ("--output-format", "ndjson")),
                ("told without stacks", ("--output-format", "ndjson", "--config", str(without))),
            ):
                ns, seen, lost = traced(program, calls, *flags)
                found.setdefault(name, []).append(ns)
                exact.setdefault(name, set()).add((seen, lost))
    pairs = found["bare pair"]
    for name, values in found.items():
        ratios = [value / pair for value, pair in zip(values, pairs, strict=True)]
        seen = f", seen and lost: {sorted(exact[name])}" if name in exact else ""
        print(
            f"{name}: {statistics.median(values):,.0f} ns, {statistics.median(ratios):.2f} of the pair{seen}"
        )


if __name__ == "__main__":
    main()
