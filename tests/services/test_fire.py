"""Each fire time ends in exactly one recorded outcome, and a fired one becomes its runs, once."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy

from mainspring.clock import ManualClock
from mainspring.domain.calendars import CalendarRule
from mainspring.domain.runs import RunKind
from mainspring.domain.spec import FanOut, Misfire, MisfirePolicy, OverlapPolicy, ScheduleSpec
from mainspring.domain.states import RunState
from mainspring.domain.tasks import task
from mainspring.domain.triggers import parse_session
from mainspring.errors import StoreUnavailable
from mainspring.ids import uuid7
from mainspring.services.fire import Firer
from mainspring.store.database import Database
from mainspring.store.schema import metadata
from tests.services.arrange import Faulty, Installation, cron, every, minutely, short, when
from tests.store.arrange import MINUTE, NOON, SECOND, count, together

SCHEDULES, OCCURRENCES = metadata.tables["schedules"], metadata.tables["occurrences"]


def test_nothing_is_written_when_nothing_is_due(installation: Installation) -> None:
    installation.put(minutely())
    faulty = Faulty(installation.database)
    result = Firer(faulty, installation.clock).run_once()
    assert (result.fired, result.decided, result.more, faulty.writes) == (0, 0, False, [])


def test_a_fire_time_becomes_a_run_of_the_schedule_s_task(installation: Installation) -> None:
    installation.put(minutely(parameters={"depth": 3}, labels={"team": "data"}))
    assert installation.fire("12:01").fired == 1
    (run,) = installation.runs("s1")
    assert (run.task, run.kind, run.state, run.member) == ("demo.task", RunKind.SCHEDULED, RunState.READY, "")
    assert (run.fire_at, run.due_at, run.labels) == (when("12:01"), when("12:01"), {"team": "data"})
    view = installation.reading.run(run.id)
    assert view.parameters == {"depth": 3}
    schedule = installation.scheduling.require("s1")
    assert view.snapshot["schedule"] == {"id": schedule.id, "name": "s1", "version": 1}
    assert installation.ledger() == [("12:01", "12:01", 1, "fired", None)]
    assert schedule.next_at == when("12:02")


def test_a_schedule_overrides_route_and_task_and_the_snapshot_says_so(installation: Installation) -> None:
    @task(name="demo.task", queue="of-task", priority="low", max_retries=7, expires=timedelta(hours=1))
    def demo() -> None: ...

    installation.describe(demo)
    installation.put(minutely(queue="of-schedule", priority=9))
    installation.fire("12:01")
    (run,) = installation.runs()
    assert (run.queue, run.priority, run.max_tries, run.expires_at) == ("of-schedule", 9, 8, when("13:01"))
    decided = installation.reading.run(run.id).snapshot["decided_by"]
    assert decided == {
        "queue": "schedule 's1'", "priority": "schedule 's1'", "max_tries": "the task", "expires": "the task",
    }  # fmt: skip


def test_two_schedulers_that_planned_the_same_fire_time_fire_it_once(installation: Installation) -> None:
    installation.put(minutely(misfire="all"))
    installation.at("12:05")
    slow, quick = Faulty(installation.database), Firer(installation.database, installation.clock)

    def overtake() -> None:
        slow.before_write = lambda: None
        assert quick.run_once().fired == 5

    slow.before_write = overtake
    assert Firer(slow, installation.clock).run_once().fired == 0
    assert installation.fired() == ["12:01", "12:02", "12:03", "12:04", "12:05"]
    assert installation.ledger() == [(f"12:0{n}", f"12:0{n}", 1, "fired", None) for n in range(1, 6)]


def test_two_schedulers_at_the_same_moment_share_the_work_without_doubling_any(
    open_database: Callable[[], Database], clock: ManualClock
) -> None:
    one, other = Installation(open_database(), clock), Installation(open_database(), clock)
    names = [f"s{n}" for n in range(40)]
    for name in names:
        one.put(minutely(name))
    for minute in range(1, 6):
        clock.advance(MINUTE)
        results = together(one.fire, other.fire)
        assert sum(result.fired for result in results) == 40, minute
    assert {name: one.fired(name) for name in names} == {
        name: ["12:01", "12:02", "12:03", "12:04", "12:05"] for name in names
    }


def test_a_plan_made_before_an_edit_is_not_written(installation: Installation) -> None:
    installation.put(minutely())
    installation.at("12:01")
    slow = Faulty(installation.database)

    def edit() -> None:
        slow.before_write = lambda: None
        installation.put(minutely(parameters={"new": True}))

    slow.before_write = edit
    assert Firer(slow, installation.clock).run_once().fired == 0
    # The edit itself has settled 12:01 by the old rule.
    assert [installation.reading.run(run.id).parameters for run in installation.runs()] == [{}]
    assert installation.ledger() == [("12:01", "12:01", 1, "fired", None)]


@pytest.mark.parametrize(
    ("misfire", "fired", "ledger"),
    [
        ("skip", [], [("12:01", "12:10", 10, "skipped", "missed")]),
        ("latest", ["12:10"], [("12:01", "12:09", 9, "coalesced", None), ("12:10", "12:10", 1, "fired", None)]),
        (
            Misfire(MisfirePolicy.ALL, cap=3),
            ["12:08", "12:09", "12:10"],
            [
                ("12:01", "12:07", 7, "skipped", "missed"), ("12:08", "12:08", 1, "fired", None),
                ("12:09", "12:09", 1, "fired", None), ("12:10", "12:10", 1, "fired", None),
            ],
        ),
        (
            Misfire(MisfirePolicy.ALL, max_age=timedelta(minutes=2)),
            ["12:09", "12:10"],
            [
                ("12:01", "12:08", 8, "skipped", "missed"), ("12:09", "12:09", 1, "fired", None),
                ("12:10", "12:10", 1, "fired", None),
            ],
        ),
    ],
)  # fmt: skip
def test_a_backlog_is_decided_by_the_misfire_policy(
    installation: Installation, misfire: Any, fired: list[str], ledger: list[Any]
) -> None:
    installation.put(minutely(misfire=misfire))
    installation.fire("12:10:40")
    assert installation.fired() == fired
    assert installation.ledger() == ledger


def test_a_long_backlog_is_decided_in_pieces_and_leaves_no_gap(installation: Installation) -> None:
    installation.put(every(SECOND, misfire=Misfire(MisfirePolicy.ALL, cap=2)))
    result = installation.fire("13:00")
    assert (result.fired, result.decided) == (2, 3_600)
    assert installation.ledger() == [
        ("12:00:01", "12:59:58", 3_598, "skipped", "missed"),
        ("12:59:59", "12:59:59", 1, "fired", None),
        ("13:00", "13:00", 1, "fired", None),
    ]


def test_late_within_the_grace_is_on_time(installation: Installation) -> None:
    installation.put(minutely(misfire="skip"))
    installation.fire("12:01:29")
    assert installation.fired() == ["12:01"]


def test_a_fan_out_makes_one_run_for_each_member(installation: Installation) -> None:
    installation.put(minutely(parameters={"depth": 1}, fan_out=FanOut("ticker", ("PETR4", "VALE3", 7))))
    assert installation.fire("12:01").fired == 3
    runs = installation.runs("s1")
    assert [(run.member, installation.reading.run(run.id).parameters["ticker"]) for run in runs] == [
        ("PETR4", "PETR4"), ("VALE3", "VALE3"), ("7", 7),
    ]  # fmt: skip
    assert installation.ledger() == [("12:01", "12:01", 1, "fired", None)]


def test_jitter_delays_the_run_and_not_the_fire_time(installation: Installation) -> None:
    spec = minutely(jitter=timedelta(seconds=30))
    installation.put(spec)
    installation.fire("12:01")
    (run,) = installation.runs("s1")
    late = spec.jitter_for(when("12:01"))
    assert timedelta(0) < late < timedelta(seconds=30)
    assert (run.fire_at, run.due_at, run.state) == (when("12:01"), when("12:01") + late, RunState.SCHEDULED)
    installation.at("12:01:30")
    assert installation.stager.run_once().staged == 1


def test_a_calendar_day_is_skipped_with_its_reason(installation: Installation) -> None:
    installation.put(cron("0 9 * * *", calendars=CalendarRule(exclude=("weekends",))))
    installation.fire("9 09:00")
    # 2 March 2026 is a Monday. From noon of it on: Tuesday to Friday, the weekend, Monday; only the last is on time.
    # Saturday and Sunday have reasons of their own, so they share no row.
    assert installation.ledger() == [
        ("3 09:00", "6 09:00", 4, "coalesced", None),
        ("7 09:00", "7 09:00", 1, "skipped", "calendar"),
        ("8 09:00", "8 09:00", 1, "skipped", "calendar"),
        ("9 09:00", "9 09:00", 1, "fired", None),
    ]


def test_overlap_skip_leaves_out_fire_times_while_a_run_is_unfinished(installation: Installation) -> None:
    installation.put(minutely(overlap=OverlapPolicy.SKIP))
    installation.fire("12:01")
    (run,) = installation.claim()
    installation.fire("12:02")
    installation.fire("12:03")
    installation.finish(run)
    installation.fire("12:04")
    assert installation.ledger() == [
        ("12:01", "12:01", 1, "fired", None),
        ("12:02", "12:03", 2, "skipped", "overlap"),
        ("12:04", "12:04", 1, "fired", None),
    ]


def test_a_run_that_waits_for_its_next_try_still_overlaps(installation: Installation) -> None:
    from mainspring.domain.runs import Ended

    installation.put(minutely(overlap=OverlapPolicy.SKIP))
    installation.fire("12:01")
    installation.finish(*installation.claim(), ended=Ended.RETRIED)
    installation.fire("12:02")
    assert installation.ledger()[-1] == ("12:02", "12:02", 1, "skipped", "overlap")


def test_overlap_queue_one_keeps_one_waiting_and_lets_it_go_when_the_first_ends(installation: Installation) -> None:
    installation.put(minutely(overlap=OverlapPolicy.QUEUE_ONE, fan_out=FanOut("x", ("a", "b"))))
    installation.fire("12:01")
    first = installation.claim()
    installation.fire("12:02")
    installation.fire("12:03")
    assert installation.ledger() == [
        ("12:01", "12:01", 1, "fired", None),
        ("12:02", "12:02", 1, "fired", None),
        ("12:03", "12:03", 1, "skipped", "overlap"),
    ]
    states = [run.state for run in installation.runs("s1")]
    assert states == [RunState.RUNNING, RunState.RUNNING, RunState.WAITING, RunState.WAITING]
    installation.finish(first[0])
    assert installation.claim() == []
    installation.finish(first[1])
    assert installation.stager.run_once().released == 0, "whoever ended the last has released them"
    second = installation.claim()
    assert [short(run.fire_at) for run in second if run.fire_at] == ["12:02", "12:02"]
    installation.fire("12:04")
    assert installation.ledger()[-1] == ("12:04", "12:04", 1, "fired", None)


def test_a_backlog_of_queue_one_fires_the_first_and_queues_the_second(installation: Installation) -> None:
    installation.put(minutely(overlap=OverlapPolicy.QUEUE_ONE, misfire="all"))
    installation.fire("12:05")
    assert installation.ledger() == [
        ("12:01", "12:01", 1, "fired", None),
        ("12:02", "12:02", 1, "fired", None),
        ("12:03", "12:05", 3, "skipped", "overlap"),
    ]
    assert [run.state for run in installation.runs("s1")] == [RunState.READY, RunState.WAITING]
    installation.finish(*installation.claim())
    assert [run.state for run in installation.runs("s1")] == [RunState.SUCCEEDED, RunState.READY]


def test_overlap_cancel_running_ends_what_waits_and_asks_what_runs(installation: Installation) -> None:
    installation.put(minutely(overlap=OverlapPolicy.CANCEL_RUNNING, fan_out=FanOut("x", ("a", "b"))))
    installation.fire("12:01")
    (running,) = installation.claim(1)
    installation.fire("12:02")
    first, other, *new = installation.runs("s1")
    assert first.id == running.id
    assert (first.state, first.cancel_requested_at) == (RunState.RUNNING, when("12:02"))
    assert (other.state, other.state_reason) == (
        RunState.CANCELLED, "replaced by the next fire time (overlap: cancel_running)",
    )  # fmt: skip
    assert [run.state for run in new] == [RunState.READY, RunState.READY]


def test_a_run_started_by_hand_counts_as_overlap(installation: Installation) -> None:
    installation.put(minutely(overlap=OverlapPolicy.SKIP))
    installation.scheduling.trigger("s1", "tester")
    installation.fire("12:01")
    assert installation.ledger() == [("12:01", "12:01", 1, "skipped", "overlap")]


def test_a_pack_is_told_of_each_fired_occurrence_with_its_runs(installation: Installation) -> None:
    installation.put(minutely(pack="market", fan_out=FanOut("ticker", ("A", "B")), misfire="all", labels={"x": "y"}))
    installation.fire("12:02")
    messages = [(topic, json.loads(body)) for topic, body in installation.outbox()]
    assert [(topic, body["schedule"], body["fire_at"]) for topic, body in messages] == [
        ("pack:market", "s1", "2026-03-02T12:01:00+00:00"),
        ("pack:market", "s1", "2026-03-02T12:02:00+00:00"),
    ]
    runs = installation.runs("s1")
    assert [run["id"] for _, body in messages for run in body["runs"]] == [run.id for run in runs]
    assert messages[0][1]["runs"][1]["parameters"] == {"ticker": "B"}
    assert messages[0][1]["labels"] == {"x": "y"}


def test_a_schedule_without_a_pack_leaves_no_message(installation: Installation) -> None:
    installation.put(minutely())
    installation.fire("12:01")
    assert installation.outbox() == []


def _break_spec(installation: Installation, name: str, text: str = "{") -> None:
    change = sqlalchemy.update(SCHEDULES).where(SCHEDULES.c.name == name).values(spec=text)
    installation.database.write(lambda tx: tx.core(change))


def test_a_broken_spec_is_set_aside_for_a_minute_and_stops_nobody(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "broken", "z"):
        installation.put(minutely(name))
    _break_spec(installation, "broken")
    first = installation.fire("12:01")
    assert (first.fired, first.failed) == (2, ("broken",))
    second = installation.fire("12:01:30")
    assert (second.fired, second.failed) == (0, ())
    assert installation.fire("12:02:01").failed == ("broken",)
    assert [len(installation.fired(name)) for name in ("a", "z")] == [2, 2]
    assert sum("schedule=broken" in record.getMessage() for record in caplog.records) == 2


def test_the_next_fire_time_leaves_out_what_is_set_aside(installation: Installation) -> None:
    for name in ("broken", "well"):
        installation.put(minutely(name))
    _break_spec(installation, "broken")
    installation.fire("12:01")
    assert installation.firer.next_fire_at(installation.clock.now()) == when("12:02")


def test_a_broken_schedule_keeps_its_fire_times_until_it_is_mended(installation: Installation) -> None:
    installation.put(minutely(misfire="all"))
    spec = installation.scheduling.require("s1").spec.to_text()
    _break_spec(installation, "s1")
    installation.fire("12:02")
    _break_spec(installation, "s1", spec)
    installation.fire("12:03:01")
    assert installation.fired() == ["12:01", "12:02", "12:03"]


def test_an_outage_in_the_middle_of_a_plan_sets_nothing_aside(installation: Installation) -> None:
    installation.put(minutely(overlap=OverlapPolicy.SKIP))
    installation.at("12:01")
    faulty = Faulty(installation.database)
    firer = Firer(faulty, installation.clock)
    looks = 0

    def fail_third_look() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise StoreUnavailable("the database is down")

    faulty.before_read = fail_third_look
    with pytest.raises(StoreUnavailable):
        firer.run_once()
    assert firer.run_once().fired == 1


def test_a_fire_time_whose_local_time_has_fired_is_missed_when_zone_data_changed(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    # As if older data had placed 3 March 09:00 of Sao Paulo an hour earlier, and fired it.
    installation.put(cron("0 9 * * *", zone="America/Sao_Paulo", misfire="all", pack="market"))
    schedule = installation.scheduling.require("s1")
    trigger = schedule.spec.trigger
    early = {
        "schedule_id": schedule.id, "fire_at": when("3 11:00"), "until_at": when("3 11:00"), "n": 1,
        "local_key": f"1|{trigger.local_key(when('3 12:00'))}", "spec_version": 1, "outcome": "fired", "cause": None,
        "reason": "due", "recorded_at": NOON,
    }  # fmt: skip
    installation.database.write(lambda tx: tx.core(sqlalchemy.insert(OCCURRENCES).values(**early)))
    result = installation.fire("4 12:00")
    assert (result.fired, result.decided, result.failed) == (1, 2, ())
    assert installation.ledger() == [
        ("3 11:00", "3 11:00", 1, "fired", None),
        ("3 12:00", "3 12:00", 1, "skipped", "missed"),
        ("4 12:00", "4 12:00", 1, "fired", None),
    ]
    assert installation.fired() == ["4 12:00"]
    # The pack hears of the one that fired.
    assert [json.loads(body)["fire_at"] for _, body in installation.outbox()] == ["2026-03-04T12:00:00+00:00"]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_conflict_that_nothing_explains_is_alarmed_and_hurts_no_other_schedule(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    installation.put(minutely("a"))
    installation.put(minutely("s1"))
    schedule = installation.scheduling.require("s1")
    beyond = {
        "schedule_id": schedule.id, "fire_at": when("12:01"), "until_at": when("12:01"), "n": 1, "local_key": None,
        "spec_version": 1, "outcome": "fired", "cause": None, "reason": "due", "recorded_at": NOON,
    }  # fmt: skip
    installation.database.write(lambda tx: tx.core(sqlalchemy.insert(OCCURRENCES).values(**beyond)))
    result = installation.fire("12:01")
    assert (result.fired, len(result.failed)) == (1, 1)
    assert installation.fired("a") == ["12:01"]
    assert any(record.levelno == logging.CRITICAL for record in caplog.records)
    assert installation.runs("s1") == []


def test_a_schedule_without_further_fire_times_rests(installation: Installation) -> None:
    from mainspring.domain.triggers.once import DateTrigger

    installation.put(minutely())
    spec = minutely("once")
    installation.put(type(spec)(name="once", task="demo.task", trigger=DateTrigger(when("12:05"))))
    installation.fire("12:05")
    installation.fire("12:30")
    assert installation.ledger("once") == [("12:05", "12:05", 1, "fired", None)]
    assert installation.scheduling.require("once").next_at is None


def test_more_schedules_than_one_look_takes_are_all_fired(installation: Installation) -> None:
    now = installation.clock.now()
    from mainspring.store.schedules import add_schedule

    def fill(tx: Any) -> None:
        for n in range(520):
            add_schedule(tx, minutely(f"s{n}"), "test", now, "tester", installation.firer._computed_with)

    installation.database.write(fill)
    assert installation.fire("12:01").fired == 520
    assert count(installation.database, "runs") == 520


def test_runs_of_one_installation_never_share_an_occurrence(installation: Installation) -> None:
    installation.put(minutely())
    installation.fire("12:01")
    (run,) = installation.runs("s1")
    table = metadata.tables["runs"]
    copy = installation.database.read(lambda tx: dict(tx.core(sqlalchemy.select(table)).one()._mapping))
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        installation.database.write(lambda tx: tx.core(sqlalchemy.insert(table).values(**copy | {"id": uuid7()})))
    assert run.fire_at == datetime(2026, 3, 2, 12, 1, tzinfo=NOON.tzinfo)


SCHEDULES = metadata.tables["schedules"]


def session_at(rule: str, **changes: Any) -> ScheduleSpec:
    return ScheduleSpec(name="s1", task="demo.task", trigger=parse_session(rule), **changes)


def test_a_schedule_by_sessions_fires_with_the_exchange_and_passes_closed_days_over(installation: Installation) -> None:
    # Friday 6 March: New York is on winter time until Sunday.
    installation.at("6 12:00")
    installation.put(session_at("B3 close"))
    for time in ("6 20:54", "6 20:55", "9 19:59", "9 20:00"):
        installation.fire(time)
    assert installation.ledger() == [("6 20:55",) * 2 + (1, "fired", None), ("9 20:00",) * 2 + (1, "fired", None)]


def test_a_session_whose_close_has_moved_does_not_fire_again(installation: Installation) -> None:
    installation.put(session_at("XNYS close - 15m"))
    installation.fire("20:46")
    moved = {"exchange": "XNYS", "at": "close - 15m", "hours": {"2026-03-02": "09:30-16:30"}}
    trigger = parse_session(moved)
    text = ScheduleSpec(name="s1", task="demo.task", trigger=trigger).to_text()
    # As newer data would have it, under the same version of the schedule.
    change = sqlalchemy.update(SCHEDULES).values(spec=text, next_at=when("21:15"))
    installation.database.write(lambda tx: tx.core(change))
    installation.fire("21:16")
    assert installation.ledger() == [
        ("20:45", "20:45", 1, "fired", None),
        ("21:15", "21:15", 1, "skipped", "missed"),
    ]


def test_a_schedule_by_an_exchange_unknown_here_is_set_aside_and_the_others_fire(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    installation.put(session_at("XNYS close - 15m"))
    installation.put(minutely("well"))
    change = sqlalchemy.update(SCHEDULES).where(SCHEDULES.c.name == "s1")
    installation.database.write(
        lambda tx: tx.core(change.values(spec=sqlalchemy.func.replace(SCHEDULES.c.spec, "XNYS", "XMOON")))
    )
    _change_next(installation, "s1", when("12:01"))
    assert installation.fire("12:01").failed == ("s1",)
    assert installation.fired("well") == ["12:01"]
    assert "unknown exchange 'XMOON'" in caplog.text
    # Neither does it stop the others from being computed anew.
    assert installation.scheduling.recompute() == 0


def _change_next(installation: Installation, name: str, next_at: datetime) -> None:
    change = sqlalchemy.update(SCHEDULES).where(SCHEDULES.c.name == name).values(next_at=next_at)
    installation.database.write(lambda tx: tx.core(change))
