"""Know the shape of the settings: which names stand where, so that files, variables and messages agree about them."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from mainspring.config.document import scalar_value
from mainspring.config.place import Place
from mainspring.config.section import Section
from mainspring.config.variables import VariableText

Kind = Literal["section", "names", "list", "free", "value"]


@dataclass(frozen=True)
class Shape:
    """What stands at a place: a section of known keys, names of the user, a list, anything at all, or one value."""

    kind: Kind
    section: type[Section] | None = None
    item: Shape | None = None
    many: bool = False
    """With `free`: a mapping of anything, not a single value."""

    def keys(self) -> dict[str, Shape]:
        """Return the keys of a section with their shapes."""
        return {} if self.section is None else dict(_children(self.section))

    def step(self, part: str | int) -> Shape | None:
        """Return the shape one step down, or None where there is nothing of that name."""
        if self.kind == "section":
            return self.keys().get(str(part))
        return self if self.kind == "free" else self.item

    @property
    def has_required_keys(self) -> bool:
        """Whether its members cannot be made from nothing."""
        item = self.item.section if self.item is not None else None
        return item is not None and any(field.is_required() for field in item.model_fields.values())


def shape_of(section: type[Section]) -> Shape:
    """Return the shape of *section*."""
    return Shape("section", section)


def shape_at(section: type[Section], place: Place) -> Shape | None:
    """Return the shape at *place* below *section*, or None."""
    shape: Shape | None = shape_of(section)
    for part in place:
        shape = shape.step(part) if shape is not None else None
    return shape


def fields_of(section: type[Section]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the keys of *section* as they are written, with their fields."""
    for name, field in section.model_fields.items():
        yield field.alias or name, field


@lru_cache(maxsize=64)
def _children(section: type[Section]) -> tuple[tuple[str, Shape], ...]:
    return tuple((key, _shape(field.annotation)) for key, field in fields_of(section))


def _shape(annotation: Any) -> Shape:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _shape(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        some = [one for one in get_args(annotation) if one is not type(None)]
        return _shape(some[0]) if len(some) == 1 else Shape("value")
    if annotation is Any:
        return Shape("free")
    if origin is tuple:
        return Shape("list", item=_shape(get_args(annotation)[0]))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        item = get_args(annotation)[1]
        return Shape("free", many=True) if item is Any else Shape("names", item=_shape(item))
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return Shape("section", annotation)
    return Shape("value")


class Settling:
    """Bring values that were read into the form that the settings check; notes what cannot be brought there."""

    def __init__(self) -> None:
        self.problems: list[tuple[Place, str]] = []

    def settle(self, value: Any, shape: Shape | None, place: Place = ()) -> Any:
        """Return *value* with empty settings left out and text from variables turned into what *shape* expects."""
        if shape is None:
            return value
        if isinstance(value, VariableText):
            try:
                value = loosened(value, shape)
            except ValueError as error:
                self.problems.append((place, str(error)))
                return str(value)
        if isinstance(value, dict):
            return self._mapping(value, shape, place)
        if isinstance(value, list):
            return [self.settle(item, shape.step(index), (*place, index)) for index, item in enumerate(value)]
        return value

    def _mapping(self, value: dict[str, Any], shape: Shape, place: Place) -> dict[str, Any]:
        settled = {}
        for key, item in value.items():
            below = shape.step(key)
            if item is None and shape.kind != "free":
                # Nothing is said, as when every line below a key is a comment.
                if shape.kind == "section" or below is None or below.kind == "value":
                    continue
                item = [] if below.kind == "list" else {}
            settled[key] = self.settle(item, below, (*place, key))
        return settled


def loosened(text: VariableText, shape: Shape) -> Any:
    """Return what *text* stands for where *shape* is expected: JSON for mappings, names between commas for lists.

    Raises:
        ValueError: it begins like JSON and is none, or is a number that cannot be held.
    """
    stripped = text.strip()
    if shape.kind == "value":
        return text
    if stripped.startswith("{") or (stripped.startswith("[") and shape.kind in ("list", "free")):
        return _from_json(stripped) if text.plain else str(text)
    if shape.kind == "list":
        return [VariableText(part.strip()) for part in stripped.split(",")] if stripped else []
    if shape.kind == "free":
        return scalar_value(stripped) if text.plain else str(text)
    return text


def _from_json(text: str) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON number")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON, at character {error.pos + 1}: {error.msg}") from None
    except RecursionError:
        raise ValueError("is nested too deep") from None
