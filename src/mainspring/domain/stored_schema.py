"""Check parameters against the description that a worker left of its task, where its code is not at hand.

Names, what is required, JSON types, listed values and the bounds of numbers are checked. What more the task
asks of its parameters its worker checks before it starts the run.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from mainspring.errors import ParametersInvalid, unknown_name

_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "null": (type(None),), "boolean": (bool,), "integer": (int,), "number": (int, float), "string": (str,),
    "array": (list,), "object": (dict,),
}  # fmt: skip

_BOUNDS: Final[Sequence[tuple[str, Callable[[Any, Any], bool], str]]] = (
    ("minimum", operator.ge, "at least"), ("exclusiveMinimum", operator.gt, "more than"),
    ("maximum", operator.le, "at most"), ("exclusiveMaximum", operator.lt, "less than"),
)  # fmt: skip


def check_parameters(task: str, schema: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Raise `ParametersInvalid` with each parameter that is unknown, missing or of the wrong type."""
    problems = list(_problems(schema, parameters))
    if problems:
        raise ParametersInvalid(task, problems)


def _problems(schema: Mapping[str, Any], parameters: Mapping[str, Any]) -> Iterator[str]:
    known: Mapping[str, Any] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in parameters:
            yield f"parameter {name!r} is missing"
    for name, value in parameters.items():
        if name in known:
            said = _mismatch(known[name], value, schema)
            if said is not None:
                yield f"parameter {name!r} = {_short(value)}: {said}"
        elif schema.get("additionalProperties") is False:
            yield unknown_name("parameter", name, known)


def _mismatch(schema: Mapping[str, Any], value: Any, whole: Mapping[str, Any]) -> str | None:
    """Return what is wrong with *value*, or None; *whole* is where references lead."""
    if "$ref" in schema:
        target = whole.get("$defs", {}).get(str(schema["$ref"]).rpartition("/")[2], {})
        return _mismatch(target, value, whole)
    branches = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if branches:
        said = [_mismatch(branch, value, whole) for branch in branches]
        return None if None in said else " or ".join(dict.fromkeys(text for text in said if text is not None))
    if "const" in schema and value != schema["const"]:
        return f"should be {_short(schema['const'])}"
    if "enum" in schema and value not in schema["enum"]:
        return f"should be one of {', '.join(map(_short, schema['enum']))}"
    kind = schema.get("type")
    if isinstance(kind, str) and not _is(kind, value):
        return f"should be of type {kind}"
    return _out_of_bounds(schema, value) or _inside(schema, value, whole)


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool) and kind != "boolean":
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _KINDS.get(kind, (object,)))


def _out_of_bounds(schema: Mapping[str, Any], value: Any) -> str | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        for bound, fits, said in _BOUNDS:
            if bound in schema and not fits(value, schema[bound]):
                return f"should be {said} {schema[bound]}"
    return None


def _inside(schema: Mapping[str, Any], value: Any, whole: Mapping[str, Any]) -> str | None:
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for i, item in enumerate(value):
            said = _mismatch(schema["items"], item, whole)
            if said is not None:
                return f"item {i} {said}"
    if isinstance(value, dict) and ("properties" in schema or "required" in schema):
        return next(_problems({**schema, "$defs": whole.get("$defs", {})}, value), None)
    return None


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"
