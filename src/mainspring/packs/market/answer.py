"""Read fields out of a service's answer; what does not fit is named with its host and place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from mainspring.packs.market.scraper import MalformedAnswer

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Number = int | float


class Answer:
    """A part of the answer of *host*; `place` says where it stands, such as `results[0].price`."""

    def __init__(self, host: str, value: Any, place: str = "answer") -> None:
        self.host, self.value, self.place = host, value, place

    def malformed(self, problem: str) -> MalformedAnswer:
        """Return the error that this part *problem*."""
        return MalformedAnswer(self.host, self.place, problem)

    def at(self, key: str | int) -> Answer:
        """Return the part at *key* of an object, or at an index of a list.

        Raises:
            MalformedAnswer: when there is none.
        """
        if isinstance(key, int):
            items = self.items()
            if not -len(items) <= key < len(items):
                raise self.malformed(f"has {len(items)} items, not {key + 1}")
            return items[key]
        found = self._mapping()
        inner = Answer(self.host, found.get(key), key if self.place == "answer" else f"{self.place}.{key}")
        if key not in found:
            raise inner.malformed("is missing")
        return inner

    def find(self, key: str) -> Answer | None:
        """Return the part at *key*, or None when it is not there or null."""
        return self.at(key) if self._mapping().get(key) is not None else None

    def items(self) -> list[Answer]:
        """Return the parts of a list."""
        if not isinstance(self.value, Sequence) or isinstance(self.value, str):
            raise self.malformed(f"should be a list, not {_kind(self.value)}")
        return [Answer(self.host, item, f"{self.place}[{index}]") for index, item in enumerate(self.value)]

    def text(self) -> str:
        """Return a text."""
        if not isinstance(self.value, str):
            raise self.malformed(f"should be text, not {_kind(self.value)}")
        return self.value

    def number(self) -> Number:
        """Return a number, or a text that holds one in decimal digits; as JSON will hold it."""
        value = self.value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        if not isinstance(value, str):
            raise self.malformed(f"should be a number, not {_kind(value)}")
        number = decimal_of(value)
        if number is None:
            raise self.malformed(f"should be a number, not {value[:40]!r}")
        return as_number(number)

    def moment(self) -> str:
        """Return an instant in ISO form, UTC, from an ISO text, Unix seconds or Unix milliseconds."""
        value = self.value
        try:
            if isinstance(value, str):
                return _utc(datetime.fromisoformat(value))
            if isinstance(value, int) and not isinstance(value, bool):
                # Unix milliseconds have had 12 digits or more since 1973; seconds get there in the year 5138.
                unit = timedelta(milliseconds=1) if abs(value) >= 10**11 else timedelta(seconds=1)
                return _utc(_EPOCH + value * unit)
        except (ValueError, OverflowError):
            pass
        raise self.malformed(f"should be an instant, not {str(value)[:40]!r}")

    def numbers(self, names: Mapping[str, str]) -> dict[str, Number | None]:
        """Return the numbers at the keys of *names* under the names they map to; what is not there is None."""
        found = {name: self.find(key) for key, name in names.items()}
        return {name: None if part is None else part.number() for name, part in found.items()}

    def _mapping(self) -> Mapping[str, Any]:
        if not isinstance(self.value, Mapping):
            raise self.malformed(f"should be an object, not {_kind(self.value)}")
        return self.value


def decimal_of(text: str) -> Decimal | None:
    """Return the finite decimal that *text* writes, with a point or a comma; None when it writes none."""
    try:
        number = Decimal(text.strip().replace(",", "."))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def as_number(value: Decimal) -> Number:
    """Return *value* as JSON holds it: whole numbers whole; up to 15 digits come out as they went in."""
    return int(value) if value == value.to_integral_value() and "." not in str(value) else float(value)


def first_of(values: Iterable[str | None]) -> str | None:
    """Return the first of *values* that says something."""
    return next((value for value in values if value), None)


def _utc(moment: datetime) -> str:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat()


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
