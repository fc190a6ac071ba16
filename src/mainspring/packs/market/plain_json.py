"""Bring what scrapers return into a form that JSON and both databases hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from mainspring.packs.market.scraper import ScrapeError

DEPTH_LIMIT = 100


class NotPlain(ScrapeError):
    """A scraper returned what JSON cannot hold; names the place."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"the scraper's answer cannot be stored: {place} {problem}", permanent=True)


def plain(value: Any, place: str = "data", depth: int = 0) -> Any:
    """Return *value* in dicts, lists, text, numbers, booleans and None.

    NaN and infinities become None, decimals and moments text, durations seconds. What PostgreSQL's JSON refuses in text
    (NUL and halves of characters) becomes the sign for what cannot be read.

    Raises:
        NotPlain: for other types, and for what is nested more than 100 levels deep.
    """
    if depth > DEPTH_LIMIT:
        raise NotPlain(place, f"is nested more than {DEPTH_LIMIT} levels deep")
    if isinstance(value, Enum):
        return plain(value.value, place, depth)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, Mapping):
        return {_key(key, place): plain(item, f"{place}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item, f"{place}{{}}", depth + 1) for item in value), key=repr)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (Decimal, UUID, PurePath)):
        return str(value)
    raise NotPlain(place, f"is of type {type(value).__name__}; return dicts, lists, text and numbers")


def clean_text(text: str) -> str:
    """Return *text* without NUL and halves of characters; each is replaced by the sign for what cannot be read."""
    if text.isascii() and "\x00" not in text:
        return str(text)
    return text.replace("\x00", "\ufffd").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _key(key: Any, place: str) -> str:
    if isinstance(key, (str, int, date)) and not isinstance(key, bool):
        return clean_text(str(key))
    raise NotPlain(place, f"has the key {key!r}; keys are text")
