"""The command on a terminal of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING

from harness.capability import need_command, need_tracer
from harness.tracer import tracer_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLUMNS = 120


def on_a_terminal(
    *words: str,
    env: Mapping[str, str],
    seconds: float = 25.0,
    keys: bytes = b"",
    after: bytes = b"",
    prefix: Sequence[str] = (),
) -> tuple[str, int]:
    """Run the command on a terminal of its own; return all that appeared there and the exit code.

    `keys` are typed once `after` has appeared; `prefix` are words before the command.
    """
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    process = subprocess.Popen(
        # Makes the terminal the controlling one, so that a typed Ctrl-C becomes a signal.
        [*prefix, need_command("setsid"), "--ctty", "--wait", str(need_tracer()), *words],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**tracer_environment(), **env},
    )
    os.close(its)
    seen = bytearray()
    deadline = time.monotonic() + seconds
    with contextlib.suppress(OSError):  # the terminal's other side is gone
        while time.monotonic() < deadline:
            ready, _, _ = select.select([mine], [], [], 0.2)
            if ready:
                seen += os.read(mine, 65_536)
            if keys and after in seen:
                os.write(mine, keys)
                keys = b""
    try:
        code = process.wait(max(1.0, deadline - time.monotonic()))
    finally:
        process.kill()
        process.wait()
        os.close(mine)
    return seen.decode("utf-8", "replace"), code
