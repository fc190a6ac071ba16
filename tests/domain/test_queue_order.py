"""The order in which a worker tries its queues."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.queue_order import QueueOrder, QueueOrderInvalid


def test_names_without_weights_are_tried_in_strict_order_at_every_turn() -> None:
    order = QueueOrder.parse("high, default,low")
    assert order.strict
    assert order.names == ("high", "default", "low")
    assert {order.pick_order(turn) for turn in range(20)} == {("high", "default", "low")}


def test_weights_give_each_queue_its_share_of_first_places_spread_evenly() -> None:
    order = QueueOrder.parse("scraping:3,analysis:1")
    assert not order.strict
    first = [order.pick_order(turn)[0] for turn in range(8)]
    assert first == ["scraping", "scraping", "analysis", "scraping"] * 2


def test_every_turn_tries_every_queue_once() -> None:
    order = QueueOrder.parse("a:5,b:1,c:1")
    assert [order.pick_order(turn) for turn in range(7)] == [
        ("a", "b", "c"),
        ("a", "b", "c"),
        ("b", "a", "c"),
        ("a", "c", "b"),
        ("c", "a", "b"),
        ("a", "b", "c"),
        ("a", "b", "c"),
    ]


def test_equal_weights_are_plain_turns_whatever_their_size() -> None:
    assert [QueueOrder.parse("a:10,b:10").pick_order(turn)[0] for turn in range(4)] == ["a", "b", "a", "b"]


def test_an_order_is_written_back_as_it_was_read() -> None:
    assert str(QueueOrder.parse("high , low")) == "high,low"
    assert str(QueueOrder.parse("scraping : 3, analysis:1")) == "scraping:3,analysis:1"
    assert QueueOrder.parse("high,low").in_words() == "high, then low"
    assert QueueOrder.parse("a:3,b:1").in_words() == "a 3, b 1 (weights)"


WAY_OUT = "write names in strict order ('high,default,low') or each name with a weight ('scraping:3,analysis:1')"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"no queue is named; {WAY_OUT}"),
        (" , ", f"no queue is named; {WAY_OUT}"),
        ("high,,low", f"'high,,low' has an empty name between its commas; {WAY_OUT}"),
        ("high:3,low", f"'high:3' has a weight and 'low' has none; {WAY_OUT}"),
        ("low,high,low", "queue 'low' is named twice; name it once"),
        ("high:0", "weight '0' of queue 'high' is not a whole number from 1 to 100"),
        ("high:101", "weight '101' of queue 'high' is not a whole number from 1 to 100"),
        ("high:fast", "weight 'fast' of queue 'high' is not a whole number from 1 to 100"),
        ("high:-1", "weight '-1' of queue 'high' is not a whole number from 1 to 100"),
        (
            "my queue",
            "'my queue' is no queue name; use 1 to 100 letters, digits, '_', '.' and '-', no sign first",
        ),
    ],
)
def test_a_malformed_order_is_refused_with_the_way_out(text: str, message: str) -> None:
    with pytest.raises(QueueOrderInvalid) as refused:
        QueueOrder.parse(text)
    assert str(refused.value) == message


@given(st.lists(st.integers(1, 100), min_size=1, max_size=6), st.integers(0, 10_000))
def test_in_a_full_cycle_each_queue_is_first_exactly_by_its_weight(weights: list[int], start: int) -> None:
    order = QueueOrder(tuple(f"q{i}" for i in range(len(weights))), tuple(weights))
    total = sum(weights)
    counted = Counter(order.pick_order(start + turn)[0] for turn in range(total))
    assert counted == {f"q{i}": weight for i, weight in enumerate(weights)}


@given(st.text(max_size=30))
def test_any_text_is_an_order_or_is_refused_in_words(text: str) -> None:
    try:
        order = QueueOrder.parse(text)
    except QueueOrderInvalid:
        return
    assert QueueOrder.parse(str(order)) == order
