"""Schedules are added, edited, paused, resumed, deleted and triggered, and none of it fires the past."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy

from mainspring.clock import ManualClock
from mainspring.domain.runs import RunKind
from mainspring.domain.spec import FanOut, ScheduleSpec
from mainspring.domain.states import RunState
from mainspring.domain.tasks import task
from mainspring.domain.triggers import parse_session
from mainspring.errors import Conflict, InvalidInput, StoreUnavailable, UnknownName
from mainspring.services.schedules import Scheduling
from mainspring.store.database import Database
from mainspring.store.schema import metadata
from tests.services.arrange import Faulty, Installation, cron, minutely, short, when
from tests.store.arrange import NOON, count, together

SCHEDULES, AUDIT = metadata.tables["schedules"], metadata.tables["audit"]


def _audit(installation: Installation) -> list[tuple[str, str, str]]:
    query = sqlalchemy.select(AUDIT.c.actor, AUDIT.c.action, AUDIT.c.subject).order_by(AUDIT.c.id)
    return installation.database.read(lambda tx: [tuple(row) for row in tx.core(query)])


# --- what never fires the past


def test_a_new_schedule_fires_from_its_next_fire_time_on(installation: Installation) -> None:
    installation.at("12:30:30")
    installation.put(minutely(misfire="all"))
    installation.fire()
    assert installation.ledger() == []
    installation.fire("12:31")
    assert installation.fired() == ["12:31"]


def test_an_edit_settles_the_old_rule_first_and_starts_the_new_one_from_now(installation: Installation) -> None:
    installation.put(minutely(misfire="all"))
    installation.at("12:03:30")
    installation.put(cron("*/5 * * * *", misfire="all"))
    installation.fire("12:10")
    assert installation.ledger() == [
        ("12:01", "12:01", 1, "fired", None),
        ("12:02", "12:02", 1, "fired", None),
        ("12:03", "12:03", 1, "fired", None),
        ("12:05", "12:05", 1, "fired", None),
        ("12:10", "12:10", 1, "fired", None),
    ]
    versions = [installation.reading.run(run.id).snapshot["schedule"]["version"] for run in installation.runs("s1")]
    assert versions == [1, 1, 1, 2, 2]


def test_an_edit_to_an_earlier_rule_does_not_fire_what_that_rule_had_before(installation: Installation) -> None:
    installation.put(cron("0 18 * * *", misfire="all"))
    installation.at("15:30")
    installation.put(minutely(misfire="all"))
    installation.fire("15:31")
    assert installation.ledger() == [("15:31", "15:31", 1, "fired", None)]


def test_the_old_rule_is_settled_by_its_own_misfire_policy(installation: Installation) -> None:
    installation.put(minutely(misfire="latest"))
    installation.at("12:10:30")
    installation.put(minutely(misfire="all"))
    installation.fire("12:11")
    assert installation.ledger() == [
        ("12:01", "12:09", 9, "coalesced", None),
        ("12:10", "12:10", 1, "fired", None),
        ("12:11", "12:11", 1, "fired", None),
    ]


def test_a_pause_settles_first_then_records_fire_times_as_paused(installation: Installation) -> None:
    installation.put(minutely(misfire="all"))
    installation.at("12:02:30")
    installation.scheduling.pause("s1", "tester", "maintenance")
    installation.fire("12:05")
    installation.fire("12:07")
    assert installation.ledger() == [
        ("12:01", "12:01", 1, "fired", None),
        ("12:02", "12:02", 1, "fired", None),
        ("12:03", "12:07", 5, "skipped", "paused"),
    ]
    (row,) = [r for r in installation.reading.ledger(installation.scheduling.require("s1").id) if r.n == 5]
    assert row.reason == "paused by tester: maintenance"


def test_a_resume_fires_nothing_of_the_pause(installation: Installation) -> None:
    installation.put(minutely(misfire="all"))
    installation.scheduling.pause("s1", "tester")
    installation.at("12:05:30")
    installation.scheduling.resume("s1", "tester")
    installation.fire("12:07")
    assert installation.ledger() == [
        ("12:01", "12:05", 5, "skipped", "paused"),
        ("12:06", "12:06", 1, "fired", None),
        ("12:07", "12:07", 1, "fired", None),
    ]


def test_a_pause_until_ends_by_itself(installation: Installation) -> None:
    installation.put(minutely(misfire="all"))
    installation.scheduling.pause("s1", "tester", until=when("12:03"))
    installation.fire("12:04")
    # The end of a pause belongs to what comes after it.
    assert installation.ledger() == [
        ("12:01", "12:02", 2, "skipped", "paused"),
        ("12:03", "12:03", 1, "fired", None),
        ("12:04", "12:04", 1, "fired", None),
    ]
    with pytest.raises(Conflict, match="schedule 's1' is not paused"):
        installation.scheduling.resume("s1", "tester")
    installation.scheduling.pause("s1", "tester", "again")
    installation.fire("12:05")
    assert installation.ledger()[-1] == ("12:05", "12:05", 1, "skipped", "paused")


def test_enabling_fires_nothing_of_the_time_when_it_was_disabled(installation: Installation) -> None:
    installation.put(minutely(misfire="all"))
    installation.at("12:01:30")
    installation.put(minutely(misfire="all", enabled=False))
    assert installation.scheduling.require("s1").next_at is None
    installation.fire("12:10:30")
    installation.put(minutely(misfire="all"))
    installation.fire("12:11")
    assert installation.ledger() == [("12:01", "12:01", 1, "fired", None), ("12:11", "12:11", 1, "fired", None)]


def test_an_edit_of_a_paused_schedule_leaves_it_paused(installation: Installation) -> None:
    installation.put(minutely())
    installation.scheduling.pause("s1", "tester")
    installation.at("12:02:30")
    installation.put(minutely(parameters={"x": 1}))
    installation.fire("12:04")
    assert [row[2:] for row in installation.ledger()] == [(2, "skipped", "paused"), (2, "skipped", "paused")]


def test_deleting_settles_and_keeps_ledger_and_runs(installation: Installation) -> None:
    installation.put(minutely(misfire="all"))
    schedule = installation.scheduling.require("s1")
    installation.at("12:02")
    installation.scheduling.delete("s1", "tester")
    installation.fire("12:10")
    assert [short(row.fire_at) for row in installation.reading.ledger(schedule.id)] == ["12:02", "12:01"]
    assert count(installation.database, "runs") == 2
    with pytest.raises(UnknownName, match="unknown schedule 's1'"):
        installation.scheduling.require("s1")


def test_a_name_can_be_used_again_after_a_delete_and_begins_anew(installation: Installation) -> None:
    installation.put(minutely())
    first = installation.scheduling.require("s1")
    installation.scheduling.delete("s1", "tester")
    installation.at("12:05:30")
    assert installation.put(minutely()) == "added"
    second = installation.scheduling.require("s1")
    assert (second.id != first.id, second.version, second.next_at) == (True, 1, when("12:06"))


def test_settling_a_backlog_longer_than_one_transaction_takes_all_of_it(installation: Installation) -> None:
    from tests.services.arrange import every

    installation.put(every(timedelta(seconds=1)))
    installation.at("12:40")
    installation.put(minutely())
    assert installation.ledger() == [
        ("12:00:01", "12:39:59", 2_399, "coalesced", None),
        ("12:40", "12:40", 1, "fired", None),
    ]


def test_a_change_that_loses_a_race_with_a_scheduler_is_made_after_it(installation: Installation) -> None:
    installation.put(minutely(misfire="all"))
    installation.at("12:01:30")
    slow = Faulty(installation.database)
    scheduling = Scheduling(slow, installation.clock)

    def fire_meanwhile() -> None:
        if slow.writes:  # the first write settles, the second edits
            slow.before_write = lambda: None
            installation.clock.advance(timedelta(minutes=1))
            installation.fire()

    slow.before_write = fire_meanwhile
    scheduling.put(minutely(misfire="skip"), "file", "tester")
    assert installation.fired() == ["12:01", "12:02"]
    assert installation.scheduling.require("s1").position.effective_at == when("12:02:30")


def test_a_schedule_whose_past_cannot_be_settled_is_not_changed_and_hangs_nobody(installation: Installation) -> None:
    occurrences = metadata.tables["occurrences"]
    installation.put(minutely())
    schedule = installation.scheduling.require("s1")
    beyond = {
        "schedule_id": schedule.id, "fire_at": when("12:01"), "until_at": when("12:01"), "n": 1, "local_key": None,
        "spec_version": 1, "outcome": "fired", "cause": None, "reason": "due", "recorded_at": NOON,
    }  # fmt: skip
    installation.database.write(lambda tx: tx.core(sqlalchemy.insert(occurrences).values(**beyond)))
    installation.at("12:01")
    with pytest.raises(StoreUnavailable, match="schedule 's1' cannot be changed"):
        installation.scheduling.pause("s1", "tester")


# --- refusals


def test_pausing_twice_and_resuming_what_runs_are_conflicts(installation: Installation) -> None:
    installation.put(minutely())
    with pytest.raises(Conflict, match="schedule 's1' is not paused"):
        installation.scheduling.resume("s1", "tester")
    installation.scheduling.pause("s1", "ann", "holiday")
    with pytest.raises(Conflict, match="schedule 's1' is paused by ann: holiday already; resume it first"):
        installation.scheduling.pause("s1", "tester")


def test_a_pause_until_the_past_is_refused(installation: Installation) -> None:
    installation.put(minutely())
    with pytest.raises(InvalidInput, match=r"pause until 2026-03-02T11:00:00\+00:00 is not in the future"):
        installation.scheduling.pause("s1", "tester", until=when("11:00"))


def test_an_unknown_schedule_is_answered_with_the_nearest_name(installation: Installation) -> None:
    installation.put(minutely("quotes-hourly"))
    with pytest.raises(UnknownName, match=r"unknown schedule 'quote-hourly'; did you mean 'quotes-hourly'\?"):
        installation.scheduling.trigger("quote-hourly", "tester")


# --- apply


def test_apply_adds_edits_removes_and_leaves_alone(installation: Installation) -> None:
    apply = installation.scheduling.apply
    first = apply([minutely("a"), minutely("b"), minutely("c")], "file", "ann")
    assert first.in_words() == "3 added"
    second = apply([minutely("a"), minutely("b", parameters={"x": 1}), minutely("d")], "file", "bob")
    assert (second.added, second.edited, second.removed, second.unchanged) == (("d",), ("b",), ("c",), ("a",))
    assert second.in_words() == "1 added, 1 edited, 1 removed, 1 unchanged"
    assert [s.name for s in installation.scheduling.all()] == ["a", "b", "d"]
    assert _audit(installation)[3:] == [
        ("bob", "schedule.edit", "b"), ("bob", "schedule.add", "d"), ("bob", "schedule.delete", "c"),
    ]  # fmt: skip


def test_applying_the_same_again_writes_nothing(installation: Installation) -> None:
    installation.scheduling.apply([minutely("a"), minutely("b")], "file", "ann")
    faulty = Faulty(installation.database)
    done = Scheduling(faulty, installation.clock).apply([minutely("a"), minutely("b")], "file", "ann")
    assert (done.in_words(), faulty.writes) == ("2 unchanged", [])


def test_apply_leaves_schedules_of_other_sources_alone(installation: Installation) -> None:
    installation.put(minutely("by-hand"), "api")
    assert installation.scheduling.apply([minutely("a")], "file", "ann").removed == ()
    assert [s.name for s in installation.scheduling.all()] == ["a", "by-hand"]


def test_a_name_of_another_source_is_refused_and_nothing_is_changed(installation: Installation) -> None:
    installation.put(minutely("taken"), "api")
    with pytest.raises(Conflict, match="schedule 'taken' exists already and came from api, not from file"):
        installation.scheduling.apply([minutely("a"), minutely("taken")], "file", "ann")
    assert [s.name for s in installation.scheduling.all()] == ["taken"]


def test_two_processes_that_apply_one_file_at_once_agree(
    open_database: Callable[[], Database], clock: ManualClock
) -> None:
    one, other = (Installation(open_database(), clock) for _ in range(2))
    names = [f"s{n}" for n in range(12)]
    new = [minutely(name) for name in names]
    together(*(partial(side.scheduling.apply, new, "file", "x") for side in (one, other)))
    assert [(s.name, s.version) for s in one.scheduling.all()] == sorted((name, 1) for name in names)
    edited = [minutely(name, parameters={"x": 1}) for name in names[:6]]
    together(*(partial(side.scheduling.apply, edited, "file", "x") for side in (one, other)))
    assert [(s.name, s.version) for s in one.scheduling.all()] == sorted((name, 2) for name in names[:6])


def test_a_schedule_that_another_process_adds_just_before_is_edited_where_it_differs(
    installation: Installation,
) -> None:
    slow = Faulty(installation.database)

    def overtake() -> None:
        slow.before_write = lambda: None
        installation.put(minutely())

    slow.before_write = overtake
    wanted = minutely(parameters={"mine": True})
    assert Scheduling(slow, installation.clock).put(wanted, "file", "tester") == "edited"
    assert installation.scheduling.require("s1").spec.parameters == {"mine": True}


# --- trigger, recompute


def test_triggering_starts_the_runs_now_and_leaves_the_ledger_alone(installation: Installation) -> None:
    @task(name="demo.task", queue="slow", priority="high")
    def demo(x: str) -> None: ...

    installation.describe(demo)
    installation.put(minutely(fan_out=FanOut("x", ("a", "b")), expires=timedelta(minutes=5)))
    installation.at("12:00:30")
    ids = installation.scheduling.trigger("s1", "ann")
    runs = [installation.look(run_id) for run_id in ids]
    assert [(r.kind, r.state, r.queue, r.priority, r.member, r.fire_at) for r in runs] == [
        (RunKind.MANUAL, RunState.READY, "slow", 8, member, None) for member in ("a", "b")
    ]
    assert runs[0].expires_at == when("12:05:30")
    assert installation.reading.run(ids[0]).snapshot["reason"] == "triggered by ann"
    assert installation.ledger() == []
    assert _audit(installation)[-1] == ("ann", "schedule.trigger", "s1")
    installation.fire("12:01")
    assert installation.fired() == ["12:01", "12:01"]


def test_a_paused_schedule_can_be_triggered(installation: Installation) -> None:
    installation.put(minutely())
    installation.scheduling.pause("s1", "tester")
    assert len(installation.scheduling.trigger("s1", "tester")) == 1


def _change_row(installation: Installation, name: str, **values: Any) -> None:
    change = sqlalchemy.update(SCHEDULES).where(SCHEDULES.c.name == name).values(**values)
    installation.database.write(lambda tx: tx.core(change))


def test_other_zone_data_computes_next_fire_times_anew(installation: Installation) -> None:
    installation.put(cron("0 9 * * *"))
    _change_row(installation, "s1", next_at=when("3 10:00"), computed_with="tzdata=2020a")
    assert installation.scheduling.recompute() == 1
    assert installation.scheduling.require("s1").next_at == when("3 09:00")
    assert installation.scheduling.recompute() == 0


def test_a_host_with_older_zone_data_neither_fires_nor_recomputes(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    installation.put(cron("* * * * *"))
    _change_row(installation, "s1", computed_with="holidays=0.1 tzdata=2999a")
    before = installation.scheduling.require("s1").next_at
    assert installation.scheduling.recompute() == 0
    result = installation.fire("12:05")
    assert (result.fired, result.decided, result.failed) == (0, 0, ("s1",))
    assert installation.scheduling.require("s1").next_at == before
    assert "time zone data 2999a, newer than" in caplog.text


def test_an_unreadable_schedule_does_not_keep_the_others_from_being_recomputed(installation: Installation) -> None:
    installation.put(cron("0 9 * * *", "broken"))
    installation.put(cron("0 9 * * *", "well"))
    _change_row(installation, "broken", spec=json.dumps({"name": "broken"}), computed_with="tzdata=2020a")
    _change_row(installation, "well", next_at=when("3 10:00"), computed_with="tzdata=2020a")
    assert installation.scheduling.recompute() == 1
    assert installation.scheduling.require("well").next_at == when("3 09:00")


def test_newer_data_wakes_a_schedule_that_had_no_session_left(installation: Installation) -> None:
    installation.put(ScheduleSpec(name="s1", task="demo.task", trigger=parse_session("XNYS close - 15m")))
    _change_row(installation, "s1", next_at=None, computed_with="exchanges=2019.01")
    assert installation.scheduling.recompute() == 1
    assert installation.scheduling.require("s1").next_at == when("20:45")
