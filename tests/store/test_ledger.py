"""Each fire time ends in one outcome, whoever writes it and however often it is tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import psycopg
import pytest
from pysqlite3 import dbapi2 as driver
from sqlalchemy import text

from mainspring.clock import ManualClock
from mainspring.domain.occurrences import Cause, Outcome, Pause
from mainspring.domain.spec import Misfire, MisfirePolicy, OverlapPolicy
from mainspring.domain.states import RunState
from mainspring.domain.triggers.cron import parse_cron
from mainspring.store.database import Database
from mainspring.store.ledger import Firing, due_schedules, next_fire_at, rows_of, taken_local_keys, unfinished
from mainspring.store.schedules import (
    StoredSchedule,
    delete_schedule,
    edit_schedule,
    get_schedule,
    list_schedules,
    next_of,
    pause_schedule,
    resume_schedule,
    set_next,
    versions_of,
)
from tests.store.arrange import (
    HOUR,
    MINUTE,
    NOON,
    SECOND,
    add,
    claim_one,
    contents,
    count,
    every,
    fire_all,
    ledger,
    look,
    open_session,
    plan_due,
    schedule,
    together,
)

Open = Callable[[], Database]
ALL = Misfire(MisfirePolicy.ALL, cap=10_000)
DUPLICATE = (psycopg.errors.UniqueViolation, driver.IntegrityError)


def _edit(database: Database, old: StoredSchedule, distance: timedelta, now: datetime) -> bool:
    spec = every(distance)
    return database.write(lambda tx: edit_schedule(tx, old, spec, "test", now, "ann", "2026a"))


def test_firing_writes_run_ledger_and_mark_together(database: Database) -> None:
    added = add(database, every(MINUTE))
    assert added.next_at == NOON + MINUTE
    assert database.read(next_fire_at) == NOON + MINUTE
    now = NOON + MINUTE
    fired = fire_all(database, plan_due(database, now), now)
    assert fired.advanced == {added.id}
    assert fired.ready is True
    assert ledger(database) == [(now, now, 1, "fired", None)]
    assert count(database, "runs") == count(database, "ready") == 1
    after = schedule(database)
    assert (after.position.last_at, after.next_at, after.version) == (now, now + MINUTE, 1)


def test_a_schedule_is_not_due_a_microsecond_before_its_time(database: Database) -> None:
    add(database, every(MINUTE))
    assert plan_due(database, NOON + MINUTE - timedelta(microseconds=1)) == []


def test_firing_the_same_plan_twice_does_nothing_the_second_time(database: Database) -> None:
    add(database, every(MINUTE))
    now = NOON + MINUTE
    plans = plan_due(database, now)
    fire_all(database, plans, now)
    before = contents(database, "counters")
    fired = fire_all(database, plans, now)
    assert (fired.advanced, fired.ready) == (frozenset(), False)
    assert contents(database, "counters") == before


def test_two_plans_for_the_same_fire_time_give_one_run(database: Database) -> None:
    add(database, every(MINUTE))
    now = NOON + MINUTE
    first, second = plan_due(database, now), plan_due(database, now)
    fire_all(database, first, now)
    assert fire_all(database, second, now).advanced == frozenset()
    assert count(database, "runs") == 1


def test_a_schedule_edited_after_the_look_does_not_fire_by_the_old_plan(database: Database) -> None:
    old = add(database, every(MINUTE))
    now = NOON + MINUTE
    plans = plan_due(database, now)
    assert _edit(database, old, HOUR, now) is True
    assert fire_all(database, plans, now).advanced == frozenset()
    assert count(database, "runs") == count(database, "occurrences") == 0
    edited = schedule(database)
    assert (edited.version, edited.next_at, edited.position.effective_at) == (2, NOON + HOUR, now)


def test_a_schedule_paused_after_the_look_does_not_fire_by_the_old_plan(database: Database) -> None:
    old = add(database, every(MINUTE))
    now = NOON + MINUTE
    plans = plan_due(database, now)
    assert database.write(lambda tx: pause_schedule(tx, old, Pause(now, None, "ann", "repairs"), "ann")) is True
    assert fire_all(database, plans, now).advanced == frozenset()


def test_a_schedule_deleted_after_the_look_never_fires_again(database: Database) -> None:
    old = add(database, every(MINUTE))
    now = NOON + MINUTE
    plans = plan_due(database, now)
    assert database.write(lambda tx: delete_schedule(tx, old, now, "ann")) is True
    assert fire_all(database, plans, now).advanced == frozenset()
    assert count(database, "runs") == 0
    assert plan_due(database, now + HOUR) == []
    assert database.read(next_fire_at) is None


def test_a_name_is_free_again_after_its_schedule_was_deleted(database: Database) -> None:
    old = add(database, every(MINUTE))
    database.write(lambda tx: delete_schedule(tx, old, NOON, "ann"))
    assert add(database, every(HOUR)).id != old.id
    assert len(database.read(list_schedules)) == 1


def test_two_schedules_of_one_name_are_refused(database: Database) -> None:
    from sqlalchemy.exc import IntegrityError

    add(database, every(MINUTE))
    with pytest.raises(IntegrityError):
        add(database, every(HOUR))
    assert len(database.read(list_schedules)) == 1


def test_an_edit_compared_with_an_old_look_is_refused(database: Database) -> None:
    old = add(database, every(MINUTE))
    # At the same instant as the schedule was made: only the version tells the two apart.
    assert _edit(database, old, HOUR, NOON) is True
    before = contents(database)
    assert _edit(database, old, 2 * HOUR, NOON) is False
    assert contents(database) == before
    kept = database.read(lambda tx: versions_of(tx, [old.id]))[old.id]
    assert [row.version for row in kept] == [1, 2]


def test_a_schedule_that_fired_after_the_look_cannot_be_edited_by_it(database: Database) -> None:
    old = add(database, every(MINUTE))
    now = NOON + MINUTE
    fire_all(database, plan_due(database, now), now)
    assert _edit(database, old, HOUR, now) is False
    assert database.write(lambda tx: pause_schedule(tx, old, Pause(now), "ann")) is False
    assert database.write(lambda tx: delete_schedule(tx, old, now, "ann")) is False


def test_a_pause_yields_one_growing_row_and_a_resume_never_fires_the_past(database: Database) -> None:
    old = add(database, every(MINUTE))
    database.write(lambda tx: pause_schedule(tx, old, Pause(NOON, None, "ann", "repairs"), "ann"))
    for minutes in (1, 2, 5):
        now = NOON + minutes * MINUTE
        fire_all(database, plan_due(database, now), now)
    assert ledger(database) == [(NOON + MINUTE, NOON + 5 * MINUTE, 5, "skipped", "paused")]
    now = NOON + 5 * MINUTE + 30 * SECOND
    assert database.write(lambda tx: resume_schedule(tx, schedule(database), now, "ann")) is True
    assert plan_due(database, now) == []
    now = NOON + 6 * MINUTE
    fire_all(database, plan_due(database, now), now)
    assert ledger(database)[1:] == [(now, now, 1, "fired", None)]


def test_a_stretch_ends_when_the_outcome_changes_and_a_later_one_gets_a_row_of_its_own(database: Database) -> None:
    add(database, every(MINUTE, overlap=OverlapPolicy.SKIP))
    now = NOON + MINUTE
    fire_all(database, plan_due(database, now), now)
    for minutes in (2, 3):
        now = NOON + minutes * MINUTE
        plans = [_with_unfinished(f, now) for f in plan_due(database, now)]
        fire_all(database, plans, now)
    now = NOON + 4 * MINUTE
    fire_all(database, plan_due(database, now), now)
    now = NOON + 5 * MINUTE
    fire_all(database, [_with_unfinished(f, now) for f in plan_due(database, now)], now)
    assert ledger(database) == [
        (NOON + MINUTE, NOON + MINUTE, 1, "fired", None),
        (NOON + 2 * MINUTE, NOON + 3 * MINUTE, 2, "skipped", "overlap"),
        (NOON + 4 * MINUTE, NOON + 4 * MINUTE, 1, "fired", None),
        (NOON + 5 * MINUTE, NOON + 5 * MINUTE, 1, "skipped", "overlap"),
    ]


def _with_unfinished(firing_: Firing, now: datetime) -> Firing:
    from mainspring.domain.occurrences import plan_firing

    position = replace(firing_.plan.position, unfinished=1)
    return Firing(plan_firing(every(MINUTE, overlap=OverlapPolicy.SKIP), position, now), ())


def test_a_stretch_does_not_grow_across_an_edit(database: Database) -> None:
    add(database, every(MINUTE, misfire=Misfire(MisfirePolicy.SKIP)))
    now = NOON + 10 * MINUTE + 45 * SECOND
    fire_all(database, plan_due(database, now), now)
    spec = every(MINUTE, misfire=Misfire(MisfirePolicy.SKIP), description="edited")
    old = schedule(database)
    database.write(lambda tx: edit_schedule(tx, old, spec, "test", now, "ann", "2026a"))
    now += 10 * MINUTE
    fire_all(database, plan_due(database, now), now)
    assert [(n, outcome, cause) for _, _, n, outcome, cause in ledger(database)] == [
        (10, "skipped", "missed"), (10, "skipped", "missed"),
    ]  # fmt: skip


def test_a_backlog_of_several_plans_gives_one_row_for_each_stretch(database: Database) -> None:
    add(database, every(MINUTE))
    now = NOON + timedelta(days=1) + 31 * SECOND
    for _ in range(100):
        if not (plans := plan_due(database, now, most=70)):
            break
        fire_all(database, plans, now)
    end = NOON + timedelta(days=1)
    assert ledger(database) == [
        (NOON + MINUTE, end - MINUTE, 1439, "coalesced", None),
        (end, end, 1, "fired", None),
    ]
    assert count(database, "runs") == 1
    assert schedule(database).position.catch_up_until is None


def test_a_local_time_fires_once_even_if_new_zone_data_moves_its_instant(database: Database) -> None:
    spec = replace(every(MINUTE), trigger=parse_cron("30 13 * * *", "America/Sao_Paulo"), zone="America/Sao_Paulo")
    add(database, spec)
    fire_at = datetime.fromisoformat("2026-03-02T16:30:00+00:00")
    fire_all(database, plan_due(database, fire_at), fire_at)
    moved = replace(plan_due(database, fire_at + timedelta(days=1))[0])
    (occurrence,) = moved.plan.occurrences
    query = text(f"SELECT local_key FROM {_schema(database)}occurrences")
    (first_key,) = database.read(lambda tx: tx.core(query).one())
    assert first_key == "1|2026-03-02T13:30:00"
    again = replace(occurrence, local_key=first_key.removeprefix("1|"))
    doubled = Firing(replace(moved.plan, occurrences=(again,)), moved.runs)
    before = contents(database)
    with pytest.raises(DUPLICATE):
        fire_all(database, [doubled], fire_at + HOUR)
    assert contents(database) == before


def test_local_times_that_have_fired_are_told_by_version(database: Database) -> None:
    spec = replace(every(MINUTE), trigger=parse_cron("30 13 * * *", "America/Sao_Paulo"), zone="America/Sao_Paulo")
    added = add(database, spec)
    fire_at = datetime.fromisoformat("2026-03-02T16:30:00+00:00")
    fire_all(database, plan_due(database, fire_at), fire_at)
    keys = ["2026-03-02T13:30:00", "2026-03-03T13:30:00"]
    position = schedule(database).position
    assert database.read(lambda tx: taken_local_keys(tx, position, keys)) == {"2026-03-02T13:30:00"}
    assert database.read(lambda tx: taken_local_keys(tx, replace(position, version=2), keys)) == set()
    assert database.read(lambda tx: taken_local_keys(tx, position, [])) == set()
    (row,) = database.read(lambda tx: rows_of(tx, added.id, 10))
    assert (row.fire_at, row.n, row.outcome, row.cause, row.spec_version) == (fire_at, 1, Outcome.FIRED, None, 1)
    found = database.read(lambda tx: get_schedule(tx, added.id))
    assert found is not None
    assert found.name == "s1"


def _schema(database: Database) -> str:
    return "mainspring." if database.dialect == "postgresql" else ""


def test_a_fire_time_that_the_ledger_has_already_is_an_error_and_writes_nothing(database: Database) -> None:
    add(database, every(MINUTE))
    now = NOON + MINUTE
    fire_all(database, plan_due(database, now), now)
    plan = plan_due(database, now + MINUTE)[0]
    (occurrence,) = plan.plan.occurrences
    before = contents(database)
    stuck = replace(plan.plan, occurrences=(replace(occurrence, fire_at=now, until_at=now),))
    with pytest.raises(DUPLICATE):
        fire_all(database, [Firing(stuck, ())], now + MINUTE)
    assert contents(database) == before


def test_two_schedulers_at_once_fire_every_occurrence_exactly_once(open_database: Open, database: Database) -> None:
    for n in range(40):
        add(database, every(SECOND, name=f"s{n}", misfire=ALL))
    other = open_database()

    def scheduler(own: Database) -> int:
        advanced = 0
        for step in range(1, 11):
            now = NOON + step * SECOND
            while plans := plan_due(own, now):
                advanced += len(fire_all(own, plans, now).advanced)
        return advanced

    done = together(lambda: scheduler(database), lambda: scheduler(other), lambda: scheduler(database))
    assert count(database, "occurrences") == count(database, "runs") == count(database, "ready") == 400
    assert count(database, "occurrences", "outcome = 'fired' AND n = 1") == 400
    assert 40 <= sum(done) <= 400


def test_an_edit_and_a_firing_at_once_never_give_both(open_database: Open, database: Database) -> None:
    other = open_database()
    for n in range(8):
        old = add(database, every(MINUTE, name=f"s{n}"))
        now = NOON + MINUTE
        plans = plan_due(database, now, only=old.name)
        spec = every(HOUR, name=old.name)
        fired, edited = together(
            lambda: bool(fire_all(database, plans, now).advanced),  # noqa: B023
            lambda: other.write(lambda tx: edit_schedule(tx, old, spec, "t", now, "ann", "2026a")),  # noqa: B023
        )
        assert fired is not edited
        after = schedule(database, old.name)
        assert after.next_at == (NOON + HOUR if edited else NOON + 2 * MINUTE)


def test_cancel_running_ends_what_waits_and_asks_what_runs(database: Database) -> None:
    spec = every(MINUTE, overlap=OverlapPolicy.CANCEL_RUNNING)
    added = add(database, spec)
    now = NOON + MINUTE
    fire_all(database, plan_due(database, now), now)
    running = claim_one(database, open_session(database))
    now = NOON + 2 * MINUTE
    from mainspring.domain.occurrences import plan_firing
    from tests.store.arrange import firing

    due = database.read(lambda tx: due_schedules(tx, now, 10))[0]
    position = replace(due.position, unfinished=1)
    assert plan_firing(spec, position, now).cancel_unfinished is True
    fired = fire_all(database, [firing(spec, position, now)], now)
    assert fired.cancels_asked is True
    assert look(database, running.id).cancel_requested_at == now
    left = database.read(lambda tx: unfinished(tx, [added.id]))[added.id]
    assert set(left.values()) == {NOON + MINUTE, now}


def test_unfinished_runs_are_those_of_the_asked_schedules_that_have_not_ended(database: Database) -> None:
    one, two = add(database, every(MINUTE, name="s1")), add(database, every(MINUTE, name="s2"))
    now = NOON + MINUTE
    fire_all(database, plan_due(database, now), now)
    found = database.read(lambda tx: unfinished(tx, [one.id]))
    assert set(found) == {one.id}
    assert list(found[one.id].values()) == [now]
    run_id = next(iter(found[one.id]))
    from mainspring.store.queueing import cancel

    database.write(lambda tx: cancel(tx, [run_id], "x", now))
    assert look(database, run_id).state is RunState.CANCELLED
    assert set(database.read(lambda tx: unfinished(tx, [one.id, two.id]))) == {two.id}
    assert database.read(lambda tx: unfinished(tx, [])) == {}


def test_messages_go_out_with_the_transaction_that_fires(database: Database) -> None:
    from mainspring.ids import uuid7

    add(database, every(MINUTE))
    now = NOON + MINUTE
    (plan,) = plan_due(database, now)
    message = (uuid7(), "pack.market", '{"fired":true}')
    fire_all(database, [replace(plan, messages=(message,))], now)
    assert count(database, "outbox", "topic = 'pack.market'") == 1


def test_new_zone_data_recomputes_the_next_fire_time_without_firing_the_past(database: Database) -> None:
    add(database, every(MINUTE))
    assert database.write(lambda tx: set_next(tx, schedule(database), next_of(schedule(database)), "2026b")) is True
    assert schedule(database).computed_with == "2026b"
    assert schedule(database).next_at == NOON + MINUTE


def test_a_wall_clock_that_goes_back_does_not_move_the_mark_back(database: Database, clock: ManualClock) -> None:
    add(database, every(MINUTE))
    now = NOON + 10 * MINUTE
    fire_all(database, plan_due(database, now), now)
    assert plan_due(database, NOON + 2 * MINUTE) == []
    assert schedule(database).position.last_at == NOON + 10 * MINUTE


def test_a_schedule_that_never_fires_again_leaves_the_scan(database: Database) -> None:
    add(database, every(MINUTE, end_at=NOON + MINUTE))
    now = NOON + MINUTE
    fire_all(database, plan_due(database, now), now)
    assert schedule(database).next_at is None
    assert database.read(next_fire_at) is None


def test_a_disabled_schedule_is_not_in_the_scan(database: Database) -> None:
    add(database, every(MINUTE, enabled=False))
    assert plan_due(database, NOON + HOUR) == []


def test_outcomes_and_causes_read_back_as_written(database: Database) -> None:
    assert {str(o) for o in Outcome} == {"fired", "coalesced", "skipped"}
    assert {str(c) for c in Cause} == {"overlap", "calendar", "paused", "missed"}
