from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mainspring.clock import ManualClock
from mainspring.errors import ConfigurationInvalid, UnknownName
from mainspring.pack import HttpClient
from mainspring.packs.market import (
    BaseScraper,
    MarketSettings,
    ScrapeContext,
    ScrapeResult,
    build_scraper,
    run_scraper,
    scraper_names,
)


class Own(BaseScraper):
    name = "own"

    async def scrape(self, ticker: str) -> ScrapeResult:
        return ScrapeResult(True, {"agent": self.context.settings.user_agent, "ticker": ticker})


class WithoutArgument(BaseScraper):
    def __init__(self) -> None:
        super().__init__("renamed")

    async def scrape(self, ticker: str) -> dict[str, Any]:
        return {"success": True, "data": [ticker, self.name], "response_time": timedelta(seconds=2)}


class OfAnotherFamily:
    name = "foreign"

    async def scrape(self, ticker: str) -> SimpleNamespace:
        return SimpleNamespace(success=False, error=ValueError("no luck"), response_time=0.5, metadata={"a": 1})


class Broken(BaseScraper):
    async def scrape(self, ticker: str) -> None:
        raise KeyError(ticker)


class Silent(BaseScraper):
    async def scrape(self, ticker: str) -> None:
        return None


class Demanding(BaseScraper):
    def __init__(self, account: str) -> None:
        super().__init__(account)


@pytest.fixture
def context() -> Iterator[ScrapeContext]:
    module = ModuleType("project_scrapers")
    for kind in (Own, WithoutArgument, OfAnotherFamily, Broken, Silent, Demanding):
        setattr(module, kind.__name__, kind)
    module.NotOne = object  # type: ignore[attr-defined]
    sys.modules["project_scrapers"] = module
    names = ["Own", "WithoutArgument", "OfAnotherFamily", "Broken", "Silent", "Demanding", "NotOne", "Missing"]
    own = {name: f"project_scrapers:{name}" for name in names}
    settings = MarketSettings.build({}, {"scrapers": {**own, "news": "project_scrapers:Own"}, "user_agent": "me"})
    clock = ManualClock()
    yield ScrapeContext(HttpClient(clock), settings, clock)
    del sys.modules["project_scrapers"]


def outcome(context: ScrapeContext, name: str, ticker: str = "PETR4") -> ScrapeResult:
    return asyncio.run(run_scraper(build_scraper(name, context), ticker, context.clock))


def test_nine_scrapers_ship() -> None:
    shipped = "ai_analysis b3_cotahist b3_quotes bcb complete_scan crypto fundamentals news us_quotes"
    assert " ".join(scraper_names()) == shipped


def test_every_shipped_scraper_carries_the_name_it_is_found_by() -> None:
    clock = ManualClock()
    context = ScrapeContext(HttpClient(clock), MarketSettings.build({}), clock)
    assert [build_scraper(name, context).name for name in scraper_names()] == list(scraper_names())


def test_a_scraper_of_the_project_is_given_the_context(context: ScrapeContext) -> None:
    assert outcome(context, "Own").data == {"agent": "me", "ticker": "PETR4"}


def test_a_scraper_of_the_project_may_take_a_shipped_name(context: ScrapeContext) -> None:
    assert outcome(context, "news").data == {"agent": "me", "ticker": "PETR4"}


def test_a_scraper_without_argument_that_answers_a_mapping_plugs_in(context: ScrapeContext) -> None:
    assert outcome(context, "WithoutArgument") == ScrapeResult(True, ["PETR4", "renamed"], None, 2.0, {})


def test_a_scraper_of_another_family_plugs_in_by_its_shape(context: ScrapeContext) -> None:
    assert outcome(context, "OfAnotherFamily") == ScrapeResult(False, None, "no luck", 0.5, {"a": 1})


def test_an_exception_becomes_a_failed_result_with_its_type(
    context: ScrapeContext, caplog: pytest.LogCaptureFixture
) -> None:
    result = outcome(context, "Broken")
    assert result == ScrapeResult(False, None, "KeyError: 'PETR4'", 0.0, {"error_type": "KeyError"})
    assert "Traceback" in caplog.text


def test_an_answer_without_success_is_a_permanent_failure(context: ScrapeContext) -> None:
    result = outcome(context, "Silent")
    assert result.error == "scrape returned NoneType, which has no 'success'; return a ScrapeResult"
    assert result.metadata["permanent"] is True


def test_the_time_is_measured_when_the_scraper_does_not_tell_it() -> None:
    clock = ManualClock()

    class Slow:
        name = "slow"

        async def scrape(self, ticker: str) -> ScrapeResult:
            clock.advance(timedelta(milliseconds=1500))
            return ScrapeResult(True)

    assert asyncio.run(run_scraper(Slow(), "X", clock)).response_time == 1.5


def test_a_cancelled_scrape_is_not_taken_for_a_failed_one() -> None:
    class Endless:
        name = "endless"

        async def scrape(self, ticker: str) -> None:
            await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(run_scraper(Endless(), "X", ManualClock()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Missing", "scraper 'Missing' cannot be loaded from 'project_scrapers:Missing': "),
        ("NotOne", "scraper 'NotOne' (project_scrapers:NotOne) has no method scrape(ticker)"),
        ("Demanding", "scraper 'Demanding' cannot be made: "),
    ],
)
def test_a_scraper_that_cannot_be_made_is_named(context: ScrapeContext, name: str, problem: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        build_scraper(name, context)
    assert str(caught.value).startswith(problem)


def test_an_unknown_scraper_is_answered_with_the_nearest_name(context: ScrapeContext) -> None:
    with pytest.raises(UnknownName, match=r"unknown scraper 'b3_quote'; did you mean 'b3_quotes'\?"):
        build_scraper("b3_quote", context)
