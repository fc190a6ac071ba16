from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime

import pytest

from mainspring.clock import ManualClock
from mainspring.packs.market.local_answers import LocalAnswer
from mainspring.packs.market.local_services import LocalServices
from tests.packs.conftest import NOON, Scrape, scrape_once


def test_a_b3_quote_has_price_name_and_time(scrape: Scrape) -> None:
    result = scrape("b3_quotes", "petr4.sa")
    assert result.success
    assert result.data == {
        "ticker": "PETR4",
        "name": "Petróleo Brasileiro S.A. - Petrobras",
        "currency": "BRL",
        "price": 36.3,
        "quoted_at": "2024-08-07T20:07:00+00:00",
        "change": 0.36,
        "change_percent": 1.002,
        "open": None,
        "high": None,
        "low": None,
        "previous_close": 35.94,
        "volume": None,
        "market_cap": None,
        "low_52_weeks": None,
        "high_52_weeks": None,
    }
    assert result.metadata == {"source": "127.0.0.1"}


def test_a_us_quote_has_price_and_time(scrape: Scrape) -> None:
    data = scrape("us_quotes", "AAPL").data
    assert (data["ticker"], data["currency"], data["price"]) == ("AAPL", "USD", 250.42)
    assert data["quoted_at"] == "2024-12-31T21:00:00+00:00"


def test_the_class_of_a_us_share_is_asked_for_with_a_hyphen(services: LocalServices, scrape: Scrape) -> None:
    assert scrape("us_quotes", "BRK.B").error == "127.0.0.1 has no quote of BRK-B"
    assert services.total("/v8/finance/chart/BRK-B*", 404) == 1


def test_fundamentals_are_grouped_and_what_is_missing_is_none(scrape: Scrape) -> None:
    data = scrape("fundamentals", "PETR4").data
    assert data["profile"]["sector"] == "Energy"
    assert data["statistics"]["net_income"] == 124606000000
    assert data["financials"]["revenue"] == 511994000000
    assert data["financials"]["return_on_equity"] is None
    result = scrape("fundamentals", "ITUB4")
    assert (result.data["financials"], result.metadata["missing"]) == (None, ["financialData"])


def test_a_company_without_fundamentals_is_a_permanent_failure(scrape: Scrape) -> None:
    result = scrape("fundamentals", "ELET3")
    assert (result.success, result.error) == (False, "127.0.0.1 has no fundamentals of ELET3")
    assert result.metadata["permanent"] is True


@pytest.mark.parametrize("ticker", ["BTCBRL", "btc-brl", "BTC/BRL", "BTC"])
def test_a_pair_may_be_written_in_several_ways(scrape: Scrape, ticker: str) -> None:
    data = scrape("crypto", ticker).data
    assert (data["ticker"], data["price"], data["volume"]) == ("BTCBRL", 324891.0, 116.55)
    assert data["candles"] == [
        {
            "opened_at": "2026-06-11T00:00:00+00:00",
            "open": 319376.0,
            "high": 327366.0,
            "low": 319376.0,
            "close": 324891.0,
            "volume": 116.55,
        }
    ]


def test_a_pair_that_is_not_traded_is_a_permanent_failure(scrape: Scrape) -> None:
    result = scrape("crypto", "DOGEBRL")
    assert (result.error, result.metadata["permanent"]) == ("127.0.0.1 does not trade DOGEBRL", True)


@pytest.mark.parametrize("ticker", ["ipca", "IPCA", "433"])
def test_a_bcb_series_is_given_by_name_or_number(scrape: Scrape, ticker: str) -> None:
    data = scrape("bcb", ticker, bcb_values=3).data
    assert (data["series"], data["title"], data["unit"]) == (433, "IPCA inflation of the month", "% a month")
    assert data["latest"] == {"date": "2024-12-01", "value": 0.52}
    assert [value["value"] for value in data["values"]] == [0.56, 0.39, 0.52]


def test_an_unknown_bcb_series_is_told_apart_from_one_that_the_bank_does_not_have(scrape: Scrape) -> None:
    wrong = scrape("bcb", "ipcaa")
    assert wrong.error == "unknown series 'ipcaa'; did you mean 'ipca'? (or give its number)"
    missing = scrape("bcb", "99999")
    assert missing.error == "127.0.0.1 has no series 99999"
    assert wrong.metadata["permanent"] is missing.metadata["permanent"] is True


def test_news_of_several_feeds_are_merged_newest_first(scrape: Scrape) -> None:
    data = scrape("news", "VALE3").data
    assert data["count"] == 2
    assert [(item["published_at"], item["source"]) for item in data["items"]] == [
        ("2024-10-01T12:00:00+00:00", "Announcements: VALE3"),
        ("2024-02-22T22:00:00+00:00", "Events: VALE3"),
    ]


def test_a_feed_that_fails_is_named_and_the_others_count(services: LocalServices, scrape: Scrape) -> None:
    services.fail("/feeds/atom*", times=1)
    result = scrape("news", "VALE3")
    assert (result.success, result.data["count"]) == (True, 1)
    assert result.error == f"{services.url}/feeds/atom?s=VALE3: answered with status 503"
    assert result.metadata["failed_feeds"] == [result.error]


def test_news_fail_when_every_feed_does(services: LocalServices, scrape: Scrape) -> None:
    services.fail("/feeds/*", times=None)
    result = scrape("news", "VALE3")
    assert (result.success, result.metadata["status"]) == (False, 503)


def test_the_official_prices_come_from_the_day_that_is_set(scrape: Scrape) -> None:
    result = scrape("b3_cotahist", "VALE3")
    assert (result.data["day"], result.data["close"], result.data["market"]) == ("2024-08-07", 57.3, 10)
    assert result.metadata == {"file": "COTAHIST_D07082024.ZIP"}


def test_without_a_day_the_newest_file_counts_and_weekends_are_not_asked_for(
    services: LocalServices, scrape: Scrape
) -> None:
    monday = ManualClock(datetime(2024, 8, 12, 15, 0, tzinfo=UTC))
    result = scrape("b3_cotahist", "PETR4", monday, MARKET_COTAHIST_DAY=None)
    assert result.data["day"] == "2024-08-07"
    assert services.counts() == {
        "/InstDados/SerHist/COTAHIST_D07082024.ZIP": {"200": 1},
        "/InstDados/SerHist/COTAHIST_D08082024.ZIP": {"404": 1},
        "/InstDados/SerHist/COTAHIST_D09082024.ZIP": {"404": 1},
        "/InstDados/SerHist/COTAHIST_D12082024.ZIP": {"404": 1},
    }


def test_without_any_file_of_the_week_the_scrape_fails(scrape: Scrape) -> None:
    late = ManualClock(datetime(2026, 1, 5, tzinfo=UTC))
    result = scrape("b3_cotahist", "PETR4", late, MARKET_COTAHIST_DAY=None)
    assert result.error == "there is no COTAHIST file of the last 7 days"
    assert "permanent" not in result.metadata


def test_a_paper_that_was_not_traded_is_a_permanent_failure(scrape: Scrape) -> None:
    result = scrape("b3_cotahist", "XXXX3")
    assert result.error == "XXXX3 was not traded on the day of COTAHIST_D07082024.ZIP"
    assert result.metadata["permanent"] is True


def test_a_complete_scan_merges_quote_fundamentals_and_news(scrape: Scrape) -> None:
    result = scrape("complete_scan", "PETR4")
    assert (result.success, result.error) == (True, None)
    assert result.metadata["parts"] == {"quote": "ok", "fundamentals": "ok", "news": "ok"}
    assert result.data["quote"]["price"] == 36.3
    assert result.data["fundamentals"]["profile"]["industry"] == "Oil & Gas Integrated"
    assert result.data["news"]["count"] == 2


def test_a_part_that_fails_is_named_and_the_others_count(scrape: Scrape) -> None:
    result = scrape("complete_scan", "AAPL")
    assert result.success
    assert result.metadata["parts"] == {"quote": "ok", "fundamentals": "failed", "news": "ok"}
    assert result.error == "fundamentals: 127.0.0.1 refuses AAPL: Não encontramos a ação AAPL"
    assert result.data["fundamentals"] is None


def test_a_complete_scan_fails_when_every_part_does(services: LocalServices, scrape: Scrape) -> None:
    services.fail("*", times=None)
    result = scrape("complete_scan", "PETR4")
    assert not result.success
    assert "permanent" not in result.metadata
    assert (result.error or "").startswith("quote: ")


def test_ai_analysis_is_off_and_says_so_when_no_endpoint_is_configured(services: LocalServices, scrape: Scrape) -> None:
    result = scrape("ai_analysis", "PETR4", MARKET_AI_URL=None)
    assert result.success
    assert result.data["status"] == "off"
    assert "set MARKET_AI_URL" in result.data["reason"]
    assert result.metadata == {"skipped": True}
    assert services.counts() == {}


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_ai_analysis_asks_the_endpoint_with_the_figures(services: LocalServices, scrape: Scrape, ending: str) -> None:
    result = scrape("ai_analysis", "PETR4", MARKET_AI_URL=services.url + ending, ai_key="sk-secret")
    assert result.data["status"] == "done"
    assert "PETR4 was last quoted at 36.3; 2 news items were given." in result.data["analysis"]
    assert result.metadata["model"] == "gpt-4o-mini"
    assert result.metadata["inputs"] == {"quote": "ok", "fundamentals": "ok", "news": "ok"}
    assert result.metadata["usage"]["total_tokens"] > 0


def test_neither_result_nor_log_ever_holds_a_key(
    services: LocalServices, scrape: Scrape, caplog: pytest.LogCaptureFixture
) -> None:
    services.fail("/v1/*", times=1, status=401)
    with caplog.at_level(logging.DEBUG):
        results = [
            scrape("ai_analysis", "PETR4", ai_key="sk-secret", brapi_token="tok-secret"),
            scrape("ai_analysis", "PETR4", ai_key="sk-secret", brapi_token="tok-secret"),
        ]
    assert [result.success for result in results] == [False, True]
    assert "secret" not in caplog.text + repr(results)


QUOTE = {"symbol": "PETR4", "currency": "BRL"}
CHART = {"symbol": "AAPL", "currency": "USD"}
DAY = {"symbol": "BTCBRL"}

MALFORMED = [
    ("b3_quotes", {"results": {}}, "'results' should be a list, not an object"),
    ("b3_quotes", [1], "'answer' should be an object, not a list"),
    ("b3_quotes", {"results": [{"symbol": 4}]}, "'results[0].symbol' should be text, not a number"),
    ("b3_quotes", {"results": [{"symbol": "V3"}]}, "'results[0].symbol' is 'V3', but 'PETR4' was asked for"),
    ("b3_quotes", {"results": [QUOTE]}, "'results[0].regularMarketPrice' is missing"),
    ("us_quotes", {"chart": None}, "'chart' should be an object, not null"),
    (
        "us_quotes",
        {"chart": {"result": [{"meta": CHART | {"regularMarketPrice": True}}]}},
        "'chart.result[0].meta.regularMarketPrice' should be a number, not true or false",
    ),
    ("candles", {"a": 1}, "'answer' should be a list, not an object"),
    ("candles", [[1, "2"]], "'answer[0]' has 2 items, not 3"),
    ("crypto", DAY | {"lastPrice": "1.0.0"}, "'lastPrice' should be a number, not '1.0.0'"),
    ("crypto", DAY | {"lastPrice": "NaN"}, "'lastPrice' should be a number, not 'NaN'"),
    ("crypto", DAY | {"lastPrice": "1", "closeTime": "x"}, "'closeTime' should be an instant, not 'x'"),
    ("crypto", {"symbol": "ETHBRL"}, "'symbol' is 'ETHBRL', but 'BTCBRL' was asked for"),
    ("bcb", {"erro": "x"}, "'answer' should be a list, not an object"),
    ("bcb", [{"data": "2024-01-01"}], "'answer[0].data' should be a date dd/mm/yyyy, not '2024-01-01'"),
    ("bcb", [{"data": "01/01/2024", "valor": "-"}], "'answer[0].valor' should be a number, not '-'"),
    ("ai_analysis", {"choices": []}, "'choices' has 0 items, not 1"),
    ("ai_analysis", {"choices": [{"message": {"content": " "}}]}, "'choices[0].message.content' is empty"),
]
ASKED = {
    "b3_quotes": ("b3_quotes", "PETR4", "/api/quote/*"),
    "us_quotes": ("us_quotes", "AAPL", "/v8/*"),
    "crypto": ("crypto", "BTC", "/api/v3/ticker*"),
    "candles": ("crypto", "BTC", "/api/v3/klines*"),
    "bcb": ("bcb", "ipca", "/dados/*"),
    "ai_analysis": ("ai_analysis", "PETR4", "/v1/*"),
}


@pytest.mark.parametrize(("source", "body", "problem"), MALFORMED)
def test_a_malformed_answer_is_named_with_host_and_field(
    services: LocalServices, scrape: Scrape, source: str, body: object, problem: str
) -> None:
    name, ticker, pattern = ASKED[source]
    services.answer(pattern, LocalAnswer(200, json.dumps(body).encode()))
    result = scrape(name, ticker)
    assert (result.success, result.error) == (False, f"malformed answer of 127.0.0.1: field {problem}")


def test_a_page_in_place_of_json_is_named(services: LocalServices, scrape: Scrape) -> None:
    services.answer("/dados/*", LocalAnswer(200, b"<html>maintenance</html>", "text/html"))
    error = scrape("bcb", "ipca").error or ""
    assert error.startswith(
        f"{services.url}/dados/serie/bcdata.sgs.433/dados/ultimos/12?formato=json: the answer (text/html)"
    )


def test_a_busy_source_says_when_to_come_again(services: LocalServices, scrape: Scrape) -> None:
    services.fail("/api/quote/*", status=429, retry_after="30")
    result = scrape("b3_quotes", "PETR4")
    assert result.metadata == {"error_type": "HttpStatusError", "status": 429, "retry_after": 30.0}


def test_a_source_that_fails_twice_recovers_on_the_third_try(services: LocalServices, scrape: Scrape) -> None:
    services.fail("/dados/serie/bcdata.sgs.432/*", times=2)
    assert [scrape("bcb", "selic_target").success for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("ticker", ["", "   ", "A" * 65, "PE\x00TR4", "PETR\n4"])
def test_what_is_no_ticker_is_refused_before_anybody_is_asked(
    services: LocalServices, scrape: Scrape, ticker: str
) -> None:
    result = scrape("b3_quotes", ticker)
    assert result.metadata["permanent"] is True
    assert services.counts() == {}


@pytest.mark.parametrize("ticker", ["../../etc/passwd", "PETR4?token=x", "PETR4#", "a b", "ação"])
def test_an_odd_ticker_stays_within_its_place_in_the_url(services: LocalServices, scrape: Scrape, ticker: str) -> None:
    assert not scrape("b3_quotes", ticker).success
    assert [path for path in services.counts() if not path.startswith("/api/quote/")] == []
    assert all("/" not in path.removeprefix("/api/quote/") and "?" not in path for path in services.counts())


def test_no_more_requests_are_under_way_than_the_settings_allow(services: LocalServices) -> None:
    held = services.hold("*")
    polite = {"MARKET_POLITENESS": {"127.*": {"rate": 1000, "burst": 100, "concurrency": 2}}}

    async def main() -> None:
        scan = asyncio.create_task(scrape_once(services, "complete_scan", "PETR4", ManualClock(NOON), polite))
        while services.under_way < 2:
            await asyncio.sleep(0)
        held.set()
        await scan

    asyncio.run(main())
    assert (services.total(), services.peak) == (4, 2)
