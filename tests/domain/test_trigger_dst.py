"""Gaps and folds, by name."""

from __future__ import annotations

from datetime import datetime

import pytest

from mainspring.domain.triggers import (
    CalendarIntervalTrigger,
    DstRule,
    parse_cron,
    parse_fields,
    trigger_from_definition,
)
from mainspring.errors import InvalidInput

SKIP = DstRule(gap="skip")
BOTH = DstRule(fold="both")
LAST = DstRule(fold="last")


def fires(trigger, after: str, until: str) -> list[str]:
    """Return the fire times in (after, until], all in UTC without seconds."""
    found = []
    moment = trigger.next_after(datetime.fromisoformat(after + "Z"))
    while moment is not None and moment <= datetime.fromisoformat(until + "Z"):
        found.append(f"{moment:%m-%dT%H:%M}" + (f":{moment:%S}" if moment.second else ""))
        moment = trigger.next_after(moment)
    return found


class TestBerlinGap:
    """Europe/Berlin, 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC."""

    DAY = ("2026-03-28T23:00", "2026-03-29T22:00")

    def test_a_fixed_time_in_the_gap_fires_once_at_its_end(self):
        assert fires(parse_cron("30 2 * * *", "Europe/Berlin"), *self.DAY) == ["03-29T01:00"]

    def test_several_fixed_times_in_the_gap_fire_once_together(self):
        assert fires(parse_cron("0,15,30 2,3 * * *", "Europe/Berlin"), *self.DAY) == [
            "03-29T01:00",
            "03-29T01:15",
            "03-29T01:30",
        ]

    def test_skip_leaves_the_day_out(self):
        assert fires(parse_cron("30 2 * * *", "Europe/Berlin", SKIP), *self.DAY) == []

    def test_six_fields_take_the_same_care(self):
        assert fires(parse_cron("20 30 2 * * *", "Europe/Berlin"), *self.DAY) == ["03-29T01:00"]

    def test_a_wildcard_minute_does_not_fire_in_the_gap(self):
        assert fires(parse_cron("*/30 2 * * *", "Europe/Berlin"), *self.DAY) == []

    def test_every_hour_goes_on_every_hour(self):
        found = fires(parse_cron("0 * * * *", "Europe/Berlin"), "2026-03-28T23:30", "2026-03-29T03:00")
        assert found == ["03-29T00:00", "03-29T01:00", "03-29T02:00", "03-29T03:00"]

    def test_fields_take_the_same_care(self):
        assert fires(parse_fields({"hour": 2, "minute": 30}, "Europe/Berlin"), *self.DAY) == ["03-29T01:00"]

    def test_a_calendar_interval_takes_the_same_care(self):
        daily = trigger_from_definition({"calendar": {"days": 1, "time": "02:30"}}, "Europe/Berlin")
        assert isinstance(daily, CalendarIntervalTrigger)
        assert fires(daily, *self.DAY) == ["03-29T01:00"]

    def test_the_local_key_is_the_skipped_time(self):
        trigger = parse_cron("30 2 * * *", "Europe/Berlin")
        assert trigger.local_key(datetime.fromisoformat("2026-03-29T01:00Z")) == "2026-03-29T02:30:00"


class TestNewYorkFold:
    """America/New_York, 1 November 2026: 02:00 becomes 01:00 at 06:00 UTC."""

    DAY = ("2026-11-01T04:30", "2026-11-02T04:30")

    def test_a_fixed_time_fires_only_the_first_time(self):
        assert fires(parse_cron("30 1 * * *", "America/New_York"), *self.DAY) == ["11-01T05:30"]

    def test_both_and_last_can_be_chosen(self):
        assert fires(parse_cron("30 1 * * *", "America/New_York", BOTH), *self.DAY) == ["11-01T05:30", "11-01T06:30"]
        assert fires(parse_cron("30 1 * * *", "America/New_York", LAST), *self.DAY) == ["11-01T06:30"]

    def test_six_fields_take_the_same_care(self):
        assert fires(parse_cron("15 30 1 * * *", "America/New_York"), *self.DAY) == ["11-01T05:30:15"]

    def test_a_wildcard_hour_fires_both_times(self):
        found = fires(parse_cron("30 * * * *", "America/New_York"), "2026-11-01T05:00", "2026-11-01T08:00")
        assert found == ["11-01T05:30", "11-01T06:30", "11-01T07:30"]

    def test_asked_within_the_second_pass_the_first_is_not_made_up_for(self):
        assert fires(parse_cron("30 1 * * *", "America/New_York"), "2026-11-01T06:10", "2026-11-02T04:30") == []

    def test_asked_within_the_first_pass_the_last_still_comes(self):
        found = fires(parse_cron("30 1 * * *", "America/New_York", LAST), "2026-11-01T05:45", "2026-11-02T04:30")
        assert found == ["11-01T06:30"]

    def test_the_local_key_exists_only_where_a_time_fires_once(self):
        at = datetime.fromisoformat("2026-11-01T05:30Z")
        assert parse_cron("30 1 * * *", "America/New_York").local_key(at) == "2026-11-01T01:30:00"
        assert parse_cron("30 1 * * *", "America/New_York", LAST).local_key(at) == "2026-11-01T01:30:00"
        assert parse_cron("30 1 * * *", "America/New_York", BOTH).local_key(at) is None
        assert parse_cron("30 * * * *", "America/New_York").local_key(at) is None


def test_sao_paulo_midnight_that_was_skipped_fires_at_one():
    # 4 November 2018: 00:00 became 01:00 at 03:00 UTC.
    found = fires(parse_cron("0 0 * * *", "America/Sao_Paulo"), "2018-11-03T04:00", "2018-11-05T04:00")
    assert found == ["11-04T03:00", "11-05T02:00"]


def test_sao_paulo_has_had_no_change_of_clocks_since_2019():
    found = fires(parse_cron("0 0 * * *", "America/Sao_Paulo"), "2026-11-01T04:00", "2026-11-03T04:00")
    assert found == ["11-02T03:00", "11-03T03:00"]


def test_cairo_midnight_that_was_skipped_does_not_lose_the_day():
    # 24 April 2026: 00:00 became 01:00 at 22:00 UTC the evening before.
    found = fires(parse_cron("0 0 * * 5", "Africa/Cairo"), "2026-04-17T00:00", "2026-05-01T12:00")
    assert found == ["04-23T22:00", "04-30T21:00"]


def test_apia_fires_once_for_the_day_it_skipped():
    # Samoa had no 30 December 2011: the 29th ended at 10:00 UTC on the 30th and the 31st began.
    found = fires(parse_cron("0 9 * * *", "Pacific/Apia"), "2011-12-29T00:00", "2012-01-01T00:00")
    assert found == ["12-29T19:00", "12-30T10:00", "12-30T19:00", "12-31T19:00"]
    found = fires(parse_cron("0 9 * * *", "Pacific/Apia", SKIP), "2011-12-29T00:00", "2012-01-01T00:00")
    assert found == ["12-29T19:00", "12-30T19:00", "12-31T19:00"]


def test_lord_howe_keeps_two_o_clock_in_autumn():
    # 5 April 2026: 02:00 becomes 01:30 at 15:00 UTC; the real 02:00 comes at 15:30 UTC.
    found = fires(parse_cron("0 */2 * * *", "Australia/Lord_Howe"), "2026-04-04T12:00", "2026-04-04T18:00")
    assert found == ["04-04T13:00", "04-04T15:30", "04-04T17:30"]


def test_norfolk_keeps_two_o_clock_in_2015():
    # 4 October 2015: 02:00 became 01:30 at 14:30 UTC; the real 02:00 came at 15:00 UTC.
    found = fires(parse_cron("0 */2 * * *", "Pacific/Norfolk"), "2015-10-03T12:00", "2015-10-03T18:00")
    assert found == ["10-03T12:30", "10-03T15:00", "10-03T17:00"]


@pytest.mark.parametrize("day", ["2020-10-03", "2022-10-01"])
def test_casey_keeps_even_hours(day):
    # The next day 00:01 became 03:01, at 16:01 UTC: 02:00 never came, 04:00 came at 17:00 UTC.
    found = fires(parse_cron("0 */2 * * *", "Antarctica/Casey"), f"{day}T15:00", f"{day}T19:30")
    assert [moment[6:] for moment in found] == ["16:00", "17:00", "19:00"]


@pytest.mark.parametrize(("text", "dst"), [("30 2 * 3 7L", SKIP), ("*/30 2 * 3 7L", DstRule())])
def test_a_time_that_clocks_always_skip_is_refused(text, dst):
    with pytest.raises(InvalidInput, match="never fires in Europe/Berlin, where clocks always skip that time"):
        parse_cron(text, "Europe/Berlin", dst)


def test_unknown_choices_are_refused_by_name():
    with pytest.raises(InvalidInput, match=r"dst\.gap 'befor' is not known; choose after or skip"):
        DstRule(gap="befor")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="dst: unknown key 'folds'; did you mean 'fold'"):
        DstRule.from_json({"folds": "first"})


def test_the_rule_is_said_in_words():
    assert DstRule().in_words() == "a skipped time fires at the end of the gap; a repeated time fires the first time"
