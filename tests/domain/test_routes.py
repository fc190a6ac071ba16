"""Which route a task takes."""

from __future__ import annotations

import pytest

from mainspring.domain.routes import Route, find_route

ROUTES = [
    Route(task="market.quotes", queue="fast"),
    Route(task="market.*", queue="scraping", priority=8),
    Route(task="report_?", queue="reports"),
    Route(task="[ab]*", priority=2),
]


@pytest.mark.parametrize(
    ("task", "route"),
    [
        ("market.quotes", 0),
        ("market.quotes.daily", 1),
        ("market.", 1),
        ("report_1", 2),
        ("report_12", None),
        ("alpha", 3),
        ("Market.quotes", None),
        ("supermarket.quotes", None),
        ("", None),
    ],
)
def test_the_first_route_whose_pattern_fits_wins(task: str, route: int | None) -> None:
    assert find_route(ROUTES, task) == (None if route is None else ROUTES[route])
