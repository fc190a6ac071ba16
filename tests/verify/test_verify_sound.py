"""What a verification says of a database in which nothing is wrong, and how it goes about it."""

from datetime import timedelta
from threading import Thread

import pytest
import sqlalchemy

from mainspring.domain.triggers import IntervalTrigger, parse_session
from mainspring.store.migrate import SchemaOutdated, upgrade
from mainspring.verify import Finding, Verdict, verify
from mainspring.verify import schedules as verify_schedules
from tests.verify.corruption import damage
from tests.verify.world import DAY, HOUR, MINUTE, START, World, open_database, scheduled

SECOND = timedelta(seconds=1)


@pytest.fixture
def world(database_url):
    database = open_database(database_url)
    upgrade(database)
    yield World(database)
    database.close()


def test_a_sound_database_has_no_findings(filled):
    database, now = filled
    assert verify(database, now).lines() == [
        "544 expected, 203 fired, 260 coalesced, 81 skipped, 0 missing, 0 doubled",
        "11 schedules, 216 runs and 22 ended attempts compared with each other",
        "consistent",
    ]


def test_the_first_line_has_no_more_than_it_must(world):
    for n in range(20):
        world.add(scheduled(f"s{n}", trigger=IntervalTrigger(SECOND, START)))
    world.live(START + 60 * SECOND, SECOND)
    verdict = verify(world.database, world.now)
    assert verdict.lines()[0] == "1,200 expected, 1,200 fired, 0 missing, 0 doubled"
    assert verdict.ok


def test_an_empty_database_is_consistent(world):
    assert verify(world.database, START).lines() == [
        "0 expected, 0 fired, 0 missing, 0 doubled",
        "0 schedules, 0 runs and 0 ended attempts compared with each other",
        "consistent",
    ]


def test_a_database_without_our_tables_is_refused(database_url):
    database = open_database(database_url)
    with pytest.raises(SchemaOutdated, match="db upgrade"):
        verify(database, START)
    database.close()


def test_a_long_ledger_is_compared_in_steps_with_the_same_result(filled, monkeypatch):
    database, now = filled
    whole = verify(database, now)
    monkeypatch.setattr(verify_schedules, "ROWS_AT_ONCE", 3)
    assert verify(database, now) == whole


def test_damage_is_found_whatever_the_size_of_the_steps(filled, monkeypatch):
    database, now = filled
    damage(
        database, "DELETE FROM occurrences WHERE fire_at > at('2026-03-27T12:00') AND fire_at < at('2026-03-27T20:00')"
    )
    whole = verify(database, now)
    for size in (1, 2, 7):
        monkeypatch.setattr(verify_schedules, "ROWS_AT_ONCE", size)
        assert verify(database, now).missing == whole.missing > 20


def test_fire_times_to_come_are_pending_and_no_error(world):
    world.add(scheduled("hourly"))
    world.live(START + 3 * HOUR, HOUR)
    verdict = verify(world.database, world.now + 2 * HOUR + MINUTE)
    assert (verdict.expected, verdict.pending, verdict.ok, verdict.warnings) == (3, 2, True, 0)
    assert verdict.lines()[2] == "2 pending: their time has come, no scheduler has decided them yet"


def test_pending_fire_times_are_a_warning_while_a_scheduler_lives(world):
    world.open_worker("scheduler")
    world.add(scheduled("hourly"))
    on_time = verify(world.database, START + HOUR + 59 * SECOND)
    late = verify(world.database, START + HOUR + 61 * SECOND)
    assert (on_time.pending, on_time.warnings, late.pending, late.warnings) == (1, 0, 1, 1)
    assert late.findings[0].kind == "fire_time_late"
    assert late.lines()[-1] == "consistent, 1 warning"


def test_a_run_whose_worker_died_waits_for_its_rescue(filled):
    database, now = filled
    damage(database, "UPDATE worker_sessions SET state = 'dead', ended_at = seen_at WHERE kind = 'worker'")
    verdict = verify(database, now + HOUR)
    assert {(f.kind, f.warning) for f in verdict.findings if "rescue" in f.kind} == {("waits_for_rescue", True)}


def test_a_run_whose_worker_is_silent_waits_for_its_rescue(filled):
    database, now = filled
    verdict = verify(database, now + 2 * MINUTE)
    assert [f.kind for f in verdict.findings] == ["waits_for_rescue"]
    assert verdict.ok


def test_what_should_have_moved_on_is_a_warning_while_a_worker_lives(filled):
    database, now = filled
    damage(database, "UPDATE runs SET due_at = at('2026-03-27T00:00') WHERE state = 'scheduled'")
    damage(database, "UPDATE runs SET state = 'cancelled', finished_at = due_at WHERE queue = 'running'")
    kinds = {finding.kind for finding in verify(database, now + 2 * MINUTE).findings if finding.warning}
    assert kinds == {"not_staged", "not_released"}


def test_since_leaves_out_what_came_before(filled):
    database, now = filled
    damage(database, "DELETE FROM occurrences WHERE fire_at < at('2026-03-27T12:00')", "DELETE FROM ready")
    late = verify(database, now, since=START + 2 * DAY)
    assert {finding.kind for finding in late.findings} == {"ready_missing"}
    assert 0 < late.expected < verify(database, now).expected


def test_since_inside_a_stretch_counts_the_stretch_from_its_start(filled):
    database, now = filled
    verdict = verify(database, now, since=START + DAY + 12 * HOUR)
    assert verdict.ok
    assert verdict.skipped >= 24


def test_a_scheduler_whose_clock_is_ahead_may_decide_a_little_before_an_edit(world):
    world.add(scheduled("hourly"))
    world.live(START + HOUR, HOUR)
    world.now -= SECOND
    world.edit(scheduled("hourly", "30 * * * *"))
    world.live(START + 3 * HOUR, MINUTE)
    verdict = verify(world.database, world.now)
    assert (verdict.lines()[0], verdict.ok) == ("3 expected, 3 fired, 0 missing, 0 doubled", True)


def test_only_the_first_thousand_findings_are_kept_and_all_are_counted():
    verdict = Verdict()
    for n in range(1_500):
        part = Verdict()
        part.error("kind", f"run {n}", "is wrong")
        verdict.add(part)
    assert (len(verdict.findings), verdict.errors) == (1_000, 1_500)
    assert verdict.lines()[-2:] == ["… and 500 more", "1,500 errors"]


def test_findings_say_what_is_wrong_with_which_fire_times(filled):
    database, now = filled
    damage(database, "DELETE FROM occurrences WHERE schedule_id = schedule('fan') AND fire_at = at('2026-03-27T06:00')")
    assert verify(database, now).findings == [
        Finding(
            "fire_time_missing", "schedule fan", "1 fire time, 2026-03-27T06:00:00Z, has no outcome"
        ),
        Finding(
            "run_without_occurrence", "schedule fan",
            "3 scheduled runs of 2026-03-27T06:00:00Z, which the ledger does not record as fired",
        ),
    ]  # fmt: skip


def test_nothing_is_written(filled):
    database, now = filled
    before = _everything(database)
    verify(database, now)
    assert _everything(database) == before


def test_progress_is_told(filled):
    database, now = filled
    told = []
    verify(database, now, progress=lambda what, done, total: told.append((what, done, total)))
    assert told == [*(("schedules", n, 11) for n in range(11)), ("runs", 0, 216)]


def test_schedules_that_fire_and_are_edited_meanwhile_are_no_errors(world):
    world.add(scheduled("minutely", "* * * * *"))
    world.add(scheduled("edited", "* * * * *"))
    world.live(START + HOUR, MINUTE)
    end = START + 3 * HOUR

    def go_on():
        for n in range(2, 8):
            world.live(START + HOUR + n * 15 * MINUTE, MINUTE)
            world.edit(scheduled("edited", f"*/{n} * * * *"))

    thread = Thread(target=go_on)
    thread.start()
    found = [verify(world.database, end).findings]
    while thread.is_alive():
        found.append(verify(world.database, end).findings)
    thread.join()
    assert found == [[]] * len(found)
    assert len(found) > 1


def _everything(database):
    prefix = "mainspring." if database.dialect == "postgresql" else ""

    def read(tx):
        return {
            name: sorted(map(str, tx.core(sqlalchemy.text(f"SELECT * FROM {prefix}{name}"))))
            for name in database.table_names() - {"alembic_version"}
        }

    return database.read(read)


def test_fire_times_by_exchange_sessions_are_taken_as_recorded_and_still_compared_with_the_runs(world):
    world.add(scheduled("bell", trigger=parse_session("XNYS every 1h while open")))
    world.live(START + DAY, HOUR)
    verdict = verify(world.database, world.now)
    assert verdict.lines() == [
        "7 expected, 7 fired, 0 missing, 0 doubled",
        "1 schedule, 7 runs and 0 ended attempts compared with each other",
        "1 schedule by exchange sessions: fire times are taken as the ledger has them",
        "consistent",
    ]
    damage(world.database, "DELETE FROM runs WHERE fire_at = (SELECT min(fire_at) FROM runs)")
    assert "run_missing" in {finding.kind for finding in verify(world.database, world.now).findings}


def test_rows_by_exchange_sessions_that_stand_for_the_same_time_are_found(world):
    world.add(scheduled("bell", trigger=parse_session("XNYS every 1h while open")))
    world.live(START + DAY, DAY)
    # Misfire latest: all but the last are one row, which is made to reach into it.
    damage(world.database, "UPDATE occurrences SET until_at = until_at + minutes(90) WHERE n > 1")
    kinds = {finding.kind for finding in verify(world.database, world.now).findings}
    assert "fire_time_doubled" in kinds
