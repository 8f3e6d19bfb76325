"""The real servers and clients: how each is started, where it listens, and what it knows of its requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.capability import need_command
from harness.processes import APPS, ProcessTree, Spawned, accepts, free_port, wait_until
from harness.truth import UNKNOWN, Expected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

LARGE_BYTES = 300_000
NGINX_WORKERS = 2
NGINX_CONFIGURATION = """
daemon off; worker_processes {workers}; pid {prefix}/nginx.pid; error_log {prefix}/error.log warn; {user}
events {{ worker_connections 512; }}
http {{
    access_log off; gzip off; sendfile on; keepalive_requests 1000000; keepalive_timeout 75s; tcp_nodelay on;
    client_body_temp_path {prefix}/body; proxy_temp_path {prefix}/proxy; fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi; scgi_temp_path {prefix}/scgi; default_type text/plain;
    {upstream}
    server {{
        listen 127.0.0.1:{port} backlog=512;
        root {prefix}/files;
        location /echo/ {{ return 200 "hello\\n"; }}
        location /status/404/ {{ return 404; }}
        location /status/500/ {{ return 500; }}
        location /large/ {{ try_files /large =404; }}
        location /served {{ stub_status; }}
        {proxy}
    }}
}}
"""
PROXY = """
        location / {
            proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_buffering off;
        }
"""


@dataclass(frozen=True)
class Service:
    """A running server: where it listens and which of the test service's routes it has."""

    process: Spawned
    host: str
    port: int
    routes: frozenset[str]


ALL_ROUTES = frozenset({"echo", "sleep", "status", "upload", "large", "stream", "sse"})


def build_go_program(go: str, directory: Path) -> Path:
    """Build the Go program into *directory*; Go's own cache makes later builds quick."""
    program = directory / "httpapp"
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    environment.setdefault("HOME", str(directory))
    subprocess.run([go, "build", "-o", str(program), "."], cwd=APPS / "go", env=environment, check=True)
    return program


def interpreter() -> list[str]:
    """Return the words that run a Python program of the tests, apart from the user's own packages."""
    return [sys.executable, "-I"]


def listening(process: Spawned, routes: Iterable[str] = ALL_ROUTES) -> Service:
    """Return the service that has printed its port."""
    return Service(process, "127.0.0.1", int(process.first_line()), frozenset(routes))


def start_python(tree: ProcessTree, mode: str) -> Service:
    """Start the http.server service in *mode*: ``threading`` or ``prefork``."""
    return listening(tree.spawn([*interpreter(), APPS / "python_server.py", mode]))


def start_unix(tree: ProcessTree) -> Service:
    """Start the http.server service on a Unix socket."""
    path = tree.directory / f"{free_port()}.sock"
    process = tree.spawn([*interpreter(), APPS / "python_server.py", "unix", path])
    return Service(process, process.first_line(), 0, ALL_ROUTES)


def start_uvicorn(tree: ProcessTree) -> Service:
    """Start the ASGI service."""
    return listening(tree.spawn([*interpreter(), APPS / "asgi_server.py"]))


def start_node(tree: ProcessTree) -> Service:
    """Start the Node service."""
    return listening(tree.spawn([need_command("node"), APPS / "node_app.js", "server"]))


def start_go(tree: ProcessTree, program: Path) -> Service:
    """Start the Go service."""
    return listening(tree.spawn([program, "server"]))


def start_java(tree: ProcessTree) -> Service:
    """Start the Java service from its source file."""
    return listening(
        tree.spawn([need_command("java"), "-Dsun.net.httpserver.nodelay=true", APPS / "HelloServer.java"])
    )


def start_plain_python(tree: ProcessTree) -> Service:
    """Start ``python -m http.server``, which speaks HTTP/1.0 and serves files."""
    files = tree.directory / "plain"
    (files / "echo").mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = tree.spawn(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", files]
    )
    wait_until(lambda: accepts(port), "python -m http.server")
    return Service(process, "127.0.0.1", port, frozenset())


def start_nginx(tree: ProcessTree, upstream: Service | None = None) -> Service:
    """Start nginx with a prefix of its own; with *upstream*, ``/`` is passed on over kept connections."""
    nginx = need_command("nginx")
    port = free_port()
    prefix = tree.directory / f"nginx-{port}"
    (prefix / "files").mkdir(parents=True)
    (prefix / "files" / "large").write_bytes(b"x" * LARGE_BYTES)
    configuration = prefix / "nginx.conf"
    configuration.write_text(
        NGINX_CONFIGURATION.format(
            workers=NGINX_WORKERS,
            prefix=prefix,
            port=port,
            # The workers must reach the test's directory, which only its owner may enter.
            user="user root;" if os.geteuid() == 0 else "",
            upstream=f"upstream behind {{ server 127.0.0.1:{upstream.port}; keepalive 8; }}"
            if upstream
            else "",
            proxy=PROXY if upstream else "",
        ),
        encoding="utf-8",
    )
    process = tree.spawn([nginx, "-p", prefix, "-c", configuration])
    wait_until(lambda: accepts(port), "nginx")
    routes = (
        {"echo", "status", "large"} if upstream is None else {"echo", "status", "large", "sleep", "stream"}
    )
    return Service(process, "127.0.0.1", port, frozenset(routes))


Planned = dict[str, Any]


def workload(word: str, routes: frozenset[str]) -> list[Planned]:
    """Return requests, each with a path of its own that holds *word*, for a service with *routes*."""
    plan = [("GET", f"/echo/{word}-{number}?n={number}", 0) for number in range(12)]
    plan += [("HEAD", f"/echo/{word}-head", 0)]
    if "sleep" in routes:
        plan += [("GET", f"/sleep/50/{word}-{number}", 0) for number in range(10)]
    if "upload" in routes:
        plan += [("POST", f"/upload/{word}-{size}", size) for size in (1, 10_007, 200_003)]
        plan += [("PUT", f"/upload/{word}-put", 33), ("DELETE", f"/echo/{word}-delete", 0)]
    if "status" in routes:
        plan += [("GET", f"/status/{code}/{word}", 0) for code in (404, 500)]
    if "large" in routes:
        plan += [("GET", f"/large/{LARGE_BYTES}/{word}", 0)]
    if "stream" in routes:
        plan += [("GET", f"/stream/3/{word}", 0)]
    return [{"method": method, "target": target, "body_bytes": size} for method, target, size in plan]


@dataclass(frozen=True)
class Client:
    """A client that carries out a plan; ``tight`` when its clock brackets little but the socket calls."""

    argv: Sequence[str]
    tight: bool
    environment: Mapping[str, str] | None = None

    def run(self, tree: ProcessTree, service: Service, plan: Sequence[Planned]) -> list[Expected]:
        """Carry out *plan* in *tree* and return what the client knows of it."""
        plan_path = tree.directory / f"plan-{free_port()}.json"
        plan_path.write_text(json.dumps(plan), encoding="utf-8")
        words = [*self.argv, service.host, str(service.port)]
        output = tree.spawn(words, stdin=plan_path, env=self.environment).succeed()
        return [expected_of(json.loads(line)) for line in output.splitlines()]


def expected_of(truth: dict[str, Any]) -> Expected:
    """Turn a client's line of truth into what the tracer must tell."""
    parts = urllib.parse.urlsplit(truth["target"])
    return Expected(
        method=truth["method"],
        path=parts.path,
        query=parts.query or None,
        status=truth["status"],
        latency_ms=truth["latency_ms"],
        request_bytes=truth.get("request_bytes", UNKNOWN),
        response_bytes=truth.get("response_bytes", UNKNOWN),
    )


def python_client(mode: str) -> Client:
    """Return the Python client in *mode*: ``http.client``, ``requests`` or ``socket``."""
    return Client([*interpreter(), str(APPS / "python_client.py"), mode], tight=mode != "requests")


def node_client() -> Client:
    """Return the Node client."""
    return Client([need_command("node"), str(APPS / "node_app.js"), "client"], tight=False)


def go_client(program: Path) -> Client:
    """Return the Go client."""
    return Client([str(program), "client"], tight=False)


@dataclass(frozen=True)
class Curl(Client):
    """Curl, one process for the whole plan, its own figures as the truth."""

    def run(self, tree: ProcessTree, service: Service, plan: Sequence[Planned]) -> list[Expected]:
        """Carry out *plan* in *tree* and return what curl knows of it."""
        unix = service.host.startswith("/")
        base = "http://localhost" if unix else f"http://{service.host}:{service.port}"
        options = [curl_options(base, each, tree.directory) for each in plan]
        extra = [["--unix-socket", service.host]] * len(plan) if unix else [[]] * len(plan)
        words = [self.argv[0]]
        for number, (own, more) in enumerate(zip(options, extra, strict=True)):
            words += [*(["--next"] if number else []), "-sS", *more, *own]
        output = tree.spawn(words).succeed()
        told = [json.loads(line) for line in output.splitlines()]
        return [curl_truth(each, figures) for each, figures in zip(plan, told, strict=True)]


def curl_options(base: str, planned: Planned, directory: Path) -> list[str]:
    """Return curl's options for one request."""
    options = ["-o", "/dev/null", "-w", "%{json}\\n", f"{base}{planned['target']}"]
    if planned["method"] == "HEAD":
        return ["--head", *options]
    options = ["-X", planned["method"], *options]
    if planned["body_bytes"]:
        body = directory / f"body-{planned['body_bytes']}"
        body.write_bytes(b"b" * planned["body_bytes"])
        # Without the empty header curl would wait for a 100-continue before it sends a large body.
        options = ["-H", "Expect:", "--data-binary", f"@{body}", *options]
    return options


def curl_truth(planned: Planned, figures: dict[str, Any]) -> Expected:
    """Turn curl's figures into what the tracer must tell.

    Curl's clock starts before the connection is made, if it makes one: ``connect`` is when it has it. (The
    later ``pretransfer`` is no bracket: by then the request may be on its way.) Its download size is that of
    the decoded body, so that a chunked response's bytes are not known; nor are a request's with a body, which
    older versions count twice when it is sent along with the head.
    """
    truth = {
        **planned,
        "status": figures["http_code"],
        "latency_ms": (figures["time_total"] - figures["time_connect"]) * 1e3,
    }
    if not planned["body_bytes"]:
        truth["request_bytes"] = figures["size_request"]
    if not planned["target"].startswith(("/stream", "/sse")):
        truth["response_bytes"] = figures["size_header"] + figures["size_download"]
    return expected_of(truth)


def curl_client() -> Client:
    """Return curl."""
    return Curl([need_command("curl")], tight=True)
