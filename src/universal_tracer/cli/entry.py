"""Where the program begins: what is known already is answered without loading the command line.

Help, version, the default settings and completion are asked often, and by shells at every Tab.
"""

from __future__ import annotations

import os
import sys

from universal_tracer.cli.quick import quick_answer

TYPE_CHECKING = False  # importing typing takes as long as all the rest
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run `sys.argv` and leave the process."""
    answer = quick_answer(sys.argv[1:], os.environ)
    if answer is not None and _written(answer):
        sys.exit(0)
    from universal_tracer.cli.app import main as run  # noqa: PLC0415  that is the point

    run()


def _written(answer: str) -> bool:
    """Whether all of it reached standard output; what is wrong with that is for others to tell."""
    rest = answer.encode()
    try:
        while rest:
            rest = rest[os.write(1, rest) :]
    except OSError:
        return False
    return True
