"""Requests, packets and stacks of a Linux machine, seen by eBPF on one clock."""

__version__ = "0.1.0"
