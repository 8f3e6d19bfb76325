"""Each way to reach sockets tells the same, where a kernel has both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness import messages
from harness.capability import need_socket_hooks
from harness.traced import Traced

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.vm, pytest.mark.xdist_group("adapters")]

CALLS = (
    ("write", "read"),
    ("sendmsg", "recvmsg"),
    ("writev", "readv"),
    ("sendmmsg", "recvmmsg"),
    ("send", "recvfrom"),
)


@pytest.fixture(scope="module", params=["hooks", "sys_exit"])
def adapted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """Yield a process tree whose sockets the tracer reaches by one adapter."""
    if request.param == "hooks":
        need_socket_hooks()
    forced = {"UNIVERSAL_TRACER_ADAPTERS": f"sockets={request.param}"}
    with Traced(tmp_path_factory.mktemp(request.param), env=forced) as traced:
        assert ("sys_exit" in traced.tracer.stderr) == (request.param == "sys_exit"), (
            "the start line names it"
        )
        yield traced


@pytest.mark.parametrize(("sending", "receiving"), CALLS)
def test_every_kind_of_call(adapted: Traced, sending: str, receiving: str) -> None:
    dialogue = adapted.dialogue()
    how = {"via": sending, "receive_via": receiving}
    for size in (0, 3_001, 70_000):
        path = dialogue.path()
        request = messages.request(path, method="POST", body=b"r" * size)
        response = messages.response(201, body=b"s" * size)
        dialogue.connection.request(request, **how)
        dialogue.connection.response(response, **how)
        dialogue.expect("POST", path, 201, request_bytes=len(request), response_bytes=len(response))
    dialogue.close()
    dialogue.verify()


def test_a_head_of_several_records(adapted: Traced) -> None:
    dialogue = adapted.dialogue()
    filler = [(f"X-Filler-{number}", "f" * 1_000) for number in range(30)]
    dialogue.exchange(headers=[messages.HOST, *filler])
    dialogue.close()
    dialogue.verify()


def test_unix_sockets(adapted: Traced, tmp_path: Path) -> None:
    """One after the other, so that the kernel gives a later socket an earlier one's address."""
    for number in range(5):
        dialogue = adapted.dialogue(family="unix", listen=str(tmp_path / str(number)))
        dialogue.exchange(method="POST", body=b"u" * number)
        dialogue.close()
        dialogue.verify()
