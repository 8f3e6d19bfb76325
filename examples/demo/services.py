"""The demo's two Python services, small ones with habits of real ones: some slow, some wrong.

    services.py shop STOCK_PORT   the service behind nginx; asks the stock service
    services.py stock             the service behind that

Each prints its port as its first line. The standard library is all they need.
"""

# ruff: noqa: INP001, S311 -- scripts to read and run, no package; their dice decide about nothing that matters

from __future__ import annotations

import http.client
import json
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_STOCK_SECONDS = 0.12
SLOW_REPORT_SECONDS = 0.6
KNOWN_ITEMS = 40
per_thread = threading.local()


class Service(BaseHTTPRequestHandler):
    """What both services share: JSON answers over connections that stay open."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def reply(self, status: int, content: object) -> None:
        """Answer with *content* as JSON."""
        body = json.dumps(content).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        """Read the request's body."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def log_message(self, *_: object) -> None:
        """Log nothing: the tracer tells."""


class Stock(Service):
    """Knows how many of an item there are; now and then it has to look for a while."""

    def do_GET(self) -> None:
        """Answer ``/stock/ITEM``."""
        item = int(self.path.rsplit("/", 1)[1])
        time.sleep(SLOW_STOCK_SECONDS if item % 10 == 0 else random.uniform(0.001, 0.006))
        if item >= KNOWN_ITEMS:
            self.reply(404, {"error": "no such item"})
            return
        self.reply(200, {"item": item, "left": item * 3 % 7})


class Shop(Service):
    """Shows items, takes orders, makes reports; asks the stock service."""

    stock_port = 0

    def do_GET(self) -> None:
        """Answer ``/items/ITEM`` and ``/reports/YEAR``."""
        _, kind, which = self.path.partition("?")[0].split("/", 2)
        if kind == "reports":
            time.sleep(SLOW_REPORT_SECONDS)
            self.reply(200, {"year": which, "sold": 4711})
            return
        status, left = ask_stock(self.stock_port, int(which))
        self.reply(status, {"item": which, "stock": left})

    def do_POST(self) -> None:
        """Take an order at ``/orders``; an order of nothing makes this service fall over."""
        order = json.loads(self.body())
        status, left = ask_stock(self.stock_port, order["item"])
        if order["count"] == 0:
            self.reply(500, {"error": "division by zero"})
            return
        self.reply(201 if status == 200 else status, {"ordered": order, "stock": left})


def ask_stock(port: int, item: int) -> tuple[int, object]:
    """Ask the stock service over this thread's own connection."""
    if not hasattr(per_thread, "connection"):
        per_thread.connection = http.client.HTTPConnection("127.0.0.1", port)
    per_thread.connection.request("GET", f"/stock/{item}", headers={"User-Agent": "shop/1.0"})
    response = per_thread.connection.getresponse()
    return response.status, json.loads(response.read())


def main() -> None:
    """Serve as the service that the first argument names."""
    handler = {"shop": Shop, "stock": Stock}[sys.argv[1]]
    if handler is Shop:
        Shop.stock_port = int(sys.argv[2])
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
