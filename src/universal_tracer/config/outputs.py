"""What `--output` means: `PATH` by its suffix, `FORMAT:PATH`, `DIR/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from universal_tracer.config.suggest import did_you_mean

# Formats that can be written, by the suffix that names them; the longest suffix decides.
FORMAT_OF_SUFFIX: Final = {
    ".json": "json",
    ".ndjson": "ndjson",
    ".parquet": "parquet",
    ".pcapng": "pcapng",
    ".svg": "svg",
    ".folded": "folded",
    ".pb.gz": "pprof",
    ".speedscope.json": "speedscope",
}
# Formats that show stacks and nothing else.
STACK_FORMATS: Final = ("svg", "folded", "pprof", "speedscope")
FORMATS: Final = tuple(sorted(set(FORMAT_OF_SUFFIX.values())))
STDOUT_FORMATS: Final = ("table", "json", "ndjson", "none")
STDOUT_PATH: Final = "-"
PACKETS: Final = "pcapng"
"""The format of packets; all others hold events."""


@dataclass(frozen=True, slots=True)
class OutputTarget:
    """One entry of `output.files`. `format` is None for a directory, which gets a file per tracer."""

    text: str
    format: str | None
    path: str

    @property
    def is_stdout(self) -> bool:
        """Whether it is another way to write `--output-format`."""
        return self.path == STDOUT_PATH


def format_of_suffix(path: str) -> str | None:
    """The format that the name's suffix stands for, whatever its case; None where there is none."""
    known = sorted(FORMAT_OF_SUFFIX, key=len, reverse=True)
    return next((FORMAT_OF_SUFFIX[suffix] for suffix in known if path.lower().endswith(suffix)), None)


def parse_output(text: str) -> OutputTarget:
    """Split `FORMAT:PATH`, or find the format by the suffix; ValueError says what is wrong, what right."""
    if "\0" in text:
        message = "a path cannot contain a null byte"
        raise ValueError(message)
    prefix, colon, path = text.partition(":")
    if colon and prefix in FORMATS:
        return _named(text, prefix, path)
    if text.endswith("/"):
        return OutputTarget(text, None, text)
    by_suffix = format_of_suffix(text)
    if by_suffix is not None:
        return OutputTarget(text, by_suffix, text)
    raise ValueError(_unknown_format(text, prefix if colon else None))


def _named(text: str, name: str, path: str) -> OutputTarget:
    if not path:
        message = f"{text!r} names no file; write {name}:PATH"
        raise ValueError(message)
    return OutputTarget(text, name, path)


def _unknown_format(text: str, prefix: str | None) -> str:
    suffixes = ", ".join(FORMAT_OF_SUFFIX)
    if text == STDOUT_PATH:
        return "'-' needs a format, such as ndjson:-"
    if prefix is not None and prefix.isalnum():
        return f"{prefix!r} is no format{did_you_mean(prefix, FORMATS)}; known: {', '.join(FORMATS)}"
    if Path(text).is_dir():
        return f"{text!r} is a directory; write {text}/ to have the files named for you"
    return f"{text!r} has no suffix that names a format ({suffixes}); write FORMAT:PATH or DIR/"
