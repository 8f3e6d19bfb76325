"""Where to listen, as users write it: `HOST:PORT/PATH`, `:PORT/PATH`, `[IPV6]:PORT/PATH`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEFAULT_PATH: Final = "/metrics"
_HIGHEST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Listen:
    """`host` is None for all addresses; port 0 lets the kernel choose one."""

    host: str | None
    port: int
    path: str

    def url(self, port: int) -> str:
        """How it is reached; `port` is the one that was given or chosen."""
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host
        return f"http://{host or '0.0.0.0'}:{port}{self.path}"  # noqa: S104  that is what was asked for


def parse_listen(text: str) -> Listen:
    """Takes what has the form already; ValueError where there is no such port."""
    address, slash, path = text.partition("/")
    host, _, port = address.rpartition(":")
    if int(port) > _HIGHEST_PORT:
        message = f"{port} is no port; the highest is {_HIGHEST_PORT}"
        raise ValueError(message)
    return Listen(host.removeprefix("[").removesuffix("]") or None, int(port), slash + path or DEFAULT_PATH)
