"""Each way in which a database can be wrong is found and named."""

import re
from pathlib import Path

import pytest

import mainspring.verify
from mainspring.verify import verify
from tests.verify.corruption import damage

HOURLY = "schedule_id = schedule('hourly') AND fire_at = at('2026-03-27T05:00')"
PAUSED = "schedule_id = schedule('paused') AND cause = 'paused'"
COALESCED = "schedule_id = schedule('hourly') AND outcome = 'coalesced'"
NEW_ROW = (
    "INSERT INTO occurrences (schedule_id, fire_at, until_at, n, spec_version, outcome, reason, recorded_at) SELECT "
)
TRIED = "(SELECT CAST(max(CAST(id AS text)) AS text) FROM runs WHERE queue = 'tries' AND state = 'succeeded')"
FAILED = "(SELECT CAST(max(CAST(id AS text)) AS text) FROM runs WHERE queue = 'tries' AND state = 'failed')"
WAITING = "(SELECT max(CAST(id AS text)) FROM runs WHERE queue = 'waiting')"

LEDGER = {
    "a fire time is missing": (
        ["fire_time_missing", "run_without_occurrence"],
        [f"DELETE FROM occurrences WHERE {HOURLY}"],
    ),
    "a stretch is missing": (["fire_time_missing"], [f"DELETE FROM occurrences WHERE {PAUSED}"]),
    "a stretch counts too few": (["stretch_count"], [f"UPDATE occurrences SET n = n - 1 WHERE {PAUSED}"]),
    "a stretch counts too many": (["stretch_count"], [f"UPDATE occurrences SET n = n + 1 WHERE {COALESCED}"]),
    "a stretch ends at no fire time": (
        ["stretch_ends"],
        [f"UPDATE occurrences SET until_at = until_at + minutes(1) WHERE {PAUSED}"],
    ),
    "a stretch begins at no fire time": (
        ["stretch_ends"],
        [f"UPDATE occurrences SET fire_at = fire_at - minutes(1) WHERE {PAUSED}"],
    ),
    "a stretch runs into the next row": (
        ["fire_time_doubled"],
        [f"UPDATE occurrences SET until_at = until_at + minutes(180), n = n + 3 WHERE {PAUSED}"],
    ),
    "a fire time that the rule does not name": (
        ["fire_time_unexpected"],
        [NEW_ROW + "id, at('2026-03-27T05:07'), at('2026-03-27T05:07'), 1, 1, 'coalesced', 'x', at('2026-03-27T06:00') "
         "FROM schedules WHERE name = 'hourly'"],
    ),
    "a fire time a second late": (
        ["fire_time_missing", "fire_time_unexpected"],
        [f"UPDATE occurrences SET fire_at = fire_at + minutes(1), until_at = until_at + minutes(1) WHERE {HOURLY}"],
    ),
    "a fire time before the schedule was made": (
        ["fire_time_unexpected"],
        [NEW_ROW + "id, at('2026-03-26T05:00'), at('2026-03-26T05:00'), 1, 1, 'coalesced', 'x', at('2026-03-26T06:00') "
         "FROM schedules WHERE name = 'hourly'"],
    ),
    "a fire time after the schedule was deleted": (
        ["fire_time_unexpected"],
        [NEW_ROW + "id, at('2026-03-28T02:00'), at('2026-03-28T02:00'), 1, 1, 'coalesced', 'x', at('2026-03-28T06:00') "
         "FROM schedules WHERE name = 'gone'"],
    ),
    "a fire time of a disabled schedule": (
        ["fire_time_unexpected"],
        [NEW_ROW + "id, at('2026-03-28T02:00'), at('2026-03-28T02:00'), 1, 1, 'coalesced', 'x', at('2026-03-28T06:00') "
         "FROM schedules WHERE name = 'off'"],
    ),
    "an outcome recorded before its time": (
        ["recorded_early"],
        [f"UPDATE occurrences SET recorded_at = fire_at - minutes(1) WHERE {HOURLY}"],
    ),
    "an outcome without its cause": (["outcome_unsound"], [f"UPDATE occurrences SET cause = NULL WHERE {PAUSED}"]),
    "a fired stretch": (
        ["outcome_unsound", "run_missing"],
        [f"UPDATE occurrences SET outcome = 'fired' WHERE {COALESCED}"],
    ),
    "an outcome that does not exist": (
        ["outcome_unsound"],
        [f"UPDATE occurrences SET outcome = 'forgotten' WHERE {COALESCED}"],
    ),
    "a fired occurrence turned into a coalesced one": (
        ["run_without_occurrence"],
        [f"UPDATE occurrences SET outcome = 'coalesced' WHERE {HOURLY}"],
    ),
    "a pause that never was": (
        ["outcome_against_policy"],
        [f"UPDATE occurrences SET outcome = 'skipped', cause = 'paused' WHERE {COALESCED}"],
    ),
    "fired while paused": (
        ["outcome_against_policy"],
        [f"UPDATE occurrences SET outcome = 'coalesced', cause = NULL WHERE {PAUSED}"],
    ),
    "skipped for overlap although overlap is allowed": (
        ["outcome_against_policy"],
        [f"UPDATE occurrences SET outcome = 'skipped', cause = 'overlap' WHERE {COALESCED}"],
    ),
    "coalesced although every fire time fires": (
        ["outcome_against_policy"],
        ["UPDATE schedule_versions SET spec = replace(spec, '\"policy\":\"latest\"', '\"policy\":\"all\"') "
         "WHERE schedule_id = schedule('hourly')",
         "UPDATE schedules SET spec = replace(spec, '\"policy\":\"latest\"', '\"policy\":\"all\"') "
         "WHERE name = 'hourly'"],
    ),
    "barred by a calendar that does not bar the day": (
        ["calendar_differs"],
        ["UPDATE occurrences SET outcome = 'skipped', cause = 'calendar' WHERE schedule_id = schedule('weekly') "
         "AND fire_at = at('2026-03-27T06:00')"],
    ),
    "not barred by a calendar that bars the day": (
        ["calendar_differs"],
        ["UPDATE occurrences SET outcome = 'coalesced', cause = NULL WHERE schedule_id = schedule('weekly') "
         "AND cause = 'calendar'"],
    ),
    "barred by a calendar of a schedule without one": (
        ["outcome_against_policy"],
        [f"UPDATE occurrences SET outcome = 'skipped', cause = 'calendar' WHERE {COALESCED}"],
    ),
    "decided by the version after": (
        ["wrong_version"],
        ["UPDATE occurrences SET spec_version = 2 WHERE schedule_id = schedule('edited') "
         "AND fire_at = at('2026-03-27T05:00')"],
    ),
    "decided by the version before": (
        ["wrong_version"],
        ["UPDATE occurrences SET spec_version = 1 WHERE schedule_id = schedule('edited') "
         "AND fire_at = at('2026-03-28T05:00')"],
    ),
    "an edit that took effect before it was made": (
        ["wrong_version"],
        ["UPDATE schedule_versions SET effective_at = effective_at - minutes(300) "
         "WHERE schedule_id = schedule('edited') AND version = 2"],
    ),
    "a local time that fired twice": (
        ["local_key_doubled"],
        ["DROP INDEX uq_occurrences_local_key",
         "UPDATE occurrences SET local_key = '1|2026-03-28T02:30:00' WHERE schedule_id = schedule('berlin')"],
    ),
    "a mark before the end of the ledger": (
        ["mark_differs"],
        ["UPDATE schedules SET last_at = last_at - minutes(60) WHERE name = 'hourly'"],
    ),
    "a mark after the end of the ledger": (
        ["mark_differs"],
        ["UPDATE schedules SET last_at = last_at + minutes(1) WHERE name = 'hourly'"],
    ),
    "a mark in the future": (
        ["mark_in_future"],
        ["UPDATE schedules SET last_at = at('2027-01-01T00:00') WHERE name = 'hourly'"],
    ),
    "a schedule that forgot its next fire time": (
        ["next_wrong"],
        ["UPDATE schedules SET next_at = NULL WHERE name = 'hourly'"],
    ),
    "a schedule that leaves out its next fire time": (
        ["next_wrong"],
        ["UPDATE schedules SET next_at = next_at + minutes(60) WHERE name = 'hourly'"],
    ),
    "a next fire time that the rule does not name": (
        ["next_wrong"],
        ["UPDATE schedules SET next_at = next_at - minutes(1) WHERE name = 'later'"],
    ),
    "a disabled schedule that will fire": (
        ["next_wrong"],
        ["UPDATE schedules SET next_at = at('2026-04-01T00:00') WHERE name = 'off'"],
    ),
    "a version that is not kept": (
        ["version_missing"],
        ["DELETE FROM schedule_versions WHERE schedule_id = schedule('edited') AND version = 1"],
    ),
    "a spec changed without a version": (
        ["version_differs"],
        ["UPDATE schedules SET spec = replace(spec, 'demo.task', 'other.task') WHERE name = 'hourly'"],
    ),
    "a spec that cannot be read": (
        ["spec_unreadable"],
        ["UPDATE schedule_versions SET spec = '{}' WHERE schedule_id = schedule('edited') AND version = 1"],
    ),
    "a spec in a zone that does not exist": (
        ["spec_unreadable"],
        ["UPDATE schedule_versions SET spec = replace(spec, 'Europe/Berlin', 'Europe/Bonn') "
         "WHERE schedule_id = schedule('berlin')"],
    ),
    "versions out of order": (
        ["version_order"],
        ["UPDATE schedule_versions SET effective_at = effective_at - minutes(3000) "
         "WHERE schedule_id = schedule('edited') AND version = 2"],
    ),
    "a ledger without its schedule": (
        ["occurrences_without_schedule"],
        [f"UPDATE occurrences SET schedule_id = STRANGER WHERE {HOURLY}"],
    ),
    "a version without its schedule": (
        ["schedule_versions_without_schedule"],
        ["UPDATE schedule_versions SET schedule_id = STRANGER WHERE version = 2"],
    ),
    "a fired time without its run": (["run_missing"], [f"DELETE FROM runs WHERE {HOURLY}"]),
    "a member without its run": (["run_missing"], ["DELETE FROM runs WHERE member = '7'"]),
    "a run for no member": (
        ["run_missing", "run_unexpected"],
        ["UPDATE runs SET member = '8' WHERE member = '7'"],
    ),
    "a run too many": (
        ["run_doubled"],
        ["DROP INDEX uq_runs_occurrence",
         "UPDATE runs SET member = '7' WHERE member = 'PETR4'"],
    ),
    "a run of no occurrence": (
        ["run_without_occurrence"],
        [f"UPDATE runs SET fire_at = fire_at + minutes(7) WHERE {HOURLY}"],
    ),
    "a run of another task": (["run_of_other_task"], [f"UPDATE runs SET task = 'other.task' WHERE {HOURLY}"]),
    "a run of no schedule": (
        ["run_without_schedule"],
        [f"UPDATE runs SET schedule_id = STRANGER WHERE {HOURLY}"],
    ),
    "a scheduled run that does not say for when": (
        ["run_without_schedule"],
        [f"UPDATE runs SET fire_at = NULL WHERE {HOURLY}"],
    ),
}  # fmt: skip

TABLES = {
    "a ready run in no queue": (["ready_missing"], ["DELETE FROM ready WHERE seq = 20"]),
    "a finished run in a queue": (
        ["ready_unexpected"],
        ["UPDATE runs SET state = 'cancelled', finished_at = created_at WHERE id = "
         "(SELECT run_id FROM ready ORDER BY run_id LIMIT 1)"],
    ),
    "a scheduled run in a queue": (
        ["ready_unexpected"],
        ["UPDATE runs SET state = 'scheduled' WHERE id = (SELECT run_id FROM ready ORDER BY run_id LIMIT 1)"],
    ),
    "a place in a queue for no run": (
        ["ready_without_run"],
        ["UPDATE ready SET run_id = STRANGER WHERE run_id = (SELECT run_id FROM ready ORDER BY run_id LIMIT 1)"],
    ),
    "a run in the queue of another": (["ready_place_differs"], ["UPDATE ready SET queue = 'other' WHERE seq = 20"]),
    "a run with another's rank": (["ready_place_differs"], ["UPDATE ready SET rank = 0 WHERE seq = 20"]),
    "a run that lost its turn": (["ready_place_differs"], ["UPDATE runs SET turn = 3 WHERE seq = 20"]),
    "a run that jumped the queue": (["ready_place_differs"], ["UPDATE ready SET seq = 0 WHERE seq = 20"]),
    "places given out twice": (
        ["places_run_out"],
        ["UPDATE ready SET seq = 900000000 WHERE seq = 20"],
    ),
    "a run on no session": (["session_missing"], ["UPDATE runs SET session_id = STRANGER WHERE state = 'running'"]),
    "a run on a session long dead": (
        ["rescue_overdue"],
        ["INSERT INTO worker_sessions SELECT STRANGER, kind, name, host, pid, boot_id, version, tasks, queues, slots, "
         "wake_address, 'dead', 'killed', started_at, seen_at, at('2026-03-28T00:00'), lease_until "
         "FROM worker_sessions WHERE kind = 'worker'",
         "UPDATE runs SET session_id = STRANGER WHERE state = 'running'"],
    ),
    "a living session with an end": (
        ["session_unsound"],
        ["UPDATE worker_sessions SET ended_at = seen_at WHERE kind = 'scheduler'"],
    ),
    "a dead session without an end": (
        ["session_unsound"],
        ["UPDATE worker_sessions SET state = 'dead' WHERE kind = 'scheduler'"],
    ),
    "a state that does not exist": (["state_unknown"], ["UPDATE runs SET state = 'lost' WHERE state = 'waiting'"]),
    "an ended run without an end": (
        ["end_differs"],
        ["UPDATE runs SET finished_at = NULL WHERE state = 'cancelled'"],
    ),
    "an unfinished run with an end": (
        ["end_differs"],
        ["UPDATE runs SET finished_at = created_at WHERE state = 'waiting'"],
    ),
    "a decision on a run that has not failed": (
        ["decided_differs"],
        ["UPDATE runs SET decided_at = created_at WHERE state = 'waiting'"],
    ),
    "a failed run without a kind of failure": (
        ["failure_differs"],
        ["UPDATE runs SET failure_kind = NULL WHERE state = 'failed'"],
    ),
    "a failed run whose last attempt did not fail": (
        ["failure_differs"],
        [f"UPDATE attempts SET outcome = 'interrupted' WHERE CAST(run_id AS text) = {FAILED} AND outcome = 'failed'"],
    ),
    "a running run never claimed": (["attempt_not_counted"], ["UPDATE runs SET attempt = 0 WHERE state = 'running'"]),
    "an attempt without a record": (
        ["attempt_missing"],
        [f"DELETE FROM attempts WHERE CAST(run_id AS text) = {TRIED} AND attempt = 2"],
    ),
    "a record of an attempt that never was": (
        ["attempt_unexpected"],
        [f"UPDATE attempts SET attempt = 9 WHERE CAST(run_id AS text) = {TRIED} AND attempt = 2"],
    ),
    "a record of the attempt that is running": (
        ["attempt_unexpected"],
        ["INSERT INTO attempts (run_id, attempt, session_id, started_at, finished_at, outcome, charged) "
         "SELECT id, attempt, session_id, started_at, started_at, 'lost', (1 = 0) FROM runs WHERE state = 'running'"],
    ),
    "a try that was not charged": (
        ["tries_differ"],
        [f"UPDATE runs SET tries = tries - 1 WHERE CAST(id AS text) = {TRIED}"],
    ),
    "a run that succeeded without an attempt": (
        ["success_differs"],
        [f"UPDATE attempts SET outcome = 'retried' WHERE CAST(run_id AS text) = {TRIED} AND outcome = 'succeeded'"],
    ),
    "a run that succeeded twice": (
        ["success_differs"],
        [f"UPDATE attempts SET outcome = 'succeeded' WHERE CAST(run_id AS text) = {TRIED} AND attempt = 1"],
    ),
    "a failed run one of whose attempts succeeded": (
        ["success_differs"],
        [f"UPDATE attempts SET outcome = 'succeeded' WHERE CAST(run_id AS text) = {FAILED} AND attempt = 1"],
    ),
    "a late attempt that overwrote the result": (
        ["result_differs"],
        [f"UPDATE run_payloads SET result_attempt = 1, result_hash = 'x' WHERE CAST(run_id AS text) = {TRIED}"],
    ),
    "a run without parameters": (
        ["payload_missing"],
        [f"DELETE FROM run_payloads WHERE CAST(run_id AS text) = {TRIED}"],
    ),
    "long parameters that are gone": (["parameters_missing"], ["DELETE FROM blobs WHERE key LIKE 'parameters/%'"]),
    "a long result that is gone": (["result_missing"], ["DELETE FROM blobs WHERE key LIKE 'result/%'"]),
    "a snapshot that is gone": (["snapshot_missing"], ["DELETE FROM snapshots WHERE body LIKE '%hourly%'"]),
    "a snapshot that was altered": (
        ["snapshot_altered"],
        ["UPDATE snapshots SET body = replace(body, 'hourly', 'daily') WHERE body LIKE '%hourly%'"],
    ),
    "a held run that nothing holds": (
        ["hold_missing"],
        [f"UPDATE runs SET state = 'held' WHERE CAST(id AS text) = {WAITING}"],
    ),
    "a hold of no run": (
        ["holds_without_run"],
        ["INSERT INTO holds (run_id, resource, queue, rank, turn, seq, held_at) "
         "SELECT STRANGER, 'x', queue, 1, turn, 1, created_at FROM runs WHERE state = 'running'"],
    ),
    "a run that is held and running": (
        ["hold_unexpected"],
        ["INSERT INTO holds (run_id, resource, queue, rank, turn, seq, held_at) "
         "SELECT id, 'x', queue, 1, turn, seq, created_at FROM runs WHERE state = 'running'"],
    ),
    "a held run at another's place": (
        ["hold_place_differs"],
        ["INSERT INTO holds (run_id, resource, queue, rank, turn, seq, held_at) "
         f"SELECT id, 'x', queue, 1, turn + 1, 1, created_at FROM runs WHERE CAST(id AS text) = {WAITING}",
         "UPDATE runs SET state = 'held', seq = 1 WHERE id IN (SELECT run_id FROM holds)"],
    ),
    "a place taken by an attempt to come": (
        ["holding_ahead"],
        ["INSERT INTO holdings (resource, run_id, attempt) "
         "SELECT 'x', id, attempt + 1 FROM runs WHERE state = 'running'"],
    ),
    "a run that waits for nothing": (
        ["waits_for_nothing"],
        [f"DELETE FROM dependencies WHERE CAST(run_id AS text) = {WAITING}"],
    ),
    "a run that waits for one that is gone": (
        ["needed_run_missing"],
        [f"UPDATE dependencies SET needs_run_id = STRANGER WHERE CAST(run_id AS text) = {WAITING}"],
    ),
    "a run that waits for itself": (
        ["needs_itself"],
        [f"UPDATE dependencies SET needs_run_id = run_id WHERE CAST(run_id AS text) = {WAITING}"],
    ),
    "a run that waits for fewer than it counts": (
        ["needs_left_differs"],
        [f"UPDATE runs SET needs_left = needs_left + 1 WHERE CAST(id AS text) = {WAITING}"],
    ),
    "runs that wait for each other": (
        ["wait_in_circle", "needs_left_differs"],
        ["DELETE FROM dependencies",
         "INSERT INTO dependencies (run_id, needs_run_id) SELECT a.id, b.id FROM runs a, runs b "
         "WHERE a.queue = 'waiting' AND b.queue = 'waiting' AND a.id <> b.id"],
    ),
    "a dependency of no run": (
        ["dependencies_without_run"],
        ["INSERT INTO dependencies (run_id, needs_run_id) SELECT STRANGER, id FROM runs WHERE state = 'running'"],
    ),
    "attempts of no run": (
        ["attempts_without_run"],
        [f"UPDATE attempts SET run_id = STRANGER WHERE CAST(run_id AS text) = {TRIED}"],
    ),
    "parameters of no run": (
        ["run_payloads_without_run"],
        [f"UPDATE run_payloads SET run_id = STRANGER WHERE CAST(run_id AS text) = {TRIED}"],
    ),
    "progress of no run": (
        ["run_progress_without_run"],
        ["INSERT INTO run_progress (run_id, attempt, done, note, updated_at) "
         "VALUES (STRANGER, 1, 0.5, '', at('2026-03-28T00:00'))"],
    ),
    "a checkpoint of an attempt that never was": (
        ["checkpoint_unexpected"],
        ["INSERT INTO run_progress (run_id, attempt, done, note, checkpoint, checkpoint_attempt, updated_at) "
         "SELECT id, 0, 0, '', '1', attempt + 1, at('2026-03-28T00:00') FROM runs WHERE state = 'running'"],
    ),
    "an artifact of no run": (
        ["artifacts_without_run"],
        ["INSERT INTO artifacts (id, run_id, attempt, name, media_type, size, sha256, location, created_at) "
         "VALUES (STRANGER, STRANGER, 1, 'a', 'b', 1, 'c', 'd', at('2026-03-28T00:00'))"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEDGER)
def test_what_is_wrong_with_the_ledger_is_named(filled, name):
    kinds, statements = LEDGER[name]
    assert set(kinds) <= found_after(filled, statements)


@pytest.mark.parametrize("name", TABLES)
def test_what_is_wrong_between_tables_is_named(filled, name):
    kinds, statements = TABLES[name]
    assert set(kinds) <= found_after(filled, statements)


UNIQUE = {
    "a run that stands in two queues": (
        "ready_doubled", "ready",
        ["INSERT INTO ready (queue, rank, turn, seq, run_id) "
         "SELECT 'other', rank, turn, seq, run_id FROM ready WHERE seq = 20"],
    ),
    "two sessions that live under one id": (
        "session_doubled", "worker_sessions", ["INSERT INTO worker_sessions SELECT * FROM worker_sessions"],
    ),
    "a run recorded as fired twice in one row each": (
        "fire_time_doubled", "occurrences", [f"INSERT INTO occurrences SELECT * FROM occurrences WHERE {HOURLY}"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNIQUE)
def test_what_unique_keys_should_have_kept_out_is_named(filled, name):
    kind, table, statements = UNIQUE[name]
    # SQLite cannot drop the key of a table; a copy without one takes its place.
    anew = [
        f"CREATE TABLE other AS SELECT * FROM {table}",
        f"DROP TABLE {table}",
        f"ALTER TABLE other RENAME TO {table}",
    ]
    assert kind in found_after(filled, [*anew, *statements])


def test_every_kind_of_error_has_a_test():
    tested = {kind for kinds, _ in (LEDGER | TABLES).values() for kind in kinds}
    tested |= {kind for kind, _, _ in UNIQUE.values()}
    source = "".join(path.read_text() for path in Path(mainspring.verify.__file__).parent.glob("*.py"))
    named = set(re.findall(r'error\(\s*"(\w+)"', source)) | set(re.findall(r'yield "(\w+)"', source))
    assert named - tested == set()
    assert len(named) > 40


def found_after(filled, statements):
    database, now = filled
    assert damage(database, *statements) != 0, "the statement damages nothing"
    verdict = verify(database, now)
    assert not verdict.ok
    return {finding.kind for finding in verdict.findings if not finding.warning}
