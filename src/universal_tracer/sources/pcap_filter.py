"""Expressions of pcap filters, checked before a run begins."""

from __future__ import annotations

from universal_tracer import _native
from universal_tracer.sources.native_errors import told_errors


def check_filter(expression: str) -> None:
    """Raises UsageError with the place of the fault, RunFailedError where libpcap is not installed."""
    with told_errors():
        _native.check_filter(expression)
