"""Functions that could be traced, as the native core finds them in files and in the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from universal_tracer import _native
from universal_tracer.model.traceable import Argument, Traceable
from universal_tracer.sources.native_errors import told_errors

if TYPE_CHECKING:
    from collections.abc import Sequence


def list_functions(specs: Sequence[str], pids: Sequence[int], program: str | None) -> list[Traceable]:
    """Everything that matches; names without a path are looked up in what `pids` or `program` run.

    Raises TracerError where a spec is wrong, nothing bears the name, or files may not be read.
    """
    with told_errors():
        found = _native.list_functions(list(specs), list(pids), program)
    return [
        Traceable(
            place,
            spec,
            function,
            symbol,
            module,
            aliases,
            [Argument(*one) for one in arguments],
            returns,
            note,
        )
        for place, spec, function, symbol, module, aliases, arguments, returns, note in found
    ]
