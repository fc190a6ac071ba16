"""Judge and read parameters by the stored schema of a task, where its code is not at hand.

The schema is JSON Schema as `Task.json_schema` writes it. What it cannot say, such as a check in Python, is found by
the run itself.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from mainspring.errors import InvalidInput, nearest

Schema = Mapping[str, Any]

_DEEPEST: Final = 20
"""Levels below which a value is taken as fitting: schemas may refer to themselves."""
_TEXTS_OF: Final[Mapping[str, Callable[[str], object]]] = {"integer": int, "number": float}
_BOUNDS: Final = (
    ("minimum", operator.lt, "less than"),
    ("exclusiveMinimum", operator.le, "not more than"),
    ("maximum", operator.gt, "more than"),
    ("exclusiveMaximum", operator.ge, "not less than"),
)
_SWITCHES: Final = frozenset({"0", "1", "off", "on", "f", "t", "false", "true", "n", "y", "no", "yes"})


def misfits(schema: Schema, values: Mapping[str, Any], coming: Collection[str] = ()) -> list[str]:
    """Return why *values* do not fit the parameters that *schema* describes; nothing where they do.

    Those that are *coming* are not known yet.
    """
    known: Mapping[str, Any] = schema.get("properties", {})
    required = [name for name in schema.get("required", ()) if name not in coming]
    found = [f"parameter {name!r} is missing" for name in required if name not in values]
    for name, value in values.items():
        if name not in known:
            if schema.get("additionalProperties") is False:
                guess = nearest(name, known)
                found.append(f"unknown parameter {name!r}" + (f"; did you mean {guess!r}?" if guess else ""))
        elif (problem := _misfit(value, known[name], schema, 0)) is not None:
            shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "…"
            found.append(f"parameter {name!r} = {shown}: {problem}")
    return found


def _misfit(value: Any, schema: Any, whole: Schema, depth: int) -> str | None:
    """Return why *value* does not fit *schema*, or None."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    schema = _resolved(schema, whole)
    if "const" in schema and value != schema["const"]:
        return f"is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        return "is none of " + ", ".join(repr(choice) for choice in schema["enum"])
    for branches in (schema.get("anyOf"), schema.get("oneOf")):
        if branches and all(_misfit(value, branch, whole, depth + 1) for branch in branches):
            return "is no " + " or ".join(sorted(set(_named(branches, whole))))
    for branch in schema.get("allOf", ()):
        if problem := _misfit(value, branch, whole, depth + 1):
            return problem
    types = [schema["type"]] if isinstance(schema.get("type"), str) else list(schema.get("type", ()))
    if types and not any(_is_of(value, name) for name in types):
        return f"is no {' or '.join(types)}"
    return _out_of_bounds(value, schema) or _inner(value, schema, whole, depth)


def _named(branches: Sequence[Any], whole: Schema) -> Iterator[str]:
    for branch in branches:
        yield from accepted_types(branch, whole) or ["what is asked for"]


def _is_of(value: Any, name: str) -> bool:
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    if name == "boolean" and isinstance(value, (str, int)):
        return str(value).lower() in _SWITCHES
    if name == "number" and isinstance(value, int):
        return True
    if name in _TEXTS_OF and isinstance(value, str):
        # A task takes numbers that are written as text.
        try:
            _TEXTS_OF[name](value)
        except ValueError:
            return False
        return True
    return json_type(value) == name or (name == "integer" and isinstance(value, bool))


def _out_of_bounds(value: Any, schema: Schema) -> str | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        for key, outside, said in _BOUNDS:
            if key in schema and outside(value, schema[key]):
                return f"is {said} {schema[key]}"
    if isinstance(value, (str, list)):
        kind = "Length" if isinstance(value, str) else "Items"
        if len(value) < schema.get(f"min{kind}", 0):
            return f"is shorter than {schema[f'min{kind}']}"
        if len(value) > schema.get(f"max{kind}", len(value)):
            return f"is longer than {schema[f'max{kind}']}"
    if isinstance(value, str) and "pattern" in schema and not _matches(schema["pattern"], value):
        return f"does not match {schema['pattern']!r}"
    return None


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern, value) is not None
    except re.error:
        # Written for another dialect of regular expressions: the task itself will say.
        return True


def _inner(value: Any, schema: Schema, whole: Schema, depth: int) -> str | None:
    if isinstance(value, list):
        first = schema.get("prefixItems", ())
        kinds = [*first, *[schema.get("items")] * (len(value) - len(first))]
        for place, (item, kind) in enumerate(zip(value, kinds, strict=False)):
            if problem := _misfit(item, kind, whole, depth + 1):
                return f"item {place} {problem}"
    if isinstance(value, Mapping):
        known = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                return f"has no {name!r}"
        for name, item in value.items():
            if name not in known and schema.get("additionalProperties") is False:
                return f"has an unknown {name!r}"
            if problem := _misfit(item, known.get(name, schema.get("additionalProperties")), whole, depth + 1):
                return f"{name!r} {problem}"
    return None


def _resolved(schema: Schema, whole: Schema) -> Schema:
    for _ in range(_DEEPEST):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            break
        found = whole.get("$defs", {}).get(reference.rpartition("/")[2])
        if not isinstance(found, Mapping):
            return {}
        schema = found
    return schema


def value_from_text(name: str, text: str, whole: Schema, option: str) -> Any:
    """Return the value that *text* says of parameter *name* of the task with the schema *whole*.

    It is taken as text where the task accepts text; else it is read as JSON, and last as text that the task's own check
    converts (``yes``, ``2026-12-01``).

    Raises:
        InvalidInput: the task wants a list or a mapping and the text is no JSON; names *option*.
    """
    schema = whole.get("properties", {}).get(name)
    types = set(accepted_types(schema, whole)) if schema is not None else set()
    if "string" in types and not (text == "null" and "null" in types):
        return text
    try:
        return json.loads(text)
    except ValueError:
        if types and types <= {"array", "object", "null"}:
            example = "[1, 2]" if "array" in types else '{"key": 1}'
            raise InvalidInput(
                f"{option} {name}: {text!r} is not JSON; write {' or '.join(sorted(types - {'null'}))}s as JSON, "
                f"such as '{name}={example}'"
            ) from None
        return text


def accepted_types(schema: Schema, whole: Schema) -> list[str]:
    """Return the JSON types that *schema*, a part of *whole*, accepts; nothing for any."""
    return list(_types(schema, whole, 0))


def _types(schema: Schema, whole: Schema, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        return
    schema = _resolved(schema, whole)
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _types(branch, whole, depth + 1)
    named = schema.get("type", ())
    yield from [named] if isinstance(named, str) else named
    for value in (*schema.get("enum", ()), *([schema["const"]] if "const" in schema else ())):
        yield json_type(value)


def json_type(value: Any) -> str:
    """Return the JSON type of *value*."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    kinds = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return kinds.get(type(value), "object")
