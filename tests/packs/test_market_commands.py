"""Use the pack through the command line, in a project that `init` wrote."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from mainspring.packs.market.schedule_file import SHIPPED_FILE

WORKING_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
EVERY_DAY = [*WORKING_DAYS, "Saturday", "Sunday"]


def mainspring(folder: Path, *words: str, code: int = 0) -> str:
    environment = {"HOME": str(folder), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    done = subprocess.run(
        [sys.executable, "-m", "mainspring", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project with the pack."""
    made = tmp_path_factory.mktemp("market")
    mainspring(made, "init", "--pack", "market")
    return made


def test_init_writes_a_project_that_is_valid(folder: Path) -> None:
    assert (folder / "config" / "scraper_schedules.yaml").read_text() == SHIPPED_FILE.read_text()
    assert "MARKET_BRAPI_TOKEN" in (folder / ".env.example").read_text()
    mainspring(folder, "validate")


def next_times(folder: Path) -> dict[str, list[dict[str, Any]]]:
    listed = json.loads(mainspring(folder, "schedules", "preview", "--all", "--json"))["schedules"]
    assert {schedule["zone"] for schedule in listed} == {"America/Sao_Paulo"}
    return {schedule["name"]: schedule["fire_times"] for schedule in listed}


def test_the_preview_of_all_fifteen_has_five_times_each_in_sao_paulo(folder: Path) -> None:
    ahead = next_times(folder)
    assert len(ahead) == 15
    allowed = {
        "b3_market_data_hourly": WORKING_DAYS,
        "us_market_data_hourly": WORKING_DAYS,
        "b3_energy_hourly": WORKING_DAYS,
        "b3_closing_snapshot": WORKING_DAYS,
        "b3_official_prices_daily": WORKING_DAYS,
        "fundamentals_daily": WORKING_DAYS,
        "fundamentals_watchlist_weekly": ["Sunday"],
        "crypto_15min": EVERY_DAY,
        "crypto_daily_close": EVERY_DAY,
        "news_brazil_30min": EVERY_DAY,
        "news_us_30min": EVERY_DAY,
        "bcb_indicators_daily": WORKING_DAYS,
        "bcb_inflation_monthly": EVERY_DAY,
        "ai_analysis_weekly": ["Sunday"],
        "complete_scan_saturday": ["Saturday"],
    }
    assert {name: len(times) for name, times in ahead.items()} == dict.fromkeys(allowed, 5)
    for name, times in ahead.items():
        moments = [datetime.fromisoformat(each["local"]) for each in times]
        assert [each["weekday"] for each in times] == [f"{moment:%A}" for moment in moments]
        assert {each["weekday"] for each in times} <= set(allowed[name])
        assert moments == sorted(set(moments))
        assert {moment.utcoffset() for moment in moments} == {timedelta(hours=-3)}


def test_zero_to_four_is_monday_to_friday_in_the_schedule_file(folder: Path) -> None:
    times = next_times(folder)["fundamentals_daily"]
    assert sorted(each["weekday"] for each in times) == sorted(WORKING_DAYS)
    assert {datetime.fromisoformat(each["local"]).time() for each in times} == {time(18, 30)}


def test_the_preview_for_people_names_the_weekdays_and_the_zone(folder: Path) -> None:
    printed = mainspring(folder, "schedules", "preview", "b3_market_data_hourly")
    assert "every hour, from 09:00 to 17:00, Monday to Friday (America/Sao_Paulo)" in printed
    days = re.findall(r"^ +(\w+day) \d{4}-\d{2}-\d{2} \d{2}:00", printed, re.MULTILINE)
    assert len(days) == 5
    assert set(days) <= set(WORKING_DAYS)


def test_in_cron_text_zero_is_sunday(folder: Path) -> None:
    printed = mainspring(folder, "schedules", "preview", "--cron", "0 9 * * 0", "--zone", "America/Sao_Paulo", "--json")
    (schedule,) = json.loads(printed)["schedules"]
    assert [each["weekday"] for each in schedule["fire_times"]] == ["Sunday"] * 5
    assert {each["local"][11:] for each in schedule["fire_times"]} == {"09:00:00-03:00"}


def test_a_wrong_name_of_a_scraper_is_answered_with_the_nearest_one(folder: Path) -> None:
    mainspring(folder, "db", "upgrade")
    printed = mainspring(folder, "market", "results", "--scraper", "cripto", code=3)
    assert printed == "error: unknown scraper 'cripto'; did you mean 'crypto'?\n"


def test_the_scrapers_are_listed_with_what_they_do(folder: Path) -> None:
    mainspring(folder, "db", "upgrade")
    listed = json.loads(mainspring(folder, "market", "scrapers", "--json"))["scrapers"]
    names = "ai_analysis b3_cotahist b3_quotes bcb complete_scan crypto fundamentals news us_quotes"
    assert [each["name"] for each in listed] == names.split()
    assert all(each["description"].endswith(".") for each in listed)
