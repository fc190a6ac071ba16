"""The published schema and reference say what the code does."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

from mainspring.config import ScheduleConfig, Settings, json_schema, reference
from mainspring.config.published import REFERENCE_FILE, SCHEMA_FILE, as_text
from mainspring.config.shape import fields_of

ROOT = Path(__file__).parents[2]
HOW = "run `python -m mainspring.config.published`"


def test_the_published_schema_is_the_generated_one() -> None:
    published = (resources.files("mainspring.config") / SCHEMA_FILE).read_text(encoding="utf-8")
    assert published == as_text(json_schema()), HOW


def test_the_published_reference_is_the_generated_one() -> None:
    assert (ROOT / REFERENCE_FILE).read_text(encoding="utf-8") == reference(), HOW


def test_the_schema_knows_every_key_and_refuses_others() -> None:
    schema = json_schema()
    assert list(schema["properties"]) == [key for key, _ in fields_of(Settings)]
    assert schema["additionalProperties"] is False
    schedule = schema["$defs"]["ScheduleConfig"]
    assert list(schedule["properties"]) == list(ScheduleConfig.model_fields)
    assert schedule["required"] == ["task"]
    assert schedule["oneOf"] == [
        {"required": [key]} for key in ("cron", "fields", "every", "calendar", "session", "at")
    ]


def test_every_reference_inside_the_schema_leads_somewhere() -> None:
    text = json.dumps(json_schema())
    names = set(re.findall(r'"#/\$defs/(\w+)"', text))
    assert names <= set(json_schema()["$defs"])


def test_the_schema_accepts_durations_and_variables_by_pattern() -> None:
    drain = json_schema()["$defs"]["WorkerSettings"]["properties"]["drain"]["anyOf"]
    assert drain[0] == {"const": "forever"}
    pattern = re.compile(drain[1]["pattern"])
    assert all(pattern.search(text) for text in ("25s", "1h30m", "2 days", "${DRAIN:-5s}"))
    assert not any(pattern.search(text) for text in ("25", "soon", "", "-5s"))


def test_every_setting_has_a_meaning() -> None:
    schema = json_schema()
    sections = [schema, *schema["$defs"].values()]
    unsaid = [
        key
        for section in sections
        for key, field in section.get("properties", {}).items()
        if not field.get("description", "").endswith(".")
    ]
    assert unsaid == []


def test_the_reference_names_every_setting_with_default_and_unit() -> None:
    text = reference()
    assert "| `slots` | `10` | runs | Runs that it works on at the same time. |" in text
    assert "| `drain` | `25s` | duration | " in text
    assert "## `schedules.<name>.fan_out`" in text
