"""What all bodies share: strict types, no unknown fields, and lists with a cursor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import Header, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema

from mainspring.domain.priority import parse_priority
from mainspring.errors import InvalidInput
from mainspring.ids import is_id

T = TypeVar("T")

MOST: Final = 200
"""The longest page of a list."""


def at_text(moment: datetime) -> str:
    """Return an instant as all answers write it."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


At = Annotated[datetime, PlainSerializer(at_text, when_used="json")]
"""An instant in UTC, with microseconds: ``2026-11-27T07:30:00.000000Z``."""


def _moment(value: object) -> datetime:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError("must be an instant with its offset, such as 2026-12-01T09:00:00Z")
    if not 1900 <= found.year <= 9900:
        raise ValueError("lies outside the years that can be used (1900 to 9900)")
    return found.astimezone(UTC)


Moment = Annotated[
    datetime,
    PlainValidator(_moment),
    PlainSerializer(at_text, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An instant that somebody sends: ISO 8601 with an offset."""


def _priority(value: object) -> object:
    if isinstance(value, bool):
        return value
    try:
        return parse_priority(value)
    except InvalidInput as error:
        raise ValueError(str(error)) from None


Priority = Annotated[
    int,
    BeforeValidator(_priority),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 9},
                {"type": "string", "enum": ["high", "normal", "low"]},
            ]
        }
    ),
]
"""high, normal, low, or 0 (last) to 9 (first)."""
Seconds = Annotated[float, Field(gt=0, le=366 * 86_400, allow_inf_nan=False, strict=False)]
Limit = Annotated[int, Query(ge=1, le=MOST, description="The longest that the page may be.")]
Cursor = Annotated[str | None, Query(description="`next` of the page before.", max_length=100)]


IfMatch = Annotated[str | None, Header(description="The ETag of the thing as you have seen it.")]


def version_of(if_match: str | None) -> int | None:
    """Return the version that an ETag of ours names; None without one.

    Raises:
        InvalidInput: it is none of ours.
    """
    if if_match is None:
        return None
    text = if_match.strip().removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidInput(f"If-Match {if_match[:60]!r} is no ETag of ours; send the one that came with the thing")
    return int(text)


def span(seconds: float | None) -> timedelta | None:
    """Return seconds as a duration."""
    return None if seconds is None else timedelta(seconds=seconds)


def after_cursor(cursor: str | None) -> str | None:
    """Return the id after which a page goes on.

    Raises:
        InvalidInput: no page has given this cursor.
    """
    if cursor is None:
        return None
    if not is_id(cursor):
        raise InvalidInput(f"cursor {cursor!r} was given by no page; pass `next` of the page before, or leave it out")
    return cursor.lower()


def page(found: Sequence[Any], most: int, told: Callable[[Any], T]) -> Page[T]:
    """Return a page of *found*, of which one more than *most* was asked for; items are told from by their ids."""
    items = found[:most]
    return Page(items=[told(item) for item in items], next=items[-1].id if len(found) > most else None)


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
