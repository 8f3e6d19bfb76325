"""A command for the tracer to start: serves itself some requests, says what it was given, and ends.

Options: ``--word`` a part of every path; ``--requests`` how many; ``--forever``; ``--exit`` the exit code;
``--describe`` print working directory, umask, a variable and standard input first.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import threading
import time
from http.server import ThreadingHTTPServer

from python_server import Handler  # type: ignore[import-not-found]  # a script beside this one

PAUSE_SECONDS = 0.02


def arguments() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--word", default="traffic")
    parser.add_argument("--requests", type=int, default=10)
    parser.add_argument("--forever", action="store_true")
    parser.add_argument("--exit", type=int, default=0)
    parser.add_argument("--describe", action="store_true")
    return parser.parse_args()


def describe() -> None:
    """Print what the command inherited."""
    mask = os.umask(0)
    os.umask(mask)
    facts = {
        "directory": str(os.getcwd()),  # noqa: PTH109
        "umask": mask,
        "variable": os.environ.get("GIVEN_VARIABLE"),
        "stdin": sys.stdin.read(),
        "uid": os.getuid(),
    }
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Do as the options say."""
    options = arguments()
    if options.describe:
        describe()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    number = 0
    while options.forever or number < options.requests:
        method = ("GET", "POST")[number % 2]
        connection.request(method, f"/echo/{options.word}-{number}", body=b"b" if method == "POST" else None)
        connection.getresponse().read()
        number += 1
        if options.forever:
            time.sleep(PAUSE_SECONDS)
    sys.stdout.write(f"done {number}\n")
    sys.stdout.flush()
    sys.exit(options.exit)


if __name__ == "__main__":
    main()
