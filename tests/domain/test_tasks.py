"""Functions become tasks that check their parameters before anything is enqueued."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import hypothesis
import pytest
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from mainspring.domain.retry import Backoff
from mainspring.domain.tasks import Context, Task, task
from mainspring.encoding import decode, encode
from mainspring.errors import InvalidInput, ParametersInvalid


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 0


class Order(BaseModel):
    ticker: str
    quantity: int = Field(gt=0)


@task(name="market.quotes")
def quotes(ticker: str, depth: int = 1) -> str:
    """Fetch quotes.

    More about it.
    """
    return ticker * depth


def test_a_task_is_still_its_function() -> None:
    assert quotes("A", depth=2) == "AA"
    assert (quotes.name, quotes.description, quotes.is_async) == ("market.quotes", "Fetch quotes.", False)
    assert (quotes.queue, quotes.priority, quotes.max_retries, quotes.max_tries) == (None, None, 3, 4)


def test_without_a_name_it_is_called_as_its_module_and_function() -> None:
    @task
    def inner() -> None: ...

    assert inner.name.endswith("test_tasks.test_without_a_name_it_is_called_as_its_module_and_function.inner")
    assert "<locals>" not in inner.name


def test_options_are_kept() -> None:
    backoff = Backoff(timedelta(seconds=1), jitter="none")

    @task(name="t", queue="q", priority="high", max_retries=0, backoff=backoff, expires=timedelta(hours=1),
          description="words")  # fmt: skip
    async def configured() -> None: ...

    assert (configured.queue, configured.priority, configured.max_tries, configured.backoff) == ("q", 8, 1, backoff)
    assert (configured.expires, configured.description, configured.is_async) == (timedelta(hours=1), "words", True)


def test_a_decorator_can_be_used_twice() -> None:
    twice = task(queue="q", max_retries=1)
    assert [(t.queue, t.max_retries) for t in (twice(lambda_one), twice(lambda_two))] == [("q", 1), ("q", 1)]


def lambda_one() -> None: ...


def lambda_two() -> None: ...


def test_a_run_that_must_not_repeat_is_not_tried_again_unless_asked() -> None:
    assert task(at_most_once=True)(lambda_one).max_tries == 1
    assert task(at_most_once=True, max_retries=2)(lambda_one).max_tries == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "no spaces"}, "task name 'no spaces' is not usable"),
        ({"name": "1st"}, "task name '1st' is not usable"),
        ({"name": "x" * 201}, "is not usable"),
        ({"max_retries": -1}, "max_retries -1 is not a number from 0 to 1000"),
        ({"max_retries": 1_001}, "max_retries 1001 is not a number"),
        ({"max_retries": True}, "max_retries True is not a number"),
        ({"max_retries": "3"}, "max_retries '3' is not a number"),
        ({"priority": "urgent"}, "priority 'urgent' is not known"),
        ({"priority": 10}, "priority 10 is not known"),
        ({"queue": "no spaces"}, "queue 'no spaces' is not usable"),
        ({"backoff": 5}, "backoff 5 is not usable"),
        ({"expires": 60}, "expires 60 is not a positive timedelta"),
        ({"expires": timedelta(0)}, "is not a positive timedelta"),
        ({"retries": 3}, "@task: unknown option 'retries'; did you mean 'max_retries'?"),
        ({"nonsense": 3}, "@task: unknown option 'nonsense'; known:"),
    ],
)
def test_an_option_out_of_range_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        task(**options)(lambda_one)
    assert said in str(caught.value)


def test_what_cannot_be_called_by_name_is_no_task() -> None:
    def positional(a: int, /) -> None: ...

    def starred(*rest: int) -> None: ...

    for function, name in ((positional, "a"), (starred, "rest")):
        with pytest.raises(
            InvalidInput, match=f"parameter '{name}' has no name to be passed by; parameters go by name"
        ):
            task(function)
    with pytest.raises(InvalidInput, match="needs a function, not 5"):
        task(5)  # type: ignore[call-overload]
    with pytest.raises(InvalidInput, match=r"'market\.quotes' is a task already; decorate it once"):
        task(quotes)


# --- parameters


@pytest.mark.parametrize(
    ("hint", "given", "stored", "bound"),
    [
        (int, "5", 5, 5),
        (float, 1, 1.0, 1.0),
        (date, date(2026, 3, 2), "2026-03-02", date(2026, 3, 2)),
        (datetime, "2026-03-02T12:00:00Z", "2026-03-02T12:00:00Z", datetime.fromisoformat("2026-03-02T12:00:00Z")),
        (timedelta, 90, "PT1M30S", timedelta(seconds=90)),
        (Decimal, "38.10", "38.10", Decimal("38.10")),
        (UUID, "0190163d-8694-739b-aea5-966c26f8ad91", "0190163d-8694-739b-aea5-966c26f8ad91",
         UUID("0190163d-8694-739b-aea5-966c26f8ad91")),
        (Path, Path("a/b"), "a/b", Path("a/b")),
        (Colour, Colour.RED, "red", Colour.RED),
        (Literal["a", "b"], "b", "b", "b"),
        (set[int], {3}, [3], {3}),
        (tuple[int, str], (1, "a"), [1, "a"], (1, "a")),
        (dict[str, int], {"a": 1}, {"a": 1}, {"a": 1}),
        (list[date], ["2026-03-02"], ["2026-03-02"], [date(2026, 3, 2)]),
        (int | None, None, None, None),
        (bytes, b"text", "text", b"text"),
        (Point, Point(1, 2), {"x": 1, "y": 2}, Point(1, 2)),
        (Order, {"ticker": "A", "quantity": 1}, {"ticker": "A", "quantity": 1}, Order(ticker="A", quantity=1)),
        (Any, {"deep": [1, None]}, {"deep": [1, None]}, {"deep": [1, None]}),
        (Annotated[int, Field(gt=0)], 5, 5, 5),
    ],
    ids=str,
)  # fmt: skip
def test_values_are_stored_as_json_and_come_back_in_their_type(hint: Any, given: Any, stored: Any, bound: Any) -> None:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = hint
    one = task(name="t")(function)
    assert one.validate({"x": given}) == {"x": stored}
    assert one.bind(decode(encode(one.validate({"x": given})))) == {"x": bound}


@pytest.mark.parametrize(
    ("hint", "given", "said"),
    [
        (int, "deep", "parameter 'x' = 'deep': input should be a valid integer"),
        (Annotated[int, Field(gt=0)], 0, "parameter 'x' = 0: input should be greater than 0"),
        (Order, {"ticker": "A", "quantity": 0}, "parameter 'x.quantity' = 0: input should be greater than 0"),
        (list[int], [1, "a"], "parameter 'x.1' = 'a'"),
        (float, float("nan"), "parameter 'x' = nan: input should be a finite number"),
        pytest.param(
            Any, object(), "a value cannot be stored as JSON: Unable to serialize unknown type", id="an object"
        ),
        (bytes, b"\xff", "a value cannot be stored as JSON"),
    ],
    ids=str,
)
def test_values_that_do_not_fit_or_cannot_be_stored_are_refused(hint: Any, given: Any, said: str) -> None:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = hint
    with pytest.raises(ParametersInvalid) as caught:
        task(name="t")(function).validate({"x": given})
    assert said in str(caught.value)
    assert caught.value.task == "t"


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(ParametersInvalid) as caught:
        quotes.validate({"depth": "x", "tickr": "A"})
    assert caught.value.problems == (
        "parameter 'ticker' is missing",
        "parameter 'depth' = 'x': input should be a valid integer, unable to parse string as an integer",
        "unknown parameter 'tickr'; did you mean 'ticker'?",
    )


def test_defaults_are_filled_in_and_checked() -> None:
    def sloppy(a: int = None, day: date = date(2026, 3, 2), b: int = "five") -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    one = task(name="sloppy")(sloppy)
    assert one.validate({"b": 1}) == {"a": None, "day": "2026-03-02", "b": 1}
    assert one.bind({"a": None, "day": "2026-03-02", "b": 1})["a"] is None
    with pytest.raises(ParametersInvalid, match="parameter 'b' = 'five'"):
        one.validate({})


@pytest.mark.parametrize(
    "name", ["json", "copy", "schema", "dict", "model_config", "model_fields", "validate", "_x", "field_0"]
)
def test_a_parameter_may_have_any_name(name: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def function({name}: int, other: int = 2): return {name}", space)
    one = task(name="t")(space["function"])
    assert one.validate({name: "1"}) == {name: 1, "other": 2}
    assert one.function(**one.bind({name: 1})) == 1
    assert list(one.json_schema()["properties"]) == [name, "other"]


def test_further_parameters_go_to_a_function_that_takes_any() -> None:
    @task(name="open")
    def open_ended(a: int, **rest: Any) -> dict[str, Any]:
        return rest

    stored = open_ended.validate({"a": 1, "field_0": "x", "b": [1]})
    assert stored == {"a": 1, "field_0": "x", "b": [1]}
    assert open_ended(**open_ended.bind(stored)) == {"field_0": "x", "b": [1]}


def test_the_schema_names_types_defaults_and_what_is_required() -> None:
    schema = quotes.json_schema()
    assert schema["title"] == "market.quotes"
    assert schema["properties"]["depth"] == {"default": 1, "title": "Depth", "type": "integer"}
    assert (schema["required"], schema["additionalProperties"]) == (["ticker"], False)


def test_a_type_that_json_cannot_hold_is_refused() -> None:
    class Opaque: ...

    def function(x: Any) -> None: ...

    function.__annotations__["x"] = Opaque
    with pytest.raises(InvalidInput, match="task 't': a parameter has a type that cannot be stored as JSON"):
        task(name="t")(function).json_schema()


def test_a_type_that_does_not_exist_is_named() -> None:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = "Missing"
    with pytest.raises(InvalidInput, match="task 't': a type of its parameters is not known: name 'Missing'"):
        task(name="t")(function).validate({})


def with_context(x: int, ctx: Context) -> None: ...
def with_optional_context(x: int, ctx: Context | None = None) -> None: ...
def with_default_context(x: int, ctx: Context = None) -> None: ...  # type: ignore[assignment]


@pytest.mark.parametrize("function", [with_context, with_optional_context, with_default_context])
def test_the_context_is_found_by_its_type_and_is_no_parameter(function: Callable[..., None]) -> None:
    one = task(name="t")(function)
    assert one.context_parameter == "ctx"
    assert list(one.json_schema()["properties"]) == ["x"]
    with pytest.raises(ParametersInvalid, match="unknown parameter 'ctx'"):
        one.validate({"x": 1, "ctx": "mine"})


class Tool:
    __mainspring_given__ = True


def with_tool(x: int, tool: Tool, spare: Tool | None = None) -> None: ...


def test_what_a_pack_gives_is_found_by_its_type() -> None:
    one = task(name="t")(with_tool)
    assert one.given_parameters == {"tool": Tool, "spare": Tool}
    assert one.validate({"x": 1}) == {"x": 1}


def test_a_wrapped_function_keeps_its_parameters_and_its_kind() -> None:
    def doubled(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return 2 * await function(*args, **kwargs)

        return wrapper

    @task(name="t")
    @doubled
    async def wrapped(x: int) -> int:
        return x

    assert wrapped.is_async
    assert wrapped.validate({"x": "3"}) == {"x": 3}


def test_the_version_of_the_code_changes_with_the_code() -> None:
    def one() -> int:
        return 1

    def other() -> int:
        return 2

    assert Task(one, "t").code_version == Task(one, "u").code_version
    assert Task(one, "t").code_version != Task(other, "t").code_version
    assert len(Task(eval("lambda: 1"), "t").code_version) == 12


@hypothesis.given(
    st.fixed_dictionaries({
        "n": st.integers(), "x": st.floats(allow_nan=False, allow_infinity=False),
        "text": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
        "day": st.dates(), "span": st.timedeltas(min_value=timedelta(days=-1_000), max_value=timedelta(days=1_000)),
        "many": st.lists(st.booleans()),
    })
)  # fmt: skip
def test_what_is_stored_comes_back_as_it_was(given: dict[str, Any]) -> None:
    def function(n: int, x: float, text: str, day: date, span: timedelta, many: list[bool]) -> None: ...

    one = task(name="t")(function)
    assert one.bind(decode(encode(one.validate(given)))) == given
