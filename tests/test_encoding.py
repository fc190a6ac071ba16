"""Values become the same JSON text everywhere, and what JSON cannot hold is refused by its place."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.encoding import NotSerialisable, canonical, decode, encode, fingerprint
from mainspring.errors import InvalidInput


class Colour(enum.Enum):
    RED = "red"


class Word(enum.StrEnum):
    HIGH = "high"


class Number(enum.IntEnum):
    TWO = 2


@dataclasses.dataclass
class Quote:
    ticker: str
    price: Decimal
    at: date | None = None


class Model(pydantic.BaseModel):
    name: str
    at: datetime


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (0, "0"),
        (-1.5, "-1.5"),
        ("é☂\U0001f600", '"é☂\U0001f600"'),
        ([1, [2, ()]], "[1,[2,[]]]"),
        ((1, 2), "[1,2]"),
        ({"a": 1, "b": {"c": None}}, '{"a":1,"b":{"c":null}}'),
        ({"b": 1, "a": 2}, '{"b":1,"a":2}'),
        (MappingProxyType({"a": (1,)}), '{"a":[1]}'),
        ({3, 1, 2}, "[1,2,3]"),
        (frozenset({"b", "a"}), '["a","b"]'),
        (datetime(2026, 3, 2, 12, 0, 0, 1, tzinfo=UTC), '"2026-03-02T12:00:00.000001+00:00"'),
        (date(2026, 3, 2), '"2026-03-02"'),
        (time(9, 30), '"09:30:00"'),
        (timedelta(minutes=1, milliseconds=500), "60.5"),
        (Decimal("10.10"), '"10.10"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (PurePosixPath("/a/b"), '"/a/b"'),
        (b"\x00\xff", '"AP8="'),
        (bytearray(b"hi"), '"aGk="'),
        (memoryview(b"hi"), '"aGk="'),
        (Colour.RED, '"red"'),
        (Word.HIGH, '"high"'),
        (Number.TWO, "2"),
        ({Word.HIGH: Colour.RED, Colour.RED: 1}, '{"high":"red","red":1}'),
        (Quote("PETR4", Decimal("38.1")), '{"ticker":"PETR4","price":"38.1","at":null}'),
        (Model(name="x", at=datetime(2026, 3, 2, tzinfo=UTC)), '{"name":"x","at":"2026-03-02T00:00:00Z"}'),
        (math.nan, "null"),
        ({"a": [math.inf, -math.inf, 1.0]}, '{"a":[null,null,1.0]}'),
        ("\\u0000", '"\\\\u0000"'),
        ("<script>&'\"\\", '"<script>&\'\\"\\\\"'),
        ("\x01\x7f\u2028", '"\\u0001\x7f\u2028"'),
        (2**70, "1180591620717411303424"),
    ],
)
def test_a_value_becomes_this_text(value: Any, text: str) -> None:
    assert encode(value) == text


def _cycle() -> list[Any]:
    cycle: list[Any] = []
    cycle.append({"again": cycle})
    return cycle


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "value is of type object"),
        ({"a": [1, {"b": object()}]}, r"value\.a\[1\]\.b is of type object"),
        ({"f": len}, r"value\.f is of type builtin_function_or_method"),
        ({"c": Colour}, r"value\.c is of type enum\.EnumType"),
        ({1: "x"}, "value has the key 1 of type int; JSON keys are text"),
        ({"a": {None: "x"}}, r"value\.a has the key None of type NoneType"),
        ({True: 1}, "value has the key True of type bool"),
        ({(1, 2): 1}, r"value has the key \(1, 2\) of type tuple"),
        ("a\x00b", "NUL"),
        ({"a": ["\x00"]}, "NUL"),
        ({"a\x00": 1}, "NUL"),
        ("\ud800", "lone surrogate"),
        ({"\udc80": 1}, "lone surrogate"),
        (Quote("x", object()), r"value\.price is of type object"),  # type: ignore[arg-type]
        (_cycle(), "contains itself; JSON cannot hold a cycle"),
        (Ellipsis, "value is of type ellipsis"),
        (1j, "value is of type complex"),
    ],
)
def test_what_json_or_a_database_cannot_hold_is_refused_by_its_place(value: Any, said: str) -> None:
    with pytest.raises(NotSerialisable, match=said) as caught:
        encode(value)
    assert isinstance(caught.value, InvalidInput)


def test_the_same_list_twice_is_no_cycle() -> None:
    shared = [1]
    assert encode([shared, shared, {"a": shared}]) == '[[1],[1],{"a":[1]}]'


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\x00")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_what_json_can_hold_comes_back_equal(value: Any) -> None:
    assert decode(encode(value)) == value


@given(JSON)
def test_canonical_text_is_one_for_equal_values(value: Any) -> None:
    assert canonical(value) == canonical(json.loads(json.dumps(value, sort_keys=True)))
    assert canonical(decode(canonical(value))) == canonical(value)


def test_nothing_decodes_to_nothing() -> None:
    assert decode(None) is None


def test_a_fingerprint_is_the_sha256_of_the_text() -> None:
    assert fingerprint("null") == "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"
    assert fingerprint(canonical({"b": 1, "a": 2})) == fingerprint(canonical({"a": 2, "b": 1}))


def test_what_is_nested_too_deeply_is_refused_in_words() -> None:
    value: dict[str, object] = {}
    for _ in range(100_000):
        value = {"a": value}
    with pytest.raises(NotSerialisable, match="nested too deeply"):
        encode(value)


def test_an_integer_too_long_to_be_written_is_refused_in_words() -> None:
    with pytest.raises(NotSerialisable, match="cannot be written as JSON"):
        encode({"n": 10**5_000})
