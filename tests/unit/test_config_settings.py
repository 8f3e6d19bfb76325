"""File, environment and flags over the defaults, and all their faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from universal_tracer.config.keys import check, keys, sections
from universal_tracer.config.outputs import FORMAT_OF_SUFFIX, FORMATS
from universal_tracer.config.render import effective_yaml, sample_yaml
from universal_tracer.config.settings import FlagValue, Settings, load_settings
from universal_tracer.config.tree import Config
from universal_tracer.model.errors import ConfigError, ExitCode, UsageError

WRONG = "the regular expression between the slashes is wrong"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def faults(file: Path | None = None, **layers: object) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load_settings(file, **layers)  # type: ignore[arg-type]
    assert raised.value.exit_code == ExitCode.USAGE
    return [fault.replace(f"{file}:", "") for fault in raised.value.faults]


def test_nothing_given_means_defaults(file: Path) -> None:
    file.write_text("")
    assert load_settings(file).config == load_settings().config == Config()
    assert set(load_settings().origins.values()) == {"default"}


def test_flags_win_over_environment_over_file(file: Path) -> None:
    file.write_text(
        "http_tracer:\n  sampling_rate: 0.1\n  max_payload_size: 512\n  correlation_timeout: 1m\n"
    )
    environment = {"UT_HTTP_TRACER__SAMPLING_RATE": "0.2", "UT_HTTP_TRACER__MAX_PAYLOAD_SIZE": "1024"}
    loaded = load_settings(
        file, environment, {"http_tracer.sampling_rate": [FlagValue("--sampling-rate", "0.3")]}
    )
    http = loaded.config.http_tracer
    assert (http.sampling_rate, http.max_payload_size, str(http.correlation_timeout)) == (0.3, 1024, "1m")
    assert loaded.origins["http_tracer.sampling_rate"] == "--sampling-rate"
    assert loaded.origins["http_tracer.max_payload_size"] == "UT_HTTP_TRACER__MAX_PAYLOAD_SIZE"
    assert loaded.origins["http_tracer.correlation_timeout"] == f"{file}:4"
    assert loaded.origins["http_tracer.protocols"] == "default"
    assert loaded.from_flag("http_tracer.sampling_rate")
    assert not loaded.from_flag("http_tracer.max_payload_size")


def test_every_fault_is_told_at_once(file: Path) -> None:
    file.write_text(
        """\
http_tracer:
  sampling_rat: 0.5
  sampling_rate: 2
  correlation_timeout: 30
  protocols: [http, htps]
xdptracer: {}
privacy: [password]
targets: {pids: [0, 1, x]}
stack_tracer:
  enable_user_stacks: maybe
  mode: samplng
  filter: tcp
output: {where: 5}
limits: {memory: 1MB}
"""
    )
    duration = "a duration with its unit, such as 500ms or 1m30s"
    assert faults(
        file, environment={"UT_OUTPUT__INTERVAL": "1"}, flags={"run.strict": [FlagValue("--strict", 5)]}
    ) == [
        "2: http_tracer.sampling_rat: unknown key (did you mean 'sampling_rate'?)",
        "3: http_tracer.sampling_rate: must be a number from 0 to 1, not 2",
        f"4: http_tracer.correlation_timeout: must be {duration}, from 100ms to 1h, not 30",
        (
            "5: http_tracer.protocols: must be one of grpc, http, https, websocket, not the text 'htps'"
            " (did you mean 'https'?)"
        ),
        "6: xdptracer: unknown section (did you mean 'xdp_tracer'?)",
        "7: privacy: must hold keys, not a list",
        "8: targets.pids: must be a whole number from 1 to 2147483647, not 0",
        "8: targets.pids: must be a whole number from 1 to 2147483647, not the text 'x'",
        "10: stack_tracer.enable_user_stacks: must be true or false, not the text 'maybe'",
        (
            "11: stack_tracer.mode: must be one of mixed, on-demand, sampling, tracing, "
            "not the text 'samplng' (did you mean 'sampling'?)"
        ),
        "12: stack_tracer.filter: unknown key (did you mean 'xdp_tracer.filter'?)",
        "13: output.where: must be an SQL condition of at most 8192 characters or null, not 5",
        "14: limits.memory: must be from 64MB to 1TB, not 1MB",
        f"UT_OUTPUT__INTERVAL: must be {duration}, from 100ms to 24h, not 1",
        "--strict: must be true or false, not 5",
    ]


def test_a_refused_value_is_not_found_fault_with_twice(file: Path) -> None:
    file.write_text("privacy:\n  exclude_patterns: [&a x, *a, 5]\nhttp_tracer:\n  sampling_rate: *a\n")
    assert faults(file) == [
        "2: privacy.exclude_patterns: anchors are not allowed (&a)",
        "2: privacy.exclude_patterns: aliases are not allowed (*a); write the value out",
        "2: privacy.exclude_patterns: must be part of a name or /REGULAR EXPRESSION/, not 5",
        "4: http_tracer.sampling_rate: aliases are not allowed (*a); write the value out",
    ]


@pytest.mark.parametrize("content", ["5", "[a]", "text"])
def test_a_file_without_sections_is_refused(file: Path, content: str) -> None:
    file.write_text(content)
    assert faults(file)[0].startswith("1: sections such as `http_tracer:` are expected, not ")


def test_a_section_may_be_empty(file: Path) -> None:
    file.write_text("http_tracer:\n  # sampling_rate: 0.5\nprivacy: {}\n")
    assert load_settings(file).config == Config()


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        load_settings(tmp_path / "none.yaml")
    assert (raised.value.cause, raised.value.hint) == ("no such file or directory", f"ls -l {tmp_path}")
    with pytest.raises(UsageError, match="is a directory"):
        load_settings(tmp_path)


def test_only_the_first_of_very_many_faults_are_told(file: Path) -> None:
    file.write_text("".join(f"a{n}:\n" for n in range(500)))
    told = faults(file)
    assert len(told) == 51
    assert told[-1] == "… and 450 more"


def test_the_environment_is_read_as_yaml() -> None:
    loaded = load_settings(
        environment={
            "UT_TARGETS__PROCESSES": "[nginx, 'python3.11']",
            "UT_PRIVACY__EXCLUDE_PATTERNS": "[]",
            "UT_OUTPUT__DURATION": "",
            "UT_HTTP_TRACER__ENABLE_GRPC": "no",
        }
    )
    assert loaded.config.targets.processes == ("nginx", "python3.11")
    assert loaded.config.privacy.exclude_patterns == ()
    assert loaded.config.output.duration is None
    assert not loaded.config.http_tracer.enable_grpc


def test_other_names_of_the_environment_are_left_alone() -> None:
    for name in (
        "UT_HOME",
        "UT_HTTP_TRACER",
        "UT_NOTHING__OF_OURS",
        "ut_run__strict",
        "HTTP_TRACER__SAMPLING_RATE",
    ):
        assert load_settings(environment={name: "["}).config == Config()


def test_faults_of_the_environment_name_the_variable() -> None:
    assert faults(
        environment={
            "UT_HTTP_TRACER__SAMPLINGRATE": "1",
            "UT_HTTP_TRACER__sampling_rate": "1",
            "UT_RUN__STRICT": "&a true",
            "UT_TARGETS__PIDS": "5",
        }
    ) == [
        "UT_HTTP_TRACER__SAMPLINGRATE: unknown key (did you mean UT_HTTP_TRACER__SAMPLING_RATE?)",
        "UT_HTTP_TRACER__sampling_rate: unknown key (did you mean UT_HTTP_TRACER__SAMPLING_RATE?)",
        "UT_RUN__STRICT: anchors are not allowed (&a)",
        "UT_TARGETS__PIDS: must be a list of a whole number from 1 to 2147483647, not 5",
    ]


def test_text_of_a_flag_is_not_read_as_a_number() -> None:
    flags = {"targets.processes": [FlagValue("--target-process", ["123", "yes"])]}
    assert load_settings(flags=flags).config.targets.processes == ("123", "yes")
    pids = {"targets.pids": [FlagValue("--pid", ["7", "8"])]}
    assert load_settings(flags=pids).config.targets.pids == (7, 8)


def test_two_flags_for_one_key_contradict_each_other() -> None:
    flags = {"run.verbosity": [FlagValue("--quiet", "quiet"), FlagValue("--verbose", "verbose")]}
    assert faults(flags=flags) == ["--quiet and --verbose: contradict each other; give one of them"]


def test_an_output_of_packets_needs_their_capture() -> None:
    flags = {
        "output.files": [FlagValue("--output", ["a.pcapng"])],
        "xdp_tracer.enable_packet_capture": [FlagValue("--config", False)],
    }
    assert faults(flags=flags) == ["--config: 'a.pcapng' is an output for packets"]


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        (["a.json", "./a.json"], "--output: the same output is named twice: './a.json'"),
        (["ndjson:-", "json:-"], "--output: the same output is named twice: 'json:-'"),
        (["csvv:x"], f"--output: 'csvv' is no format; known: {', '.join(FORMATS)}"),
        (
            ["jsn:x"],
            f"--output: 'jsn' is no format (did you mean 'json'?); known: {', '.join(FORMATS)}",
        ),
        (["json:"], "--output: 'json:' names no file; write json:PATH"),
        (["-"], "--output: '-' needs a format, such as ndjson:-"),
        (["/tmp"], "--output: '/tmp' is a directory; write /tmp/ to have the files named for you"),
        (
            ["events.txt"],
            (
                f"--output: 'events.txt' has no suffix that names a format ({', '.join(FORMAT_OF_SUFFIX)}); "
                "write FORMAT:PATH or DIR/"
            ),
        ),
        (["a\0.json"], "--output: must not contain a null byte"),
    ],
)
def test_outputs_that_mean_nothing_are_refused(output: list[str], fault: str) -> None:
    assert faults(flags={"output.files": [FlagValue("--output", output)]}) == [fault]


def test_outputs_of_a_file_are_told_with_the_line(file: Path) -> None:
    file.write_text("output:\n  format: json\n  files: ['ndjson:-', a.json]\n  metrics_only: true\n")
    assert faults(file) == [
        "3: output.files: 'ndjson:-' and 'json' both write to standard output",
        "4: output.metrics_only: there are no events for an output file to hold",
    ]


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        (
            "/(/",
            f"{WRONG}: missing ), unterminated subpattern at position 0",
        ),
        ("//", "the regular expression between the slashes is empty"),
        ("/(?<=a)b/", "look-around and back references are not supported in regular expressions"),
        (r"/(a)\1/", "look-around and back references are not supported in regular expressions"),
        ("", "must be part of a name or /REGULAR EXPRESSION/, not the text ''"),
        (r"/\p{Greek}+/", None),
        ("/card_?number/", None),
        ("/", None),
        ("a/b", None),
    ],
)
def test_patterns_are_checked_early(pattern: str, fault: str | None) -> None:
    converted, complaint = check(keys()["privacy.exclude_patterns"].kind, [pattern])
    element_complaint = check(keys()["privacy.exclude_patterns"].kind.element, pattern)[1]  # type: ignore[arg-type]
    assert element_complaint == fault
    assert (complaint is None) == (fault is None)
    assert converted == (None if fault else (pattern,))


@pytest.mark.parametrize(
    ("dotted", "good", "bad"),
    [
        ("export.prometheus_endpoint", ":9090/metrics", "9090"),
        ("export.prometheus_endpoint", "[::1]:9090", "host:port"),
        ("export.prometheus_endpoint", "127.0.0.1:9090/m", "http://x:9090/"),
        ("export.jaeger_endpoint", "http://host:14268/api/traces", "grpc://host"),
        ("export.otlp_endpoint", "grpc://host:4317", "host:4317"),
        ("http_tracer.trace_header", "X-Trace-ID", "X Trace"),
        ("stack_tracer.enable_memory_profiling", "exact", "all"),
        ("stack_tracer.enable_memory_profiling", True, None),
        ("stack_tracer.allocation_threshold", 4096, -1),
        ("limits.cpu_percent", 50, 0),
        ("output.events", ["http", "loss"], []),
        ("output.events", None, ["https"]),
        ("http_tracer.sampling_rate", 1, True),
        ("http_tracer.sampling_rate", 0.0, float("nan")),
        ("xdp_tracer.interfaces", ["eth0"], ["a/b"]),
        ("targets.pids", [1], [1.0]),
        ("record.keep", "30d", "30"),
        ("run.tracers", ["http", "xdp"], ["http2"]),
    ],
)
def test_values_are_checked_by_their_types(dotted: str, good: object, bad: object) -> None:
    kind = keys()[dotted].kind
    assert check(kind, good)[1] is None
    assert check(kind, bad)[1] is not None


def test_every_default_is_valid_and_described() -> None:
    for key in keys().values():
        written = str(key.default) if type(key.default).__name__ in ("Duration", "ByteSize") else key.default
        assert check(key.kind, written) == (key.default, None), key.dotted
        assert key.description[0].islower() or key.description[0].isupper()
        assert not key.description.endswith(".")


def test_sections_and_keys_are_the_documented_ones() -> None:
    assert list(sections()) == [
        *("http_tracer", "xdp_tracer", "stack_tracer", "privacy", "targets"),
        *("output", "export", "record", "limits", "run"),
    ]
    assert len(keys()) == 70


def read_back(file: Path, shown: Settings) -> Settings:
    file.write_text(effective_yaml(shown))
    return load_settings(file)


def test_what_is_shown_says_where_it_came_from_and_is_valid(file: Path) -> None:
    flags = {"output.files": [FlagValue("--output", ["a b.json", "ndjson:-"])]}
    shown = load_settings(None, {"UT_RUN__STRICT": "true"}, flags)
    lines = effective_yaml(shown).splitlines()
    assert "  strict: true  # UT_RUN__STRICT" in lines
    assert '  files: ["a b.json", ndjson:-]  # --output' in lines
    assert "  sampling_rate: 1.0  # default" in lines
    assert read_back(file, shown).config == shown.config


@settings(max_examples=50)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), max_size=5
    )
)
def test_any_text_survives_being_shown(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    shown = load_settings(flags={"targets.processes": [FlagValue("--target-process", names)]})
    file = tmp_path_factory.mktemp("shown") / "config.yaml"
    assert read_back(file, shown).config.targets.processes == tuple(names)


def test_the_sample_in_the_repository_is_up_to_date(file: Path) -> None:
    sample = Path(__file__).parents[2] / "config" / "production.yaml"
    assert sample.read_text() == sample_yaml(), (
        "python -m universal_tracer.config.render > config/production.yaml"
    )
    loaded = load_settings(sample)
    assert loaded.config == Config()
    assert "default" not in loaded.origins.values()
    assert max(map(len, sample_yaml().splitlines())) <= 80
