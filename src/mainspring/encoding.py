"""Turn values into JSON text and back: one encoder for both databases."""

from __future__ import annotations

import base64
import dataclasses
import enum
import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import PurePath
from typing import Any
from uuid import UUID

from mainspring.errors import InvalidInput

INLINE_LIMIT = 64 * 1024
"""Bytes of JSON kept in the row itself; larger values go to the blobs table."""


class NotSerialisable(InvalidInput):
    """A value cannot be written as JSON; the message names its place and type."""


_plain = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=True)


def encode(value: Any) -> str:
    """Return *value* as compact JSON text.

    Dates, times, durations (seconds), decimals (text), UUIDs, enums, paths, bytes (base64), sets, tuples, dataclasses
    and pydantic models are written in their usual JSON form. NaN and infinities become null.

    Raises:
        NotSerialisable: for anything else, for keys that are not text, and for text with a NUL character.
    """
    if value is None:
        return "null"
    try:
        text = _encode(value)
    except RecursionError:
        raise NotSerialisable("the value is nested too deeply for JSON; flatten it") from None
    except ValueError as error:
        # Python refuses to write integers of thousands of digits.
        raise NotSerialisable(f"the value cannot be written as JSON: {error}") from None
    if "\\u0000" in text and _holds_nul(json.loads(text)):
        raise NotSerialisable(
            "text with a NUL character (\\x00) cannot be stored; remove it or encode the bytes as base64"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise NotSerialisable(
            "text with a lone surrogate cannot be stored; decode the bytes it came from correctly"
        ) from None
    return text


def _encode(value: Any) -> str:
    try:
        text = _plain.encode(value)
    except (TypeError, ValueError):
        return _plain.encode(_as_json(value, "value", set()))
    # json writes int, float, bool and None keys as text in silence; the careful walk refuses them.
    return text if "{" not in text or _keys_are_text(value) else _plain.encode(_as_json(value, "value", set()))


def decode(text: str | None) -> Any:
    """Return the value that *text* stands for; None stays None."""
    return None if text is None else json.loads(text)


def fingerprint(text: str) -> str:
    """Return the SHA-256 of *text* in hexadecimal; values are hashed over the JSON text that is stored."""
    return sha256(text.encode("utf-8")).hexdigest()


def canonical(value: Any) -> str:
    """Return JSON text with sorted keys: equal values give equal texts, for hashing and comparing."""
    return json.dumps(json.loads(encode(value)), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _keys_are_text(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(k) is str and _keys_are_text(v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return all(_keys_are_text(v) for v in value)
    return True


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any("\x00" in key or _holds_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_holds_nul(item) for item in value)


def _as_json(value: Any, place: str, above: set[int]) -> Any:
    if value is None or (isinstance(value, (bool, int)) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if id(value) in above:
        raise NotSerialisable(f"{place} contains itself; JSON cannot hold a cycle")
    above = above | {id(value)}
    if isinstance(value, Mapping):
        return {_key(k, place): _as_json(v, f"{place}.{k}", above) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(v, f"{place}[{i}]", above) for i, v in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return sorted((_as_json(v, f"{place}{{}}", above) for v in value), key=repr)
    return _scalar(value, place, above)


def _scalar(value: Any, place: str, above: set[int]) -> Any:
    if isinstance(value, enum.Enum):
        return _as_json(value.value, place, above)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (Decimal, UUID, PurePath)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {f.name: _as_json(getattr(value, f.name), f"{place}.{f.name}", above) for f in fields}
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return _as_json(dump(mode="json"), place, above)
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    raise NotSerialisable(
        f"{place} is of type {kind}, which JSON cannot hold; return dicts, lists, text, numbers or None"
    )


def _key(key: Any, place: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if not isinstance(key, str):
        raise NotSerialisable(f"{place} has the key {key!r} of type {type(key).__name__}; JSON keys are text")
    return key
