"""Read YAML into plain values that remember their lines, within limits that no file can talk us out of."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from mainspring.config.nodes import List, Map, Node, Scalar, Unreadable, read_nodes
from mainspring.config.place import Place, in_words
from mainspring.config.variables import VariableMissing, Variables, VariableText

MAX_VALUES: Final = 100_000
MAX_DIGITS: Final = 100

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {word: word[0] in "tT" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_BASED: Final = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_REAL: Final = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@dataclass
class Document:
    """One file as plain values: `lines` gives the line of each place, `broken` the places with a problem."""

    name: str
    body: dict[str, Any] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    broken: set[Place] = field(default_factory=set)
    readable: bool = True

    def refuse(self, line: int | None, message: str, place: Place = ()) -> None:
        """Note a problem in *line* (1 is the first)."""
        where = self.name if line is None else f"{self.name}:{line}"
        self.problems.append(f"{where}: {in_words(place)}: {message}" if place else f"{where}: {message}")
        if place:
            self.broken.add(place)


def read_document(data: bytes, name: str, variables: Variables | None = None) -> Document:
    """Return the YAML mapping in *data*; what is wrong with it stands in its `problems`, nothing is raised.

    Scalars are read as in YAML 1.2 (``no``, ``on``, ``12:30`` and ``007`` are text), merge keys (``<<``) are known.
    With *variables*, ``${NAME}`` and ``${NAME:-default}`` in text are filled in; ``$${`` stands for ``${``.
    """
    document = Document(name)
    try:
        root = read_nodes(data)
        if isinstance(root, Scalar) and root.plain and root.text in _NULL:
            return document
        if not isinstance(root, Map):
            kind = "a list" if isinstance(root, List) else "a single value"
            raise Unreadable(root.line, f"must be a mapping of settings ('key: value' lines), not {kind}")
        document.body = _Builder(document, variables).mapping(root, ())
    except Unreadable as stopped:
        document.refuse(stopped.line, stopped.message)
        document.body, document.readable = {}, False
    return document


def scalar_value(text: str) -> Any:
    """Return what the unquoted *text* stands for in YAML 1.2: None, a boolean, a number or text.

    Raises:
        ValueError: for a number that JSON cannot hold; the message says which.
    """
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise ValueError(f"a number of {len(text)} digits is too large; quote it if it is text")
        return int(text)
    if _BASED.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise ValueError(f"a number of {len(text)} digits is too large; quote it if it is text")
        return int(text, 0)
    if _REAL.fullmatch(text):
        number = float(text)
        if math.isfinite(number):
            return number
    elif not _NOT_FINITE.fullmatch(text):
        return text
    raise ValueError(f"{text[:40]} is no finite number; quote it if it is text")


class _Builder:
    """Turn nodes into plain values, note the line of each place, count what aliases multiply."""

    def __init__(self, document: Document, variables: Variables | None) -> None:
        self._document, self._variables = document, variables
        self._values = 0

    def mapping(self, node: Map, place: Place) -> dict[str, Any]:
        self._count(node)
        first_lines: dict[str, int] = {}
        body: dict[str, Any] = {}
        for key, value in self._entries(node, place):
            here = (*place, key.text)
            if key.text in first_lines:
                first = first_lines[key.text]
                self._document.refuse(
                    key.line, f"the key is written twice, first in line {first}; keep one of the two", here
                )
                continue
            first_lines[key.text] = self._document.lines[here] = key.line
            body[key.text] = self._value(value, here)
        for merged in self._merged(node):
            if isinstance(merged, Map):
                body.update(self._missing(merged, place, body))
            else:
                self._document.refuse(merged.line, "merges mappings only, such as '<<: *defaults'", (*place, "<<"))
        return body

    def _missing(self, node: Map, place: Place, body: dict[str, Any]) -> dict[str, Any]:
        rest = Map(node.line, [(key, value) for key, value in node.entries if key.text not in body])
        return self.mapping(rest, place)

    def _entries(self, node: Map, place: Place) -> Iterator[tuple[Scalar, Node]]:
        for key, value in node.entries:
            if _merges(key):
                continue
            if key.plain and key.text in _NULL:
                self._document.refuse(key.line, "a key is empty; write a name before the colon", (*place, "null"))
                continue
            yield key, value

    @staticmethod
    def _merged(node: Map) -> list[Node]:
        values = [value for key, value in node.entries if _merges(key)]
        return [one for value in values for one in (value.items if isinstance(value, List) else [value])]

    def _value(self, node: Node, place: Place) -> Any:
        if isinstance(node, Map):
            return self.mapping(node, place)
        self._count(node)
        if isinstance(node, List):
            items = []
            for index, item in enumerate(node.items):
                here = (*place, index)
                self._document.lines[here] = item.line
                items.append(self._value(item, here))
            return items
        return self._scalar(node, place)

    def _count(self, node: Node) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise Unreadable(node.line, f"has more than {MAX_VALUES:,} values; do its aliases multiply each other?")

    def _scalar(self, node: Scalar, place: Place) -> Any:
        try:
            if self._variables is not None and "${" in node.text:
                filled = self._variables.fill(node.text)
                return VariableText(filled, node.plain) if filled is not None else node.text.replace("$${", "${")
            return _tagged(node) if node.tag else (scalar_value(node.text) if node.plain else node.text)
        except (ValueError, VariableMissing) as problem:
            self._document.refuse(node.line, str(problem), place)
            return node.text


def _tagged(node: Scalar) -> Any:
    if node.tag == "str":
        return node.text
    value = scalar_value(node.text)
    kinds: dict[str | None, tuple[type, ...]] = {
        "int": (int,),
        "float": (int, float),
        "bool": (bool,),
        "null": (type(None),),
    }
    if not isinstance(value, kinds[node.tag]) or (isinstance(value, bool) and node.tag != "bool"):
        raise ValueError(f"{node.text[:40]!r} does not fit its YAML tag '!!{node.tag}'")
    return float(node.text) if node.tag == "float" else value


def _merges(key: Scalar) -> bool:
    return key.plain and key.text == "<<"
