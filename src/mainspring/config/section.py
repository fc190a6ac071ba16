"""Give all settings one base: frozen, closed to unknown keys, silent about their values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _Hidden:
    def __repr__(self) -> str:
        return "…"


class Section(BaseModel):
    """A group of settings. Its `repr` names what was set and shows no value, since any of them may hold a secret."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True, allow_inf_nan=False
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name in sorted(self.model_fields_set):
            yield name, _Hidden()


def setting(default: Any, description: str, unit: str = "") -> Any:
    """Return a field with its default, its meaning, and its unit where it has one."""
    return Field(default=default, description=description, json_schema_extra={"x-unit": unit} if unit else None)
