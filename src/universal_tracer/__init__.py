"""Requests, packets and stacks of a Linux machine, seen by eBPF on one clock."""

__version__ = "0.1.0"
# The day of that version, for the manual page.
__date__ = "2026-11-29"
