"""Read parameters from the command line as the types that a task's function names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainspring.domain.tasks import Task


def read_parameters(task: Task[..., Any], given: Sequence[str], as_json: str | None) -> dict[str, Any]:
    """Return parameters for *task* from texts such as ``count=3`` and from one JSON object; the texts win.

    Raises:
        InvalidInput: a text has no ``=``, a name comes twice, or the JSON is none.
    """
    return read_described(task.json_schema(), given, as_json)


def read_described(schema: Mapping[str, Any], given: Sequence[str], as_json: str | None = None) -> dict[str, Any]:
    """Return parameters for a task of which only the JSON *schema* is known; see `read_parameters`."""
    from mainspring.domain.parameters import value_from_text
    from mainspring.edges.cli.runs import pairs

    found = {} if as_json is None else _object(as_json)
    for name, text in pairs(given, "--param").items():
        found[name] = value_from_text(name, text, schema, "--param")
    return found


def _object(text: str) -> dict[str, Any]:
    from mainspring.domain.parameters import json_type
    from mainspring.errors import InvalidInput

    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--params-json cannot be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"--params-json holds a JSON {json_type(found)}, not an object; write '{{\"name\": value}}'")
    return found
