"""The demo's load: a few customers who look at items, order some, and ask for what is not there.

customers.py PORT runs until it is ended. A handful of requests a second: to be read, not to be a benchmark.
"""

# ruff: noqa: INP001, S311 -- scripts to read and run, no package; their dice decide about nothing that matters

from __future__ import annotations

import http.client
import itertools
import json
import random
import sys
import threading
import time

CUSTOMERS = 3
THINKING_SECONDS = (0.15, 0.7)


def requests() -> itertools.cycle[tuple[str, str, bytes | None]]:
    """Cycle through what a customer does: method, target, body."""
    order = json.dumps({"item": 7, "count": 2, "email": "ann@example.test"}).encode()
    empty_order = json.dumps({"item": 8, "count": 0}).encode()
    visit: list[tuple[str, str, bytes | None]] = [
        ("GET", "/items/{item}", None),
        ("GET", "/items/{item}?token=made-up-secret", None),
        ("POST", "/orders", order),
        ("GET", "/items/10", None),
        ("GET", "/items/99", None),
        ("GET", "/health", None),
        ("POST", "/orders", empty_order),
        ("GET", "/reports/2025", None),
    ]
    random.shuffle(visit)
    return itertools.cycle(visit)


def shop(port: int) -> None:
    """Be one customer, over one connection for as long as it lasts."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for method, target, body in requests():
        path = target.format(item=random.randrange(1, 40))
        connection.request(method, path, body, {"User-Agent": "customer/1.0"})
        connection.getresponse().read()
        time.sleep(random.uniform(*THINKING_SECONDS))


def main() -> None:
    """Start the customers."""
    for _ in range(CUSTOMERS):
        threading.Thread(target=shop, args=(int(sys.argv[1]),), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
