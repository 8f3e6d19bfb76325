"""The installed command under other conditions: without privilege, without what a kernel has, on a pipe."""

from __future__ import annotations

import subprocess

from harness.capability import missing, need_command, need_tracer
from harness.tracer import tracer_environment

NOBODY = "65534"
# Loading all programs takes seconds of a CPU, and many times that where the machine is busy.
TIMEOUT_SECONDS = 200
Done = subprocess.CompletedProcess[str]


def tracer(*arguments: str, before: tuple[str, ...] = ()) -> Done:
    """Run the tracer, as the last words of the command *before*."""
    command = [*before, str(need_tracer()), *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
        env=tracer_environment(),
    )


def as_nobody() -> tuple[str, ...]:
    """Return the command that runs another one without any right."""
    before = (need_command("setpriv"), "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups")
    if subprocess.run([*before, "test", "-x", str(need_tracer())], check=False).returncode:
        missing("an installation that other users can reach")
    return before


def without_types() -> tuple[str, ...]:
    """Return the command that runs another one where the kernel's types are not to be seen."""
    script = 'mount -t tmpfs none /sys/kernel/btf && exec "$@"'
    return (need_command("unshare"), "--mount", "sh", "-c", script, "sh")


def error_lines(done: Done) -> list[str]:
    """Return what the lines of an error begin with."""
    return [line.partition(":")[0] for line in done.stderr.splitlines()]
