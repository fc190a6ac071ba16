"""A whole configuration on a virtual clock: load, collisions, skipped days, overlaps, a free slot."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.domain.calendars import CalendarRule
from mainspring.domain.occurrences import Pause
from mainspring.domain.runs import Ended, Outcome
from mainspring.domain.spec import FanOut, OverlapPolicy, ScheduleSpec
from mainspring.domain.tasks import task
from mainspring.domain.triggers import IntervalTrigger, parse_cron, parse_session, trigger_from_definition
from mainspring.errors import InvalidInput
from mainspring.services import simulate as service
from mainspring.services.catalog import Catalog
from mainspring.services.durations import Usual, usual, usual_durations
from mainspring.services.forecast import live_slots, planned_in_database, planned_in_files
from mainspring.services.simulate import FreeSlot, HourLoad, Planned, hours_of_day, simulate
from tests.services.arrange import Installation, cron, when
from tests.store.arrange import finish

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def planned(text: str, minutes: float = 1, name: str = "s", queue: str = "default", **more: Any) -> Planned:
    taken = timedelta(minutes=minutes)
    pause = more.pop("pause", None)
    spec = ScheduleSpec(name=name, task=more.pop("task", "t"), trigger=parse_cron(text), **more)
    return Planned(spec, queue, Usual(taken, taken, 10), pause)


class TestLoad:
    def test_an_hour_has_what_comes_due_in_it_and_what_still_works(self) -> None:
        found = simulate([planned("30 9 * * *", 45)], MONDAY, 1)

        assert found.load == (
            HourLoad("default", MONDAY + 9 * HOUR, 1, 30 * MINUTE, 1),
            HourLoad("default", MONDAY + 10 * HOUR, 0, 15 * MINUTE, 1),
        )
        assert (found.fire_times, found.runs, found.peak, found.peak_at) == (1, 1, 1, MONDAY + 9 * HOUR + 30 * MINUTE)

    def test_queues_are_apart_and_the_peak_is_over_all(self) -> None:
        together = [planned("0 9 * * *", 10, "a"), planned("5 9 * * *", 10, "b", "other")]
        fan = planned("0 9 * * *", 2, "c", fan_out=FanOut("n", (1, 2, 3)))

        found = simulate([*together, fan], MONDAY, 2)

        at_nine = [one for one in found.load if one.hour_at == MONDAY + 9 * HOUR]
        assert [(one.queue, one.runs, one.busy, one.peak) for one in at_nine] == [
            ("default", 4, 16 * MINUTE, 4),
            ("other", 1, 10 * MINUTE, 1),
        ]
        assert (found.fire_times, found.runs, found.peak) == (6, 10, 4)

    def test_hours_of_the_day_are_added_up_in_local_time(self) -> None:
        found = simulate([planned("0 9 * * *", 30)], MONDAY, 10)

        (one,) = hours_of_day(found.load, "America/Sao_Paulo").items()
        assert one == (("default", 6), HourLoad("default", MONDAY + 9 * HOUR, 10, 300 * MINUTE, 1))

    def test_jitter_moves_runs_but_not_fire_times(self) -> None:
        one = planned("0 9 * * *", 1, jitter=HOUR)
        found = simulate([one, planned("0 9 * * *", 1, "b")], MONDAY, 1)

        moved = MONDAY + 9 * HOUR + one.spec.jitter_for(MONDAY + 9 * HOUR)
        assert found.collisions[0].schedules == ("b", "s")
        assert found.peak == (2 if moved < MONDAY + 9 * HOUR + MINUTE else 1)

    @settings(max_examples=30, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(7, 200), st.integers(0, 59), st.integers(1, 300), st.sampled_from("xy")), max_size=4
        )
    )
    def test_it_is_what_counting_every_second_gives(self, rules: list[tuple[int, int, int, str]]) -> None:
        plans, spans = [], []
        for number, (every, offset, seconds, queue) in enumerate(rules):
            trigger = IntervalTrigger(timedelta(minutes=every), MONDAY + timedelta(seconds=offset))
            taken = timedelta(seconds=seconds)
            plans.append(Planned(ScheduleSpec(f"s{number}", "t", trigger), queue, Usual(taken, taken, 1)))
            spans += [(queue, start, start + seconds) for start in range(offset, 86_400, every * 60)]

        found = {(one.queue, one.hour_at): one for one in simulate(plans, MONDAY, 1).load}

        for queue in "xy":
            running = [0] * 86_400
            for _, start, end in (one for one in spans if one[0] == queue):
                for second in range(start, min(end, 86_400)):
                    running[second] += 1
            for hour in range(24):
                part = running[hour * 3600 : (hour + 1) * 3600]
                due = sum(1 for one in spans if one[0] == queue and one[1] // 3600 == hour)
                expected = (due, timedelta(seconds=sum(part)), max(part))
                one = found.get((queue, MONDAY + hour * HOUR))
                assert ((0, timedelta(0), 0) if one is None else (one.runs, one.busy, one.peak)) == expected


def test_collisions_are_named_worst_first() -> None:
    plans = [planned("0 9 * * *", name="a"), planned("0 9 * * 1", name="b"), planned("0 * * * *", name="c")]

    found = simulate(plans, MONDAY - timedelta(days=2), 7)

    (worst,) = found.collisions
    assert worst.fire_at == MONDAY + 9 * HOUR
    assert (worst.schedules, worst.days) == (("a", "b", "c"), 7)


def test_skipped_days_are_named_with_their_reasons() -> None:
    begin = datetime(2026, 11, 23, tzinfo=UTC)
    pause = Pause(begin + timedelta(days=2), begin + timedelta(days=3), "ana", "stocktaking")
    plans = [
        planned("0 9 * * *", name="holiday", calendars=CalendarRule((), ("NYSE",))),
        Planned(ScheduleSpec("bell", "t", parse_session("XNYS close"), "America/New_York")),
        planned("0 9 * * *", name="paused", pause=pause),
    ]

    found = simulate(plans, begin, 7)

    assert [(off.day, off.reason, off.schedules) for off in found.skipped] == [
        (date(2026, 11, 25), "paused by ana: stocktaking", ("paused",)),
        (date(2026, 11, 26), "Thanksgiving Day (NYSE)", ("holiday",)),
        (date(2026, 11, 26), "XNYS is closed: Thanksgiving Day", ("bell",)),
    ]
    assert found.fire_times == 6 + 4 + 6


class TestOverlaps:
    def test_runs_longer_than_the_gap_are_predicted(self) -> None:
        slow = Planned(
            ScheduleSpec("s", "t", parse_cron("*/10 * * * *")), "default", Usual(4 * MINUTE, 12 * MINUTE, 40)
        )

        (one,) = simulate([slow], MONDAY, 1).overlaps

        assert (one.schedule, one.shortest_gap, one.average, one.p95, one.fire_times) == ("s", 10 * MINUTE, 0, 143, 144)

    def test_fire_times_left_out_for_overlap_are_no_load(self) -> None:
        found = simulate([planned("*/10 * * * *", 25, overlap=OverlapPolicy.SKIP)], MONDAY, 1)

        assert (found.runs, found.peak, found.overlaps[0].average) == (48, 1, 143)

    def test_a_short_task_has_none(self) -> None:
        assert simulate([planned("*/10 * * * *", 10)], MONDAY, 1).overlaps == ()


def test_the_free_slot_is_the_least_loaded_half_hour_of_the_night() -> None:
    # 02:00 to 06:00 in São Paulo is 05:00 to 09:00 here; only 07:30 to 08:00 is free.
    busy = planned("0,30 5-6 * * *", 30, "a"), planned("0 7,8 * * *", 30, "b"), planned("30 8 * * *", 30, "c")

    found = simulate(busy, MONDAY, 3, "America/Sao_Paulo")

    assert found.free_slot == FreeSlot(4, 30, timedelta(0), 0)


def test_disabled_schedules_and_those_that_have_ended_do_nothing() -> None:
    found = simulate([planned("0 9 * * *", enabled=False), planned("0 9 * * *", end_at=MONDAY)], MONDAY, 3)
    assert (found.schedules, found.fire_times, found.load, found.peak_at) == (1, 0, (), None)


def test_a_simulation_that_is_too_long_or_too_dense_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="a simulation of 400 days cannot be made; choose 1 to 366 days"):
        simulate([], MONDAY, 400)
    monkeypatch.setattr(service, "MOST_FIRE_TIMES", 1_000)
    with pytest.raises(InvalidInput, match=r"more than 1,000 fire times, most of them of 's' \(every minute\)"):
        simulate([planned("* * * * *")], MONDAY, 1)


@pytest.mark.slow
def test_a_thousand_schedules_for_a_month_take_less_than_ten_seconds() -> None:
    zone = "America/Sao_Paulo"
    rule = CalendarRule(("weekdays",), ("BVMF",))
    daily = [ScheduleSpec(f"d{n}", "t", parse_cron(f"{n % 60} {n % 24} * * *", zone), zone, calendars=rule)
             for n in range(800)]  # fmt: skip
    hourly = [ScheduleSpec(f"h{n}", "t", parse_cron(f"{n % 60} * * * *", zone), zone) for n in range(150)]
    often = [ScheduleSpec(f"f{n}", "t", IntervalTrigger(5 * MINUTE, MONDAY + timedelta(seconds=n))) for n in range(50)]
    plans = [Planned(spec, f"q{n % 5}") for n, spec in enumerate([*daily, *hourly, *often])]

    before = time.process_time()
    found = simulate(plans, MONDAY, 30, zone)

    assert time.process_time() - before < 10
    assert found.fire_times > 550_000


@task(name="known", queue="reports")
def known() -> None:
    pass


class TestWhatIsSimulated:
    def test_durations_are_average_and_95th_percentile(self) -> None:
        seconds = [timedelta(seconds=n) for n in range(1, 101)]
        assert usual([("t", one) for one in reversed(seconds)]) == {
            "t": Usual(timedelta(seconds=50.5), timedelta(seconds=95), 100)
        }

    def test_schedules_of_the_database_come_with_queue_pause_and_past_durations(
        self, installation: Installation
    ) -> None:
        installation.describe(known)
        installation.put(cron("*/5 * * * *", task="known"))
        installation.put(cron("0 9 * * *", "other"))
        for minute, took in ((5, 30), (10, 60)):
            installation.fire(f"12:{minute:02d}")
            (run,) = installation.claim(1, "reports")
            begun, now = installation.clock.now(), installation.clock.now() + timedelta(seconds=took)
            finish(installation.database, installation.session, Outcome(run, Ended.SUCCEEDED, begun, now), now=now)
        installation.scheduling.pause("other", "ana")

        one, other = planned_in_database(installation.database, installation.clock, 7 * MINUTE)

        assert (other.spec.name, one.spec.name) == ("s1", "other")
        assert (other.queue, other.usual.average, other.usual.runs) == ("reports", timedelta(seconds=45), 2)
        assert (one.queue, one.usual, one.pause and one.pause.by) == ("default", Usual(7 * MINUTE, 7 * MINUTE), "ana")
        assert usual_durations(installation.database)["known"].p95 == MINUTE
        assert live_slots(installation.database) > 0
        found = simulate([one, other], when("12:00"), 1)
        assert found.unknown_tasks == ("demo.task",)

    def test_schedules_of_files_wait_in_the_queue_of_their_task(self) -> None:
        trigger = trigger_from_definition({"every": "1h"})
        specs = [ScheduleSpec("a", "known", trigger), ScheduleSpec("b", "known", trigger, queue="fast")]

        found = planned_in_files(specs, Catalog([known]), [], {"known": Usual(HOUR, HOUR, 3)})

        assert [(one.queue, one.usual.runs) for one in found] == [("reports", 3), ("fast", 3)]
