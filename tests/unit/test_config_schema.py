"""The JSON Schema follows the types."""

from __future__ import annotations

import json
from typing import Any

from universal_tracer.config.keys import keys, sections
from universal_tracer.config.schema import json_schema

SCHEMA: dict[str, Any] = json.loads(json_schema())


def test_every_section_and_key_is_in_it() -> None:
    assert list(SCHEMA["properties"]) == list(sections())
    found = [
        f"{section}.{key}"
        for section, described in SCHEMA["properties"].items()
        for key in described["properties"]
    ]
    assert found == list(keys())


def test_unknown_keys_are_refused() -> None:
    assert SCHEMA["additionalProperties"] is False
    assert all(section["additionalProperties"] is False for section in SCHEMA["properties"].values())


def test_keys_carry_description_default_and_range() -> None:
    http = SCHEMA["properties"]["http_tracer"]["properties"]
    assert http["sampling_rate"] == {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "description": "share of the requests to record",
        "default": 1.0,
    }
    assert http["correlation_timeout"]["default"] == "30s"
    for section in SCHEMA["properties"].values():
        for described in section["properties"].values():
            assert described["description"]
            assert "default" in described


def test_sections_may_be_empty() -> None:
    assert SCHEMA["properties"]["privacy"]["type"] == ["object", "null"]
