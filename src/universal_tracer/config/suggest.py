"""Near misses: what a user probably meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` most resembles; None where none is close."""
    from difflib import get_close_matches  # noqa: PLC0415  only errors pay for it

    by_folded = {candidate.casefold().replace("-", "_"): candidate for candidate in known}
    found = get_close_matches(word.casefold().replace("-", "_"), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing."""
    match = closest(word, known)
    return f" (did you mean {match!r}?)" if match is not None else ""
