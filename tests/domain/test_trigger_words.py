"""Every rule can be said in English."""

from __future__ import annotations

import pytest

from mainspring.domain.triggers import parse_cron, trigger_from_definition


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 9 * * 0", "at 09:00 on Sunday"),
        ("@daily", "at 00:00 every day"),
        ("@hourly", "every hour"),
        ("@weekly", "at 00:00 on Sunday"),
        ("@monthly", "at 00:00 on the 1st of every month"),
        ("@yearly", "at 00:00 on the 1st of January"),
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("*/15 9-17 * * 1-5", "every 15 minutes, from 09:00 to 17:45, Monday to Friday"),
        ("0 9-17 * * 1-5", "every hour, from 09:00 to 17:00, Monday to Friday"),
        ("0 */2 * * *", "every 2 hours"),
        ("15 * * * *", "every hour at minute 15"),
        ("15 */6 * * *", "every 6 hours, from 00:15 to 18:15"),
        ("7/15 * * * *", "every 15 minutes, from minute 7 of each hour"),
        ("*/7 * * * *", "at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour"),
        ("5,10,20 9,11,13 * * *", "at minutes 5, 10 and 20 of the hours 9, 11 and 13"),
        ("*/5 9,11,13 * * *", "every 5 minutes during the hours 9, 11 and 13"),
        ("* 2 * * *", "every minute, from 02:00 to 02:59"),
        ("0,30 9 * * *", "at 09:00 and 09:30 every day"),
        ("0 9,17 * * 1,3,5", "at 09:00 and 17:00 on Monday, Wednesday and Friday"),
        ("0 9 * * 6,0", "at 09:00 on Saturday and Sunday"),
        ("0 9 * * 5-7", "at 09:00, Friday to Sunday"),
        ("0 9 * * 0-6", "at 09:00 every day"),
        ("0 9 1,15 * *", "at 09:00 on the 1st and 15th of every month"),
        ("0 9 1-7 * *", "at 09:00 on the 1st to 7th of every month"),
        ("0 9 L * *", "at 09:00 on the last day of every month"),
        ("0 9 LW * *", "at 09:00 on the last weekday of every month"),
        ("0 9 22,23,21,11 * *", "at 09:00 on the 11th, 21st, 22nd and 23rd of every month"),
        ("0 9 * * MON#1", "at 09:00 on the first Monday of every month"),
        ("0 9 * * 5L", "at 09:00 on the last Friday of every month"),
        ("0 9 * 6 MON#1", "at 09:00 on the first Monday of June"),
        ("0 9 1 * 1", "at 09:00 on the 1st of every month and also on Monday"),
        ("0 9 1 * *", "at 09:00 on the 1st of every month"),
        ("0 9 1 * 0-6", "at 09:00 every day"),
        ("0 9 * 6 *", "at 09:00 every day in June"),
        ("0 9 * 6-8 *", "at 09:00 every day from June to August"),
        ("0 9 * 6-8 1-5", "at 09:00, Monday to Friday, from June to August"),
        ("0 9 25 12 *", "at 09:00 on the 25th of December"),
        ("0 9 1 1,4,7,10 *", "at 09:00 on the 1st of January, April, July and October"),
        ("30 0 9 * * *", "at 09:00:30 every day"),
        ("* * * * * *", "every second"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("30 * * * * *", "every minute at second 30"),
        ("*/10 30 2 * * *", "every 10 seconds, from 02:30:00 to 02:30:50"),
        ("5,7 * * * * *", "at seconds 5 and 7 of every minute"),
    ],
)
def test_cron_text_in_words(text, words):
    assert parse_cron(text).in_words() == words


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (
            {"fields": {"hour": "9-17", "day_of_week": "0-4"}},
            "every hour, from 09:00 to 17:00, Monday to Friday (America/Sao_Paulo)",
        ),
        (
            {"fields": {"minute": "*/15", "hour": "9-17", "day_of_week": "mon-fri"}},
            "every 15 minutes, from 09:00 to 17:45, Monday to Friday (America/Sao_Paulo)",
        ),
        ({"fields": {"day_of_week": 0, "hour": 9}}, "at 09:00 on Monday (America/Sao_Paulo)"),
        (
            {"fields": {"day": "1st mon, last fri", "hour": 18}},
            "at 18:00 on the first Monday and last Friday of every month (America/Sao_Paulo)",
        ),
        (
            {"fields": {"day": "1-7", "day_of_week": "mon", "hour": 9}},
            "at 09:00 on Monday, if it is the 1st to 7th of the month (America/Sao_Paulo)",
        ),
        ({"fields": {"week": 5}}, "at 00:00 every day in ISO week 5 (America/Sao_Paulo)"),
        ({"fields": {"year": 2027}}, "at 00:00 on the 1st of January in 2027 (America/Sao_Paulo)"),
        ({"every": "15m", "anchor": "2026-01-01T00:00"}, "every 15 minutes"),
        ({"every": "1h", "anchor": "2026-01-01T00:00"}, "every hour"),
        (
            {"every": "1h30m", "anchor": "2026-01-01T00:10"},
            "every 1 hour 30 minutes, counted from Thursday 1 January 2026 at 03:10 (UTC)",
        ),
        (
            {"calendar": {"months": 1, "day": 31, "time": "09:00"}},
            "every month on the 31st (or the last day of a shorter month) at 09:00 (America/Sao_Paulo)",
        ),
        (
            {"calendar": {"months": 1, "day": 31, "time": "09:00", "short_month": "skip"}},
            "every month on the 31st (shorter months are skipped) at 09:00 (America/Sao_Paulo)",
        ),
        (
            {"calendar": {"months": 3, "day": 1}, "anchor": "2026-02-01"},
            "every 3 months on the 1st, counted from February 2026, at 00:00 (America/Sao_Paulo)",
        ),
        ({"calendar": {"weeks": 1, "weekday": "mon"}}, "every Monday at 00:00 (America/Sao_Paulo)"),
        (
            {"calendar": {"weeks": 2, "weekday": "fri", "time": "17:30"}, "anchor": "2026-01-01"},
            "every 2 weeks on Friday, counted from 2 January 2026, at 17:30 (America/Sao_Paulo)",
        ),
        ({"calendar": {"days": 1, "time": "06:00:15"}}, "every day at 06:00:15 (America/Sao_Paulo)"),
        (
            {"calendar": {"years": 1, "month": "feb", "day": 29}},
            "every year on the 29th of February (or the last day of a shorter month) at 00:00 (America/Sao_Paulo)",
        ),
        ({"at": "2026-12-01T09:00"}, "once, on Tuesday 1 December 2026 at 09:00 (America/Sao_Paulo)"),
    ],
)
def test_every_kind_in_words(definition, words):
    assert trigger_from_definition(definition, "America/Sao_Paulo").in_words() == words


def test_utc_is_said_only_for_dates():
    assert parse_cron("0 9 * * *", "UTC").in_words() == "at 09:00 every day"
    assert trigger_from_definition({"at": "2026-12-01"}).in_words() == "once, on Tuesday 1 December 2026 at 00:00 (UTC)"
