"""The tests here trace whole machines: they are collected in a virtual machine only."""

from __future__ import annotations

from harness.capability import IN_VIRTUAL_MACHINE

collect_ignore_glob = [] if IN_VIRTUAL_MACHINE else ["test_*.py"]
