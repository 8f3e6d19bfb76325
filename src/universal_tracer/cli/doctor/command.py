"""The command itself: look, print, and end with the exit code that says it in short."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from universal_tracer.cli.help import GroupedHelp
from universal_tracer.model.checkup import State
from universal_tracer.model.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from universal_tracer.config.tree import Config
    from universal_tracer.model.checkup import Section
    from universal_tracer.system.privileges import Privileges
    from universal_tracer.system.terminal import Style


@click.command(cls=GroupedHelp)
@click.option("--json", "is_json", is_flag=True, help="print JSON: [{section, checks: [{name, state, ...}]}]")
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="settings from a YAML file")
@click.option("-v", "--verbose", is_flag=True, help="the kernel's whole answer where it refused a program")
@click.option("--no-color", is_flag=True, help="no colours")
def doctor(*, is_json: bool, config: Path | None, verbose: bool, no_color: bool) -> None:
    """Say what this machine allows, what is missing, and what mends it.

    Every kernel program is loaded and attached for a moment, watching nothing but
    this command itself. Exit code: 0 where all that is needed is there, 4 without
    privilege, 5 where something is missing.
    """
    from universal_tracer.cli.doctor.text import as_json, as_text  # noqa: PLC0415  --help does without
    from universal_tracer.cli.preflight import own_command  # noqa: PLC0415
    from universal_tracer.config.settings import load_settings  # noqa: PLC0415
    from universal_tracer.system.privileges import Privileges, require_tracing  # noqa: PLC0415

    settings = load_settings(config, os.environ)
    held = Privileges.of_this_process()
    sections = _look(settings.config, held)
    if is_json:
        click.echo(as_json(sections))
    else:
        style = _style(wants_color=not no_color)
        click.echo(as_text(sections, style, with_details=verbose) + "\n\n" + _verdict(sections))
    sys.stdout.flush()
    require_tracing([*own_command(), *sys.argv[1:]], privileges=held)
    _require_all(sections)


def _look(config: Config, held: Privileges) -> list[Section]:
    from universal_tracer.cli.doctor import machine, tracers  # noqa: PLC0415
    from universal_tracer.cli.preflight import own_command  # noqa: PLC0415
    from universal_tracer.system.privileges import remedy  # noqa: PLC0415

    with_privilege = remedy([*own_command(), *sys.argv[1:]], held)
    outcomes = tracers.try_all(config)
    return [
        machine.privilege(held, with_privilege),
        machine.kernel(),
        tracers.hooks(outcomes, with_privilege),
        machine.network(),
        *machine.programs(held),
        tracers.leftovers(outcomes, with_privilege),
        tracers.tables(outcomes),
    ]


def _style(*, wants_color: bool) -> Style:
    from universal_tracer.cli.outputs import is_plain_environment  # noqa: PLC0415
    from universal_tracer.system.terminal import Style  # noqa: PLC0415

    color = wants_color and sys.stdout.isatty() and not is_plain_environment()
    return Style(color, only_ascii=not sys.stdout.encoding.lower().startswith("utf"))


def _verdict(sections: Sequence[Section]) -> str:
    states = [check.state for section in sections for check in section.checks]
    counts = ", ".join(f"{states.count(state)} {state.value}" for state in State)
    return f"{len(states)} checks: {counts}"


def _require_all(sections: Sequence[Section]) -> None:
    lacking = [
        (section.section, check)
        for section in sections
        for check in section.checks
        if check.state is State.MISSING
    ]
    if lacking:
        section, check = lacking[0]
        raise KernelError(
            f"something needed is missing: {', '.join(check.name for _, check in lacking)}",
            cause=f"{section}: {check.name}: {check.reason}",
            hint=check.remedy or "universal-tracer doctor -v",
        )
