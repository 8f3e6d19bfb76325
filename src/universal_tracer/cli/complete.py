"""Completion: what may follow on a command line, in the forms that click's scripts for the shells expect.

It works on a table of text, written by `cli.generate` of the very options that click parses, so that a Tab
does not load the command line. Values are looked up where they are: processes in /proc, interfaces in /sys.

    command NAME                      `NAME` is empty for the program itself, else such as `config show`
    flag NAME KIND CHOICES HELP       tabs in between, CHOICES with blanks; KIND `switch` takes no value
    argument KIND
    subcommand NAME HELP
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing typing takes as long as all the rest
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SWITCH = "switch"
Item = tuple[str, str]
"""A value, and what it is."""
# The shell is to complete the name of a file.
_FILE = ("", "file")


class _Flag:
    def __init__(self, kind: str, choices: list[str], told: str) -> None:
        self.kind, self.choices, self.help = kind, choices, told


class _Command:
    def __init__(self) -> None:
        self.flags: dict[str, _Flag] = {}
        self.subcommands: dict[str, str] = {}
        self.argument = ""


def completions(shell: str, environment: Mapping[str, str], table: str) -> str | None:
    """What to print for the words in `COMP_WORDS`; None where quotes are among them."""
    words = environment.get("COMP_WORDS", "")
    current = environment.get("COMP_CWORD", "")
    if any(character in words + current for character in "'\"\\"):
        return None
    before, incomplete = _split(shell, words, current)
    items = _items(_parsed(table), before, incomplete)
    return "".join(_formatted(shell, item, incomplete) for item in items) or "\n"


def _split(shell: str, words: str, current: str) -> tuple[list[str], str]:
    parts = words.split()
    if shell == "fish":
        before = parts[1:]
        if current and before and before[-1] == current:
            before.pop()
        return before, current
    at = int(current) if current.isdecimal() else len(parts)
    return parts[1:at], parts[at] if at < len(parts) else ""


def _parsed(table: str) -> dict[str, _Command]:
    commands: dict[str, _Command] = {}
    command = _Command()
    for line in table.splitlines():
        kind, *rest = line.split("\t")
        if kind == "command":
            command = commands[rest[0]] = _Command()
        elif kind == "flag":
            name, takes, choices, told = rest
            command.flags[name] = _Flag(takes, choices.split(), told)
        elif kind == "argument":
            command.argument = rest[0]
        elif kind == "subcommand":
            command.subcommands[rest[0]] = rest[1]
    return commands


def _items(commands: dict[str, _Command], before: Sequence[str], incomplete: str) -> list[Item]:
    name, pending = "", None
    for word in before:
        if pending is not None:
            # Bash makes a word of its own of the `=` between a flag and its value.
            pending = pending if word == "=" else None
        elif word == "--":
            return [_FILE]
        elif word.startswith("-"):
            flag = commands[name].flags.get(word)
            pending = flag if flag is not None and flag.kind != SWITCH else None
        elif word in commands[name].subcommands:
            name = f"{name} {word}".strip()
    command = commands[name]
    if pending is not None:
        return _values(pending, incomplete.removeprefix("="))
    if incomplete.startswith("-"):
        return _flag_items(command, incomplete)
    found = [item for item in command.subcommands.items() if item[0].startswith(incomplete)]
    return found or ([_FILE] if command.argument else [])


def _flag_items(command: _Command, incomplete: str) -> list[Item]:
    name, equals, start = incomplete.partition("=")
    if equals and name in command.flags:
        return [
            item if item is _FILE else (f"{name}={item[0]}", item[1])
            for item in _values(command.flags[name], start)
        ]
    return [(one, flag.help) for one, flag in command.flags.items() if one.startswith(incomplete)]


def _values(flag: _Flag, incomplete: str) -> list[Item]:
    if flag.kind == "list":
        chosen, comma, last = incomplete.rpartition(",")
        left = [choice for choice in flag.choices if choice not in chosen.split(",")]
        return [(f"{chosen}{comma}{choice}", "") for choice in left if choice.startswith(last)]
    if flag.choices:
        return [(choice, "") for choice in flag.choices if choice.startswith(incomplete)]
    if flag.kind in _LOOK_UPS:
        return [item for item in sorted(set(_LOOK_UPS[flag.kind]())) if item[0].startswith(incomplete)]
    return [_FILE] if flag.kind == "file" else []


def _formatted(shell: str, item: Item, incomplete: str) -> str:
    value, told = item
    if item is _FILE:
        return f"file\n{incomplete}\n_\n" if shell == "zsh" else f"file,{incomplete}\n"
    if shell == "zsh":
        return f"plain\n{value.replace(':', chr(92) + ':') if told else value}\n{told or '_'}\n"
    return f"plain,{value}\t{told}\n" if told and shell == "fish" else f"plain,{value}\n"


def _pids() -> Iterator[Item]:
    for name in os.listdir("/proc"):  # noqa: PTH208  pathlib takes as long as all the rest
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/comm", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                    comm = file.read().strip()
            except OSError:
                continue  # it has ended meanwhile
            yield name, comm


def _process_names() -> Iterator[Item]:
    return ((comm, "") for _, comm in _pids() if comm and not any(map(str.isspace, comm)))


def _interfaces() -> Iterator[Item]:
    try:
        names = os.listdir("/sys/class/net")  # noqa: PTH208
    except OSError:
        names = []
    return ((name, "") for name in names)


def _containers() -> Iterator[Item]:
    from universal_tracer.system.container_groups import container_groups  # noqa: PLC0415  who asks for it pays

    for one in container_groups():
        yield one.container.name or one.container.id[:12], one.container.runtime or "container"


_LOOK_UPS = {
    "pid": _pids,
    "process": _process_names,
    "interface": _interfaces,
    "container": _containers,
}
