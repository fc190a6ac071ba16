"""What a task declares becomes what each of its runs needs, or is refused with the way out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mainspring.domain.needs import (
    ASK,
    Concurrency,
    Need,
    QueueLimits,
    RunNeeds,
    all_needs,
    described_needs,
    need_in_words,
    needs_of,
)
from mainspring.domain.tasks import Task, task
from mainspring.errors import InvalidInput
from mainspring.services.catalog import describe


def quote(ticker: str, host: str = "brapi.dev", n: int = 1) -> None: ...


def made(**options: Any) -> Task[..., Any]:
    return task(name="quote", **options)(quote)


def of(declared: Task[..., Any], **parameters: Any) -> RunNeeds:
    return declared.flow.needs("quote", declared.validate(parameters))


def both(declared: Task[..., Any], **parameters: Any) -> RunNeeds:
    """Return what the task itself says, once its description says the same."""
    own, said = of(declared, **parameters), describe(declared)
    text = json.loads(json.dumps([said.policies["flow"], said.schema]))
    assert described_needs("quote", *text, parameters) == own
    return own


@pytest.mark.parametrize(
    ("options", "needs", "key"),
    [
        ({}, (), None),
        ({"uses": ["brapi"]}, (Need("brapi"),), None),
        ({"uses": ["brapi", "host:{host}"]}, (Need("brapi"), Need("host:brapi.dev")), None),
        ({"uses": ["h{n}", "h1"]}, (Need("h1"),), None),
        ({"concurrency": 2}, (Need("key/task:quote", 2),), None),
        ({"concurrency": Concurrency(1, "{ticker}")}, (Need("key/task:quote:PETR4", 1),), "PETR4"),
        ({"concurrency": Concurrency(1, "{ticker}/{n}")}, (Need("key/task:quote:PETR4/1", 1),), "PETR4/1"),
        ({"fair": "{host}"}, (), "brapi.dev"),
        (
            {"fair": "{host}", "concurrency": Concurrency(1, "{ticker}")},
            (Need("key/task:quote:PETR4", 1),),
            "brapi.dev",
        ),
    ],
)
def test_texts_are_filled_in_with_or_without_the_code(options: Any, needs: tuple[Need, ...], key: str | None) -> None:
    found = both(made(**options), ticker="PETR4")
    assert (needs_of(found.uses), found.key) == (needs, key)


def test_functions_are_asked_where_the_code_is_and_by_the_worker_otherwise() -> None:
    uses: Callable[[Any], list[str]] = lambda parameters: [f"host:{parameters['host']}"]  # noqa: E731
    declared = made(uses=uses, concurrency=Concurrency(3, lambda parameters: parameters["n"]))
    found = of(declared, ticker="PETR4", n=7)
    assert (needs_of(found.uses), found.key) == ((Need("host:brapi.dev"), Need("key/task:quote:7", 3)), "7")
    said = describe(declared)
    assert described_needs("quote", said.policies["flow"], said.schema, {"ticker": "X"}) == RunNeeds(ASK)
    assert needs_of(ASK) == ()


def test_what_a_description_cannot_fill_in_is_left_to_the_worker() -> None:
    said = describe(made(uses=["host:{ticker}"]))
    assert described_needs("quote", said.policies["flow"], said.schema, {}) == RunNeeds(ASK)
    assert described_needs("quote", None, {}, {}) == RunNeeds()


def test_a_long_value_is_told_from_others_by_its_hash() -> None:
    declared = made(concurrency=Concurrency(1, "{ticker}"))
    one, other = of(declared, ticker="x" * 201).key, of(declared, ticker="x" * 202).key
    assert one is not None
    assert one.startswith("sha256:")
    assert len({one, other, of(declared, ticker="x" * 200).key}) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"uses": "brapi"}, "uses 'brapi' is not usable; write a list of names, such as uses=['brapi']"),
        ({"uses": [5]}, "uses [5] is not usable"),
        ({"concurrency": 0}, "concurrency: limit 0 is not a number of runs from 1 to 100,000"),
        ({"concurrency": "2"}, "concurrency '2' is not usable; write a number or Concurrency(2, key='{x}')"),
        ({"concurrency": True}, "concurrency: limit True is not a number"),
        ({"fair": 5}, "fair 5 is neither text such as '{customer}' nor a function"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(options: Any, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        made(**options)
    assert said in str(caught.value)
    assert "task 'quote'" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"uses": ["host:{hots}"]}, "uses 'host:{hots}': unknown parameter 'hots'; did you mean 'host'?"),
        ({"fair": "{tikcer}"}, "fair '{tikcer}': unknown parameter 'tikcer'; did you mean 'ticker'?"),
        (
            {"concurrency": Concurrency(1, "{x}")},
            "concurrency key '{x}': unknown parameter 'x'; known: host, n, ticker",
        ),
        ({"uses": ["host:{host!r}"]}, "write a parameter as {name}, and nothing else between braces"),
        ({"uses": ["host:{host:>5}"]}, "write a parameter as {name}, and nothing else between braces"),
        ({"uses": ["host:{"]}, "write a parameter as {name}"),
        ({"uses": ["no spaces"]}, "'no spaces' is no resource name"),
        ({"uses": ["key/task:quote"]}, "'key/task:quote' is no resource name"),
    ],
)
def test_a_text_that_no_run_could_fill_in_is_refused_when_tasks_are_loaded(options: Any, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        describe(made(**options))
    assert said in str(caught.value)


def test_any_parameter_may_be_named_where_any_may_be_given() -> None:
    def anything(**rest: str) -> None: ...

    declared = task(name="anything", uses=["host:{host}"])(anything)
    describe(declared)
    assert needs_of(declared.flow.needs("anything", {"host": "a"}).uses) == (Need("host:a"),)
    with pytest.raises(InvalidInput, match=r"uses 'host:\{host\}': parameter 'host' is not given"):
        declared.flow.needs("anything", {})


def test_a_value_that_cannot_name_a_resource_is_refused_at_the_enqueue() -> None:
    with pytest.raises(InvalidInput, match="'host:no spaces' is no resource name"):
        of(made(uses=["host:{host}"]), ticker="X", host="no spaces")
    with pytest.raises(InvalidInput, match="uses gave the text 'abc'; return a list of names"):
        of(made(uses=lambda parameters: "abc"), ticker="X")
    with pytest.raises(InvalidInput, match="needs 21 resources; the most are 20"):
        of(made(uses=[f"r{n}" for n in range(21)]), ticker="X")


def test_the_limits_of_a_queue_are_needs_as_well_and_keys_are_asked_first() -> None:
    limits = QueueLimits(20, 2)
    needs = all_needs('[{"name":"api"}]', "scraping", limits, "acme")
    assert needs == (Need("key/queue:scraping", 20), Need("key/queue:scraping:acme", 2), Need("api"))
    assert all_needs(None, "scraping", limits, None) == (Need("key/queue:scraping", 20),)


def test_limits_of_a_queue_are_kept_as_text() -> None:
    for limits in (QueueLimits(), QueueLimits(5), QueueLimits(None, 2, "ann"), QueueLimits(5, 2)):
        assert QueueLimits.from_json(limits.to_json()) == (QueueLimits() if limits.none else limits)
    assert QueueLimits(None, None, "ann").to_json() == "{}"
    assert str(QueueLimits(20, 2)) == "20 running, 2 of a key"
    with pytest.raises(InvalidInput, match="limit 'running' of a queue 0 is not a number of runs"):
        QueueLimits(0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("brapi", "brapi"),
        ("key/task:quote", "task quote"),
        ("key/task:quote:a:b", "key 'a:b' of task quote"),
        ("key/queue:scraping", "queue scraping"),
        ("key/queue:scraping:acme", "key 'acme' of queue scraping"),
    ],
)
def test_needs_have_names_for_people(name: str, words: str) -> None:
    assert need_in_words(name) == words
