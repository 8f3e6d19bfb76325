"""YAML files, also hostile ones, as located values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from universal_tracer.config.document import (
    MAX_BYTES,
    Document,
    Listing,
    Mapping,
    Scalar,
    plain_scalar,
    read_document,
)


def told(document: Document) -> list[tuple[int, str, str]]:
    return [(fault.line, fault.key, fault.message) for fault in document.faults]


def test_values_know_their_lines() -> None:
    root = read_document(b"# comment\na:\n  b: 1\n  c: [x,\n    2.5]\n").root
    assert isinstance(root, Mapping)
    section = root.entries["a"].node
    assert isinstance(section, Mapping)
    assert (root.entries["a"].line, section.entries["b"].line) == (2, 3)
    assert section.entries["b"].node == Scalar(3, 1)
    assert section.entries["c"].node == Listing(4, [Scalar(4, "x"), Scalar(5, 2.5)])


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# only a comment\n", b"\xef\xbb\xbf", b"---\n"])
def test_an_empty_file_holds_nothing(content: bytes) -> None:
    document = read_document(content)
    assert document.faults == []
    assert document.root is None or document.root == Scalar(document.root.line, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("off", False),
        ("~", None),
        ("", None),
        ("0.1", 0.1),
        ("1e-1", 0.1),
        ("0x10", 16),
        ("12_000", 12_000),
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("nginx", "nginx"),
        ("<<", "<<"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_are_null_booleans_numbers_or_text(text: str, value: object) -> None:
    assert plain_scalar(text) == value
    assert type(plain_scalar(text)) is type(value)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"a: \xff\n", 1, "not UTF-8: byte 0xff has no meaning here"),
        ("a: é\n".encode("latin-1"), 1, "not UTF-8: byte 0xe9 has no meaning here"),
        ("a: 1\n".encode("utf-16"), 1, "not UTF-8: byte 0xff has no meaning here"),
        (b"a: 1\nb: \x01\n", 2, "a control character is not allowed here"),
        (b"a: 1\nb: \x00\n", 2, "a control character is not allowed here"),
        (b"a: 1\n---\nb: 2\n", 2, "a second document begins here; only one is allowed"),
        (b"a:\n\tb: 1\n", 2, "not YAML: found character that cannot start any token"),
        (b"a: [1\n", 2, "not YAML: did not find expected ',' or ']'"),
        (b"a: " + b"{b: " * 20 + b"}" * 20, 1, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(content: bytes, line: int, message: str) -> None:
    assert told(read_document(content)) == [(line, "", message)]


def test_a_huge_file_is_refused_unread() -> None:
    document = read_document(b"a: " + b"x" * MAX_BYTES)
    assert told(document) == [(1, "", "the file is larger than 1 MiB (1048576 bytes)")]


def test_references_tags_and_repeated_keys_are_faults() -> None:
    content = b"a: &x 1\nb: *x\nc: !!str 2\na: 3\nd: {e: 1, e: 2}\n? [f]\n: 1\n&k g: 1\n"
    assert told(read_document(content)) == [
        (1, "a", "anchors are not allowed (&x)"),
        (2, "b", "aliases are not allowed (*x); write the value out"),
        (3, "c", "tags are not allowed (tag:yaml.org,2002:str)"),
        (4, "a", "appears twice, first on line 1"),
        (5, "d.e", "appears twice, first on line 5"),
        (6, "", "a key must be a single word"),
        (8, "", "anchors are not allowed (&k)"),
    ]


def test_a_bomb_of_aliases_is_not_unfolded() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    document = read_document("\n".join(lines).encode())
    assert len(document.faults) == 30 + 29 * 10


def test_a_python_object_is_not_made() -> None:
    document = read_document(b"a: !!python/object/apply:os.system ['true']\n")
    assert [fault.message for fault in document.faults] == [
        "tags are not allowed (tag:yaml.org,2002:python/object/apply:os.system)"
    ]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    document = read_document(content)
    assert document.faults or document.root is None or document.root.line >= 1


@given(st.text(alphabet="ab:[]{}&*!-? \n\"'#|>%@0.~", max_size=60))
def test_anything_that_looks_like_yaml_is_read_or_refused(text: str) -> None:
    document = read_document(text.encode())
    assert all(fault.line >= 1 and fault.message for fault in document.faults)
