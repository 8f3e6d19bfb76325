"""Every flag that sets a key: one table, from which click's options, the help and the settings follow."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

import click

from universal_tracer.cli.tracers import TRACERS, available_events
from universal_tracer.model.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from universal_tracer.config.settings import FlagValue

WHOM: Final = "Whom to trace"
WHAT: Final = "What to record"
WHERE: Final = "Where it goes"
HOW: Final = "How it runs"
GROUPS: Final = (WHOM, WHAT, WHERE, HOW)
STDOUT_FORMATS: Final = ("table", "json", "ndjson", "none")


class Arity(Enum):
    """How often a flag may be given, and what it takes."""

    ONE = auto()
    REPEATED = auto()
    COMMAS = auto()
    SWITCH = auto()


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag and the key that it sets.

    `sets` is a switch's value, `tracer` is whose flag it is, `also` names keys that get the same value.
    `values` are offered by completion where others are allowed, too.
    """

    names: tuple[str, ...]
    key: str
    group: str
    help: str
    metavar: str = ""
    arity: Arity = Arity.ONE
    choices: tuple[str, ...] = ()
    sets: Any = True
    tracer: str | None = None
    also: tuple[str, ...] = ()
    values: tuple[str, ...] = ()

    @property
    def parameter(self) -> str:
        """The name that click gives its value."""
        return self.longest.lstrip("-").replace("-", "_")

    @property
    def longest(self) -> str:
        """The name that messages use."""
        return max(self.names, key=len)


RATE_OF_ONE_TRACER: Final = "sampling rate of the one chosen tracer"

FLAGS: Final = (
    Flag(
        ("--pid",), "targets.pids", WHOM, "a process; repeatable, as are the next four", "PID", Arity.REPEATED
    ),
    Flag(
        ("--target-process",),
        "targets.processes",
        WHOM,
        "processes by name: the comm or the executable's file name",
        "NAME",
        Arity.REPEATED,
    ),
    Flag(
        ("--container",),
        "targets.containers",
        WHOM,
        "a container by name, pod, or the first digits of its id",
        "NAME-OR-ID",
        Arity.REPEATED,
    ),
    Flag(("--cgroup",), "targets.cgroups", WHOM, "the processes of a control group", "PATH", Arity.REPEATED),
    Flag(
        ("--interface",),
        "http_tracer.interfaces",
        WHOM,
        "http: only connections with an address of it; repeatable",
        "IFACE",
        Arity.REPEATED,
        also=("xdp_tracer.interfaces",),
    ),
    Flag(
        ("--tracer",),
        "run.tracers",
        WHAT,
        "which tracer runs; repeatable; default: all",
        arity=Arity.REPEATED,
        choices=tuple(TRACERS),
    ),
    Flag(
        ("--events",),
        "output.events",
        WHAT,
        f"types to produce: {', '.join(available_events())}; default: all",
        "TYPE,...",
        Arity.COMMAS,
        values=available_events(),
    ),
    Flag(
        ("--where",),
        "output.where",
        WHAT,
        "keep only matching events: an SQL condition, such as 'status >= 500'",
        "EXPRESSION",
    ),
    Flag(
        ("--http-sampling-rate",),
        "http_tracer.sampling_rate",
        WHAT,
        "share of the requests to record, 0 to 1",
        "P",
        tracer="http",
    ),
    Flag(
        ("--stack-sampling-frequency",),
        "stack_tracer.sampling_frequency",
        WHAT,
        "samples of each CPU per second; default: 99",
        "HZ",
        tracer="stack",
    ),
    Flag(
        ("--correlation-table-size",),
        "http_tracer.correlation_table_size",
        WHAT,
        "requests that may wait for their answers at once",
        "N",
        tracer="http",
    ),
    Flag(
        ("--xdp-sampling-rate",),
        "xdp_tracer.sampling_rate",
        WHAT,
        "look at one packet in N; counts are scaled",
        "N",
        tracer="xdp",
    ),
    Flag(
        ("--filter",),
        "xdp_tracer.filter",
        WHAT,
        "only packets that match a pcap expression, such as 'tcp port 80'",
        "EXPRESSION",
        tracer="xdp",
    ),
    Flag(
        ("--enable-flow-tracking",),
        "xdp_tracer.enable_flow_tracking",
        WHAT,
        "count packets and bytes per flow (the default)",
        arity=Arity.SWITCH,
        tracer="xdp",
    ),
    Flag(
        ("--flow-timeout",),
        "xdp_tracer.flow_timeout",
        WHAT,
        "a flow is over after this much silence; default: 300s",
        "TIME",
        tracer="xdp",
    ),
    Flag(
        ("--flow-table-size",),
        "xdp_tracer.flow_table_size",
        WHAT,
        "flows that are counted at once; default: 65536",
        "N",
        tracer="xdp",
    ),
    Flag(
        ("--xdp-mode",),
        "xdp_tracer.mode",
        HOW,
        "how XDP attaches; default: native, but generic on veth",
        choices=("native", "generic"),
        tracer="xdp",
    ),
    Flag(
        ("--mode",),
        "stack_tracer.mode",
        WHAT,
        "sample stacks, trace functions, both, or capture stacks around a trigger; default: sampling",
        choices=("sampling", "tracing", "mixed", "on-demand"),
        tracer="stack",
    ),
    Flag(
        ("--trigger",),
        "stack_tracer.trigger",
        WHAT,
        "capture the 5 s before and after, such as at http.latency_ms>500, cpu>80%, file:/PATH or SIGUSR1",
        "CONDITION",
        tracer="stack",
    ),
    Flag(
        ("--trace-function",),
        "stack_tracer.trace_functions",
        WHAT,
        "a function to trace, such as u:/path:symbol; globs; repeatable",
        "SPEC",
        Arity.REPEATED,
        tracer="stack",
    ),
    Flag(
        ("--off-cpu",),
        "stack_tracer.off_cpu",
        WHAT,
        "also where threads wait, and for how long",
        arity=Arity.SWITCH,
        tracer="stack",
    ),
    Flag(
        ("--stack-map-size",),
        "stack_tracer.stack_map_size",
        WHAT,
        "distinct stacks held between two reports; default: 16384",
        "N",
        tracer="stack",
    ),
    Flag(("--sampling-rate",), RATE_OF_ONE_TRACER, WHAT, "the same, for the one chosen tracer", "N"),
    Flag(
        ("--metrics-only",),
        "output.metrics_only",
        WHAT,
        "no events: one summary per interval",
        arity=Arity.SWITCH,
    ),
    Flag(("--interval",), "output.interval", WHAT, "time between two summaries; default: 5s", "TIME"),
    Flag(
        ("--output",),
        "output.files",
        WHERE,
        "write a .json, .ndjson or .parquet file, or FORMAT:PATH; DIR/ has its files named; repeatable",
        "PATH",
        Arity.REPEATED,
    ),
    Flag(
        ("--output-format",),
        "output.format",
        WHERE,
        "standard output; default: table on a terminal, else ndjson, or none beside --output",
        choices=STDOUT_FORMATS,
    ),
    Flag(
        ("--record",),
        "record.directory",
        WHERE,
        "keep all events as Parquet files, a folder per event type, within record.keep and record.max_size",
        "DIR",
    ),
    Flag(
        ("--prometheus-endpoint",),
        "export.prometheus_endpoint",
        WHERE,
        "serve metrics, such as on :9090/metrics (all addresses) or 127.0.0.1:9090/metrics",
        "HOST:PORT/PATH",
    ),
    Flag(("--no-color",), "run.color", WHERE, "no colours", arity=Arity.SWITCH, sets=False),
    Flag(
        ("--duration",), "output.duration", HOW, "stop after, such as 60s or 1m30s; default: Ctrl-C", "TIME"
    ),
    Flag(
        ("--dry-run",),
        "run.dry_run",
        HOW,
        "say what would be attached, to whom and at what cost; attach nothing",
        arity=Arity.SWITCH,
    ),
    Flag(
        ("--list",),
        "run.list",
        HOW,
        "say what could be traced: u:/path:symbol, k:function, t:category:name, usdt:/path:name; globs",
        "SPEC",
        Arity.REPEATED,
        tracer="stack",
    ),
    Flag(("--strict",), "run.strict", HOW, "exit with 3 when events were lost", arity=Arity.SWITCH),
    Flag(
        ("-q", "--quiet"),
        "run.verbosity",
        HOW,
        "speak only of failure and loss",
        arity=Arity.SWITCH,
        sets="quiet",
    ),
    Flag(
        ("-v", "--verbose"),
        "run.verbosity",
        HOW,
        "say which hooks and why",
        arity=Arity.SWITCH,
        sets="verbose",
    ),
)


class FlagOption(click.Option):
    """An option of click that remembers its place in the help."""

    def __init__(self, flag: Flag) -> None:
        self.flag = flag
        super().__init__(
            [*flag.names, flag.parameter],
            help=flag.help,
            metavar="|".join(flag.choices) or flag.metavar or None,
            is_flag=flag.arity is Arity.SWITCH,
            multiple=flag.arity in (Arity.REPEATED, Arity.COMMAS),
            type=click.Choice(flag.choices) if flag.choices else None,
            default=None,
        )


def options() -> list[click.Parameter]:
    """A click option for every flag, in the order of the table."""
    return [FlagOption(flag) for flag in FLAGS]


def flag_values(parameters: Mapping[str, Any], configured: Sequence[str] = ()) -> dict[str, list[FlagValue]]:
    """What the command line says, by dotted key; click's unset parameters are left out.

    `configured` are the tracers that run where no flag names any.
    """
    from universal_tracer.config.settings import FlagValue  # noqa: PLC0415  --help does without the tree

    values: dict[str, list[FlagValue]] = {}
    chosen = tuple(parameters.get("tracer") or configured or TRACERS)
    for flag in FLAGS:
        given = parameters.get(flag.parameter)
        if given in (None, False, ()):
            continue
        key = flag.key if flag.key != RATE_OF_ONE_TRACER else _rate_key(chosen)
        _require_tracer(flag, chosen)
        for one in (key, *flag.also):
            values.setdefault(one, []).append(FlagValue(flag.longest, _value(flag, given)))
    return values


def _value(flag: Flag, given: Any) -> Any:
    if flag.arity is Arity.SWITCH:
        return flag.sets
    if flag.arity is Arity.COMMAS:
        return [word for text in given for word in text.split(",")]
    return list(given) if flag.arity is Arity.REPEATED else given


def _rate_key(chosen: Sequence[str]) -> str:
    if len(set(chosen)) == 1:
        return TRACERS[chosen[0]].rate_key
    raise UsageError(
        "--sampling-rate does not say whose rate it is",
        cause=f"several tracers are chosen: {', '.join(chosen)}",
        hint="name one with --tracer, or give each its own rate, such as --http-sampling-rate",
    )


def _require_tracer(flag: Flag, chosen: Sequence[str]) -> None:
    if flag.tracer is not None and flag.tracer not in chosen:
        raise UsageError(
            f"{flag.longest} is a flag of a tracer that does not run",
            cause=f"only {', '.join(chosen)} is chosen",
            hint=f"add --tracer {flag.tracer}, or leave the flag out",
        )
