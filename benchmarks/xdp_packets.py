"""What a packet costs: the packet tracer's own programs, run by the kernel on one frame of many flows.

    sudo .venv/bin/python benchmarks/xdp_packets.py

A session attaches to a veth pair in a network namespace of its own. A small program in front of the tracer's
draws the frame's source address out of F at random, so that every packet belongs to another flow than the
one before it; what that program and an empty one cost is told beside. Times are thread time per packet on one
core, the least and the median of some rounds: the least is what the code costs, the median what others add.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import statistics
import struct
import subprocess
import time
from contextlib import contextmanager
from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_native: Final = import_module("universal_tracer._native")
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_SYS_BPF: Final = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_MAP_CREATE, _MAP_UPDATE, _PROG_LOAD, _TEST_RUN, _PROG_BY_ID = 0, 2, 5, 10, 13
_PROG_ARRAY, _XDP, _ATTACH_XDP, _HAS_FRAGS = 3, 6, 37, 1 << 5
_CLONE_NEWNET: Final = 0x40000000
_ROUNDS: Final = 12
_REPEAT: Final = 400_000
_FLOWS: Final = (1, 1024, 65_536)
_TABLE_SIZE: Final = 65_536
_SOURCE_AT: Final = 26  # of the IPv4 source address in an Ethernet frame


def bpf(command: int, attributes: bytes) -> int:
    """The system call; raises OSError."""
    room = ctypes.create_string_buffer(attributes.ljust(144, b"\0"), 144)
    result = _LIBC.syscall(_SYS_BPF, command, room, 144)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)


def instruction(code: int, destination: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One instruction of eBPF."""
    return struct.pack("=BBhi", code, destination | source << 4, offset, value)


def load(code: bytes) -> int:
    """Load an XDP program of these instructions."""
    text, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    words = (_XDP, len(code) // 8, ctypes.addressof(text), ctypes.addressof(licence), 0, 0, 0, 0, _HAS_FRAGS)
    # the kernel lets a program jump to those only that are attached like it
    attributes = struct.pack("=IIQQIIQII16sII", *words, b"bench", 0, _ATTACH_XDP)
    return bpf(_PROG_LOAD, attributes)


def drawing_flows(jump_table: int, flows: int) -> bytes:
    """Instructions: write one of `flows` source addresses into the frame, go on with program 0."""
    return b"".join(
        (
            instruction(0xBF, 6, 1),  # r6 = context
            instruction(0x61, 7, 6, 0),  # r7 = data
            instruction(0x61, 2, 6, 4),  # r2 = end of data
            instruction(0xBF, 3, 7),
            instruction(0x07, 3, value=_SOURCE_AT + 4),
            instruction(0x2D, 3, 2, 8),  # a frame that is too short: pass
            instruction(0x85, value=7),  # random number
            instruction(0x57, 0, value=flows - 1),
            instruction(0x63, 7, 0, _SOURCE_AT),
            instruction(0xBF, 1, 6),
            instruction(0x18, 2, 1, value=jump_table),
            instruction(0),
            instruction(0xB7, 3),
            instruction(0x85, value=12),  # tail call
            instruction(0xB7, 0, value=2),
            instruction(0x95),
        )
    )


def passing() -> bytes:
    """Instructions: pass."""
    return instruction(0xB7, 0, value=2) + instruction(0x95)


def jump_to(program: int) -> int:
    """A table whose first entry is the program."""
    table = bpf(_MAP_CREATE, struct.pack("=IIIII", _PROG_ARRAY, 4, 4, 1, 0))
    key, value = ctypes.c_uint32(0), ctypes.c_uint32(program)
    bpf(_MAP_UPDATE, struct.pack("=IIQQQ", table, 0, ctypes.addressof(key), ctypes.addressof(value), 0))
    return table


def nanoseconds_per_run(program: int, frame: bytes, repeat: int = _REPEAT) -> float:
    """Thread time per packet."""
    data = ctypes.create_string_buffer(frame, len(frame))
    attributes = struct.pack("=IIIIQQII", program, 0, len(frame), 0, ctypes.addressof(data), 0, repeat, 0)
    before = time.thread_time_ns()
    bpf(_TEST_RUN, attributes)
    return (time.thread_time_ns() - before) / repeat


def frame_of(protocol: int, length: int) -> bytes:
    """An Ethernet frame with IPv4 and UDP or TCP, whose payload is nothing in particular."""
    transport = struct.pack("!HHHH", 40000, 9000, length - 34, 0)
    if protocol == socket.IPPROTO_TCP:
        transport = struct.pack("!HHIIBBHHH", 40000, 9000, 1, 1, 5 << 4, 0x10, 512, 0, 0)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length - 14, 1, 0, 64, protocol, 0, b"\n\0\0\1", b"\n\0\0\2")
    return (b"\x02" * 12 + b"\x08\x00" + ip + transport).ljust(length, b"\xa5")


@contextmanager
def session(mode: str, *, detect_payload: bool = True) -> Iterator[Any]:
    """A session on the interface `bench0`."""
    settings = {
        "object_path": str(resources.files("universal_tracer") / "objects" / "xdp_tracer.o"),
        "interfaces": ["bench0"], "mode": mode, "egress": True, "flow_table_size": _TABLE_SIZE,
        "flow_timeout_ns": 300 * 10**9, "sampling": 1, "expression": None, "detect_payload": detect_payload,
        "track_flows": True, "packet_events": False, "capture_bytes": 0, "interval_ns": 3600 * 10**9,
        "ring_bytes": 1 << 23, "processes": [], "waits": False, "is_watched": False,
        "self_pid": os.getpid(), "filter": False, "pids": [], "cgroups": [], "names": [],
        "privacy": {"enable_pii_filtering": True, "mask_sensitive_headers": True, "exclude_patterns": [],
                    "max_payload_capture": 0},
    }  # fmt: skip
    running = _native.XdpSession(settings)
    running.attach()
    try:
        yield running
    finally:
        running.close()


def own_program(name: str) -> int:
    """A descriptor of this process's newest program of that name."""
    found = []
    for entry in Path("/proc/self/fdinfo").iterdir():
        try:
            fields = dict(line.split(":", 1) for line in entry.read_text().splitlines() if ":" in line)
        except FileNotFoundError:
            continue
        if int(fields.get("prog_type", 0)) == _XDP:
            found.append(int(fields["prog_id"]))
    if not found:
        message = f"no program {name}"
        raise LookupError(message)
    return bpf(_PROG_BY_ID, struct.pack("=I", max(found)))


def table_bytes() -> dict[str, int]:
    """Memory of this process's maps, as the kernel counts it, by their kind and number of entries."""
    found = {}
    for entry in Path("/proc/self/fdinfo").iterdir():
        try:
            fields = dict(line.split(":", 1) for line in entry.read_text().splitlines() if ":" in line)
        except FileNotFoundError:
            continue
        if "map_id" in fields:
            found[fields["map_id"].strip()] = int(fields["memlock"])
    return found


def told(name: str, rounds: list[float]) -> None:
    """One line of the result."""
    print(f"{name:<58} {min(rounds):6.1f} {statistics.median(rounds):7.1f}")


def measure(programs: dict[str, tuple[int, bytes]]) -> dict[str, list[float]]:
    """Rounds of all programs, interleaved, so that the machine's moods hit all of them."""
    rounds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(_ROUNDS):
        for name, (program, frame) in programs.items():
            rounds[name].append(nanoseconds_per_run(program, frame))
    return rounds


def costs() -> None:
    """The tracer's ingress program at different numbers of flows, frame sizes and modes."""
    floor = load(passing())
    udp, tcp = frame_of(socket.IPPROTO_UDP, 64), frame_of(socket.IPPROTO_TCP, 1500)
    programs = {
        "an empty program behind the one that draws": (load(drawing_flows(jump_to(floor), 1024)), udp)
    }
    with session("native"):
        traced = jump_to(own_program("handle_ingress"))
        for flows in _FLOWS:
            drawing = load(drawing_flows(traced, flows))
            programs[f"native, 64 bytes UDP, {flows:,} flows"] = (drawing, udp)
        programs["native, 1,500 bytes TCP, 1,024 flows"] = (load(drawing_flows(traced, 1024)), tcp)
        for name, rounds in measure(programs).items():
            told(name, rounds)
    detection()


def detection() -> None:
    """What looking for HTTP adds to packets that are something else."""
    tcp = frame_of(socket.IPPROTO_TCP, 1500)
    rounds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(3):
        for detect in (False, True):
            with session("native", detect_payload=detect):
                program = load(drawing_flows(jump_to(own_program("handle_ingress")), 1024))
                rounds[detect] += [nanoseconds_per_run(program, tcp) for _ in range(4)]
    told("the same without looking for HTTP", rounds[False])
    told("the same, looking for HTTP", rounds[True])
    print(f"looking for HTTP adds {min(rounds[True]) - min(rounds[False]):.1f} ns to a packet without any")


def drain() -> None:
    """How long userspace needs for a full table."""
    times, count = [], 0
    for _ in range(3):
        with session("native") as running:
            program = load(drawing_flows(jump_to(own_program("handle_ingress")), _TABLE_SIZE))
            nanoseconds_per_run(program, frame_of(socket.IPPROTO_UDP, 64), 2_000_000)
            before = time.perf_counter()
            running.stop()
            tick = running.tick(0)
            times.append((time.perf_counter() - before) * 1000)
            count = len(tick.frames["flow"])
    print(f"{count:,} flows told and the session ended in {min(times):.0f} ms (least of {len(times)})")


def memory() -> None:
    """The tables' size, here and computed for other machines."""
    cpus = os.cpu_count() or 1
    with session("native"):
        here = sum(table_bytes().values())
    per_cpu = 64 * 2 * 320  # ledgers of 64 interfaces and two directions
    print(f"kernel tables with {cpus} CPUs: {here / 1e6:.1f} MB", end="")
    for others in (2, 16, 128):
        print(f"; with {others}: {(here + (others - cpus) * per_cpu) / 1e6:.1f} MB", end="")
    print()


def main() -> None:
    """Everything, in a network namespace that goes with this process."""
    if _LIBC.unshare(_CLONE_NEWNET):
        raise SystemExit("error: root is needed")
    for words in ("add bench0 type veth peer name bench1", "set bench0 up", "set bench1 up"):
        subprocess.run(["/usr/sbin/ip", "link", *words.split()], check=True)
    print(
        f"Linux {platform.release()}, {os.cpu_count()} CPUs, one core used; table for {_TABLE_SIZE:,} flows"
    )
    print(f"{'ns per packet':<58} {'least':>6} {'median':>7}")
    costs()
    drain()
    memory()


if __name__ == "__main__":
    main()
