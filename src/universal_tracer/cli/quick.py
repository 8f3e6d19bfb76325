"""Answers that were written when the program was built (`cli.generate`), read back without loading anything.

Files that are older than the sources they were made of are passed over: then the answer is worked out.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing typing takes as long as all the rest
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMPLETION_VARIABLE = "_UNIVERSAL_TRACER_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
_PACKAGE = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120  pathlib takes a third of the time
GENERATED = os.path.join(_PACKAGE, "generated")  # noqa: PTH118
# What an answer depends on; in an installed package nothing changes after the build.
_SOURCES = ("cli", "cli/doctor", "config", "model")
_BUILD_FILE = os.path.join(_PACKAGE, "..", "..", "pyproject.toml")  # noqa: PTH118


def quick_answer(arguments: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """What to print for this command line, or None where it takes more than that."""
    instruction = environment.get(COMPLETION_VARIABLE)
    if instruction is not None:
        return _completion(instruction, environment)
    match list(arguments):
        case ["--version"]:
            from universal_tracer import __version__  # noqa: PLC0415

            return f"universal-tracer {__version__}\n"
        case ["--help" | "-h"]:
            return generated("help.txt")
        case ["config", "show"] if not any(name.startswith("UT_") for name in environment):
            return generated("config.yaml")
        case _:
            return None


def _completion(instruction: str, environment: Mapping[str, str]) -> str | None:
    shell, _, action = instruction.partition("_")
    if shell not in SHELLS:
        return None
    if action == "source":
        return generated(f"completion.{shell}")
    if action != "complete":
        return None
    from universal_tracer.cli.complete import completions  # noqa: PLC0415  only shells pay for it

    table = generated("completion.table")
    return completions(shell, environment, table) if table is not None else None


def generated(name: str) -> str | None:
    """The content of a file that was made by the build, if it is there and not outdated."""
    path = os.path.join(GENERATED, name)  # noqa: PTH118
    try:
        made_ns = os.stat(path).st_mtime_ns  # noqa: PTH116
        if _is_outdated(made_ns):
            return None
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return None


def _is_outdated(made_ns: int) -> bool:
    """Whether a source was changed since; only in a tree where sources are changed."""
    if not os.path.exists(_BUILD_FILE):  # noqa: PTH110
        return False
    for folder in _SOURCES:
        with os.scandir(os.path.join(_PACKAGE, folder)) as entries:  # noqa: PTH118
            for entry in entries:
                if entry.name.endswith(".py") and entry.stat().st_mtime_ns > made_ns:
                    return True
    return False
