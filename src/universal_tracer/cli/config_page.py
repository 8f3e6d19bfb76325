"""Writes docs/CONFIG.md: `python -m universal_tracer.cli.config_page > docs/CONFIG.md`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from universal_tracer.cli.flags import FLAGS, RATE_OF_ONE_TRACER
from universal_tracer.config.document import MAX_BYTES
from universal_tracer.config.keys import Key, keys, sections
from universal_tracer.config.render import yaml_value

if TYPE_CHECKING:
    from collections.abc import Iterator

_INTRODUCTION: Final = f"""\
# Configuration

Generated from `src/universal_tracer/config/tree.py` by `python -m universal_tracer.cli.config_page`; a test
fails when this page is out of date.

A setting comes from the first of these that has it:

1. a flag, such as `--http-sampling-rate 0.1`;
2. a variable of the environment, named `UT_SECTION__KEY` in capitals, such as
   `UT_HTTP_TRACER__SAMPLING_RATE=0.1`. Its value is read as YAML: `UT_TARGETS__PROCESSES='[nginx, java]'`.
   Other variables that begin with `UT_` are left alone;
3. the file of `--config FILE`: YAML in UTF-8, one document of at most {MAX_BYTES // 1024**2} MiB,
   without aliases, anchors and tags. An empty file means defaults;
4. the default.

`universal-tracer config check FILE` says whether a file is valid, and tells everything that is not, each as
`FILE:LINE: KEY: …`. `universal-tracer config show [FILE] [FLAGS]` prints the effective settings, each with
where it came from; what it prints is a valid file. `universal-tracer config schema` prints the JSON Schema,
for editors. [config/production.yaml](../config/production.yaml) has every key with its default.

Durations are written as `500ms`, `1m30s` or `7d`, sizes as `64MiB` or `10GB`. Keys of what this version
cannot do yet are checked like all others; a run refuses them.
"""


def config_page() -> str:
    """The text of docs/CONFIG.md."""
    parts = [_INTRODUCTION]
    for section, cls in sections().items():
        parts += [f"## `{section}`\n", f"{cls.__doc__}\n", *_table(section)]
    return "\n".join(parts)


def _table(section: str) -> Iterator[str]:
    yield "| key | value | default | flag | what it does |"
    yield "|---|---|---|---|---|"
    for key in keys().values():
        if key.section == section:
            cells = (f"`{key.name}`", key.kind.wanted, f"`{yaml_value(key.default)}`", _flags(key))
            yield f"| {' | '.join(_cell(text) for text in cells)} | {_cell(key.description)} |"
    yield ""


def _flags(key: Key) -> str:
    names = [flag.longest for flag in FLAGS if key.dotted in (flag.key, *flag.also)]
    if key.name in ("sampling_rate", "sampling_frequency"):
        names += [flag.longest for flag in FLAGS if flag.key == RATE_OF_ONE_TRACER]
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(config_page())
