from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from mainspring import app
from mainspring.app import Application, Project, WorkerProcess, load_project, make_scheduler
from mainspring.clock import SystemClock
from mainspring.domain.priority import parse_priority
from mainspring.domain.retry import after_failure
from mainspring.domain.spec import ScheduleSpec
from mainspring.errors import ConfigurationInvalid
from mainspring.ids import RunId
from mainspring.pack import PackContext
from mainspring.packs.market.contribution import pack
from mainspring.packs.market.local_services import LocalServices
from mainspring.packs.market.records import list_executions, list_results
from mainspring.packs.market.settings import MarketSettings
from mainspring.services.enqueue import Request
from mainspring.services.packs import PackDoor, PackEvents, find_pack
from mainspring.store import migrate
from mainspring.store.runs import RunFilter
from tests.servers import PostgresCluster

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
FRIDAY_AFTERNOON = datetime(2026, 3, 6, 16, 40, tzinfo=SAO_PAULO)

EVERY_SECOND = """
schedules:
  every_second:
    type: interval
    scraper: bcb
    priority: high
    tickers: [ipca, igpm]
    seconds: 1
"""


@contextmanager
def project(
    folder: Path, environ: Mapping[str, str], url: str = "", schedules: str | None = None
) -> Iterator[tuple[Project, Application]]:
    """A project with the pack on a database that is up to date; *schedules* is its schedule file."""
    (folder / "mainspring.yaml").write_text(f"packs: [market]\n{f'database: {url}' if url else ''}\n")
    if schedules is not None:
        (folder / "config").mkdir(exist_ok=True)
        (folder / "config" / "scraper_schedules.yaml").write_text(schedules)
    made = load_project(folder / "mainspring.yaml", environ)
    application = made.open()
    migrate.upgrade(application.database)
    app.apply(application, made, "test")
    yield made, application
    application.close()


def wait_until(reached: Callable[[], bool], seconds: float = 30) -> None:
    clock = SystemClock()
    until = clock.monotonic() + seconds
    while not reached():
        assert clock.monotonic() < until, "not reached in time"
        clock.wait(threading.Event(), 0.02)


def shipped(folder: Path, **environ: str) -> dict[str, ScheduleSpec]:
    (folder / "mainspring.yaml").write_text("packs: [market]\n")
    return {spec.name: spec for spec in load_project(folder / "mainspring.yaml", environ).specs}


def next_times(spec: ScheduleSpec, after: datetime = FRIDAY_AFTERNOON) -> list[str]:
    found, moment = [], after.astimezone(UTC)
    for _ in range(5):
        fire_at = spec.next_after(moment)
        assert fire_at is not None
        moment = fire_at
        found.append(moment.astimezone(ZoneInfo(spec.zone)).strftime("%a %d %b %H:%M"))
    return found


def test_the_pack_is_found_by_its_name() -> None:
    assert find_pack("market") is pack


NEXT_FIVE = {
    "b3_market_data_hourly": ["Fri 06 Mar 17:00", *(f"Mon 09 Mar {hour}:00" for hour in ("09", "10", "11", "12"))],
    "us_market_data_hourly": ["Fri 06 Mar 17:05", *(f"Mon 09 Mar {hour}:05" for hour in ("09", "10", "11", "12"))],
    "b3_energy_hourly": ["Fri 06 Mar 17:15", *(f"Mon 09 Mar {hour}:15" for hour in ("09", "10", "11", "12"))],
    "b3_closing_snapshot": [f"{day} Mar 18:15" for day in ("Fri 06", "Mon 09", "Tue 10", "Wed 11", "Thu 12")],
    "b3_official_prices_daily": [f"{day} Mar 21:00" for day in ("Fri 06", "Mon 09", "Tue 10", "Wed 11", "Thu 12")],
    "fundamentals_daily": [f"{day} Mar 18:30" for day in ("Fri 06", "Mon 09", "Tue 10", "Wed 11", "Thu 12")],
    "fundamentals_watchlist_weekly": [f"Sun {day} 12:00" for day in ("08 Mar", "15 Mar", "22 Mar", "29 Mar", "05 Apr")],
    "crypto_15min": [f"Fri 06 Mar {time}" for time in ("16:45", "17:00", "17:15", "17:30", "17:45")],
    "crypto_daily_close": [f"{day} Mar 21:05" for day in ("Fri 06", "Sat 07", "Sun 08", "Mon 09", "Tue 10")],
    "news_brazil_30min": [f"Fri 06 Mar {time}" for time in ("17:00", "17:30", "18:00", "18:30", "19:00")],
    "news_us_30min": [f"Fri 06 Mar {time}" for time in ("17:00", "17:30", "18:00", "18:30", "19:00")],
    "bcb_indicators_daily": [f"{day} Mar 09:30" for day in ("Mon 09", "Tue 10", "Wed 11", "Thu 12", "Fri 13")],
    "bcb_inflation_monthly": [f"{day} Mar 10:00" for day in ("Sun 08", "Mon 09", "Tue 10", "Wed 11", "Thu 12")],
    "ai_analysis_weekly": [f"Sun {day} 20:00" for day in ("08 Mar", "15 Mar", "22 Mar", "29 Mar", "05 Apr")],
    "complete_scan_saturday": [f"Sat {day} 10:00" for day in ("07 Mar", "14 Mar", "21 Mar", "28 Mar", "04 Apr")],
}


def test_the_next_five_times_of_all_fifteen_are_right_in_sao_paulo(tmp_path: Path) -> None:
    specs = shipped(tmp_path)
    assert {spec.zone for spec in specs.values()} == {"America/Sao_Paulo"}
    assert {name: next_times(spec) for name, spec in specs.items()} == NEXT_FIVE


def test_every_numeric_weekday_is_put_into_names(tmp_path: Path) -> None:
    words = {name: spec.trigger.in_words() for name, spec in shipped(tmp_path).items()}
    assert words["b3_market_data_hourly"] == "every hour, from 09:00 to 17:00, Monday to Friday (America/Sao_Paulo)"
    assert words["ai_analysis_weekly"] == "at 20:00 on Sunday (America/Sao_Paulo)"
    assert words["complete_scan_saturday"] == "at 10:00 on Saturday (America/Sao_Paulo)"


def test_in_cron_text_zero_is_sunday(tmp_path: Path) -> None:
    (tmp_path / "mainspring.yaml").write_text(
        "packs: [market]\nzone: America/Sao_Paulo\nschedules:\n  mine:\n    task: market.scrape\n"
        "    cron: 0 9 * * 0\n    parameters: {scraper: news, ticker: PETR4}\n"
    )
    specs = {spec.name: spec for spec in load_project(tmp_path / "mainspring.yaml", {}).specs}
    assert next_times(specs["mine"])[:2] == ["Sun 08 Mar 09:00", "Sun 15 Mar 09:00"]


def test_the_settings_reach_schedules_and_worker(tmp_path: Path) -> None:
    environ = {"SCRAPER_MAX_RETRIES": "5", "SCRAPER_CONCURRENT_JOBS": "7"}
    assert {spec.max_tries for spec in shipped(tmp_path, **environ).values()} == {6}
    options = load_project(tmp_path / "mainspring.yaml", environ).worker_options()
    assert (options.slots, options.drain) == (7, None)
    assert load_project(tmp_path / "mainspring.yaml", {}).worker_options().slots == 3


def test_an_own_schedule_file_replaces_the_ready_made_ones(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "scraper_schedules.yaml").write_text(EVERY_SECOND)
    assert list(shipped(tmp_path)) == ["every_second"]


def test_a_bad_schedule_file_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "scraper_schedules.yaml").write_text(EVERY_SECOND.replace("bcb", "bbc"))
    with pytest.raises(
        ConfigurationInvalid, match=r"scraper_schedules.yaml:5: .*unknown scraper 'bbc'; did you mean 'bcb'"
    ):
        shipped(tmp_path)


def test_a_bad_setting_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="SCRAPER_MAX_RETRIES"):
        shipped(tmp_path, SCRAPER_MAX_RETRIES="many")


def test_retries_follow_after_exactly_2_4_8_seconds() -> None:
    (task,) = pack.tasks(MarketSettings.build({}, {}))
    delays = [after_failure(task.backoff, tries=tries, max_tries=5, seed="any") for tries in (1, 2, 3, 4)]
    assert [getattr(delay, "delay", None) for delay in delays] == [timedelta(seconds=s) for s in (2, 4, 8, 16)]


def test_db_host_and_its_like_name_a_database(tmp_path: Path) -> None:
    given = {"DB_HOST": "db.example", "DB_NAME": "scrapers", "DB_USER": "me@home", "DB_PASSWORD": "p:a/s@s%w"}
    assert pack.database(pack.settings(given, {}, tmp_path)) == (
        "postgresql://me%40home:p%3Aa%2Fs%40s%25w@db.example:5432/scrapers"
    )
    assert pack.database(pack.settings({"DB_HOST": "::1", "DB_USER": "me"}, {}, tmp_path)) == (
        "postgresql://me@[::1]:5432/scrapers"
    )
    assert pack.database(pack.settings({"DB_PORT": "5433"}, {}, tmp_path)) is None


def db_settings(cluster: PostgresCluster) -> dict[str, str]:
    return {
        "DB_HOST": "127.0.0.1",
        "DB_PORT": str(cluster.port),
        "DB_NAME": "postgres",
        "DB_USER": cluster.user,
        "DB_PASSWORD": cluster.password,
    }


def test_db_host_alone_makes_the_installation_use_postgresql(shared_postgres: PostgresCluster, tmp_path: Path) -> None:
    (tmp_path / "mainspring.yaml").write_text("packs: [market]\n")
    made = load_project(tmp_path / "mainspring.yaml", db_settings(shared_postgres))
    application = made.open()
    assert application.database.location == f"postgresql://mainspring@127.0.0.1:{shared_postgres.port}/postgres"
    assert application.database.read(lambda tx: tx.plain.exec_driver_sql("SELECT 1").scalar()) == 1
    assert shared_postgres.password not in made.loaded.secrets.redact(f"it was {shared_postgres.password}")
    application.close()


def test_a_database_in_the_file_counts_before_db_host(shared_postgres: PostgresCluster, tmp_path: Path) -> None:
    (tmp_path / "mainspring.yaml").write_text("packs: [market]\ndatabase: sqlite:///own.db\n")
    application = load_project(tmp_path / "mainspring.yaml", db_settings(shared_postgres)).open()
    assert application.database.location == f"sqlite:///{tmp_path / 'own.db'}"
    application.close()


def test_a_new_project_can_be_loaded_and_has_the_fifteen_schedules(tmp_path: Path) -> None:
    for name, text in pack.starter_files().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / ".env.example").rename(tmp_path / ".env")
    made = load_project(tmp_path / "mainspring.yaml", {})
    assert sorted(spec.name for spec in made.specs) == sorted(NEXT_FIVE)
    assert made.loaded.source_of("database") == "default"


def test_every_setting_that_the_starter_names_exists(tmp_path: Path) -> None:
    example = pack.starter_files()[".env.example"]
    lines = [line.removeprefix("#") for line in example.splitlines() if line.startswith("#") and "=" in line]
    assert len(lines) == 11
    values = dict(line.split("=", 1) for line in lines)
    pack.settings(values, {}, tmp_path)
    assert set(values) <= set(type(pack.settings({}, {}, tmp_path)).names().values())


def test_jobs_run_by_priority_and_in_order_within_one(
    database_url: str, services: LocalServices, tmp_path: Path
) -> None:
    environ = {**services.environment(), "SCRAPER_CONCURRENT_JOBS": "1"}
    with project(tmp_path, environ, database_url) as (made, application):
        (task,) = pack.tasks(MarketSettings.build({}, {}))
        wanted = [("low", "WEGE3"), ("normal", "VALE3"), ("high", "PETR4"), ("low", "B3SA3"), ("high", "ITUB4")]
        for priority, ticker in wanted:
            request = Request(task, {"scraper": "b3_quotes", "ticker": ticker}, priority=parse_priority(priority))
            application.enqueuer.enqueue(request)
        process = WorkerProcess(application, made)
        process.start()
        wait_until(lambda: application.reading.counts().get("succeeded") == 5)
        process.stop()
        rows = PackDoor(application.database).read(lambda connection: list_results(connection, 10))
    assert [row["ticker"] for row in reversed(rows)] == ["PETR4", "ITUB4", "VALE3", "WEGE3", "B3SA3"]


def test_three_jobs_run_at_once_and_share_one_client(sqlite_url: str, services: LocalServices, tmp_path: Path) -> None:
    with project(tmp_path, services.environment(), sqlite_url) as (made, application):
        (task,) = pack.tasks(MarketSettings.build({}, {}))
        held = services.hold("/api/quote/*")
        parameters = ({"scraper": "b3_quotes", "ticker": t} for t in ("PETR4", "VALE3", "ITUB4", "BBAS3"))
        application.enqueuer.enqueue_many([Request(task, each) for each in parameters])
        process = WorkerProcess(application, made)
        process.start()
        wait_until(lambda: services.under_way == 3)
        held.set()
        wait_until(lambda: application.reading.counts().get("succeeded") == 4)
        process.stop()
    assert (services.peak, services.total("/api/quote/*")) == (3, 4)


def test_a_failed_try_is_retried_two_seconds_later(database_url: str, services: LocalServices, tmp_path: Path) -> None:
    services.fail("/api/quote/PETR4", times=1, status=429, retry_after="30")
    with project(tmp_path, services.environment(), database_url) as (made, application):
        (task,) = pack.tasks(MarketSettings.build({}, {}))
        request = Request(task, {"scraper": "b3_quotes", "ticker": "PETR4"}, max_tries=2)
        run_id = application.enqueuer.enqueue(request)
        process = WorkerProcess(application, made)
        process.start()
        wait_until(lambda: application.steering.require(run_id).state == "scheduled")
        due_at = application.steering.require(run_id).due_at
        wait_until(lambda: application.steering.require(run_id).state == "succeeded")
        process.stop()
        view = application.reading.run(run_id)
        rows = PackDoor(application.database).read(lambda connection: list_results(connection, 10))
    assert view.attempts[0].finished_at is not None
    assert due_at - view.attempts[0].finished_at == timedelta(seconds=2)
    assert [(row["job_id"], row["success"]) for row in rows] == [(run_id, True), (run_id, False)]


def test_each_firing_is_recorded_exactly_once_with_the_runs_it_started(
    database_url: str, services: LocalServices, tmp_path: Path
) -> None:
    with project(tmp_path, services.environment(), database_url, EVERY_SECOND) as (made, application):
        door = PackDoor(application.database)
        schedulers = [make_scheduler(application, name) for name in ("one", "two")]
        processes = [WorkerProcess(application, made, name) for name in ("a", "b")]
        for process in (*schedulers, *processes):
            process.start()
        wait_until(lambda: len(door.read(lambda connection: list_executions(connection, 10))) >= 3)
        for scheduler in schedulers:
            scheduler.stop()
        for worker in processes:
            worker.stop()
        events = PackEvents(application.database, {"market": pack})
        while events.run_once():
            continue
        executions = door.read(lambda connection: list_executions(connection, 100))
        schedule = application.scheduling.require("every_second")
        fired = [row for row in application.reading.ledger(schedule.id, 100) if row.outcome == "fired"]
        runs = {RunId(run.id): run for run in application.reading.runs(RunFilter(), 100)}
    assert len(executions) == sum(row.n for row in fired)
    assert {(row["schedule_name"], row["scraper_name"]) for row in executions} == {("every_second", "bcb")}
    assert all(row["tickers"] == ["ipca", "igpm"] for row in executions)
    assert sorted(job for row in executions for job in row["job_ids"]) == sorted(runs)


def run_command(application: Application, made: Project, *words: str) -> str:
    def context() -> PackContext:
        return app.pack_context(application, made, "market", {})

    result = CliRunner().invoke(pack.commands(context), list(words), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_the_commands_list_scrapers_results_and_executions(
    sqlite_url: str, services: LocalServices, tmp_path: Path
) -> None:
    with project(tmp_path, services.environment(), sqlite_url) as (made, application):
        assert run_command(application, made, "results") == "no results yet\n"
        listed = run_command(application, made, "scrapers")
        assert "crypto" in listed
        assert "The latest quote of a US share" in listed
        (task,) = pack.tasks(MarketSettings.build({}, {}))
        application.enqueuer.enqueue(Request(task, {"scraper": "b3_quotes", "ticker": "PETR4"}))
        process = WorkerProcess(application, made)
        process.start()
        wait_until(lambda: application.reading.counts().get("succeeded") == 1)
        process.stop()
        assert "PETR4" in run_command(application, made, "results", "--scraper", "b3_quotes")
        assert '"success": true' in run_command(application, made, "results", "--json")
        assert run_command(application, made, "executions", "--json") == '{\n  "executions": []\n}\n'
