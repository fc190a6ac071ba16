"""Lay configurations over each other, and remember where each value came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mainspring.config.document import Document
from mainspring.config.place import Place


@dataclass
class Layer:
    """Values with the origin of each place, such as `mainspring.yaml:12`; `broken` places have a problem already."""

    body: dict[str, Any] = field(default_factory=dict)
    origins: dict[Place, str] = field(default_factory=dict)
    broken: set[Place] = field(default_factory=set)

    @classmethod
    def of(cls, document: Document) -> Layer:
        """Return what a file says."""
        origins = {place: f"{document.name}:{line}" for place, line in document.lines.items()}
        return cls(document.body, origins, set(document.broken))

    def put(self, place: Place, value: Any, origin: str) -> None:
        """Lay one *value* over what stands at *place*; mappings are merged."""
        body = value
        for part in reversed(place):
            body = {part: body}
        origins = {place[: depth + 1]: origin for depth in range(len(place))}
        origins |= dict.fromkeys(places(value, place), origin)
        self.lay(Layer(body, origins))

    def lay(self, over: Layer) -> None:
        """Lay *over* on top: mappings merge, the rest is replaced; an empty value leaves a mapping alone."""
        self._merge(self.body, over.body, (), over)
        self.broken |= over.broken

    def origin(self, place: Place) -> str | None:
        """Return where the value at *place*, or what it stands in, came from."""
        for length in range(len(place), 0, -1):
            found = self.origins.get(place[:length])
            if found is not None:
                return found
        return None

    def is_broken(self, place: Place) -> bool:
        """Return whether a problem at *place* or around it is known already."""
        return any(place[:length] in self.broken for length in range(1, len(place) + 1))

    def value(self, place: Place) -> Any:
        """Return the value at *place*, or None."""
        value: Any = self.body
        for part in place:
            if isinstance(value, dict) and isinstance(part, str):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def _merge(self, body: dict[str, Any], over_body: dict[str, Any], place: Place, over: Layer) -> None:
        for key, value in over_body.items():
            here = (*place, key)
            if key in body:
                below = body[key]
                if isinstance(below, dict) and isinstance(value, dict):
                    self._merge(below, value, here, over)
                    continue
                if value is None and isinstance(below, (dict, list)):
                    continue
                self._forget(below, here)
            body[key] = _copied(value)
            for one in (here, *places(value, here)):
                if one in over.origins:
                    self.origins[one] = over.origins[one]

    def _forget(self, value: Any, here: Place) -> None:
        for one in (here, *places(value, here)):
            self.origins.pop(one, None)
            self.broken.discard(one)


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Yield every place below *place* in *value*."""
    entries: Iterator[tuple[str | int, Any]] = iter(())
    if isinstance(value, dict):
        entries = iter(value.items())
    elif isinstance(value, list):
        entries = iter(enumerate(value))
    for part, item in entries:
        here = (*place, part)
        yield here
        yield from places(item, here)


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield every place in *value* that holds no mapping or list, with what it holds."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*place, index))
    else:
        yield place, value


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
