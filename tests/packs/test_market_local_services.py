from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from mainspring.clock import SystemClock
from mainspring.pack import HostPolicy, HttpClient, HttpStatusError, HttpTimeout
from mainspring.packs.market import SHIPPED_FILE, MarketSettings, load_schedule_file, local_services, scraper_names
from mainspring.packs.market.local_answers import answer_for
from mainspring.packs.market.local_services import DEMO_FAULTS, LocalServices
from tests.packs.conftest import Scrape

SAMPLES = Path(local_services.__file__).with_name("samples")


def statuses(services: LocalServices, path: str, count: int, timeout: float = 10) -> list[int]:
    async def one(client: HttpClient) -> int:
        try:
            return (await client.get(services.url + path)).status
        except HttpStatusError as error:
            return error.status

    async def main() -> list[int]:
        policy = HostPolicy(rate=1000, burst=100, concurrency=1)
        async with HttpClient(SystemClock(), policies=[policy], timeout=timedelta(seconds=timeout)) as client:
            return [await one(client) for _ in range(count)]

    return asyncio.run(main())


def test_every_request_is_counted_by_path_and_outcome(services: LocalServices) -> None:
    services.fail("/api/quote/PETR4", times=2)
    assert statuses(services, "/api/quote/PETR4", 3) == [503, 503, 200]
    assert statuses(services, "/nowhere?x=1", 1) == [404]
    assert services.counts() == {"/api/quote/PETR4": {"200": 1, "503": 2}, "/nowhere?x=1": {"404": 1}}
    assert (services.total(), services.total("/api/*"), services.total("/api/*", 503)) == (4, 3, 2)


def test_the_counts_can_be_read_over_http_and_are_not_counted_themselves(services: LocalServices) -> None:
    statuses(services, "/api/quote/VALE3", 1)

    async def main() -> object:
        async with HttpClient(SystemClock()) as client:
            return await client.get_json(services.url + "/_counts")

    assert asyncio.run(main()) == {"/api/quote/VALE3": {"200": 1}} == services.counts()


def test_a_fault_without_number_lasts(services: LocalServices) -> None:
    services.fail("/api/*", times=None, status=500)
    assert statuses(services, "/api/quote/PETR4", 4) == [500, 500, 500, 500]


def test_a_held_request_waits_for_its_event(services: LocalServices) -> None:
    held = services.hold("/api/quote/PETR4", times=1)
    with pytest.raises(HttpTimeout):
        statuses(services, "/api/quote/PETR4", 1, timeout=0.1)
    held.set()
    assert statuses(services, "/api/quote/PETR4", 1) == [200]


def test_a_delay_leaves_the_answer_as_it_is(services: LocalServices) -> None:
    services.delay("/api/quote/PETR4", 0.001)
    assert statuses(services, "/api/quote/PETR4", 1) == [200]


def test_every_ticker_that_ships_can_be_scraped(scrape: Scrape) -> None:
    pairs = {(e.scraper, t) for e in load_schedule_file(SHIPPED_FILE, scraper_names()).entries for t in e.tickers}
    failed = {pair: result.error for pair in sorted(pairs) if not (result := scrape(*pair)).success}
    assert failed == {}
    assert len(pairs) == 56


def test_the_faults_of_the_demonstration_touch_two_sources(services: LocalServices, scrape: Scrape) -> None:
    for pattern, times in DEMO_FAULTS:
        services.fail(pattern, times)
    assert [scrape("bcb", "selic_target").success for _ in range(4)] == [False, False, True, True]
    assert [scrape("crypto", "XRPBRL").success for _ in range(5)] == [False] * 5
    assert scrape("bcb", "ipca").success
    assert scrape("crypto", "BTCBRL").success


def test_ticker_names_outside_the_samples_are_answered_as_the_services_do() -> None:
    assert answer_for("/api/quote/XXXX3").status == 404
    assert answer_for("/v8/finance/chart/XXXX").status == 404
    assert answer_for("/api/v3/klines?symbol=XXX").status == 400
    assert answer_for("/dados/serie/bcdata.sgs.432/dados/ultimos/x").status == 404
    assert answer_for("/v1/chat/completions", b"{").status == 400


def test_the_samples_are_dated_and_described() -> None:
    described = (SAMPLES / "README.md").read_text(encoding="utf-8")
    for path in SAMPLES.glob("*.json"):
        assert f"`{path.name}`" in described
        json.loads(path.read_text(encoding="utf-8"))


def test_the_server_runs_by_itself_and_prints_the_settings_that_lead_to_it() -> None:
    command = [sys.executable, "-m", "mainspring.packs.market.local_services", "--faults"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().rstrip("\n") for _ in range(9)]
        settings = MarketSettings.build(dict(line.split("=", 1) for line in lines))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert settings.brapi_url.startswith("http://127.0.0.1:")
    assert settings.cotahist_day is not None
