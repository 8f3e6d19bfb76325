"""Text for terminals: what others wrote must not command them, and must stay within its room."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from universal_tracer.system.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable

_WIDTH_OF_PIPES = 160
_NARROWEST = 20

_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}


@dataclass(frozen=True, slots=True)
class Style:
    """What a terminal can show: colours (of its own palette), and characters beyond ASCII."""

    color: bool
    only_ascii: bool = False

    @property
    def arrow_right(self) -> str:
        return "->" if self.only_ascii else "→"

    @property
    def arrow_left(self) -> str:
        return "<-" if self.only_ascii else "←"

    def paint(self, text: str, color: str) -> str:
        """The text in a colour or weight by its name, or as it is where there are no colours."""
        return f"\x1b[{_CODES[color]}m{text}\x1b[0m" if self.color else text

    def fit(self, text: str, width: int) -> str:
        """Visible text cut or filled to exactly `width` columns; a negative width puts it to the right."""
        return self.pad(self.clip(text, abs(width)), width)

    def pad(self, text: str, width: int) -> str:
        """Visible text filled to at least `width` columns; a negative width puts it to the right."""
        blanks = " " * (abs(width) - cells(text))
        return blanks + text if width < 0 else text + blanks

    def clip(self, text: str, width: int) -> str:
        """Visible text cut to at most `width` columns; the cut shows."""
        if len(text) <= width and cells(text) <= width:
            return text
        kept, room = "", width - 1
        # Characters that take no room are bounded as well: a thousand accents on one letter are no text.
        for char in text[: 2 * width]:
            room -= cells(char)
            if room < 0:
                break
            kept += char
        mark = "~" if self.only_ascii else "…"
        return kept + mark if width else ""


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where lines go to: a terminal that understands cursor movements, or (not `is_live`) anything else."""

    descriptor: int
    style: Style
    is_live: bool
    measure: Callable[[int], os.terminal_size] = os.get_terminal_size

    def size(self) -> os.terminal_size:
        """Columns and lines to use.

        One column less than there is: a character in the last one makes some terminals begin a new line.
        """
        if not self.is_live:
            return os.terminal_size((_WIDTH_OF_PIPES, 0))
        size = self.measure(self.descriptor)
        # Consoles that do not know their size say 0.
        return os.terminal_size((max((size.columns or 80) - 1, _NARROWEST), size.lines or 24))

    def write(self, text: str) -> None:
        """Raises OSError."""
        write_whole(self.descriptor, text.encode(errors="backslashreplace"))


def visible(text: str, *, only_ascii: bool = False) -> str:
    r"""The text with everything that is not plainly visible written as `\x1b`, `\u202e` and the like.

    That is control characters (they command terminals), line separators, and invisible characters such as
    those that turn the direction of writing; with `only_ascii` also all that such a terminal cannot show.
    """
    if text.isprintable() and (text.isascii() or not only_ascii):
        return text
    return "".join(
        char if char.isprintable() and (char.isascii() or not only_ascii) else _escaped(char) for char in text
    )


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def cells(text: str) -> int:
    """How many columns visible text takes."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def duration(milliseconds: float | None, style: Style) -> str:
    """Three digits and a unit that fits; `-` where it is unknown."""
    if milliseconds is None:
        return "-"
    if milliseconds < 0.1:
        return f"{milliseconds * 1000:.3g} {'us' if style.only_ascii else 'µs'}"
    if milliseconds < 1000:
        return f"{_three_digits(milliseconds)} ms"
    return f"{_three_digits(milliseconds / 1000)} s"


def _three_digits(value: float) -> str:
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"
