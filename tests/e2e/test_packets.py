"""Packets as events and as a capture, compared with what tshark reads of that capture."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from harness.capability import need_command, need_tracer
from harness.dissection import dissected, said
from harness.network import Host, cable
from harness.tracer import Event, Tracer, TracerRun, run_tracer, tracer_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.kernel

SERVERS = """
import http.server, socket, sys, threading
address = sys.argv[1]
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind((address, 53))
def answer():
    while True:
        question, who = names.recvfrom(512)
        names.sendto(question[:2] + bytes([0x81, 0x80]) + question[4:], who)
threading.Thread(target=answer, daemon=True).start()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"x" * 3000
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer((address, 8080), Handler)
print("ready", flush=True)
server.serve_forever()
"""
CLIENT = """
import http.client, socket, sys
address = sys.argv[1]
for path in ("/a?token=secret", "/b/missing", "/users/jane@example.com"):
    connection = http.client.HTTPConnection(address, 8080)
    connection.request("GET", path)
    connection.getresponse().read()
    connection.close()
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.settimeout(20)
name = b"".join(bytes([len(label)]) + label for label in (b"www", b"example", b"com")) + bytes(1)
asker.sendto(b"\\x12\\x34\\x01\\x00\\x00\\x01" + bytes(6) + name + b"\\x00\\x1c\\x00\\x01", (address, 53))
asker.recv(512)
"""
FIELDS = (
    "frame.packet_flags_direction",
    "frame.len",
    "ip.src",
    "ip.dst",
    "ip.proto",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "tcp.flags",
    "http.request.method",
    "http.response.code",
    "dns.qry.name",
    "dns.time",
)


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with cable() as pair, servers(pair[0]):
        yield pair


@contextmanager
def servers(host: Host) -> Iterator[None]:
    server = host.start(sys.executable, "-c", SERVERS, host.address, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline()
        yield
    finally:
        server.kill()
        server.communicate()


def traced(host: Host, *words: object) -> Tracer:
    common = ("--tracer", "xdp", "--interface", host.interface)
    return Tracer(*common, *map(str, words), prefix=host.prefix)


def flag_bits(event: Event) -> int:
    names = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr")
    return sum(1 << names.index(name) for name in event["tcp_flags"])


def as_dissected(event: Event) -> dict[str, str]:
    """What tshark should say of an event's packet."""
    flow, http, dns = event["flow"] or {}, event["http"] or {}, event["dns"] or {}
    ports = {6: "tcp", 17: "udp"}.get(event["protocol"])
    seconds, nanoseconds = divmod(event["timestamp_ns"], 1_000_000_000)
    told: dict[str, Any] = {
        "frame.time_epoch": f"{seconds}.{nanoseconds:09}",
        "frame.packet_flags_direction": "0x00000001" if event["direction"] == "ingress" else "0x00000002",
        "frame.len": event["length"],
        "ip.src": flow.get("source", ""),
        "ip.dst": flow.get("destination", ""),
        "ip.proto": event["protocol"] if event["protocol"] is not None else "",
        "tcp.flags": f"0x{flag_bits(event):04x}" if event["tcp_flags"] is not None else "",
        "http.request.method": http.get("method") or "",
        "dns.qry.name": dns.get("name", ""),
        "dns.time": f"{dns['latency_ms'] / 1000:.9f}" if dns.get("latency_ms") else "",
    }
    for name in ("tcp", "udp"):
        told[f"{name}.srcport"] = flow["source_port"] if ports == name else ""
        told[f"{name}.dstport"] = flow["destination_port"] if ports == name else ""
    return {name: str(value) for name, value in told.items()}


def packets(run: TracerRun) -> list[Event]:
    return sorted(run.of_type("packet"), key=lambda event: int(event["timestamp_ns"]))


@pytest.mark.parametrize("mode", ["generic", "native"])
def test_events_equal_what_tshark_reads(tmp_path: Path, hosts: tuple[Host, Host], mode: str) -> None:
    near, far = hosts
    capture = tmp_path / "trace.pcapng"
    with traced(near, "--xdp-mode", mode, "--events", "packet,loss", "--output", capture) as tracer:
        far.run(sys.executable, "-c", CLIENT, near.address)
        run = tracer.stop()
    assert run.exit_code == 0, run.stderr
    assert run.lost == 0
    events, lines = packets(run), dissected(capture, FIELDS)
    assert len(events) == len(lines) >= 30
    for event, line in zip(events, lines, strict=True):
        expected = as_dissected(event)
        if line["ip.src"] == "" and event["protocol"] is not None:
            continue  # IPv6: other fields
        times = [float(told.pop("dns.time") or 0) for told in (expected, line)]
        assert times[0] == pytest.approx(times[1], abs=1e-6)  # the clocks are compared anew at each tick
        assert {name: line[name] for name in expected} == expected


def test_heads_and_questions_are_in_the_events(hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    with traced(near, "--events", "packet") as tracer:
        far.run(sys.executable, "-c", CLIENT, near.address)
        run = tracer.stop()
    heads = [event["http"] for event in packets(run) if event["http"] is not None]
    requests = [head["path"] for head in heads if head["kind"] == "request"]
    assert requests == ["/a", "/b/missing", "/users/***"]
    assert [head["status"] for head in heads if head["kind"] == "response"] == [200, 404, 200]
    question, answer = [event["dns"] for event in packets(run) if event["dns"] is not None]
    assert question == {"name": "www.example.com", "type": "AAAA", "latency_ms": None}
    assert answer["latency_ms"] > 0


def test_a_capture_says_where_and_how_it_was_made(tmp_path: Path, hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    capture = tmp_path / "trace.pcapng"
    words = ["--filter", "tcp port 8080", "--output", capture]
    with traced(near, *words) as tracer:
        far.run(sys.executable, "-c", CLIENT, near.address)
        assert tracer.stop().exit_code == 0
    about = said("capinfos", capture)
    for expected in ("universal-tracer", "Name = wire", "nanoseconds (9)", "Filter string = tcp port 8080"):
        assert expected in about
    assert {line["ip.proto"] for line in dissected(capture, FIELDS)} == {"6"}


def test_a_capture_can_be_piped(hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    command = [*near.prefix, str(need_tracer()), "--tracer", "xdp", "--interface", near.interface]
    with (
        subprocess.Popen(
            [*command, "--output", "pcapng:-"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=tracer_environment(),
        ) as tracer,
        subprocess.Popen(
            [need_command("tshark"), "-l", "-n", "-r", "-", "-T", "fields", "-e", "http.request.uri"],
            stdin=tracer.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as tshark,
    ):
        assert tracer.stdout is not None
        assert tracer.stderr is not None
        assert tshark.stdout is not None
        tracer.stdout.close()
        assert tracer.stderr.readline().startswith("tracing:")
        far.run(sys.executable, "-c", CLIENT, near.address)
        # the end is not needed for it to be shown
        assert next(line for line in tshark.stdout if line.strip()) == "/a?token=secret\n"
        tracer.send_signal(signal.SIGINT)
        assert tracer.wait(60) == 0


def test_a_killed_capture_is_valid(tmp_path: Path, hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    capture = tmp_path / "trace.pcapng"
    with traced(near, "--output", capture) as tracer:
        for _ in range(3):
            far.run(sys.executable, "-c", CLIENT, near.address)
            time.sleep(0.3)
        tracer.process.kill()
        tracer.process.wait()
    assert len(dissected(capture, FIELDS)) >= 30


def test_packets_are_cut_as_configured(tmp_path: Path, hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    capture, config = tmp_path / "trace.pcapng", tmp_path / "tracer.yaml"
    config.write_text("xdp_tracer: {max_packet_size: 100}\n")
    with traced(near, "--config", config, "--output", capture) as tracer:
        far.run(sys.executable, "-c", CLIENT, near.address)
        assert tracer.stop().exit_code == 0
    lengths = said("tshark", "-n", "-r", capture, "-T", "fields", "-e", "frame.cap_len", "-e", "frame.len")
    pairs = [tuple(map(int, line.split())) for line in lengths.splitlines()]
    assert max(pairs)[0] == 100
    assert all(captured == min(length, 100) for captured, length in pairs)


def test_files_are_as_the_guides_name_them(tmp_path: Path, hosts: tuple[Host, Host]) -> None:
    near, far = hosts
    words = ["--tracer", "xdp", "--interface", near.interface, "--duration", "3s"]
    outputs = ["--output", f"{tmp_path}/", "--output", tmp_path / "network-stats.json"]
    with near.start(str(need_tracer()), *words, *map(str, outputs), env=tracer_environment()) as tracer:
        while tracer.poll() is None:
            far.run(sys.executable, "-c", CLIENT, near.address)
            time.sleep(0.2)
    filter_ = ".[] | select(.protocol==6) | .flow"
    flows = said("jq", "-c", filter_, tmp_path / "xdp-events.json").splitlines()
    assert {json.loads(flow)["protocol"] for flow in flows} == {6}
    types = {event["type"] for event in json.loads((tmp_path / "network-stats.json").read_text())}
    assert {"flow", "interface"} <= types


def test_packets_are_not_for_a_terminal_or_another_tracer(tmp_path: Path) -> None:
    done = run_tracer("--tracer", "http", "--output", tmp_path / "a.pcapng", "--duration", "1s")
    assert done.returncode == 2
    assert "only the xdp tracer captures packets" in done.stderr
