"""JSON Schema of configuration files, made of the same types that check them."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from universal_tracer.config.keys import keys, sections
from universal_tracer.config.render import yaml_value
from universal_tracer.config.units import DURATION_PATTERN, SIZE_PATTERN, ByteSize, Duration

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_AMOUNTS: Final[dict[type, dict[str, Any]]] = {
    Duration: {"type": "string", "pattern": DURATION_PATTERN},
    ByteSize: {"anyOf": [{"type": "string", "pattern": SIZE_PATTERN}, {"type": "integer", "minimum": 0}]},
}


def json_schema() -> str:
    """The schema as indented JSON."""
    _, components = msgspec.json.schema_components(sections().values(), schema_hook=_AMOUNTS.__getitem__)
    properties = {section: _section_schema(components, section) for section in sections()}
    schema = {
        "$schema": _DIALECT,
        "title": "Universal Tracer configuration",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return json.dumps(schema, indent=2)


def _section_schema(components: dict[str, Any], section: str) -> dict[str, Any]:
    cls = sections()[section]
    described = components[cls.__name__]
    for name, schema in described["properties"].items():
        default = keys()[f"{section}.{name}"].default
        schema["default"] = yaml_value(default) if isinstance(default, (Duration, ByteSize)) else default
    # A section whose keys are all commented out reads as null.
    return {"type": ["object", "null"]} | {key: value for key, value in described.items() if key != "type"}
