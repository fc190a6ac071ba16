"""What all bodies share: strict types, no unknown fields, and lists with a cursor."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

T = TypeVar("T")

MOST: int = 200
"""The longest page of a list."""


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


At = Annotated[datetime, PlainSerializer(_text, when_used="json")]
"""An instant in UTC, with microseconds: ``2026-11-27T07:30:00.000000Z``."""


class Given(BaseModel):
    """A body that somebody sends: strict, and without fields that we do not know."""

    model_config = ConfigDict(strict=True, extra="forbid", str_max_length=100_000)


class Told(BaseModel):
    """A body that we send."""

    model_config = ConfigDict(from_attributes=True)


class Page(Told, Generic[T]):
    """A part of a list, newest first."""

    items: list[T]
    next: str | None = Field(None, description="Pass it as `cursor` for what follows; null at the end.")
