"""What becomes of each fire time: every policy, with figures written out, and whatever the size of the plans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.calendars import CalendarRule
from mainspring.domain.occurrences import (
    MOST_AT_ONCE,
    Cause,
    FirePlan,
    Occurrence,
    Outcome,
    Pause,
    Position,
    latest_fire_times,
    plan_firing,
)
from mainspring.domain.spec import Misfire, MisfirePolicy, OverlapPolicy, ScheduleSpec
from mainspring.domain.triggers import DateTrigger, IntervalTrigger, parse_cron
from mainspring.ids import ScheduleId

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
MICRO, SECOND, MINUTE, HOUR, DAY = (
    timedelta(microseconds=1), timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1),
)  # fmt: skip
SKIP, LATEST = Misfire(MisfirePolicy.SKIP), Misfire(MisfirePolicy.LATEST)
ALL = Misfire(MisfirePolicy.ALL)
F, C = Outcome.FIRED, Outcome.COALESCED
MISSED, OVERLAP, CALENDAR, PAUSED = Cause.MISSED, Cause.OVERLAP, Cause.CALENDAR, Cause.PAUSED


def every(distance: timedelta, **changes: object) -> ScheduleSpec:
    return ScheduleSpec(name="s", task="t", trigger=IntervalTrigger(distance, NOON), **changes)  # type: ignore[arg-type]


def at(start: datetime = NOON, **changes: object) -> Position:
    return replace(Position(ScheduleId("s"), 1, None, start), **changes)  # type: ignore[arg-type]


def plans(spec: ScheduleSpec, position: Position, now: datetime, most: int = MOST_AT_ONCE) -> Iterator[FirePlan]:
    """Plan as schedulers do until nothing is due: each from where the last one ended; no run ever ends."""
    for _ in range(100_000):
        plan = plan_firing(spec, position, now, most)
        yield plan
        if plan.next_at is None or plan.next_at > now:
            return
        fired = sum(1 for _ in plan.fired)
        unfinished = fired if plan.cancel_unfinished else position.unfinished + fired
        position = replace(position, last_at=plan.last_at, catch_up_until=plan.catch_up_until, unfinished=unfinished)
    raise AssertionError("the plans do not come to an end")


def decided(spec: ScheduleSpec, position: Position, now: datetime, most: int = MOST_AT_ONCE) -> list[Occurrence]:
    return [o for plan in plans(spec, position, now, most) for o in plan.occurrences]


def tally(occurrences: list[Occurrence]) -> dict[Outcome | Cause, int]:
    """Return how many fire times ended how: by outcome, skipped ones by cause."""
    counted: Counter[Outcome | Cause] = Counter()
    for o in occurrences:
        counted[o.cause or o.outcome] += o.n
    return dict(counted)


def fired(occurrences: list[Occurrence]) -> list[datetime]:
    return [o.fire_at for o in occurrences if o.outcome is F]


# On time


def test_a_fire_time_on_time_fires_whatever_the_misfire_policy() -> None:
    for misfire in (SKIP, LATEST, ALL):
        (plan,) = plans(every(MINUTE, misfire=misfire), at(), NOON + MINUTE + SECOND)
        assert plan.occurrences == (Occurrence(NOON + MINUTE, NOON + MINUTE, 1, F, None, "due"),)
        assert (plan.last_at, plan.next_at, plan.catch_up_until) == (NOON + MINUTE, NOON + 2 * MINUTE, None)


def test_nothing_due_decides_nothing_and_moves_no_mark() -> None:
    position = at(last_at=NOON)
    plan = plan_firing(every(MINUTE), position, NOON + MINUTE - MICRO)
    assert (plan.occurrences, plan.last_at, plan.next_at) == ((), NOON, NOON + MINUTE)


def test_the_mark_itself_is_never_fired_again() -> None:
    assert fired(decided(every(MINUTE), at(NOON - HOUR, last_at=NOON), NOON + SECOND)) == []


def test_an_edit_moves_the_mark_and_the_past_of_the_new_rule_does_not_fire() -> None:
    position = at(NOON + 10 * MINUTE, last_at=NOON)
    assert fired(decided(every(MINUTE, misfire=ALL), position, NOON + 12 * MINUTE)) == [
        NOON + 11 * MINUTE, NOON + 12 * MINUTE,
    ]  # fmt: skip


def test_a_fire_time_is_late_from_the_moment_the_grace_is_over() -> None:
    spec = every(HOUR, misfire=SKIP)
    on_time = NOON + HOUR + timedelta(seconds=30)
    assert tally(decided(spec, at(), on_time)) == {F: 1}
    assert tally(decided(spec, at(), on_time + MICRO)) == {MISSED: 1}


def test_several_fire_times_within_the_grace_all_fire() -> None:
    for misfire in (SKIP, LATEST, ALL):
        assert len(fired(decided(every(SECOND, misfire=misfire), at(), NOON + 30 * SECOND))) == 30


def test_one_late_fire_time_makes_all_that_are_pending_late() -> None:
    found = decided(every(10 * SECOND, misfire=LATEST), at(), NOON + 45 * SECOND)
    assert tally(found) == {C: 3, F: 1}
    assert fired(found) == [NOON + 40 * SECOND]


# A day of downtime: 86,400 seconds, 1,440 minutes, 24 hours, one day

DOWN = NOON + DAY
DOWNTIME = [
    # distance, policy, what becomes of the fire times, first and last that fire
    (SECOND, SKIP, {MISSED: 86_369, F: 31}, DOWN - 30 * SECOND, DOWN),
    (SECOND, LATEST, {C: 86_399, F: 1}, DOWN, DOWN),
    (SECOND, ALL, {MISSED: 86_300, F: 100}, DOWN - 99 * SECOND, DOWN),
    (MINUTE, SKIP, {MISSED: 1_439, F: 1}, DOWN, DOWN),
    (MINUTE, LATEST, {C: 1_439, F: 1}, DOWN, DOWN),
    (MINUTE, ALL, {MISSED: 1_340, F: 100}, DOWN - 99 * MINUTE, DOWN),
    (HOUR, SKIP, {MISSED: 23, F: 1}, DOWN, DOWN),
    (HOUR, LATEST, {C: 23, F: 1}, DOWN, DOWN),
    (HOUR, ALL, {F: 24}, NOON + HOUR, DOWN),
    (DAY, SKIP, {F: 1}, DOWN, DOWN),
    (DAY, LATEST, {F: 1}, DOWN, DOWN),
    (DAY, ALL, {F: 1}, DOWN, DOWN),
]


@pytest.mark.parametrize(("distance", "misfire", "expected", "first", "last"), DOWNTIME)
def test_after_a_day_of_downtime_each_policy_yields_its_exact_runs(
    distance: timedelta, misfire: Misfire, expected: dict[Outcome | Cause, int], first: datetime, last: datetime
) -> None:
    found = decided(every(distance, misfire=misfire), at(), DOWN)
    assert tally(found) == expected
    assert fired(found)[0] == first
    assert fired(found)[-1] == last


@pytest.mark.parametrize("misfire", [SKIP, LATEST, ALL])
def test_a_day_of_seconds_takes_87_plans_that_remember_what_is_late(misfire: Misfire) -> None:
    made = list(plans(every(SECOND, misfire=misfire), at(), DOWN))
    assert len(made) == 87
    assert {plan.catch_up_until for plan in made[:-1]} == {DOWN}
    assert made[-1].catch_up_until is None
    assert [sum(o.n for o in plan.occurrences) for plan in made] == [1_000] * 86 + [400]
    assert max(len(plan.occurrences) for plan in made[:-1]) == 1, "a stretch of one outcome is one row"


def test_a_backlog_stays_late_although_time_passes_between_its_plans() -> None:
    spec, position, now = every(MINUTE), at(), NOON + 5 * HOUR
    found: list[Occurrence] = []
    for _ in range(4):
        plan = plan_firing(spec, position, now, most=100)
        found += plan.occurrences
        position = replace(position, last_at=plan.last_at, catch_up_until=plan.catch_up_until)
        now += 10 * SECOND
    assert tally(found) == {C: 299, F: 1}
    assert fired(found) == [NOON + 5 * HOUR]


def test_what_comes_due_during_the_catching_up_fires_on_its_own() -> None:
    spec = every(MINUTE)
    first = plan_firing(spec, at(), NOON + 2 * HOUR, most=100)
    position = at(last_at=first.last_at, catch_up_until=first.catch_up_until)
    plan = plan_firing(spec, position, NOON + 2 * HOUR + MINUTE, most=100)
    assert fired(list(plan.occurrences)) == [NOON + 2 * HOUR, NOON + 2 * HOUR + MINUTE]
    assert plan.catch_up_until is None


@pytest.mark.parametrize(
    ("misfire", "expected", "first"),
    [
        (Misfire(MisfirePolicy.ALL, cap=10), {MISSED: 1_430, F: 10}, DOWN - 9 * MINUTE),
        (Misfire(MisfirePolicy.ALL, cap=5_000), {F: 1_440}, NOON + MINUTE),
        (Misfire(MisfirePolicy.ALL, cap=5_000, max_age=HOUR), {MISSED: 1_379, F: 61}, DOWN - HOUR),
        (Misfire(MisfirePolicy.ALL, cap=10, max_age=HOUR), {MISSED: 1_430, F: 10}, DOWN - 9 * MINUTE),
        (Misfire(MisfirePolicy.ALL, cap=100, max_age=5 * MINUTE), {MISSED: 1_434, F: 6}, DOWN - 5 * MINUTE),
        (Misfire(MisfirePolicy.LATEST, max_age=HOUR), {MISSED: 1_379, C: 60, F: 1}, DOWN),
        (Misfire(MisfirePolicy.SKIP, grace=5 * MINUTE), {MISSED: 1_434, F: 6}, DOWN - 5 * MINUTE),
        (Misfire(MisfirePolicy.LATEST, grace=2 * DAY), {F: 1_440}, NOON + MINUTE),
    ],
)
def test_cap_age_and_grace_bound_what_fires(
    misfire: Misfire, expected: dict[Outcome | Cause, int], first: datetime
) -> None:
    found = decided(every(MINUTE, misfire=misfire), at(), DOWN)
    assert tally(found) == expected
    assert fired(found)[0] == first


def test_the_latest_of_a_backlog_does_not_fire_when_even_that_is_too_old() -> None:
    spec = every(DAY, misfire=Misfire(MisfirePolicy.LATEST, max_age=HOUR))
    assert tally(decided(spec, at(), NOON + 3 * DAY + 2 * HOUR)) == {MISSED: 3}


def test_reasons_are_sentences_that_say_the_policy() -> None:
    def reasons(misfire: Misfire) -> set[str]:
        return {o.reason for o in decided(every(MINUTE, misfire=misfire), at(), DOWN)}

    assert reasons(SKIP) == {"noticed late; the misfire policy is skip", "due"}
    assert reasons(LATEST) == {"noticed late; only the latest of the backlog fires", "due"}
    assert reasons(ALL) == {"noticed late; only the latest 100 of the backlog fire", "due"}
    assert "noticed late; older than the age limit of 1:00:00" in reasons(replace(ALL, max_age=HOUR))


# Overlap


@pytest.mark.parametrize(
    ("overlap", "unfinished", "expected", "waits"),
    [
        (OverlapPolicy.ALLOW, 0, [F], [False]),
        (OverlapPolicy.ALLOW, 7, [F], [False]),
        (OverlapPolicy.SKIP, 0, [F], [False]),
        (OverlapPolicy.SKIP, 1, [OVERLAP], [False]),
        (OverlapPolicy.QUEUE_ONE, 0, [F], [False]),
        (OverlapPolicy.QUEUE_ONE, 1, [F], [True]),
        (OverlapPolicy.QUEUE_ONE, 2, [OVERLAP], [False]),
        (OverlapPolicy.CANCEL_RUNNING, 0, [F], [False]),
        (OverlapPolicy.CANCEL_RUNNING, 3, [F], [False]),
    ],
)
def test_a_fire_time_meets_unfinished_runs(
    overlap: OverlapPolicy, unfinished: int, expected: list[Outcome | Cause], waits: list[bool]
) -> None:
    plan = plan_firing(every(MINUTE, overlap=overlap), at(unfinished=unfinished), NOON + MINUTE)
    assert [o.cause or o.outcome for o in plan.occurrences] == expected
    assert [o.waits for o in plan.occurrences] == waits
    assert plan.cancel_unfinished is (overlap is OverlapPolicy.CANCEL_RUNNING and unfinished > 0)


OVERLAPS = [
    # overlap, misfire, what becomes of 1,440 minutes, the ones that fire
    (OverlapPolicy.ALLOW, ALL, {MISSED: 1_340, F: 100}, range(1_341, 1_441)),
    (OverlapPolicy.ALLOW, LATEST, {C: 1_439, F: 1}, [1_440]),
    (OverlapPolicy.ALLOW, SKIP, {MISSED: 1_439, F: 1}, [1_440]),
    (OverlapPolicy.SKIP, ALL, {MISSED: 1_340, F: 1, OVERLAP: 99}, [1_341]),
    (OverlapPolicy.SKIP, LATEST, {C: 1_439, F: 1}, [1_440]),
    (OverlapPolicy.SKIP, SKIP, {MISSED: 1_439, F: 1}, [1_440]),
    (OverlapPolicy.QUEUE_ONE, ALL, {MISSED: 1_340, F: 2, OVERLAP: 98}, [1_341, 1_342]),
    (OverlapPolicy.QUEUE_ONE, LATEST, {C: 1_439, F: 1}, [1_440]),
    (OverlapPolicy.QUEUE_ONE, SKIP, {MISSED: 1_439, F: 1}, [1_440]),
    (OverlapPolicy.CANCEL_RUNNING, ALL, {MISSED: 1_340, OVERLAP: 99, F: 1}, [1_440]),
    (OverlapPolicy.CANCEL_RUNNING, LATEST, {C: 1_439, F: 1}, [1_440]),
    (OverlapPolicy.CANCEL_RUNNING, SKIP, {MISSED: 1_439, F: 1}, [1_440]),
]


@pytest.mark.parametrize(("overlap", "misfire", "expected", "minutes"), OVERLAPS)
@pytest.mark.parametrize("most", [MOST_AT_ONCE, 1_390, 7])
def test_every_overlap_policy_with_every_misfire_policy_after_a_day(
    overlap: OverlapPolicy,
    misfire: Misfire,
    expected: dict[Outcome | Cause, int],
    minutes: list[int],
    most: int,
) -> None:
    found = decided(every(MINUTE, overlap=overlap, misfire=misfire), at(), DOWN, most)
    assert tally(found) == expected
    assert fired(found) == [NOON + n * MINUTE for n in minutes]


def test_with_queue_one_the_second_of_a_plan_waits_for_the_first() -> None:
    plan = plan_firing(every(10 * SECOND, overlap=OverlapPolicy.QUEUE_ONE), at(), NOON + 30 * SECOND)
    assert [(o.outcome, o.waits) for o in plan.occurrences] == [(F, False), (F, True), (Outcome.SKIPPED, False)]


def test_cancel_running_cancels_only_when_something_fires() -> None:
    spec = every(MINUTE, overlap=OverlapPolicy.CANCEL_RUNNING)
    paused = at(unfinished=1, pause=Pause(NOON))
    assert plan_firing(spec, paused, NOON + MINUTE).cancel_unfinished is False


# Pauses and calendars


def test_a_pause_covers_what_lies_strictly_inside_it() -> None:
    pause = Pause(NOON, NOON + 3 * MINUTE, "ann", "repairs")
    assert [pause.covers(NOON + n * MINUTE) for n in range(5)] == [False, True, True, False, False]
    assert Pause(NOON).covers(NOON + 1000 * DAY) is True


def test_a_paused_schedule_yields_one_row_and_no_run() -> None:
    position = at(pause=Pause(NOON, None, "ann", "repairs"))
    (row,) = decided(every(MINUTE, misfire=ALL), position, NOON + 2 * HOUR)
    assert (row.fire_at, row.until_at, row.n, row.outcome, row.cause, row.reason) == (
        NOON + MINUTE, NOON + 2 * HOUR, 120, Outcome.SKIPPED, PAUSED, "paused by ann: repairs",
    )  # fmt: skip


@pytest.mark.parametrize("most", [1_000, 7, 1])
def test_a_pause_that_ends_by_itself_lets_the_next_fire_times_fire_on_time(most: int) -> None:
    position = at(pause=Pause(NOON, NOON + HOUR))
    found = decided(every(MINUTE), position, NOON + HOUR + 20 * SECOND, most)
    assert tally(found) == {PAUSED: 59, F: 1}
    assert fired(found) == [NOON + HOUR]


@pytest.mark.parametrize(
    ("misfire", "expected"),
    [
        (SKIP, {PAUSED: 59, MISSED: 60, F: 1}),
        (LATEST, {PAUSED: 59, C: 60, F: 1}),
        (ALL, {PAUSED: 59, F: 61}),
        (Misfire(MisfirePolicy.ALL, cap=5), {PAUSED: 59, MISSED: 56, F: 5}),
        (Misfire(MisfirePolicy.ALL, max_age=10 * MINUTE), {PAUSED: 59, MISSED: 50, F: 11}),
    ],
)
def test_paused_fire_times_do_not_count_for_the_misfire_policy(
    misfire: Misfire, expected: dict[Outcome | Cause, int]
) -> None:
    position = at(pause=Pause(NOON, NOON + HOUR))
    assert tally(decided(every(MINUTE, misfire=misfire), position, NOON + 2 * HOUR)) == expected


def test_the_words_of_a_pause_name_who_and_why_if_known() -> None:
    assert Pause(NOON).in_words() == "paused"
    assert Pause(NOON, None, "ann").in_words() == "paused by ann"
    assert Pause(NOON, None, "", "repairs").in_words() == "paused: repairs"


FRIDAY = datetime(2026, 3, 6, 12, tzinfo=UTC)
WEEKDAYS = CalendarRule(include=("weekdays",))


def hourly(**changes: object) -> ScheduleSpec:
    return ScheduleSpec(
        name="s", task="t", trigger=parse_cron("0 * * * *", "America/Sao_Paulo"), zone="America/Sao_Paulo",
        calendars=WEEKDAYS, **changes,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("misfire", "expected", "last"),
    [
        # Friday 10:00 to 23:00 in São Paulo are 14, the weekend 48, Monday 0:00 to 9:00 are 10.
        (SKIP, {MISSED: 23, CALENDAR: 48, F: 1}, 1),
        (LATEST, {C: 23, CALENDAR: 48, F: 1}, 1),
        (ALL, {CALENDAR: 48, F: 24}, 24),
        (Misfire(MisfirePolicy.ALL, cap=12), {MISSED: 12, CALENDAR: 48, F: 12}, 12),
    ],
)
def test_barred_days_are_skipped_by_local_day_and_do_not_use_up_the_cap(
    misfire: Misfire, expected: dict[Outcome | Cause, int], last: int
) -> None:
    now = FRIDAY + 3 * DAY
    found = decided(hourly(misfire=misfire), at(FRIDAY), now)
    assert tally(found) == expected
    assert len(fired(found)) == last


def test_a_barred_stretch_has_one_row_for_each_reason() -> None:
    found = [o for o in decided(hourly(misfire=ALL), at(FRIDAY), FRIDAY + 3 * DAY) if o.cause is CALENDAR]
    assert [(o.n, o.reason) for o in found] == [
        (24, "Saturday 2026-03-07 is not in weekdays"),
        (24, "Sunday 2026-03-08 is not in weekdays"),
    ]


@pytest.mark.parametrize("most", [1_000, 5, 1])
def test_a_backlog_in_which_all_is_barred_makes_nothing_late(most: int) -> None:
    # Down over the weekend, back on Monday 20 seconds after midnight: the fire time of midnight is on time.
    monday = datetime(2026, 3, 9, 3, 0, 20, tzinfo=UTC)
    saturday = datetime(2026, 3, 7, 3, 30, tzinfo=UTC)
    found = decided(hourly(misfire=SKIP), at(saturday), monday, most)
    assert tally(found) == {CALENDAR: 47, F: 1}


def test_own_calendars_bar_their_days_with_their_label() -> None:
    own = {"closures": {date(2026, 3, 3): "Stocktaking"}}
    spec = every(HOUR, calendars=CalendarRule(exclude=("closures",)), own_calendars=own)
    found = decided(spec, at(), NOON + 2 * DAY)
    assert [(o.n, o.reason) for o in found if o.cause is CALENDAR] == [(24, "Stocktaking (closures)")]


def test_the_latest_fire_time_before_a_long_barred_time_is_found_without_walking_through_it() -> None:
    asked = 0

    class Counting(IntervalTrigger):
        def next_after(self, moment: datetime) -> datetime | None:
            nonlocal asked
            asked += 1
            return super().next_after(moment)

    spec = ScheduleSpec(
        name="s", task="t", trigger=Counting(SECOND, NOON), calendars=CalendarRule(exclude=("weekends",))
    )
    sunday = datetime(2026, 3, 8, 23, tzinfo=UTC)
    assert latest_fire_times(spec, at(), sunday, 1) == [datetime(2026, 3, 6, 23, 59, 59, tzinfo=UTC)]
    assert asked < 100_000
    paused = at(pause=Pause(NOON + HOUR, NOON + 4 * DAY))
    asked = 0
    assert latest_fire_times(spec, paused, NOON + 4 * DAY - MICRO, 1) == [NOON + HOUR]
    assert asked < 50_000


# Start, end, single dates, local keys


def test_start_and_end_bound_the_fire_times_and_belong_to_them() -> None:
    spec = every(MINUTE, start_at=NOON + 5 * MINUTE, end_at=NOON + 8 * MINUTE, misfire=ALL)
    (plan,) = plans(spec, at(), NOON + HOUR)
    assert fired(list(plan.occurrences)) == [NOON + n * MINUTE for n in (5, 6, 7, 8)]
    assert plan.next_at is None


def test_a_single_date_fires_once_and_never_again() -> None:
    spec = ScheduleSpec(name="s", task="t", trigger=DateTrigger(NOON + HOUR))
    (plan,) = plans(spec, at(), NOON + HOUR)
    assert (fired(list(plan.occurrences)), plan.next_at) == ([NOON + HOUR], None)
    assert plan_firing(spec, at(last_at=plan.last_at), NOON + DAY).occurrences == ()


def test_a_single_date_missed_by_a_month_still_fires_with_latest_and_not_with_skip() -> None:
    spec = ScheduleSpec(name="s", task="t", trigger=DateTrigger(NOON + HOUR))
    assert tally(decided(spec, at(), NOON + 30 * DAY)) == {F: 1}
    assert tally(decided(replace(spec, misfire=SKIP), at(), NOON + 30 * DAY)) == {MISSED: 1}


def test_only_what_fires_carries_its_local_time() -> None:
    spec = ScheduleSpec(
        name="s", task="t", trigger=parse_cron("30 9 * * *", "America/Sao_Paulo"), zone="America/Sao_Paulo"
    )
    found = decided(spec, at(), NOON + 3 * DAY + HOUR)
    assert [(o.outcome, o.local_key) for o in found] == [(C, None), (F, "2026-03-05T09:30:00")]


# Jitter


def test_jitter_is_the_same_everywhere_and_below_its_bound() -> None:
    spec = every(MINUTE, jitter=30 * SECOND)
    moments = [NOON + n * MINUTE for n in range(2_000)]
    spread = [spec.jitter_for(moment) for moment in moments]
    assert spread == [spec.jitter_for(moment) for moment in moments]
    assert all(timedelta(0) <= jitter < 30 * SECOND for jitter in spread)
    assert timedelta(seconds=14) < sum(spread, timedelta()) / 2_000 < timedelta(seconds=16)
    assert spec.jitter_for(NOON) == timedelta(seconds=16, microseconds=186_078)
    assert replace(spec, name="other").jitter_for(NOON) != spec.jitter_for(NOON)
    assert replace(spec, jitter=timedelta(0)).jitter_for(NOON) == timedelta(0)


def test_jitter_does_not_move_the_nominal_time() -> None:
    assert fired(decided(every(MINUTE, jitter=30 * SECOND), at(), NOON + MINUTE)) == [NOON + MINUTE]


# Whatever the downtime, whatever the size of the plans

MISFIRES = st.builds(
    Misfire,
    policy=st.sampled_from(MisfirePolicy),
    grace=st.sampled_from([timedelta(0), 30 * SECOND, 10 * MINUTE]),
    cap=st.integers(1, 60),
    max_age=st.none() | st.timedeltas(SECOND, 3 * HOUR),
)
PAUSES = st.none() | st.builds(
    lambda since, length: Pause(NOON + since, None if length is None else NOON + since + length),
    st.timedeltas(timedelta(0), 3 * HOUR),
    st.none() | st.timedeltas(SECOND, 3 * HOUR),
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[ScheduleSpec, Position, datetime]:
    calendars = draw(st.sampled_from([CalendarRule(), CalendarRule(exclude=("closures",))]))
    start = draw(st.none() | st.timedeltas(timedelta(0), 2 * HOUR))
    end = draw(st.none() | st.timedeltas(timedelta(0), 5 * HOUR))
    spec = every(
        draw(st.sampled_from([20 * SECOND, MINUTE, 7 * MINUTE])),
        misfire=draw(MISFIRES),
        overlap=draw(st.sampled_from(OverlapPolicy)),
        calendars=calendars,
        zone="Pacific/Kiritimati",
        # Midnight in Kiritimati is 10:00 UTC: the closure ends or begins inside the downtime.
        own_calendars={"closures": {date(2026, 3, 3): "closed"}},
        start_at=None if start is None else NOON + start,
        end_at=None if end is None else NOON + end,
    )
    begin = datetime(2026, 3, 3, 8, tzinfo=UTC) if draw(st.booleans()) else NOON
    position = at(begin, pause=draw(PAUSES), unfinished=draw(st.integers(0, 3)))
    return spec, position, begin + draw(st.timedeltas(timedelta(0), 4 * HOUR))


@given(situations(), st.integers(1, 50))
def test_plans_decide_every_fire_time_once_and_the_same_whatever_their_size(
    situation: tuple[ScheduleSpec, Position, datetime], most: int
) -> None:
    spec, position, now = situation
    expected = []
    moment = spec.next_after(position.mark)
    while moment is not None and moment <= now:
        expected.append(moment)
        moment = spec.next_after(moment)

    small, large = decided(spec, position, now, most), decided(spec, position, now, 100_000)
    assert fired(small) == fired(large)
    assert _each(spec, small) == _each(spec, large)
    assert list(_each(spec, small)) == expected
    assert sum(o.n for o in small) == len(expected)


def _each(spec: ScheduleSpec, occurrences: list[Occurrence]) -> dict[datetime, tuple[Outcome, Cause | None, str]]:
    """Return what became of every single fire time; a stretch must hold exactly as many as it says."""
    found: dict[datetime, tuple[Outcome, Cause | None, str]] = {}
    for o in occurrences:
        moment, n = o.fire_at, 1
        assert moment not in found
        found[moment] = (o.outcome, o.cause, o.reason)
        while moment < o.until_at:
            following = spec.next_after(moment)
            assert following is not None
            moment, n = following, n + 1
            found[moment] = (o.outcome, o.cause, o.reason)
        assert (moment, n) == (o.until_at, o.n)
    return found


@given(situations())
def test_what_fires_is_what_a_plain_reading_of_the_policies_says(
    situation: tuple[ScheduleSpec, Position, datetime],
) -> None:
    spec, position, now = situation
    free = []
    moment = spec.next_after(position.mark)
    while moment is not None and moment <= now:
        paused = position.pause is not None and position.pause.covers(moment)
        if not paused and spec.refusal(moment) is None:
            free.append(moment)
        moment = spec.next_after(moment)
    kept = list(free)
    misfire = spec.misfire
    if free and now - free[0] > misfire.grace:
        if misfire.policy is MisfirePolicy.SKIP:
            kept = [f for f in free if now - f <= misfire.grace]
        else:
            kept = free[-1:] if misfire.policy is MisfirePolicy.LATEST else free[-misfire.cap :]
            kept = [f for f in kept if misfire.max_age is None or now - f <= misfire.max_age]
    room = {
        OverlapPolicy.ALLOW: len(kept),
        OverlapPolicy.SKIP: max(1 - position.unfinished, 0),
        OverlapPolicy.QUEUE_ONE: max(2 - position.unfinished, 0),
    }
    kept = kept[-1:] if spec.overlap is OverlapPolicy.CANCEL_RUNNING else kept[: room[spec.overlap]]
    assert fired(decided(spec, position, now)) == kept
