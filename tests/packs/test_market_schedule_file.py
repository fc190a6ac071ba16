from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mainspring.errors import ConfigurationInvalid
from mainspring.packs.market import SHIPPED_FILE, load_schedule_file, scraper_names
from mainspring.packs.market.schedule_file import ScheduleFile, parse_schedules, schedule_file_path

SCRAPERS = ("b3_quotes", "bcb", "crypto", "fundamentals", "news")


def parsed(body: str, name: str = "mine") -> ScheduleFile:
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return parse_schedules(f"schedules:\n  {name}:\n{lines}\n", SCRAPERS, "s.yaml")


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationInvalid) as caught:
        parse_schedules(text, SCRAPERS, "s.yaml")
    return list(caught.value.problems)


def problems_of(body: str) -> list[str]:
    with pytest.raises(ConfigurationInvalid) as caught:
        parsed(body)
    return list(caught.value.problems)


def test_fifteen_schedules_ship_enabled_with_tickers_and_descriptions() -> None:
    shipped = load_schedule_file(SHIPPED_FILE, scraper_names())
    assert [(entry.name, entry.scraper, entry.priority) for entry in shipped.entries] == [
        ("b3_market_data_hourly", "b3_quotes", "high"),
        ("us_market_data_hourly", "us_quotes", "high"),
        ("b3_energy_hourly", "b3_quotes", "normal"),
        ("b3_closing_snapshot", "b3_quotes", "high"),
        ("b3_official_prices_daily", "b3_cotahist", "normal"),
        ("fundamentals_daily", "fundamentals", "normal"),
        ("fundamentals_watchlist_weekly", "fundamentals", "low"),
        ("crypto_15min", "crypto", "normal"),
        ("crypto_daily_close", "crypto", "low"),
        ("news_brazil_30min", "news", "normal"),
        ("news_us_30min", "news", "normal"),
        ("bcb_indicators_daily", "bcb", "normal"),
        ("bcb_inflation_monthly", "bcb", "low"),
        ("ai_analysis_weekly", "ai_analysis", "low"),
        ("complete_scan_saturday", "complete_scan", "low"),
    ]
    assert all(entry.enabled and entry.tickers and entry.description for entry in shipped.entries)


def test_shipped_times_are_those_of_the_contract() -> None:
    rules = load_schedule_file(SHIPPED_FILE, scraper_names()).definitions()
    assert rules["b3_market_data_hourly"]["fields"] == {"hour": "9-17", "minute": "0", "day_of_week": "0-4"}
    assert rules["us_market_data_hourly"]["fields"] == {"hour": "9-17", "minute": "5", "day_of_week": "0-4"}
    assert rules["fundamentals_daily"]["fields"] == {"hour": "18", "minute": "30", "day_of_week": "0-4"}
    assert rules["crypto_15min"]["every"] == "15m"
    assert rules["news_brazil_30min"]["every"] == "30m"
    assert rules["bcb_indicators_daily"]["fields"] == {"hour": "9", "minute": "30", "day_of_week": "mon-fri"}
    assert rules["ai_analysis_weekly"]["fields"] == {"hour": "20", "minute": "0", "day_of_week": "6"}
    assert rules["complete_scan_saturday"]["fields"] == {"hour": "10", "minute": "0", "day_of_week": "5"}


def test_a_schedule_becomes_one_run_of_the_scrape_task_for_each_ticker() -> None:
    text = "type: cron\nscraper: b3_quotes\npriority: HIGH\ntickers: [PETR4, VALE3]\nhour: 9-17\ndescription: Quotes"
    assert parsed(text).definitions(max_retries=3) == {
        "mine": {
            "task": "market.scrape",
            "description": "Quotes",
            "enabled": True,
            "fields": {"hour": "9-17"},
            "zone": "America/Sao_Paulo",
            "parameters": {"scraper": "b3_quotes"},
            "fan_out": {"parameter": "ticker", "over": ["PETR4", "VALE3"]},
            "priority": "high",
            "labels": {"pack": "market", "scraper": "b3_quotes"},
            "max_retries": 3,
        }
    }


def test_interval_parts_add_up() -> None:
    entry = parsed("type: interval\nscraper: crypto\ntickers: [BTC]\nhours: 1\nminutes: 30\nseconds: 5").entries[0]
    assert entry.every == timedelta(hours=1, minutes=30, seconds=5)
    assert entry.definition()["every"] == "1h30m5s"


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("2026-12-01T09:00", "2026-12-01T09:00:00"),
        ("2026-12-01 09:00:00", "2026-12-01T09:00:00"),
        ("2026-12-01T09:00:00-05:00", "2026-12-01T09:00:00-05:00"),
        ("2026-12-01T12:00:00Z", "2026-12-01T12:00:00+00:00"),
    ],
)
def test_a_date_without_offset_is_local_and_one_with_offset_keeps_it(written: str, at: str) -> None:
    definition = parsed(f"type: date\nscraper: bcb\ntickers: [ipca]\nrun_date: {written}").definitions()["mine"]
    assert (definition["at"], definition["zone"]) == (at, "America/Sao_Paulo")


def test_tickers_that_yaml_reads_as_booleans_and_numbers_stay_text() -> None:
    entry = parsed("type: interval\nscraper: bcb\nminutes: 5\ntickers: [ON, NO, Y, 433, 1e3, null]").entries[0]
    assert entry.tickers == ("ON", "NO", "Y", "433", "1e3", "null")


def test_enabled_takes_the_words_of_yaml() -> None:
    body = "type: interval\nscraper: bcb\nminutes: 5\ntickers: [ipca]\nenabled: "
    assert [parsed(body + word).entries[0].enabled for word in ("true", "yes", "On", "false", "no", "OFF", "")] == [
        True, True, True, False, False, False, True,
    ]  # fmt: skip


def test_merged_keys_count_unless_the_schedule_has_them_itself() -> None:
    text = """
schedules:
  first: &base {type: interval, scraper: crypto, tickers: [BTC], minutes: 15, priority: low}
  second:
    <<: *base
    minutes: 30
"""
    first, second = parse_schedules(text, SCRAPERS).entries
    assert (first.every, second.every) == (timedelta(minutes=15), timedelta(minutes=30))
    assert second.priority == "low"


CRON = "type: cron\nscraper: bcb\ntickers: [x]\n"
INTERVAL = "type: interval\nscraper: bcb\ntickers: [x]\n"
ONCE = "type: date\nscraper: bcb\ntickers: [x]\n"
CRON_KEYS = "hour, minute, second, day, month, day_of_week"
NOT_A_PART = "which is no value, range (1-5), list (1,3) or step (*/2)"


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        ("type: crom\nscraper: bcb\ntickers: [x]", 3, "type has an unknown type 'crom'; did you mean 'cron'?"),
        ("scraper: bcb\ntickers: [x]", 2, "type is missing"),
        ("type: cron\ntickers: [x]\nhour: 1", 2, "scraper is missing"),
        (
            "type: cron\nscraper: cripto\ntickers: [x]\nhour: 1",
            4,
            "scraper has an unknown scraper 'cripto'; did you mean 'crypto'?",
        ),
        (CRON + "hour: 1\npriority: hihg", 7, "priority has an unknown priority 'hihg'; did you mean 'high'?"),
        (CRON + "hour: 1\ntikers: [x]", 7, "unknown key 'tikers'; did you mean 'tickers'?"),
        (CRON + "hour: 1\nminutes: 5", 7, f"'minutes' does not belong to type cron; type cron takes {CRON_KEYS}"),
        (
            INTERVAL + "minutes: 5\nhour: 5",
            7,
            "'hour' does not belong to type interval; type interval takes hours, minutes, seconds",
        ),
        (INTERVAL + "minutes: 0", 6, "minutes must be a whole number from 1 on, not '0'"),
        (INTERVAL + "minutes: 1.5", 6, "minutes must be a whole number from 1 on, not '1.5'"),
        (INTERVAL + "minutes: -5", 6, "minutes must be a whole number from 1 on, not '-5'"),
        (INTERVAL, 2, "type interval needs hours, minutes or seconds"),
        (CRON, 2, f"type cron needs at least one of {CRON_KEYS}"),
        (ONCE, 2, "run_date is missing"),
        (ONCE + "run_date: 2026-12-01", 6, "run_date needs a time of day too, such as 2026-12-01T09:00"),
        (ONCE + "run_date: soon", 6, "run_date must be an ISO date and time such as 2026-12-01T09:00, not 'soon'"),
        (CRON + "hour: 24", 6, "hour has '24'; it goes from 0 to 23"),
        (CRON + "day_of_week: 7", 6, "day_of_week has '7'; it goes from 0 to 6 (0 is Monday, 6 is Sunday)"),
        (CRON + "day_of_week: mon-fru", 6, "day_of_week has an unknown name 'fru'; did you mean 'fri'?"),
        (CRON + "hour: 17-9", 6, "hour has the range '17-9', which runs backwards; write 9-17 or a list"),
        (CRON + "minute: '*/0'", 6, "minute has '*/0', whose step must be a whole number from 1 on"),
        (CRON + "hour: 9h", 6, "hour has '9h'; it goes from 0 to 23"),
        (CRON + "hour: '9,,10'", 6, f"hour has '', {NOT_A_PART}"),
        (CRON + "hour: [9, 10]", 6, "hour must be one value, not a list or mapping"),
        ("type: cron\nscraper: bcb\nhour: 9", 2, "tickers is missing; give a list such as [PETR4, VALE3]"),
        ("type: cron\nscraper: bcb\nhour: 9\ntickers: PETR4", 6, "tickers must be a list such as [PETR4, VALE3]"),
        (
            "type: cron\nscraper: bcb\nhour: 9\ntickers: []",
            6,
            "tickers is empty; give at least one, or leave the schedule away",
        ),
        ("type: cron\nscraper: bcb\nhour: 9\ntickers: [A, A]", 6, "ticker 'A' is there twice"),
        ("type: cron\nscraper: bcb\nhour: 9\ntickers: [[A]]", 6, "a ticker must be 1 to 64 printable characters"),
        (CRON + "hour: 9\nenabled: maybe", 7, "enabled must be true or false, not 'maybe'"),
    ],
)
def test_what_does_not_fit_is_named_with_its_line(body: str, line: int, message: str) -> None:
    assert problems_of(body) == [f"s.yaml:{line}: schedule 'mine': {message}"]


def test_a_key_that_is_there_twice_is_named_with_both_lines() -> None:
    assert problems_of(CRON + "hour: 9\nhour: 10") == ["s.yaml:7: 'hour' is there twice; it is also in line 6"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "s.yaml:1: the file is empty; it needs a mapping 'schedules:'"),
        ("schedule: {}", "s.yaml:1: unknown key 'schedule'; did you mean 'schedules'?"),
        ("- a\n- b", "s.yaml:1: the file must be a mapping of name to value"),
        ("schedules:\n  - a", "s.yaml:2: schedules must be a mapping of name to value"),
        ("schedules:\n  a: 5", "s.yaml:2: schedule 'a' must be a mapping of name to value"),
        ("schedules:\n  a: {\n", "s.yaml:3: not YAML: expected the node content, but found '<stream end>'"),
        ("schedules:\n\ta: 1", "s.yaml:2: not YAML: found character '\\t' that cannot start any token"),
        ("[" * 2000, "s.yaml:1: not YAML: nested too deeply"),
    ],
)
def test_what_is_no_schedule_file_is_refused(text: str, message: str) -> None:
    assert problems(text)[0] == message


def test_all_problems_of_a_file_are_told_at_once() -> None:
    first = "  a: {type: cron, scraper: bcb, tickers: [x], hour: 99}"
    text = f"schedules:\n{first}\n  b: {{type: date, scraper: bcb, tickers: [x]}}"
    assert problems(text) == [
        "s.yaml:2: schedule 'a': hour has '99'; it goes from 0 to 23",
        "s.yaml:3: schedule 'b': run_date is missing",
    ]


def test_the_fields_of_the_contract_take_names_steps_and_the_last_day() -> None:
    entry = parsed(
        "type: cron\nscraper: bcb\ntickers: [x]\nday_of_week: Mon,wed-fri\nmonth: jan-jun/2\nday: last\n"
        "hour: '*/6'\nminute: 0,30\nsecond: 10-50/20"
    ).entries[0]
    assert entry.fields == {
        "hour": "*/6",
        "minute": "0,30",
        "second": "10-50/20",
        "day": "last",
        "month": "jan-jun/2",
        "day_of_week": "mon,wed-fri",
    }


def test_a_project_file_replaces_the_shipped_one(tmp_path: Path) -> None:
    assert schedule_file_path(tmp_path) == SHIPPED_FILE
    own = tmp_path / "config" / "scraper_schedules.yaml"
    own.parent.mkdir()
    own.write_text("schedules:\n  a: {type: interval, scraper: bcb, tickers: [ipca], hours: 1}\n", encoding="utf-8")
    assert schedule_file_path(tmp_path) == own
    assert list(load_schedule_file(own, scraper_names()).definitions()) == ["a"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="cannot be read: No such file"):
        load_schedule_file(tmp_path / "missing.yaml", SCRAPERS)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"schedules:\n  \xe9: 1\n")
    with pytest.raises(ConfigurationInvalid, match=r"not UTF-8 text \(byte 13\)"):
        load_schedule_file(latin, SCRAPERS)
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigurationInvalid, match="larger than 1024 KiB"):
        load_schedule_file(huge, SCRAPERS)
