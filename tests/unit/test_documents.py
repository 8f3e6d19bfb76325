"""The pages that people read agree with the sources: names, numbers, links, commands."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from universal_tracer.cli.root import root
from universal_tracer.config.tree import Privacy

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("examples/*.md")])
DECODER = REPOSITORY / "native" / "core" / "src" / "decode"
# Bounds of memory that nobody can see from outside, and thresholds that are none.
NOT_FOR_USERS = {
    *("SKIP_BYTES", "SKIP_AHEAD_BYTES", "BODY_LOOKAHEAD_BYTES", "IDLE_BUFFER_BYTES", "REMEMBERED_NAMES"),
}


def text_of(*parts: str) -> str:
    return REPOSITORY.joinpath(*parts).read_text(encoding="utf-8")


def decoder_limits() -> dict[str, int]:
    found = re.findall(
        r"pub const (\w+): \w+ = ([^;]+);", (DECODER / "limits.rs").read_text(encoding="utf-8")
    )
    return {name: product(value) for name, value in found}


def kernel_limits() -> dict[str, int]:
    sources = "".join(path.read_text(encoding="utf-8") for path in REPOSITORY.glob("bpf/**/*.[ch]"))
    return {
        name: int(value) for name, value in re.findall(r"^#define (\w+)\s+(\d+)\b", sources, re.MULTILINE)
    }


def product(expression: str) -> int:
    value = 1
    if "<<" in expression:
        base, _, shift = expression.partition("<<")
        return int(base) << int(shift)
    for factor in expression.replace("_", "").split("*"):
        value *= int(factor)
    return value


def spellings(value: int) -> set[str]:
    """How a page may write a number."""
    units = {
        f"{value // size} {unit}" for unit, size in (("KiB", 1 << 10), ("MiB", 1 << 20)) if value % size == 0
    }
    seconds = {f"{value // 10**9} s"} if value % 10**9 == 0 else set()
    return {f"{value:,}", *units, *seconds}


@pytest.mark.parametrize(("name", "value"), decoder_limits().items())
def test_every_limit_of_the_decoder_is_told(name: str, value: int) -> None:
    rows = [line for line in text_of("docs", "LIMITS.md").splitlines() if f"`{name}`" in line]
    assert len(rows) == (0 if name in NOT_FOR_USERS else 1)
    for row in rows:
        assert any(spelling in row.split("|")[2] for spelling in spellings(value)), (row, value)


def test_limits_of_the_kernel_are_told_as_they_are() -> None:
    known = {**kernel_limits(), **decoder_limits()}
    for line in text_of("docs", "LIMITS.md").splitlines():
        for name in re.findall(r"`([A-Z][A-Z_]+)`", line):
            told = line.split("|")[2] + line.split("|")[1]
            assert any(spelling in told for spelling in spellings(known[name])), (name, known[name], line)


def test_every_place_of_losses_is_told() -> None:
    (kernel,) = re.findall(
        r"LOSS_PLACES: \[&str; \d+\] = \[(.*?)\];", text_of("native", "core", "src", "losses.rs"), re.DOTALL
    )
    decoder = re.findall(
        r'\("(\w+)", (?:taken\.|events as)', "".join(map(Path.read_text, DECODER.glob("*.rs")))
    )
    places = [*re.findall(r'"(\w+)"', kernel), *decoder]
    assert len(places) >= 10
    page = text_of("docs", "LIMITS.md").partition("## Places of losses")[2]
    assert [place for place in places if f"`{place}`" not in page] == []


@pytest.mark.parametrize("array", ["SENSITIVE_HEADERS", "SENSITIVE_HEADER_PARTS", "SENSITIVE_FIELDS"])
def test_every_name_that_is_masked_is_told(array: str) -> None:
    source = (DECODER / "privacy" / "names.rs").read_text(encoding="utf-8")
    (body,) = re.findall(rf"const {array}: \[&str; \d+\] = \[(.*?)\];", source, re.DOTALL)
    page = text_of("docs", "PRIVACY.md")
    names = re.findall(r'"([^"]+)"', body)
    assert names
    assert [name for name in names if f"`{name}`" not in page] == []


def test_defaults_of_privacy_are_told() -> None:
    page = text_of("docs", "PRIVACY.md")
    assert all(f"`{pattern}`" in page for pattern in Privacy().exclude_patterns)
    assert f"the first {Privacy().max_payload_capture} bytes" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_what_the_architecture_names_is_there() -> None:
    roots = (REPOSITORY, REPOSITORY / "src" / "universal_tracer")
    names = re.findall(r"`([\w.]+(?:/[\w.]+)*/?)`", text_of("ARCHITECTURE.md"))
    paths = [name for name in names if "/" in name]
    assert len(paths) > 10
    assert [path for path in paths if not any((base / path).exists() for base in roots)] == []


def test_flags_in_pages_exist() -> None:
    subcommands = [
        root.get_command(click.Context(root), name) for name in root.list_commands(click.Context(root))
    ]
    commands = [command for command in (root, *subcommands) if command is not None]
    known = {name for command in commands for parameter in command.params for name in parameter.opts}
    known |= {"--help", "-h"}
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            command = re.search(r"universal-tracer ([^|#`]*)", line)
            own = re.split(r"(?:^|\s)--\s", command[1])[0] if command else ""
            assert [flag for flag in re.findall(r"(?<!\S)--?[a-z][\w-]*", own) if flag not in known] == [], (
                line
            )
