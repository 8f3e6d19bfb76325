"""The pcapng output: whole blocks only, whatever happens."""

from __future__ import annotations

import os
import random
import resource
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from universal_tracer.model.ports import OutputFile, PacketSink, StandardOutput
from universal_tracer.sinks import open_sinks
from universal_tracer.sinks.pcapng import PcapngSink
from universal_tracer.system.files import open_for_writing

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTION = 0x0A0D0D0A
PACKET = 6
NOTHING = StandardOutput("none", is_terminal=False, color=False)


def block(kind: int, body: bytes = b"") -> bytes:
    padded = body + bytes(-len(body) % 4)
    length = struct.pack("=I", len(padded) + 12)
    return struct.pack("=I", kind) + length + padded + length


def section() -> bytes:
    return block(SECTION, struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1))


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Types and bodies; fails where the data are not whole blocks."""
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("=II", data, at)
        assert length >= 12, f"a block of {length} bytes at {at} of {len(data)}"
        assert length % 4 == 0
        assert struct.unpack_from("=I", data, at + length - 4) == (length,)
        yield kind, data[at + 8 : at + length - 4]
        at += length


def opened(path: Path) -> PacketSink:
    (sink,) = open_sinks([OutputFile("pcapng", path)], NOTHING)
    assert isinstance(sink, PacketSink)
    return sink


def packets(data: bytes) -> list[int]:
    return [int.from_bytes(body[:4], sys.byteorder) for kind, body in blocks(data) if kind == PACKET]


def numbered(number: int, size: int) -> bytes:
    return block(PACKET, struct.pack("=I", number) + bytes(size))


def test_what_is_written_comes_out_whole_and_in_order(tmp_path: Path) -> None:
    sizes = random.Random(1)
    path = tmp_path / "trace.pcapng"
    sink = opened(path)
    sink.write_packets([section() + numbered(0, 60)])
    number = 1
    while number < 3000:
        rows = []
        for _ in range(sizes.randint(1, 4)):
            count = sizes.choice([1, 2, 40])
            rows.append(b"".join(numbered(number + n, sizes.randint(0, 1600)) for n in range(count)))
            number += count
        sink.write_packets(rows)
        assert packets(path.read_bytes()) == list(range(number))
    sink.close()
    kinds = [kind for kind, _ in blocks(path.read_bytes())]
    assert kinds[0] == SECTION
    assert max(kinds) < 0x80000000, "a filling was left"


def test_events_go_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "trace.pcapng"
    sink = opened(path)
    sink.write("packet", pl.DataFrame({"type": ["packet"]}))
    sink.close()
    assert path.read_bytes() == b""


def test_a_pipe_gets_the_blocks_as_they_are() -> None:
    read, write = os.pipe()
    sink = PcapngSink("pipe", write)
    sink.write_packets([section(), numbered(1, 7)])
    sink.close()
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == section() + numbered(1, 7)


_WRITER = """
import struct, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_sinks_pcapng import numbered, opened, section
sink = opened(Path(sys.argv[1]))
sink.write_packets([section()])
print("ready", flush=True)
number = 0
while True:
    sink.write_packets([b"".join(numbered(number + n, 1400) for n in range(180))])
    number += 180
"""


@pytest.mark.parametrize("seed", range(6))
def test_a_file_is_valid_after_sigkill(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "trace.pcapng"
    here = Path(__file__).parent
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, path, here], stdout=subprocess.PIPE)
    with writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(random.Random(seed).uniform(0.01, 0.2))
        writer.send_signal(signal.SIGKILL)
    found = packets(path.read_bytes())
    assert found == list(range(len(found)))


def test_a_full_disk_leaves_a_valid_file(tmp_path: Path) -> None:
    path = tmp_path / "trace.pcapng"
    limit = 1_000_000
    os.close(open_for_writing(path))
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        sink = opened(path)
        try:
            sink.write_packets([section()])
            for number in range(10_000):
                sink.write_packets([numbered(number, 3000)])
        except OSError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert len(packets(path.read_bytes())) > limit // 3100
