"""Read parameters from the command line as the types that a task's function names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainspring.domain.tasks import Task


def read_parameters(task: Task[..., Any], given: Sequence[str], as_json: str | None) -> dict[str, Any]:
    """Return parameters for *task* from texts such as ``count=3`` and from one JSON object; the texts win.

    A value is taken as text where the task accepts text; else it is read as JSON, and last as text that the task's
    own check converts (``yes``, ``2026-12-01``).

    Raises:
        InvalidInput: a text has no ``=``, a name comes twice, or the JSON is none.
    """
    from mainspring.edges.cli.runs import pairs

    schema = task.json_schema()
    properties: Mapping[str, Any] = schema.get("properties", {})
    found = {} if as_json is None else _object(as_json)
    for name, text in pairs(given, "--param").items():
        found[name] = _value(name, text, properties.get(name), schema)
    return found


def _object(text: str) -> dict[str, Any]:
    from mainspring.errors import InvalidInput

    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--params-json cannot be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"--params-json holds a JSON {_kind(found)}, not an object; write '{{\"name\": value}}'")
    return found


def _value(name: str, text: str, schema: Mapping[str, Any] | None, whole: Mapping[str, Any]) -> Any:
    from mainspring.errors import InvalidInput

    types = set(_types(schema, whole)) if schema is not None else set()
    if "string" in types and not (text == "null" and "null" in types):
        return text
    try:
        return json.loads(text)
    except ValueError:
        if types and types <= {"array", "object", "null"}:
            example = "[1, 2]" if "array" in types else '{"key": 1}'
            raise InvalidInput(
                f"--param {name}: {text!r} is not JSON; write {' or '.join(sorted(types - {'null'}))}s as JSON, "
                f"such as '{name}={example}'"
            ) from None
        return text


def _types(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[str]:
    """Yield the JSON types that *schema* accepts; nothing for any."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield from _types(whole.get("$defs", {}).get(reference.rpartition("/")[2], {}), whole)
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _types(branch, whole)
    named = schema.get("type", ())
    yield from [named] if isinstance(named, str) else named
    for value in (*schema.get("enum", ()), *([schema["const"]] if "const" in schema else ())):
        yield _kind(value)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    kinds = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return kinds.get(type(value), "object")
