"""The JSON Schema follows the types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from universal_tracer.cli.config_page import config_page
from universal_tracer.cli.flags import FLAGS
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


def test_the_page_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "CONFIG.md"
    command = "python -m universal_tracer.cli.config_page > docs/CONFIG.md"
    assert page.read_text(encoding="utf-8") == config_page(), command


def test_every_flag_has_a_key_that_the_page_tells() -> None:
    page = config_page()
    assert [flag.longest for flag in FLAGS if f"`{flag.longest}`" not in page] == []
    assert [key.name for key in keys().values() if f"| `{key.name}` |" not in page] == []
