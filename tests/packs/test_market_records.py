from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mainspring import Fail
from mainspring.clock import SystemClock
from mainspring.pack import FiredRun, OccurrenceFired
from mainspring.packs.market import ScrapeError
from mainspring.packs.market.contribution import pack
from mainspring.packs.market.local_services import LocalServices
from mainspring.packs.market.records import ScraperRecord, add_result, list_executions, list_results
from tests.packs.conftest import NOON
from tests.packs.jobs import Jobs

RECORD = ScraperRecord("job-1", "b3_quotes", "PETR4", True, {"price": 36.2}, None, 0.25, {"source": "x"}, NOON)


class Scraper:
    """A scraper whose answer the test gives."""

    name = "mine"
    answer: object = None

    async def scrape(self, ticker: str) -> dict[str, object]:
        return {"success": True, "data": self.answer}


MINE = {"scrapers": {"mine": f"{__name__}:Scraper"}}


@pytest.fixture
def jobs(database_url: str, services: LocalServices) -> Iterator[Jobs]:
    made = Jobs(database_url, services, NOON)
    yield made
    made.database.close()


def test_the_tables_have_exactly_the_columns_of_the_contract(jobs: Jobs) -> None:
    def columns(table: str) -> list[str]:
        return jobs.door.read(lambda connection: list(connection.exec_driver_sql(f"SELECT * FROM {table}").keys()))

    assert columns("schedule_executions") == ["schedule_name", "scraper_name", "tickers", "job_ids", "executed_at"]
    assert columns("scraper_results") == [
        "job_id", "scraper_name", "ticker", "success", "data", "error", "response_time", "metadata", "executed_at",
    ]  # fmt: skip


def test_on_postgresql_values_are_jsonb_and_instants_timestamptz(
    postgres_database: str, services: LocalServices
) -> None:
    jobs = Jobs(postgres_database, services, NOON)
    query = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'scraper_results'"
    assert dict(jobs.sql(query)) == {  # type: ignore[arg-type]
        "job_id": "text",
        "scraper_name": "text",
        "ticker": "text",
        "success": "boolean",
        "data": "jsonb",
        "error": "text",
        "response_time": "double precision",
        "metadata": "jsonb",
        "executed_at": "timestamp with time zone",
    }
    query = query.replace("scraper_results", "schedule_executions")
    assert dict(jobs.sql(query)) == {  # type: ignore[arg-type]
        "schedule_name": "text",
        "scraper_name": "text",
        "tickers": "jsonb",
        "job_ids": "jsonb",
        "executed_at": "timestamp with time zone",
    }
    jobs.database.close()


def record_the_last_days(jobs: Jobs) -> None:
    now = SystemClock().now()
    ages = (timedelta(0), timedelta(hours=23, minutes=59), timedelta(hours=24, minutes=1), timedelta(days=30))
    for number, age in enumerate(ages):
        for scraper in ("b3_quotes", "news")[: 1 + (number == 1)]:
            record = replace(RECORD, job_id=f"job-{number}-{scraper}", scraper_name=scraper, executed_at=now - age)
            jobs.door.write(lambda connection, record=record: add_result(connection, record))  # type: ignore[misc]


def test_the_query_of_the_contract_works_as_written_on_postgresql(
    postgres_database: str, services: LocalServices
) -> None:
    jobs = Jobs(postgres_database, services, NOON)
    record_the_last_days(jobs)
    query = (
        "SELECT scraper_name, count(*) FROM scraper_results "
        "WHERE executed_at >= NOW() - INTERVAL '24 hours' GROUP BY scraper_name"
    )
    assert sorted(jobs.sql(query)) == [("b3_quotes", 2), ("news", 1)]
    jobs.database.close()


def test_its_equivalent_works_on_sqlite(sqlite_url: str, services: LocalServices) -> None:
    jobs = Jobs(sqlite_url, services, NOON)
    record_the_last_days(jobs)
    query = (
        "SELECT scraper_name, count(*) FROM scraper_results "
        "WHERE executed_at >= datetime('now', '-24 hours') GROUP BY scraper_name"
    )
    assert sorted(jobs.sql(query)) == [("b3_quotes", 2), ("news", 1)]
    jobs.database.close()


def test_on_sqlite_json_functions_and_date_functions_read_the_columns(sqlite_url: str, services: LocalServices) -> None:
    jobs = Jobs(sqlite_url, services, NOON)
    jobs.door.write(lambda connection: add_result(connection, RECORD))
    query = (
        "SELECT json_extract(data, '$.price'), executed_at, strftime('%H', executed_at), success FROM scraper_results"
    )
    assert jobs.sql(query) == [(36.2, "2024-08-07 15:00:00.000000", "15", 1)]
    jobs.database.close()


def test_on_postgresql_json_operators_read_the_columns(postgres_database: str, services: LocalServices) -> None:
    jobs = Jobs(postgres_database, services, NOON)
    jobs.door.write(lambda connection: add_result(connection, RECORD))
    query = "SELECT (data->>'price')::numeric * 2, metadata->>'source', success FROM scraper_results"
    assert [tuple(map(str, row)) for row in jobs.sql(query)] == [("72.4", "x", "True")]
    jobs.database.close()


def test_a_record_comes_back_as_it_was_written(jobs: Jobs) -> None:
    bare = ScraperRecord("job-2", "news", "AAPL", False, None, "no answer", None, {}, NOON + timedelta(microseconds=1))
    for record in (RECORD, bare):
        jobs.door.write(lambda connection, record=record: add_result(connection, record))  # type: ignore[misc]
    found = jobs.door.read(lambda connection: list_results(connection, 10))
    assert [ScraperRecord(**row) for row in found] == [bare, RECORD]
    assert jobs.sql("SELECT count(*) FROM scraper_results WHERE data IS NULL") == [(1,)]


def test_a_record_given_again_after_a_lost_answer_is_written_once(jobs: Jobs) -> None:
    for _ in range(2):
        jobs.door.write(lambda connection: add_result(connection, RECORD))
    assert jobs.sql("SELECT count(*) FROM scraper_results") == [(1,)]


def test_a_fired_schedule_is_recorded_with_its_tickers_and_jobs(jobs: Jobs) -> None:
    runs = tuple(FiredRun(f"id-{t}", t, {"scraper": "crypto", "ticker": t}) for t in ("BTCBRL", "ETHBRL"))
    event = OccurrenceFired("crypto_15min", NOON, NOON + timedelta(seconds=1), runs, {"scraper": "crypto"})
    jobs.door.write(lambda connection: pack.on_occurrence_fired(event, connection))
    assert jobs.door.read(lambda connection: list_executions(connection, 10)) == [
        {
            "schedule_name": "crypto_15min",
            "scraper_name": "crypto",
            "tickers": ["BTCBRL", "ETHBRL"],
            "job_ids": ["id-BTCBRL", "id-ETHBRL"],
            "executed_at": datetime(2024, 8, 7, 15, 0, 1, tzinfo=UTC),
        }
    ]


def test_a_scrape_is_recorded_and_returned(jobs: Jobs) -> None:
    attempt = jobs.scrape("b3_quotes", "PETR4")
    (row,) = jobs.door.read(lambda connection: list_results(connection, 10))
    assert (row["job_id"], row["scraper_name"], row["ticker"], row["success"]) == (
        attempt.run_id,
        "b3_quotes",
        "PETR4",
        True,
    )
    assert row["data"]["ticker"] == "PETR4"
    assert jobs.result == {
        "data": row["data"],
        "error": None,
        "response_time": row["response_time"],
        "metadata": row["metadata"],
    }
    assert (attempt.artifacts, row["executed_at"]) == ({}, NOON)


def test_each_failed_try_is_recorded_and_may_be_tried_again(jobs: Jobs) -> None:
    jobs.services.fail("/api/quote/PETR4", times=2)
    context = jobs.context()
    for _ in range(2):
        with pytest.raises(ScrapeError, match="503") as raised:
            jobs.scrape("b3_quotes", "PETR4", context)
        assert not hasattr(raised.value, "retry_after")
        jobs.clock.advance(timedelta(seconds=2))
    jobs.scrape("b3_quotes", "PETR4", context)
    rows = jobs.door.read(lambda connection: list_results(connection, 10))
    assert [row["success"] for row in rows] == [True, False, False]
    assert "503" in rows[1]["error"]
    assert rows[1]["metadata"]["status"] == 503


def test_what_no_retry_mends_fails_at_once(jobs: Jobs) -> None:
    with pytest.raises(Fail, match="Não encontramos a ação XXXX9"):
        jobs.scrape("b3_quotes", "XXXX9")
    assert jobs.sql("SELECT ticker, success FROM scraper_results") == [("XXXX9", False)]


def test_an_unknown_scraper_fails_at_once_with_the_nearest_name(jobs: Jobs) -> None:
    with pytest.raises(Fail, match="unknown scraper 'b3_quote'; did you mean 'b3_quotes'"):
        jobs.scrape("b3_quote", "PETR4")
    assert jobs.sql("SELECT count(*) FROM scraper_results") == [(0,)]


def test_a_value_of_megabytes_is_kept_whole(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"lines": [f"{number:06}é" for number in range(300_000)]}
    monkeypatch.setattr(Scraper, "answer", value)
    jobs.scrape("mine", "X", **MINE)
    (row,) = jobs.door.read(lambda connection: list_results(connection, 1))
    assert row["data"] == value


def test_values_that_json_or_postgresql_refuse_are_stored_readably(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = {
        "nan": float("nan"),
        "nul": "a\x00b",
        "half": "\ud800c",
        "day": NOON.date(),
        7: {"set": {2, 1}},
        "big": 10**40,
    }
    monkeypatch.setattr(Scraper, "answer", odd)
    jobs.scrape("mine", "X", **MINE)
    (row,) = jobs.door.read(lambda connection: list_results(connection, 1))
    stored = {
        "nan": None,
        "nul": "a\ufffdb",
        "half": "\ufffdc",
        "day": "2024-08-07",
        "7": {"set": [1, 2]},
        "big": 10**40,
    }
    assert row["data"] == stored == jobs.result["data"]


@pytest.mark.parametrize("answer", [object(), {"x": [object()]}, {("a",): 1}])
def test_an_answer_that_cannot_be_stored_is_a_failure_that_no_retry_mends(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setattr(Scraper, "answer", answer)
    with pytest.raises(Fail, match="cannot be stored: data"):
        jobs.scrape("mine", "X", **MINE)
    (row,) = jobs.door.read(lambda connection: list_results(connection, 1))
    assert (row["success"], row["data"], row["metadata"]["permanent"]) == (False, None, True)


def test_an_answer_that_contains_itself_is_a_failure_too(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    endless: list[object] = []
    endless.append(endless)
    monkeypatch.setattr(Scraper, "answer", endless)
    with pytest.raises(Fail, match="nested more than 100 levels deep"):
        jobs.scrape("mine", "X", **MINE)


def test_a_ticker_that_no_database_holds_is_recorded_readably(jobs: Jobs) -> None:
    with pytest.raises(Fail, match="is not one"):
        jobs.scrape("b3_quotes", "A\x00B")
    assert jobs.sql("SELECT ticker FROM scraper_results") == [("A\ufffdB",)]


def test_a_complete_scan_keeps_its_answer_as_an_artifact(jobs: Jobs) -> None:
    attempt = jobs.scrape("complete_scan", "PETR4")
    ((name, (text, media_type)),) = attempt.artifacts.items()
    assert (name, media_type) == ("scan-PETR4.json", "application/json")
    assert json.loads(text) == jobs.result["data"]
    assert jobs.sql("SELECT scraper_name FROM scraper_results") == [("complete_scan",)]


def test_one_workbench_serves_all_scrapes_of_a_loop_and_a_new_one_the_next_loop(jobs: Jobs) -> None:
    context = jobs.context()
    jobs.scrape("b3_quotes", "PETR4", context)
    first = context.kept["workbench"]
    jobs.scrape("b3_quotes", "VALE3", context)
    assert context.kept["workbench"] is not first
    assert len(context.kept) == 1
