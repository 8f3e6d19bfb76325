"""The tree as YAML: the effective one with every value's origin, and the documented sample.

`python -m universal_tracer.config.render` prints the sample that is kept as config/production.yaml.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any, Final

from universal_tracer.config.document import plain_scalar
from universal_tracer.config.keys import Key, keys, sections
from universal_tracer.config.units import ByteSize, Duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from universal_tracer.config.settings import Settings

_WIDTH: Final = 80
_PLAIN: Final = re.compile(r"[A-Za-z_./][A-Za-z0-9_./@%+-]*(:[A-Za-z0-9_./@%+-]+)*")
_SAMPLE_HEAD: Final = """\
# Every setting with its default. Keys that are left out keep their defaults, flags and environment variables
# (UT_HTTP_TRACER__SAMPLING_RATE=0.1) win over this file. Check it: universal-tracer config check FILE
"""


def effective_yaml(settings: Settings) -> str:
    """All keys with their values, each followed by where it came from; a valid configuration itself."""

    def line(key: Key) -> Iterator[str]:
        value = getattr(getattr(settings.config, key.section), key.name)
        yield f"  {key.name}: {yaml_value(value)}  # {_visible(settings.origins[key.dotted])}"

    return "".join(f"{text}\n" for text in _sections(line, with_purpose=False))


def sample_yaml() -> str:
    """All keys with their defaults, each under a comment that says what it does."""

    def lines(key: Key) -> Iterator[str]:
        yield from _comment(key.description, indent="  ")
        yield f"  {key.name}: {yaml_value(key.default)}"

    head = _comment(_SAMPLE_HEAD.replace("# ", "").replace("\n", " "), indent="")
    return "".join(f"{text}\n" for text in [*head, *_sections(lines, with_purpose=True)])


def _sections(lines_of: Callable[[Key], Iterator[str]], *, with_purpose: bool) -> Iterator[str]:
    for section, cls in sections().items():
        if with_purpose:
            yield ""
            yield from _comment(str(cls.__doc__), indent="")
        yield f"{section}:"
        for key in keys().values():
            if key.section == section:
                yield from lines_of(key)


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def yaml_value(value: Any) -> str:
    """A value on one line, read back as itself."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(yaml_value(item) for item in value)}]"
    if isinstance(value, (int, float, Duration, ByteSize)):
        return str(value)
    return _yaml_text(value)


def _yaml_text(text: str) -> str:
    if _PLAIN.fullmatch(text) and plain_scalar(text) == text:
        return text
    escaped = "".join(_escaped(character) for character in text)
    return f'"{escaped}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def _visible(text: str) -> str:
    """Nothing in a comment may end it."""
    return "".join(character if character.isprintable() else "?" for character in text)


if __name__ == "__main__":
    print(sample_yaml(), end="")  # noqa: T201  that is what it is for
