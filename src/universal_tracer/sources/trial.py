"""Tracers tried on the running kernel: loaded and attached for a moment, without a side effect.

Apart from `live`, which loads polars: `doctor` does without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from universal_tracer import _native
from universal_tracer.model.ports import PlannedHook
from universal_tracer.model.trial import Table, Trial, TriedHook
from universal_tracer.sources.native_errors import told_errors, tracer_error

if TYPE_CHECKING:
    from collections.abc import Mapping


def try_http(settings: Mapping[str, object]) -> Trial:
    """Try the HTTP tracer; settings as of `live.open_http`.

    Raises TracerError where nothing can be tried: no type information, or an installation of another version.
    """
    with told_errors():
        return _trial(_native.try_http(dict(settings)))


def try_stack(settings: Mapping[str, object]) -> Trial:
    """Try the stack tracer; settings as of `live.open_stack`. Raises as `try_http` does."""
    with told_errors():
        return _trial(_native.try_stack(dict(settings)))


def try_xdp(settings: Mapping[str, object]) -> Trial:
    """Try the packet tracer, in a network namespace of its own; settings as of `live.open_xdp`.

    Raises TracerError where nothing can be tried: an installation of another version.
    """
    with told_errors():
        return _trial(_native.try_xdp(dict(settings)))


def _trial(tried: _native.Trial) -> Trial:
    hooks = [
        TriedHook(PlannedHook(**hook), None if error is None else tracer_error(error))
        for hook, error in tried.hooks
    ]
    return Trial(hooks, [Table(*table) for table in tried.tables], tried.programs, tried.has_run)
