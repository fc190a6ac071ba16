"""Say for how long the result of a task answers for runs with the same parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

from mainspring.encoding import canonical
from mainspring.errors import InvalidInput


@dataclass(frozen=True)
class Cache:
    """A result is kept for *ttl*: until then a run of the same task, code and parameters takes it over.

    *fields* names the parameters that count; all of them unless given.
    """

    ttl: timedelta
    fields: Sequence[str] | None = None

    def __post_init__(self) -> None:
        ttl: Any = self.ttl
        if not isinstance(ttl, timedelta) or ttl <= timedelta(0):
            raise InvalidInput(f"Cache(ttl={self.ttl!r}) is not usable; write a positive timedelta")
        fields: Any = self.fields
        if isinstance(fields, str) or not all(isinstance(name, str) for name in fields or ()):
            raise InvalidInput(f"Cache(fields={self.fields!r}) is not usable; write a list of names of parameters")

    def key(self, task: str, code_version: str, parameters: Mapping[str, Any]) -> str:
        """Return what runs have in common that may share a result."""
        names = parameters if self.fields is None else self.fields
        counted = {name: parameters.get(name) for name in names}
        return sha256(canonical([task, code_version, counted]).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return a form for the description of a task; the time to live is seconds."""
        return {"ttl": self.ttl.total_seconds(), "fields": None if self.fields is None else list(self.fields)}
