"""Parameters are judged by the stored schema as the task itself judges them, as far as a schema can say it."""

from __future__ import annotations

from datetime import date, timedelta
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from mainspring.domain.parameters import misfits, value_from_text
from mainspring.domain.tasks import task
from mainspring.errors import InvalidInput, ParametersInvalid


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Box(BaseModel):
    name: str
    inner: Box | None = None


@task(name="demo.shapes")
def shapes(
    count: Annotated[int, Field(ge=1, lt=10)],
    text: Annotated[str, Field(min_length=1, max_length=5, pattern="^[a-z]+$")] = "abc",
    when: date | None = None,
    numbers: Annotated[list[int], Field(max_length=3)] = [],  # noqa: B006
    pair: tuple[int, str] = (1, "x"),
    options: dict[str, float] | None = None,
    colour: Colour = Colour.RED,
    mode: Literal["fast", "slow"] = "fast",
    share: float = 0.5,
    flag: bool = False,
    wait: timedelta = timedelta(seconds=1),
    box: Box | None = None,
) -> None: ...


SCHEMA = shapes.json_schema()
VALUES = st.fixed_dictionaries({"count": st.integers(-2, 12)}, optional={
    "text": st.text(st.sampled_from("abC"), max_size=7),
    "when": st.none() | st.dates().map(str),
    "numbers": st.lists(st.integers() | st.just("x"), max_size=4),
    "pair": st.tuples(st.integers() | st.text(max_size=2), st.text(max_size=2)).map(list),
    "options": st.none() | st.dictionaries(st.text(max_size=2), st.floats(0, 1) | st.just([])),
    "colour": st.sampled_from(["red", "blue", "green"]),
    "mode": st.sampled_from(["fast", "slow", "idle"]),
    "share": st.floats(0, 1) | st.integers(0, 3) | st.just("0.5") | st.just("much"),
    "flag": st.booleans() | st.sampled_from(["yes", "no", "perhaps"]),
    "box": st.none() | st.just({"name": "a", "inner": {"name": "b"}}) | st.just({"inner": None}),
    "strange": st.just(1),
})  # fmt: skip


@given(VALUES)
def test_the_schema_says_what_the_task_says(values: dict[str, Any]) -> None:
    try:
        shapes.validate(values)
    except ParametersInvalid:
        assert misfits(SCHEMA, values)
    else:
        assert misfits(SCHEMA, values) == []


@given(VALUES)
def test_what_a_task_has_stored_fits(values: dict[str, Any]) -> None:
    try:
        stored = shapes.validate(values)
    except ParametersInvalid:
        return
    assert misfits(SCHEMA, stored) == []


@pytest.mark.parametrize(("values", "said"), [
    ({}, "parameter 'count' is missing"),
    ({"count": 2, "colr": "red"}, "unknown parameter 'colr'; did you mean 'colour'?"),
    ({"count": 0}, "parameter 'count' = 0: is less than 1"),
    ({"count": 10}, "parameter 'count' = 10: is not less than 10"),
    ({"count": "many"}, "parameter 'count' = 'many': is no integer"),
    ({"count": 2, "numbers": [1, "x"]}, "parameter 'numbers' = [1, 'x']: item 1 is no integer"),
    ({"count": 2, "mode": "idle"}, "parameter 'mode' = 'idle': is none of 'fast', 'slow'"),
    ({"count": 2, "when": 5}, "parameter 'when' = 5: is no null or string"),
])  # fmt: skip
def test_a_misfit_is_named_with_its_value(values: dict[str, Any], said: str) -> None:
    assert misfits(SCHEMA, values) == [said]


def test_a_text_is_read_as_the_parameter_wants_it() -> None:
    assert value_from_text("text", "7", SCHEMA, "--set") == "7"
    assert value_from_text("count", "7", SCHEMA, "--set") == 7
    assert value_from_text("when", "null", SCHEMA, "--set") is None
    assert value_from_text("numbers", "[1]", SCHEMA, "--set") == [1]
    assert value_from_text("flag", "yes", SCHEMA, "--set") == "yes"
    with pytest.raises(InvalidInput, match=r"--set numbers: '1;2' is not JSON; write arrays as JSON"):
        value_from_text("numbers", "1;2", SCHEMA, "--set")
