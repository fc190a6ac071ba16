"""What cron text says, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import perf_counter  # noqa: TID251  # how long a refusal takes is the point of one test

import pytest
from cronsim import CronSim

from mainspring.domain.triggers import CronInvalid, CronTrigger, parse_cron, trigger_from_json
from mainspring.errors import UnknownName

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)  # a Thursday


def first(text: str, count: int = 1, seed: str = "") -> list[str]:
    """Return the first fire times of 2026 in UTC."""
    trigger, moment, found = parse_cron(text, seed=seed), NEW_YEAR - timedelta(seconds=1), []
    for _ in range(count):
        moment = trigger.next_after(moment)
        assert moment is not None
        found.append(f"{moment:%a %Y-%m-%d %H:%M:%S}")
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 9 * * 0", "Sun 2026-01-04 09:00:00"),
        ("0 9 * * 7", "Sun 2026-01-04 09:00:00"),
        ("0 9 * * sun", "Sun 2026-01-04 09:00:00"),
        ("0 9 * * 1", "Mon 2026-01-05 09:00:00"),
        ("0 9 * feb *", "Sun 2026-02-01 09:00:00"),
        ("0 9 L * *", "Sat 2026-01-31 09:00:00"),
        ("0 9 LW * *", "Fri 2026-01-30 09:00:00"),
        ("0 9 * * MON#1", "Mon 2026-01-05 09:00:00"),
        ("0 9 * * 5L", "Fri 2026-01-30 09:00:00"),
        ("0 9 * * FRIL", "Fri 2026-01-30 09:00:00"),
        ("0 9 * * FRI-SUN", "Fri 2026-01-02 09:00:00"),
        ("0 9 13 * 5", "Fri 2026-01-02 09:00:00"),
        ("0 9 */2 * 1", "Mon 2026-01-05 09:00:00"),
        ("15 30 9 * * *", "Thu 2026-01-01 09:30:15"),
        ("5-5/10 9 * * *", "Thu 2026-01-01 09:05:00"),
        ("40/15 9 * * *", "Thu 2026-01-01 09:40:00"),
        ("@yearly", "Thu 2026-01-01 00:00:00"),
        ("@annually", "Thu 2026-01-01 00:00:00"),
        ("@monthly", "Thu 2026-01-01 00:00:00"),
        ("@weekly", "Sun 2026-01-04 00:00:00"),
        ("@daily", "Thu 2026-01-01 00:00:00"),
        ("@midnight", "Thu 2026-01-01 00:00:00"),
        ("@hourly", "Thu 2026-01-01 00:00:00"),
        ("0 0 29 2 *", "Tue 2028-02-29 00:00:00"),
        ("0 0 * 2 MON#5", "Mon 2044-02-29 00:00:00"),
    ],
)
def test_text_names_its_first_time(text, expected):
    assert first(text) == [expected]


def test_a_range_of_one_value_with_a_step_is_that_value():
    assert first("5-5/10 * * * *", 2) == ["Thu 2026-01-01 00:05:00", "Thu 2026-01-01 01:05:00"]


def test_case_and_blanks_do_not_matter():
    assert first(" 0  9 * JAN-mar  Mon ") == ["Mon 2026-01-05 09:00:00"]


def test_a_weekday_that_is_the_29_february_is_found_across_a_century_without_one():
    for zone in ("UTC", "America/New_York"):
        found = parse_cron("0 12 * 2 MON#5", zone).next_after(datetime(2072, 3, 1, tzinfo=UTC))
        assert found is not None
        assert found.date().isoformat() == "2112-02-29"


def test_leap_days_to_2400_leave_out_three_centuries():
    trigger, moment, years = parse_cron("0 0 29 2 *", "America/Sao_Paulo"), NEW_YEAR, []
    while (moment := trigger.next_after(moment)).year <= 2400:
        years.append(moment.year)
    assert len(years) == 91
    assert {2096, 2104, 2196, 2204, 2400} <= set(years)
    assert {2100, 2200, 2300}.isdisjoint(years)


class TestHash:
    def test_h_is_one_value_for_a_name_and_the_same_everywhere(self):
        assert first("H H * * *", 2, seed="quotes") == ["Thu 2026-01-01 22:54:00", "Fri 2026-01-02 22:54:00"]

    def test_names_are_spread(self):
        minutes = {first("H * * * *", seed=f"schedule {number}")[0][-5:-3] for number in range(200)}
        assert len(minutes) > 50

    def test_a_range_keeps_h_inside(self):
        hours = {int(first("0 H(2-4) * * *", seed=f"schedule {number}")[0][-8:-6]) for number in range(60)}
        assert hours == {2, 3, 4}

    def test_a_step_starts_at_a_hashed_place(self):
        found = [int(time[-5:-3]) for time in first("H/15 * * * *", 5, seed="quotes")]
        assert found[0] < 15
        assert found == [found[0], found[0] + 15, found[0] + 30, found[0] + 45, found[0]]

    def test_the_seed_is_kept_only_where_it_counts(self):
        assert parse_cron("0 9 * * *", seed="quotes") == CronTrigger("0 9 * * *")
        hashed = parse_cron("H 9 * * *", seed="quotes")
        assert hashed.seed == "quotes"
        assert trigger_from_json(hashed.to_json()) == hashed

    def test_h_without_a_seed_is_refused(self):
        with pytest.raises(CronInvalid, match="H spreads schedules by their names; give a seed"):
            parse_cron("H * * * *")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("61 * * * *", 'cron "61 * * * *": minute 61 is outside 0-59'),
        ("* 24 * * *", 'cron "* 24 * * *": hour 24 is outside 0-23'),
        ("0 0 0 * *", 'cron "0 0 0 * *": day 0 is outside 1-31'),
        ("0 9 * 13 *", 'cron "0 9 * 13 *": month 13 is outside 1-12'),
        ("0 9 * * 8", 'cron "0 9 * * 8": weekday 8 is outside 0-7'),
        ("60 0 9 * * *", 'cron "60 0 9 * * *": second 60 is outside 0-59'),
        (
            "* * * *",
            'cron "* * * *": has 4 fields; write 5 (minute hour day month weekday) or 6 with seconds first',
        ),
        ("*", 'cron "*": has 1 field; write 5 (minute hour day month weekday) or 6 with seconds first'),
        ("", 'cron "": has 0 fields; write 5 (minute hour day month weekday) or 6 with seconds first'),
        (
            "0 0 9 1 1 * 2026",
            'cron "0 0 9 1 1 * 2026": has 7 fields; a year cannot be given in cron text, use start and end or `fields`',
        ),
        ("0 0 31 2 *", 'cron "0 0 31 2 *": names a date that never comes; no year has such a day'),
        ("0 0 31 4,6 *", 'cron "0 0 31 4,6 *": names a date that never comes; no year has such a day'),
        ("@dayly", 'cron "@dayly": @dayly is not known; did you mean @daily?'),
        ("@reboot", 'cron "@reboot": a schedule has no reboot; use a time or an interval'),
        ("0 9 ? * 1", 'cron "0 9 ? * 1": day ? is not used here; write *'),
        (
            "0 9 15W * *",
            'cron "0 9 15W * *": day 15W is not supported; L is the last day and LW the last weekday of the month',
        ),
        ("0 22-2 * * *", 'cron "0 22-2 * * *": hour 22-2 runs backwards; write 22-23,0-2'),
        ("* * * * MOND", 'cron "* * * * MOND": weekday MOND is not known; did you mean MON?'),
        ("0 0 * JANUARY *", 'cron "0 0 * JANUARY *": month JANUARY is not known; did you mean JAN?'),
        (
            "*/90 * * * *",
            'cron "*/90 * * * *": minute */90: the step 90 is longer than the field has values (60); '
            "use an interval (every)",
        ),
        ("*/0 * * * *", 'cron "*/0 * * * *": minute */0: the step 0 is not a number from 1'),
        ("*/ * * * *", 'cron "*/ * * * *": minute */: the step (nothing) is not a number from 1'),
        (
            "0 9 * * L",
            'cron "0 9 * * L": weekday L needs a weekday; write 5L for the last Friday of the month',
        ),
        (
            "0 9 * * 1#6",
            'cron "0 9 * * 1#6": weekday 1#6: a month has weekdays #1 to #5; write MON#1 for the first Monday',
        ),
        (
            "1,,2 * * * *",
            'cron "1,,2 * * * *": minute 1,,2 has an empty member; write values with single commas, such as 1,15',
        ),
        ("0 0 L/2 * *", 'cron "0 0 L/2 * *": day L/2: L cannot have a step'),
        ("0 0 * * 1-", 'cron "0 0 * * 1-": weekday (nothing) is not a number; use 0-7 or SUN-SAT'),
        ("٣ * * * *", 'cron "٣ * * * *": minute ٣ is not a number; use 0-59'),
        ("H(9-3) * * * *", 'cron "H(9-3) * * * *": minute H(9-3) runs backwards; write the smaller number first'),
        (570, "cron 570 is not text; write it in quotes"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_way_out(text, message):
    with pytest.raises(CronInvalid) as refused:
        parse_cron(text, seed="quotes")
    assert str(refused.value) == message


def test_a_long_text_is_refused_without_repeating_it():
    with pytest.raises(CronInvalid, match="has 2000 characters; at most 500 are read"):
        parse_cron("1,2," * 500)


def test_an_unknown_zone_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownName) as refused:
        parse_cron("0 9 * * *", "America/Sao_Paolo")
    assert str(refused.value) == "unknown time zone 'America/Sao_Paolo'; did you mean 'America/Sao_Paulo'?"


@pytest.mark.parametrize("text", ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 */31 2 WED#5", "* * * 2 0#6"])
def test_the_impossible_is_refused_within_50_ms(text):
    started = perf_counter()
    try:
        parse_cron(text)
    except CronInvalid:
        pass
    assert perf_counter() - started < 0.05


@pytest.mark.parametrize(
    "text",
    [
        "*/7 3-21/5 * * *",
        "5 4 1,15 * 3",
        "0 12 L 2 *",
        "30 6 * */3 1-5",
        "0 0 29-31 * 5#2",
        "10 */6 LW * *",
        "9 9 */5 * 2",
    ],
)
def test_without_clock_changes_we_agree_with_cronsim(text):
    theirs = CronSim(text, NEW_YEAR)
    ours = NEW_YEAR
    for expected in [next(theirs) for _ in range(200)]:
        ours = parse_cron(text).next_after(ours)
        assert ours == expected


def test_triggers_are_equal_hashable_values():
    assert parse_cron("0 9 * * *") == parse_cron("0  9 * * *")
    assert len({parse_cron("0 9 * * *"), parse_cron("0 9 * * *"), parse_cron("0 9 * * *", "Europe/Berlin")}) == 2


def test_a_naive_moment_is_a_mistake():
    with pytest.raises(ValueError, match="has no zone"):
        parse_cron("* * * * *").next_after(datetime(2026, 1, 1))


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_ends_of_time_do_no_harm(moment):
    for zone in ("UTC", "Asia/Tokyo", "America/New_York"):
        found = parse_cron("0 0 * * *", zone).next_after(moment)
        assert found is None or found > moment
