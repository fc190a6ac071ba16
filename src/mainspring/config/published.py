"""Publish the settings: a JSON schema for editors and a reference for people, both made from the models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from mainspring.config.section import Section
from mainspring.config.settings import Settings
from mainspring.config.shape import Shape, fields_of, shape_of
from mainspring.domain.duration import format_duration
from mainspring.domain.queue_order import QueueOrder
from mainspring.domain.triggers import TRIGGER_KEYS

SCHEMA_FILE: Final = "mainspring.schema.json"
REFERENCE_FILE: Final = "docs/reference/settings.md"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_INTRODUCTION: Final = """\
# Settings

Every key of `mainspring.yaml`. A value comes from the first of these that gives one: the command line, the environment,
`.env` beside the file, the overlay `mainspring.<name>.yaml` that `MAINSPRING_ENV` names, the file, the default below.

- A setting is also a variable: `worker.slots` is `MAINSPRING_WORKER__SLOTS`. Its name with `_FILE` at the end names a
  file that holds the value. Lists are written with commas, mappings as JSON. Empty variables count as not set. An
  unknown `MAINSPRING_…` variable is refused, except `MAINSPRING_CONFIG` (the file to load), `MAINSPRING_ENV` (the
  overlay), `MAINSPRING_DEBUG` (not empty: commands show where errors arose), `MAINSPRING_TEST_…`, and names that the
  file itself asks for.
- `${NAME}` and `${NAME:-default}` in a value are filled in from the environment and `.env`; `$${` stands for `${`.
- `secret:NAME` in `database`, `pack_settings` and `parameters` stands for the variable `NAME`, or for the content of
  the file that `NAME_FILE` names. It is looked up when it is needed, never stored and never shown.
- Values are read as in YAML 1.2: `no`, `on`, `12:30` and `007` are text. Keys at the top that begin with `x-` are left
  alone, for anchors. A key without a value says nothing.
- Durations are a number and a unit: `30s`, `15m`, `1h30m`, `2 days`. Sizes are bytes, or a number and a unit: `256MB`,
  `1GiB`.
- Relative paths start at the folder of the file.

Editors check the file while you write it when it begins with
`# yaml-language-server: $schema=` and the path of `mainspring.schema.json`, which is part of the package.
"""


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of `mainspring.yaml`."""
    schema = Settings.model_json_schema(by_alias=True, mode="validation")
    body: dict[str, Any] = _cleaned(schema)
    body["$schema"] = _DIALECT
    body["title"] = "mainspring.yaml"
    body["patternProperties"] = {"^x-": {}}
    _short_form(body, "MisfireConfig", {"enum": ["skip", "latest", "all"]})
    _short_form(body, "CalendarDay", {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"})
    _short_form(body, "SessionConfig", {"type": "string", "examples": ["XNYS close - 15m"]})
    schedule = body["$defs"]["ScheduleConfig"]
    schedule["oneOf"] = [{"required": [key]} for key in TRIGGER_KEYS]
    return body


def reference() -> str:
    """Return the reference of all settings in Markdown."""
    parts = [_INTRODUCTION, "## Top level\n", *_table(Settings, "")]
    for title, place, section in _sections(shape_of(Settings)):
        text = (section.__doc__ or "").strip()
        parts += [f"\n## {title}\n", f"{text}\n", *_table(section, place)]
    return "\n".join(parts) + "\n"


def as_text(schema: dict[str, Any]) -> str:
    """Return *schema* as it stands in its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def publish(root: Path) -> None:
    """Write the schema into the package and the reference into the documentation of the project at *root*."""
    Path(__file__).with_name(SCHEMA_FILE).write_text(as_text(json_schema()), encoding="utf-8")
    page = root / REFERENCE_FILE
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(reference(), encoding="utf-8")


def _cleaned(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_cleaned(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned = {
        key: _cleaned(value)
        for key, value in schema.items()
        if not (key == "x-unit" or (key == "title" and isinstance(value, str)) or (key == "default" and value is None))
    }
    if "default" in cleaned and not isinstance(cleaned["default"], (str, int, bool)):
        # What is empty by default needs no saying, and durations have no JSON form that may be written here.
        del cleaned["default"]
    if isinstance(schema.get("default"), str) and schema["default"].startswith("P"):
        del cleaned["default"]
    return cleaned


def _short_form(body: dict[str, Any], name: str, short: dict[str, Any]) -> None:
    body["$defs"][name] = {"anyOf": [short, body["$defs"][name]]}


def _sections(shape: Shape, place: str = "") -> Iterator[tuple[str, str, type[Section]]]:
    for key, below in shape.keys().items():
        here = f"{place}.{key}" if place else key
        inner = below
        while inner.item is not None:
            here += ".<name>" if inner.kind == "names" else "[]"
            inner = inner.item
        if inner.section is not None:
            yield f"`{here}`", here, inner.section
            yield from _sections(inner, here)


def _table(section: type[Section], place: str) -> Iterator[str]:
    yield "| setting | default | unit | meaning |"
    yield "|---|---|---|---|"
    for key, field in fields_of(section):
        extra = field.json_schema_extra
        unit = extra.get("x-unit", "") if isinstance(extra, dict) else ""
        default = "required" if field.is_required() else _default(field.default)
        yield f"| `{key}` | {default} | {unit} | {str(field.description).replace('|', chr(92) + '|')} |"


def _default(value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    if isinstance(value, (str, int, QueueOrder)):
        return f"`{value}`"
    if isinstance(value, Section) or not value:
        return "see below" if isinstance(value, Section) else "none"
    return ", ".join(f"`{name}`" for name in value) if isinstance(value, (Mapping, tuple)) else str(value)


if __name__ == "__main__":
    publish(Path.cwd())
