"""What a bug leaves: three lines, and a file that tells the rest without secrets."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from unit.cli_runs import run

from universal_tracer.cli.bug_report import masked_arguments, without_secrets

if TYPE_CHECKING:
    from pathlib import Path

    from unit.cli_runs import Text

WORDS = frozenset({"--tracer", "http", "--pid", "--duration", "--output", "--where", "-v", "--otlp-endpoint"})


def buggy(tmp_path: Path, *arguments: str, **more: str) -> tuple[Text, str]:
    """Run into a bug; returns what was said and the report's text."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), **more}
    done = run({"bug": "tick"}, *arguments, env=environment)
    (report,) = tmp_path.glob("universal-tracer-bug-*.txt")
    assert str(report) in done.stderr
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    return done, report.read_text()


def test_a_bug_is_three_lines_and_names_its_report(tmp_path: Path) -> None:
    done, report = buggy(tmp_path)
    assert done.returncode == 1
    start, *lines = done.stderr.splitlines()
    assert start.startswith("tracing: ")
    assert [line.partition(":")[0] for line in lines] == ["error", "cause", "hint"]
    assert "Traceback" not in done.stderr
    for part in (
        "universal-tracer 0.",
        "Python 3.",
        "polars 2.",
        "plan:",
        "last messages:",
        "what happened:",
    ):
        assert part in report, part
    assert "  http sock_send_length by tp_btf: the kernel has it (0.1 us)" in report
    assert "  tracing: HTTP (sock_send_length) of the whole machine" in report
    assert re.search(r'File "[^"]*/cli/session.py", line \d+, in _tick', report)
    assert "ValueError: cannot read '***' of column 'path'" in report


def test_verbose_shows_the_traceback_as_well(tmp_path: Path) -> None:
    done, _ = buggy(tmp_path, "-v")
    assert "Traceback (most recent call last):" in done.stderr
    assert done.stderr.splitlines()[-3].startswith("error: something went wrong")


def test_no_secret_is_in_the_report(tmp_path: Path) -> None:
    file = tmp_path / "customer-acme.ndjson"
    environment = {"DATABASE_URL": "postgres://u:p4ssw0rd@db/x", "UT_HTTP_TRACER__SAMPLING_RATE": "0.75"}
    done, report = buggy(tmp_path, "--output", str(file), "--duration", "5s", **environment)
    for secret in ("hunter2", "p4ssw0rd", "0.75"):
        assert secret not in report, secret
    assert "hunter2" not in done.stderr
    assert "started as: universal-tracer --output *** --duration 5s" in report


def test_a_traced_command_is_not_told(tmp_path: Path) -> None:
    _, report = buggy(tmp_path, "--", "sleep", "0.123")
    assert "started as: universal-tracer -- ***" in report
    assert "0.123" not in report


def test_no_place_for_the_report_is_no_further_error(tmp_path: Path) -> None:
    script = tmp_path / "sitecustomize.py"
    script.write_text(
        "import tempfile\ndef none(*a, **k): raise OSError(28, 'full')\ntempfile.mkstemp = none\n"
    )
    done = run({"bug": "tick"}, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "hint: run it again with -v and report what it says"


def test_threads_that_fail_are_recorded_instead_of_printed() -> None:
    program = (
        "import threading; from universal_tracer.cli.recorder import recorder; recorder.take_over();"
        "thread = threading.Thread(target=lambda: {}['secret'], name='metrics');"
        "thread.start(); thread.join();"
        "print(*recorder.messages)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith("thread metrics failed: KeyError at <string>:1")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--tracer", "http", "--pid", "12"], ["--tracer", "http", "--pid", "12"]),
        (["--otlp-endpoint=http://u:p@h", "-v"], ["--otlp-endpoint=***", "-v"]),
        (["--where", "path = '/secret'"], ["--where", "***"]),
        (["-psecret", "--unknown=secret", "word"], ["***", "***", "***"]),
        (["--duration", "1m30s", "--", "curl", "-u", "me:pw"], ["--duration", "***", "--", "***"]),
    ],
)
def test_arguments_are_masked_unless_they_are_ours(given: list[str], told: list[str]) -> None:
    assert list(masked_arguments(given, WORDS)) == told


def test_credentials_are_known_by_their_shape() -> None:
    for text in (
        "Authorization: Basic c2VjcmV0",
        "set-cookie=secret; path=/",
        "https://me:secret@example.com/x",
        "X-Api-Key: secret",
        "password = secret",
    ):
        assert "secret" not in without_secrets(text).replace("password", "").lower(), text
        assert "c2V" not in without_secrets(text)
