"""The effective configuration: defaults, under the file, under the environment, under the flags.

Every value remembers where it came from. All faults of all three are collected and told at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from universal_tracer.config import document as yaml_document
from universal_tracer.config.document import Entry, Listing, Node, Scalar
from universal_tracer.config.keys import Key, check, keys, keys_of, sections, shown
from universal_tracer.config.rules import contradictions
from universal_tracer.config.suggest import did_you_mean
from universal_tracer.config.tree import Config
from universal_tracer.model.errors import ConfigError, UsageError

DEFAULT_ORIGIN: Final = "default"
_ENVIRONMENT_PREFIX: Final = "UT_"
_MAX_FAULTS_TOLD: Final = 50


@dataclass(frozen=True, slots=True)
class FlagValue:
    """What the command line says about one key: the flag as typed, and its text, texts or boolean."""

    flag: str
    value: Any


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective tree, and per dotted key where its value came from.

    Origins read `default`, `FILE:LINE`, `UT_SECTION__KEY` or `--flag`.
    """

    config: Config
    origins: Mapping[str, str]

    def from_flag(self, dotted: str) -> bool:
        """Whether the command line set the key."""
        return self.origins[dotted].startswith("-")


@dataclass(slots=True)
class _Collected:
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def take(self, key: Key, node: Node, origin: str, place: _Place) -> None:
        """Check one value; note it, or note what is wrong with it and where."""
        found, complaint = check(key.kind, _plain(node))
        if complaint is None:
            self.values[key.dotted] = found
            self.origins[key.dotted] = origin
        else:
            self.faults.extend(place.told(line, message) for line, message in _element_faults(key, node, complaint))


@dataclass(frozen=True, slots=True)
class _Place:
    """How a fault's position is written: `FILE:LINE: KEY`, `UT_SECTION__KEY` or `--flag`."""

    source: str
    key: str = ""
    has_lines: bool = False

    def told(self, line: int, message: str) -> str:
        start = f"{self.source}:{line}" if self.has_lines else self.source
        return ": ".join(part for part in (start, self.key, message) if part)


def load_settings(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Sequence[FlagValue]] | None = None,
) -> Settings:
    """Read everything and check it.

    `flags` holds per dotted key what the command line says. Raises ConfigError with all faults, UsageError where the
    file cannot be read.
    """
    collected = _Collected()
    if file is not None:
        _take_file(collected, file)
    _take_environment(collected, environment or {})
    _take_flags(collected, flags or {})
    settings = _settings(collected)
    if not collected.faults:
        collected.faults.extend(contradictions(settings.config, settings.origins))
    if collected.faults:
        raise _config_error(collected.faults, file)
    return settings


def _settings(collected: _Collected) -> Settings:
    by_section: dict[str, dict[str, Any]] = {name: {} for name in sections()}
    for dotted, value in collected.values.items():
        key = keys()[dotted]
        by_section[key.section][key.name] = value
    parts: dict[str, Any] = {name: cls(**by_section[name]) for name, cls in sections().items()}
    origins = {dotted: collected.origins.get(dotted, DEFAULT_ORIGIN) for dotted in keys()}
    return Settings(Config(**parts), origins)


def _take_file(collected: _Collected, file: Path) -> None:
    document = yaml_document.read_document(_content(file))
    for fault in document.faults:
        collected.faults.append(_Place(str(file), fault.key, has_lines=True).told(fault.line, fault.message))
    root = document.root
    if root is None or (isinstance(root, Scalar) and root.value is None):
        return
    if not isinstance(root, yaml_document.Mapping):
        message = f"sections such as `http_tracer:` are expected, not {shown(_plain(root))}"
        collected.faults.append(_Place(str(file), has_lines=True).told(root.line, message))
        return
    for name, entry in root.entries.items():
        _take_section(collected, str(file), name, entry)


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(yaml_document.MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"cannot read the configuration {str(file)!r}", cause=cause, hint="ls -l " + _quoted(str(file.parent))
        ) from error


def _take_section(collected: _Collected, file: str, name: str, entry: Entry) -> None:
    section = _Place(file, name, has_lines=True)
    if name not in sections():
        collected.faults.append(section.told(entry.line, f"unknown section{did_you_mean(name, sections())}"))
        return
    node = entry.node
    if isinstance(node, Scalar) and node.value is None:
        return
    if not isinstance(node, yaml_document.Mapping):
        collected.faults.append(section.told(entry.line, f"must hold keys, not {shown(_plain(node))}"))
        return
    for key_name, key_entry in node.entries.items():
        dotted = f"{name}.{key_name}"
        place = _Place(file, dotted, has_lines=True)
        key = keys().get(dotted)
        if key is None:
            collected.faults.append(place.told(key_entry.line, _unknown_key(name, key_name)))
        else:
            collected.take(key, key_entry.node, f"{file}:{key_entry.line}", place)


def _unknown_key(section: str, name: str) -> str:
    meant = did_you_mean(name, keys_of(section))
    if not meant:
        elsewhere = [key.dotted for key in keys().values() if key.name == name]
        meant = f" (did you mean {elsewhere[0]!r}?)" if elsewhere else ""
    return f"unknown key{meant}"


def _take_environment(collected: _Collected, environment: Mapping[str, str]) -> None:
    by_prefix = {f"{_ENVIRONMENT_PREFIX}{name.upper()}__": name for name in sections()}
    by_variable = {key.variable: key for key in keys().values()}
    for variable in sorted(environment):
        section = next((name for prefix, name in by_prefix.items() if variable.startswith(prefix)), None)
        if section is None:
            continue
        key = by_variable.get(variable)
        if key is None:
            known = [name for name in by_variable if by_variable[name].section == section]
            collected.faults.append(f"{variable}: unknown key{did_you_mean(variable, known)}")
            continue
        document = yaml_document.read_document(environment[variable].encode("utf-8", "surrogateescape"))
        collected.faults.extend(f"{variable}: {fault.message}" for fault in document.faults)
        if not document.faults:
            collected.take(key, document.root or Scalar(1, None), variable, _Place(variable))


def _take_flags(collected: _Collected, flags: Mapping[str, Sequence[FlagValue]]) -> None:
    for dotted, given in flags.items():
        key = keys()[dotted]
        names = sorted({value.flag for value in given})
        if len(given) > 1:
            told = " and ".join(names)
            collected.faults.append(f"{told}: both set {dotted}; give one of them")
            continue
        flag = given[0]
        collected.take(key, _flag_node(key, flag.value), flag.flag, _Place(flag.flag))


def _flag_node(key: Key, value: Any) -> Node:
    if isinstance(value, (list, tuple)):
        return Listing(1, [_flag_node(key, item) for item in value])
    if isinstance(value, str) and not key.kind.takes_text:
        return Scalar(1, yaml_document.plain_scalar(value))
    return Scalar(1, value)


def _plain(node: Node) -> Any:
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Listing):
        return [_plain(item) for item in node.items]
    return {name: _plain(entry.node) for name, entry in node.entries.items()}


def _element_faults(key: Key, node: Node, complaint: str) -> Iterator[tuple[int, str]]:
    """The faults of a list's elements one by one, where it is they that are wrong."""
    element = key.kind.element
    found = False
    if element is not None and isinstance(node, Listing):
        for item in node.items:
            _, wrong = check(element, _plain(item))
            if wrong is not None:
                found = True
                yield item.line, wrong
    if not found:
        yield node.line, complaint


def _config_error(faults: Sequence[str], file: Path | None) -> ConfigError:
    told = list(faults[:_MAX_FAULTS_TOLD])
    if len(faults) > len(told):
        told.append(f"… and {len(faults) - len(told)} more")
    from_file = file is not None and any(fault.startswith(str(file)) for fault in faults)
    count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
    hint = "universal-tracer config schema lists every key" if from_file else "universal-tracer --help"
    what = f"the configuration {str(file)!r} has {count}" if from_file else f"the settings have {count}"
    return ConfigError(what, told, hint=hint)


def _quoted(path: str) -> str:
    import shlex  # noqa: PLC0415  only errors pay for it

    return shlex.quote(path)
