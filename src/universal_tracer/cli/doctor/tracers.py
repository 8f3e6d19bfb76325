"""What the tracers can do here: their hooks, tried for real; their tables; what earlier runs left."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from universal_tracer.cli.plan import bytes_text, try_tracer
from universal_tracer.cli.talk import plural
from universal_tracer.cli.tracers import TRACERS
from universal_tracer.model.checkup import Check, Section, degraded, missing, ok
from universal_tracer.model.errors import PrivilegeError, TracerError
from universal_tracer.system.leftovers import FoundProgram, find_programs, own_namespaces, own_pins
from universal_tracer.system.net_devices import interfaces, tc_filters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from universal_tracer.config.tree import Config
    from universal_tracer.model.trial import Table, Trial, TriedHook


@dataclass(frozen=True, slots=True)
class Outcome:
    """One tracer's trial, or why there was none."""

    tracer: str
    trial: Trial | None
    error: TracerError | None


def try_all(config: Config) -> list[Outcome]:
    """Try every tracer of this build, all at once: the kernel checks a program on one CPU."""
    with ThreadPoolExecutor(len(TRACERS)) as threads:
        return list(threads.map(partial(_outcome, config=config), TRACERS))


def _outcome(name: str, config: Config) -> Outcome:
    try:
        return Outcome(name, try_tracer(TRACERS[name], config), None)
    except TracerError as error:
        return Outcome(name, None, error)


def hooks(outcomes: Sequence[Outcome], remedy: str) -> Section:
    """Every hook with its adapter and why, or what is wrong with it. `remedy` gives the missing privilege."""
    found = Section("hooks")
    for outcome in outcomes:
        if outcome.error is not None:
            found.checks.append(_failed(outcome.tracer, outcome.error))
        if outcome.trial is not None:
            found.checks.extend(_apart([_hook(tried, remedy) for tried in outcome.trial.hooks]))
            found.checks.append(_trial(outcome.tracer, outcome.trial, remedy))
    return found


def _apart(checks: Sequence[Check]) -> Iterator[Check]:
    """Several programs at one hook get names of their own."""
    seen: Counter[str] = Counter()
    for check in checks:
        seen[check.name] += 1
        count = seen[check.name]
        yield check if count == 1 else replace(check, name=f"{check.name} ({count})")


def _hook(tried: TriedHook, remedy: str) -> Check:
    hook = tried.hook
    name, plan = f"{hook.tracer} {hook.hook}", f"by {hook.adapter}: {hook.why}"
    if tried.error is None:
        return ok(name, plan)
    if isinstance(tried.error, PrivilegeError):
        return degraded(name, plan, remedy)
    return _failed(name, tried.error)


def _trial(tracer: str, trial: Trial, remedy: str) -> Check:
    """How far it came, in one check."""
    count = plural(len(trial.hooks), "program")
    name = f"{tracer} trial"
    match trial.error:
        case None:
            ran = ", run once" if trial.has_run else ""
            return ok(name, f"{count} loaded, attached{ran} and detached again")
        case PrivilegeError():
            return degraded(name, "the kernel has these hooks; not tried without privilege", remedy)
        case _:
            failed = sum(tried.error is not None for tried in trial.hooks)
            return missing(name, f"{failed} of {count} cannot be used", "universal-tracer doctor -v")


def _failed(name: str, error: TracerError) -> Check:
    check = missing(name, str(error), error.hint)
    return Check(name, check.state, check.reason, check.remedy, error.details)


def tables(outcomes: Sequence[Outcome]) -> Section:
    """The kernel's memory for each table."""
    found = [
        (outcome.tracer, table)
        for outcome in outcomes
        if outcome.trial is not None
        for table in outcome.trial.tables
    ]
    checks = [ok(f"{tracer} {table.name}", _table(table)) for tracer, table in found]
    about = "about " if any(table.is_estimate for _, table in found) else ""
    total = bytes_text(sum(table.bytes for _, table in found))
    return Section("tables", [*checks, ok("all tables", f"{about}{total} of the kernel's memory")])


def _table(table: Table) -> str:
    about = "about " if table.is_estimate else ""
    entries = f", {plural(table.entries, 'entry', 'entries')}" if table.entries > 1 else ""
    return f"{about}{table.bytes:,} bytes ({table.kind}{entries})"


def leftovers(outcomes: Sequence[Outcome], remedy: str) -> Section:
    """What an earlier run left in the kernel, on interfaces and in the file system, and other runs."""
    section = Section("leftovers")
    trials = [outcome.trial for outcome in outcomes if outcome.trial is not None]
    try:
        found = find_programs(trials)
    except PrivilegeError as error:
        section.checks.append(degraded("programs", f"not looked for: {error.cause}", remedy))
        found = []
    ids = {program.id: program for program in found}
    section.checks.extend([*_other_runs(found), *_pins(ids), *_on_interfaces(ids), *_namespaces()])
    if not section.checks:
        section.checks.append(ok("programs, pins, interfaces", "nothing of an earlier run is left"))
    return section


def _other_runs(found: Sequence[FoundProgram]) -> Iterator[Check]:
    """Programs that a process holds go with it; the others are left, unless an interface holds them."""
    runs: dict[int, list[str]] = {}
    for program in found:
        for pid in program.holders:
            runs.setdefault(pid, []).append(program.name)
        if not program.holders and not program.interfaces:
            yield degraded(
                f"program {program.id}",
                f"{program.name} is loaded, and no process in view holds it",
                f"bpftool prog show id {program.id}",
            )
    for pid, names in runs.items():
        yield ok(f"process {pid}", f"another run, at work: {plural(len(names), 'program')}")


def _pins(ids: dict[int, FoundProgram]) -> Iterator[Check]:
    for path in own_pins(ids):
        yield degraded(f"pin {path}", "keeps a kernel program of an earlier run", f"rm {path}")


def _on_interfaces(ids: dict[int, FoundProgram]) -> Iterator[Check]:
    try:
        present = interfaces()
    except OSError:
        return
    for interface in present:
        if interface.xdp_program in ids and not ids[interface.xdp_program].holders:
            yield degraded(
                f"XDP on {interface.name}",
                "attached by an earlier run",
                f"ip link set dev {interface.name} xdp off",
            )
        for found in tc_filters(interface.index):
            if found.program in ids and not ids[found.program].holders:
                yield degraded(
                    f"TC on {interface.name}",
                    f"attached at {found.side} by an earlier run",
                    f"tc filter del dev {interface.name} {found.side} pref {found.preference} "
                    f"handle {found.handle:#x} bpf",
                )


def _namespaces() -> Iterator[Check]:
    for name in own_namespaces():
        yield degraded(
            f"namespace {name}", "a network namespace of an earlier run", f"ip netns delete {name}"
        )
