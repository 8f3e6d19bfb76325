"""What a kernel of a version must offer: its hooks, and by which adapter each of them is reached.

Without this a tracer that no longer finds a hook, and goes another way or none, would still be green.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Version = tuple[int, int]
Hooks = dict[str, str]

# Sockets have hooks of their own: 6e6eda44b939.
SOCKET_HOOKS: Version = (6, 3)
# The tracepoint hands over the request: c4212f3eb89f.
URING_REQUESTS: Version = (5, 19)
# Links for programs at TC: e420bed02507. Below, packets may be traced, and need not.
TCX: Version = (6, 6)

PROCESSES = ("sched_process_fork", "sched_process_exec", "sched_process_exit")
TARGETS = (*PROCESSES, "task_rename", "cgroup_attach_task")
WAITS = ("sched_switch", "sched_waking", "sys_exit")


def version_of(release: str) -> Version:
    """Return the first two numbers of a kernel's release."""
    found = re.match(r"(\d+)\.(\d+)", release)
    if not found:
        message = f"no version: {release}"
        raise ValueError(message)
    return int(found[1]), int(found[2])


def hooks_of(version: Version) -> Hooks:
    """Return the hooks that ``doctor`` must find on a kernel of *version*, each with its adapter."""
    sockets = ("sys_exit", "tcp_destroy_sock")
    if version >= SOCKET_HOOKS:
        sockets = ("sock_send_length", "sock_recv_length")
    uring = ("io_uring_complete",) if version >= URING_REQUESTS else ()
    expected = {f"http {hook}": "tp_btf" for hook in (*sockets, "inet_sock_set_state", *uring, *TARGETS)}
    expected |= {f"stack {hook}": "tp_btf" for hook in (*WAITS, *TARGETS)}
    expected["stack cpu-clock"] = "perf_event"
    if version >= TCX:
        expected |= {"xdp ingress": "xdp", "xdp ingress beside others": "tcx", "xdp egress": "tcx"}
    return expected


def found_by(sections: list[dict[str, Any]]) -> Hooks:
    """Return the hooks that work, and their adapters, from what ``doctor --json`` said."""
    return {check["name"]: _adapter(check["reason"]) for check in _checks(sections) if check["state"] == "ok"}


def _adapter(reason: str) -> str:
    found = re.match(r"by (\S+): ", reason)
    return found[1] if found else ""


def _checks(sections: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for section in sections:
        if section["section"] == "hooks":
            yield from section["checks"]


def problems(version: Version, sections: list[dict[str, Any]]) -> list[str]:
    """Return what is not as it must be on a kernel of *version*, a line each."""
    found, expected = found_by(sections), hooks_of(version)
    lines = [
        f"{name} must be reached by {adapter}, and is {found.get(name) or 'not'}"
        for name, adapter in expected.items()
        if found.get(name) != adapter
    ]
    may_lack = ("xdp",) if version < TCX else ()
    missing = [check for check in _checks(sections) if check["state"] == "missing"]
    lines += [
        f"{check['name']} is missing: {check['reason']}"
        for check in missing
        if check["name"] not in expected and not check["name"].startswith(may_lack)
    ]
    return lines
