"""The guards of the product: what each is for, how it is taken away, and the test that must notice.

`find` is there exactly once in `file`; `put` takes the guard away or weakens it. A guard that nobody misses is either
not needed or not tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_CLAIMING = "tests/store/test_claiming.py::"
_FINISHING = "tests/store/test_finishing.py::"
_RESCUE = "tests/store/test_rescue.py::"
_QUEUEING = "tests/store/test_queueing.py::"
_LEDGER = "tests/store/test_ledger.py::"
_AGAIN = "tests/store/test_judged_again.py::"
_SAFETY = "tests/store/test_sqlite_safety.py::"


@dataclass(frozen=True, slots=True)
class Guard:
    """Something in the product that keeps a promise."""

    name: str
    why: str
    """The promise or the failure mode (F…) that it answers."""
    file: str
    """Below `src/mainspring`."""
    find: str
    put: str
    test: str
    """The directed test that catches its absence, as pytest names it."""
    more: tuple[tuple[str, str], ...] = ()
    """Further texts of the same file and what to put there, where one guard covers for another."""

    @property
    def changes(self) -> tuple[tuple[str, str], ...]:
        """All that is replaced."""
        return ((self.find, self.put), *self.more)


GUARDS: Final = (
    # -- the fence of every end --
    Guard("attempt fence, SQLite", "F2: a late attempt must not end its successor", "store/sqlite/finish_runs.sql",
          "AND attempt = ? AND", "AND attempt >= ? AND",
          _FINISHING + "test_an_old_attempt_of_the_same_session_is_fenced[sqlite]"),
    Guard("attempt fence, PostgreSQL", "F2: a late attempt must not end its successor",
          "store/postgres/finish_runs.sql", "AND r.attempt = x.attempt AND", "AND r.attempt >= x.attempt AND",
          _FINISHING + "test_an_old_attempt_of_the_same_session_is_fenced[postgres]"),
    Guard("session fence, SQLite", "F2: only who holds an attempt ends it", "store/sqlite/finish_runs.sql",
          "AND session_id = ?", "AND ? IS NOT NULL",
          _FINISHING + "test_a_session_that_does_not_hold_the_run_is_fenced[sqlite]"),
    Guard("session fence, PostgreSQL", "F2: only who holds an attempt ends it", "store/postgres/finish_runs.sql",
          " AND r.session_id = x.session_id", "",
          _FINISHING + "test_a_session_that_does_not_hold_the_run_is_fenced[postgres]"),
    Guard("state fence, SQLite", "F23: an end that has landed is not written again", "store/sqlite/finish_runs.sql",
          "AND state = 'running' AND", "AND",
          _FINISHING + "test_a_finish_given_twice_is_done_and_doubles_nothing[sqlite-succeeded]"),
    Guard("landed attempts", "F23: an end whose reply was lost counts as done", "store/claiming.py",
          "        if before is not None:\n", "        if False:\n",
          _FINISHING + "test_a_finish_given_twice_is_done_and_doubles_nothing"),
    Guard("hash of a landed result", "F23: only the same end is mine", "store/claiming.py",
          "            if before != (outcome.ended.value, outcome.result_hash):\n", "            if False:\n",
          _FINISHING + "test_another_result_for_an_attempt_that_ended_is_fenced"),
    Guard("cancel obeyed at the finish", "5.5: a cancel asked for is not forgotten by a retry", "store/claiming.py",
          "    _obey_cancels(tx, [o.run.id for o in outcomes if o.state not in FINAL], now)\n", "",
          _QUEUEING + "test_a_run_asked_to_cancel_is_not_claimed_again_however_its_attempt_ended"),

    # -- the gate of every claim --
    Guard("session gate, SQLite", "5.4: nothing is parked on a dead session", "store/sqlite/pick_ready.sql",
          "id = :session AND state = 'live' AND lease_until > :lease_now", "id = :session",
          _CLAIMING + "test_a_dead_session_claims_nothing[sqlite]"),
    Guard("session gate, PostgreSQL", "5.4: nothing is parked on a dead session", "store/postgres/claim_runs.sql",
          "WHERE EXISTS (SELECT 1 FROM s) AND queue", "WHERE queue",
          _CLAIMING + "test_a_dead_session_claims_nothing[postgres]"),
    Guard("lease in the gate, SQLite", "5.4: a session claims only while its lease lasts",
          "store/sqlite/pick_ready.sql", " AND lease_until > :lease_now", "",
          _CLAIMING + "test_a_session_claims_nothing_from_the_moment_its_lease_ends[sqlite]"),
    Guard("lease in the gate, PostgreSQL", "5.4: a session claims only while its lease lasts",
          "store/postgres/claim_runs.sql", " AND lease_until > coalesce(%(lease_now)s, clock_timestamp())", "",
          _CLAIMING + "test_a_session_claims_nothing_from_the_moment_its_lease_ends[postgres]"),
    Guard("FOR SHARE in the claim", "5.4: a session is not buried between its gate and its claim",
          "store/postgres/claim_runs.sql", "clock_timestamp()) FOR SHARE", "clock_timestamp())",
          _CLAIMING + "test_a_session_is_not_buried_while_it_claims"),
    Guard("SKIP LOCKED in the claim", "5.4: a claim waits for nobody", "store/postgres/claim_runs.sql",
          "FOR UPDATE SKIP LOCKED)", "FOR UPDATE)",
          _CLAIMING + "test_a_claim_does_not_wait_for_another_and_takes_the_next_runs"),
    Guard("SKIP LOCKED among the runs of a claim", "F16: a claim stands in no circle of waiters",
          "store/postgres/claim_runs.sql", "FOR UPDATE OF r SKIP LOCKED)", "FOR UPDATE OF r)",
          "tests/store/test_guard_claim_locks.py::test_a_claim_leaves_a_run_where_it_is_whose_row_somebody_holds"),
    Guard("MATERIALIZED in the claim", "F15: no plan may take more rows than the limit",
          "store/postgres/claim_runs.sql", "     c AS MATERIALIZED (", "     c AS (",
          "tests/store/test_guard_statements.py::test_what_locks_or_limits_is_fenced_off_from_the_planner"),
    Guard("state check in the claim, SQLite", "I5: only a ready run is claimed", "store/sqlite/claim_runs.sql",
          " AND state = 'ready'", "",
          _CLAIMING + "test_a_row_in_a_queue_whose_run_is_not_ready_is_swept_away_and_not_claimed[sqlite]"),
    Guard("state check in the claim, PostgreSQL", "I5: only a ready run is claimed", "store/postgres/claim_runs.sql",
          " AND r.state = 'ready'", "",
          _CLAIMING + "test_a_row_in_a_queue_whose_run_is_not_ready_is_swept_away_and_not_claimed[postgres]"),
    Guard("pause of a queue", "a paused queue is not claimed", "store/sqlite/pick_ready.sql",
          "   AND NOT EXISTS (SELECT 1 FROM queues WHERE name = :queue AND paused_at IS NOT NULL)\n", "",
          _CLAIMING + "test_a_paused_queue_is_not_claimed[sqlite]"),
    Guard("adoption by a repeated claim", "F23: what a claim took whose reply was lost is started",
          "store/claiming.py", "adopt(tx, session, mark) if tx.repeated else []", "[]",
          _CLAIMING + "test_a_repeated_cycle_adopts_what_its_first_try_took_and_does_not_take_twice"),
    Guard("knowledge of a repetition", "F23: whoever repeats knows that he does", "store/postgres/database.py",
          "        tx.repeated = repeated\n", "        tx.repeated = False\n",
          "tests/store/test_guard_repetition.py::"
          "test_a_claim_whose_commit_was_heard_of_by_nobody_is_adopted_by_the_drivers_own_repetition"),
    Guard("adoption by the heartbeat", "F23: what a session holds unknowingly is found", "runtime/worker/worker.py",
          "            self._adopt_lost_claim(run_id, number)\n", "            pass\n",
          "tests/runtime/test_outages.py::test_a_claim_whose_reply_was_lost_is_adopted"),

    # -- leases and rescue --
    Guard("a dead session never renews, SQLite", "5.5: no row means dead for ever", "store/sqlite/renew_session.sql",
          "AND state = 'live' AND lease_until", "AND lease_until",
          "tests/store/test_guard_leases.py::test_a_session_that_was_buried_does_not_renew_whatever_its_lease_says[sqlite]"),
    Guard("a run-out lease is not renewed, SQLite", "5.5: a lease that ran out is lost, buried or not",
          "store/sqlite/renew_session.sql", " AND lease_until > :lease_now", "",
          "tests/store/test_guard_leases.py::test_a_lease_that_has_run_out_is_not_renewed_though_nobody_noticed[sqlite]"),
    Guard("a run-out lease is not renewed, PostgreSQL", "5.5: a lease that ran out is lost, buried or not",
          "store/postgres/renew_session.sql", " AND lease_until > coalesce(%(lease_now)s, clock_timestamp())", "",
          "tests/store/test_guard_leases.py::test_a_lease_that_has_run_out_is_not_renewed_though_nobody_noticed[postgres]"),
    Guard("expiry judged again, PostgreSQL", "F32: a session that renews at this moment is left alone",
          "store/postgres/bury_sessions.sql",
          " AND s.lease_until <= coalesce(%(lease_now)s, clock_timestamp())", "",
          _AGAIN + "test_a_renewal_that_commits_while_a_rescuer_reads_keeps_its_session",
          ((" LIMIT 100 FOR UPDATE SKIP LOCKED", " LIMIT 100"),)),
    Guard("expiry before a burial, SQLite", "F32: only whose lease has run out is dead",
          "store/sqlite/bury_sessions.sql", "AND (lease_until <= :lease_now OR boot_id <> :boot_id)", "",
          _RESCUE + "test_a_session_that_renews_between_look_and_burial_is_left_alone[sqlite]"),
    Guard("boot id, SQLite", "5.5: after a restart of the machine nobody lives", "store/sqlite/bury_sessions.sql",
          "(lease_until <= :lease_now OR boot_id <> :boot_id)", "(lease_until <= :lease_now)",
          _RESCUE + "test_after_a_reboot_every_session_of_the_boot_before_is_dead"),
    Guard("a claim beside a rescue", "F32: a run that a live session just took is not taken from it",
          "store/sessions.py", "    orphans = [orphan for orphan in orphans if not _claimed_meanwhile(tx, orphan)]\n",
          "", _AGAIN + "test_a_run_that_a_live_session_claims_while_a_rescuer_reads_is_not_taken_from_it"),
    Guard("at most once in the rescue", "5.1: what may have happened is lost, not repeated", "store/sessions.py",
          "        if self.at_most_once:\n", "        if False:\n",
          _RESCUE + "test_a_lost_run_that_may_happen_only_once_fails"),
    Guard("at most once at an interruption", "5.1: what may have happened is lost, not repeated",
          "runtime/worker/outcomes.py", "    if attempt.run.at_most_once:\n", "    if False:\n",
          "tests/runtime/test_stopping.py::test_a_run_that_must_not_be_repeated_is_lost_when_it_is_interrupted"),
    Guard("poison threshold", "F3: a run that kills whatever runs it ends", "domain/runs.py",
          "POISON_AFTER: Final = 3\n", "POISON_AFTER: Final = 300\n",
          "tests/store/test_losses.py::test_the_third_loss_in_isolation_is_poison_and_says_how_often_and_how"),
    Guard("an announced stop counts for nobody", "5.5: who said goodbye did not die of a run", "store/sessions.py",
          '        return 0 if self.session_state == "stopped" or self.session_reason == RESTARTED else 1\n',
          "        return 1\n",
          "tests/store/test_losses.py::test_an_announced_stop_and_a_restart_of_the_machine_count_for_nobody"),
    Guard("losses beside others count for nobody", "5.5: one run must not condemn its neighbours",
          "store/sessions.py", "        return self.lost if self.losses > 0 else 0\n", "        return self.lost\n",
          "tests/store/test_losses.py::test_the_neighbours_of_a_run_that_kills_its_worker_are_not_condemned"),
    Guard("a claim after the trust is over", "5.5: what was claimed too late is left to whoever rescues it",
          "runtime/worker/worker.py", "        if claimed and session == self._session.id and self._session.trusted:\n",
          "        if claimed:\n",
          "tests/runtime/test_guard_leases.py::test_what_was_claimed_while_the_lease_was_lost_is_not_started"),
    Guard("a suspect runs isolated", "5.5: a run that may have killed its worker runs alone from then on",
          "runtime/worker/worker.py", "(task.limits.isolated or run.suspect)", "task.limits.isolated",
          "tests/isolation/test_deaths.py::test_a_suspect_runs_isolated_whatever_its_task_says"),
    Guard("trust deadline", "5.5: a worker does not trust itself beyond its lease", "runtime/session.py",
          "        return self._clock.monotonic() < self._trusted_until\n",
          "        return self._trusted_until > 0.0\n",
          "tests/runtime/test_guard_leases.py::"
          "test_a_session_is_not_trusted_from_the_moment_on_though_no_thread_came_to_say_so"),
    Guard("heartbeat while draining", "F29: a worker that stops keeps its lease until the end",
          "runtime/worker/worker.py", "        self._drain()\n        self._stopping = True\n",
          "        self._session.close()\n        self._drain()\n        self._stopping = True\n",
          "tests/runtime/test_guard_leases.py::"
          "test_what_a_stopping_worker_still_runs_is_not_taken_from_it_however_long_it_takes"),

    # -- schedules --
    Guard("comparison with the plan", "F9: a plan made before an edit is not written", "store/ledger.py",
          "if standing.get(f.plan.position.schedule_id) == _stands_at(f.plan.position)]",
          "if f.plan.position.schedule_id in standing]",
          _LEDGER + "test_a_schedule_edited_after_the_look_does_not_fire_by_the_old_plan"),
    Guard("rowcount of the marks", "5.3: the mark moves with the ledger, or nothing does", "store/ledger.py",
          "    if moved != len(ours):\n", "    if False:\n",
          "tests/store/test_guard_marks.py::test_a_mark_that_does_not_move_lets_nothing_be_written"),
    Guard("version in the mark's compare-and-set, SQLite", "F9: an edited schedule does not move by the old rule",
          "store/sqlite/advance_schedules.sql", " AND version = ?", " AND ? IS NOT NULL",
          "tests/store/test_guard_marks.py::test_a_mark_moves_only_from_where_the_plan_began[sqlite-version]"),
    Guard("version in the mark's compare-and-set, PostgreSQL", "F9: an edited schedule does not move by the old rule",
          "store/postgres/advance_schedules.sql", " AND s.version = x.version", "",
          "tests/store/test_guard_marks.py::test_a_mark_moves_only_from_where_the_plan_began[postgres-version]"),
    Guard("mark's compare-and-set, SQLite", "5.3: two schedulers never move the same mark",
          "store/sqlite/advance_schedules.sql", " AND last_at IS ?", " AND (1 OR last_at IS ?)",
          "tests/store/test_guard_marks.py::test_a_mark_moves_only_from_where_the_plan_began[sqlite-last_at]"),
    Guard("mark's compare-and-set, PostgreSQL", "5.3: two schedulers never move the same mark",
          "store/postgres/advance_schedules.sql", " AND s.last_at IS NOT DISTINCT FROM x.old_last_at", "",
          "tests/store/test_guard_marks.py::test_a_mark_moves_only_from_where_the_plan_began[postgres-last_at]"),
    Guard("SKIP LOCKED among schedulers", "5.3: a scheduler waits for no other", "store/postgres/lock_schedules.sql",
          " FOR UPDATE SKIP LOCKED", " FOR UPDATE",
          "tests/store/test_guard_marks.py::test_a_scheduler_leaves_out_what_another_one_holds"),
    Guard("unique occurrence", "5.1: a fire time has one outcome", "store/migrations/versions/m0001_first.py",
          '        sa.PrimaryKeyConstraint("schedule_id", "fire_at", name=op.f("pk_occurrences")),\n', "",
          _LEDGER + "test_a_fire_time_that_the_ledger_has_already_is_an_error_and_writes_nothing"),
    Guard("unique run of an occurrence", "5.1: a fired occurrence becomes one run for each member",
          "store/migrations/versions/m0001_first.py",
          '        ["schedule_id", "fire_at", "member"],\n        unique=True,\n',
          '        ["schedule_id", "fire_at", "member"],\n        unique=False,\n',
          _QUEUEING + "test_an_occurrence_of_a_schedule_has_one_run_for_each_member"),
    Guard("an edit compares the version", "F9: an edit of what was edited meanwhile is refused", "store/schedules.py",
          "        columns.version == position.version,\n", "",
          _LEDGER + "test_an_edit_compared_with_an_old_look_is_refused"),
    Guard("an edit compares the mark", "F9: an edit of what fired meanwhile is refused", "store/schedules.py",
          "        columns.last_at.is_not_distinct_from(position.last_at),\n", "",
          _LEDGER + "test_a_schedule_that_fired_after_the_look_cannot_be_edited_by_it"),
    Guard("an edit settles the past", "5.3: the old rule decides what came before the edit", "services/schedules.py",
          "            old = self._settled(name, now)\n", "            old = self.require(name)\n",
          "tests/services/test_schedules.py::test_an_edit_settles_the_old_rule_first_and_starts_the_new_one_from_now"),
    Guard("a new rule begins at its edit", "5.3: no rule fires what lies before it", "domain/occurrences.py",
          "max(self.last_at, self.effective_at)", "self.last_at",
          "tests/domain/test_occurrences.py::test_an_edit_moves_the_mark_and_the_past_of_the_new_rule_does_not_fire"),
    Guard("cap of the catching up", "F10: a backlog does not become a storm", "domain/occurrences.py",
          "MisfirePolicy.ALL: spec.misfire.cap}", "MisfirePolicy.ALL: 1_000_000}",
          "tests/domain/test_occurrences.py::test_cap_age_and_grace_bound_what_fires"),
    Guard("older zone data does not fire", "5.3: what newer data has promised stands", "services/fire.py",
          "                self._require_zones(schedule)\n", "",
          "tests/services/test_schedules.py::test_a_host_with_older_zone_data_neither_fires_nor_recomputes"),
    Guard("clock in doubt", "F4: a clock that jumped ahead fires nothing", "services/fire.py",
          "            if not verdict.trusted:\n", "            if False:\n",
          "tests/services/test_clock_guard.py::test_nothing_fires_at_the_tick_at_which_the_clock_has_jumped_ahead"),

    # -- the queue --
    Guard("a run goes in once, SQLite", "F23: a repeated enqueue changes nothing", "store/sqlite/insert_runs.sql",
          "\nON CONFLICT (id) DO NOTHING", "", _QUEUEING + "test_inserting_a_run_twice_changes_nothing[sqlite]"),
    Guard("a run goes in once, PostgreSQL", "F23: a repeated enqueue changes nothing",
          "store/postgres/insert_runs.sql", "\nON CONFLICT (id) DO NOTHING", "",
          _QUEUEING + "test_inserting_a_run_twice_changes_nothing[postgres]"),
    Guard("only ready runs stand in a queue", "F23: a repeated enqueue does not revive a run",
          "store/sqlite/insert_ready.sql", " AND state = 'ready'", "",
          _QUEUEING + "test_inserting_a_finished_run_again_does_not_make_it_ready[sqlite]"),
    Guard("state check in the staging, SQLite", "I5: only what waits becomes ready", "store/sqlite/stage_runs.sql",
          " AND state IN ('scheduled', 'waiting')", "",
          _QUEUEING + "test_only_what_is_scheduled_or_waiting_is_staged[sqlite]"),
    Guard("state check in the staging, PostgreSQL", "I5: only what waits becomes ready",
          "store/postgres/stage_runs.sql", " AND r.state IN ('scheduled', 'waiting')", "",
          _QUEUEING + "test_only_what_is_scheduled_or_waiting_is_staged[postgres]"),
    Guard("state check in the cancel, SQLite", "I5: what runs is asked, not ended", "store/sqlite/cancel_unstarted.sql",
          " AND state IN ('scheduled', 'waiting', 'held', 'ready')", "",
          _QUEUEING + "test_cancelling_ends_what_has_not_started_and_asks_what_runs[sqlite]"),
    Guard("state check in the cancel, PostgreSQL", "I5: what runs is asked, not ended",
          "store/postgres/cancel_unstarted.sql",
          " AND state IN ('scheduled', 'waiting', 'held', 'ready')", "",
          _QUEUEING + "test_cancelling_ends_what_has_not_started_and_asks_what_runs[postgres]"),
    Guard("expiry before the first try only", "5.11: a run between its tries has started in time",
          "store/sqlite/expired_runs.sql", " AND attempt = 0", "",
          _QUEUEING + "test_a_run_that_has_been_tried_does_not_expire_between_its_tries[sqlite]"),
    Guard("expiry at the start", "5.11: what is worthless is not started", "runtime/worker/worker.py",
          "            if run.attempt == 1 and run.expires_at is not None and run.expires_at <= now:\n",
          "            if False:\n",
          "tests/runtime/test_worker.py::test_a_run_claimed_after_its_expiry_is_cancelled_and_not_started"),
    Guard("unknown task given back", "5.4: what a worker cannot do is left to others, uncharged",
          "runtime/worker/outcomes.py",
          "    return Outcome(run, Ended.RETURNED, now, now, due_at=now + delay, reason=reason)\n",
          "    return Outcome(run, Ended.FAILED, now, now, reason=reason)\n",
          "tests/runtime/test_worker.py::"
          "test_a_run_of_an_unknown_task_is_given_back_later_and_later_until_somebody_knows_it"),

    # -- SQLite --
    Guard("BEGIN IMMEDIATE", "F17: a writer is alone from its first moment", "store/sqlite/database.py",
          '"BEGIN IMMEDIATE"', '"BEGIN"',
          _SAFETY + "test_a_writer_holds_the_file_from_its_first_moment_against_strangers_too"),
    Guard("turnstile", "5.7: writers take turns", "store/sqlite/database.py",
          "        self._turnstile.enter()\n        try:\n            if self._writer is None:\n",
          "        self._turnstile._open()\n        try:\n            if self._writer is None:\n",
          "tests/store/test_turnstile.py::test_whoever_gets_no_turn_within_the_deadline_is_told_so"),
    Guard("no file over a fork", "F21: a connection is not carried over a fork", "store/sqlite/database.py",
          "        if _inherited and _identity(self.path) in _inherited:\n", "        if False:\n",
          "tests/store/test_fork.py::test_a_child_is_refused_a_sqlite_file_that_was_open_at_the_fork"),
    Guard("a child lets go of its parent's turn", "F21: a lock is freed when its holder dies",
          "store/sqlite/database.py", "        self._turnstile.after_fork()\n", "",
          "tests/store/test_fork.py::test_a_child_that_outlives_a_killed_writer_does_not_keep_its_turn"),
    Guard("synchronous = FULL", "F19: an acknowledged commit survives a power loss", "store/sqlite/database.py",
          '"PRAGMA synchronous = FULL"', '"PRAGMA synchronous = NORMAL"',
          _SAFETY + "test_the_file_is_opened_the_safe_way"),
    Guard("version of SQLite", "5.7: no write-ahead log in versions that corrupt it", "store/sqlite/safety.py",
          'return "wal" if wal_is_safe(version) else "truncate"', 'return "wal"',
          _SAFETY + "test_the_write_ahead_log_is_used_only_by_versions_without_its_fault"),
    Guard("no network file system", "F21: locks must hold", "store/sqlite/safety.py",
          '    "nfs",\n', "",
          _SAFETY + "test_a_network_file_system_is_refused_by_name"),
    Guard("one savepoint for each caller", "5.7: one caller's failure is that caller's alone",
          "store/sqlite/writer.py", "self._savepoint(tx, lambda w=work: w(tx))", "work(tx)",
          "tests/store/test_group_commit.py::test_one_failing_caller_of_sixteen_fails_alone"),
    Guard("a failed reader is closed", "F18: nobody looks at the past for ever", "store/sqlite/database.py",
          "            self._drop(tx)\n            raise\n        self._give_back(tx)\n",
          '            tx.raw().execute("ROLLBACK")\n            self._give_back(tx)\n            raise\n'
          "        self._give_back(tx)\n",
          "tests/store/test_guard_stale_reader.py::"
          "test_a_read_that_fails_with_a_cursor_open_does_not_make_later_reads_look_at_the_past"),

    # -- decisions on dead letters --
    Guard("a dead letter is decided once", "two people who replay the same letters make one run of each",
          "store/dead_letters.py",
          "and_(runs.c.state == RunState.FAILED.value, runs.c.decided_at.is_(None))",
          "and_(runs.c.state == RunState.FAILED.value)",
          "tests/services/test_dead_letters.py::test_of_two_who_replay_the_same_letters_one_replays_each"),
    Guard("a decision whose reply was lost", "F23: whoever repeats a batch gets the answer of the first try",
          "store/dead_letters.py", "    if not tx.repeated:\n        return None\n", "    return None\n",
          "tests/store/test_ambiguous_commits.py::"
          "test_doing_it_again_changes_nothing_and_answers_the_same[sqlite-replay_dead_letters]"),
    Guard("a dead letter as it was seen", "one that was retried and failed anew meanwhile is another one",
          "store/dead_letters.py", " if wanted[row.id] == row.attempt]", "]",
          "tests/services/test_dead_letters.py::test_a_letter_that_failed_anew_meanwhile_is_left_to_the_next_look"),

    # -- values and the world outside --
    Guard("no NaN in JSON", "5.2: what is stored can be read everywhere", "encoding.py",
          "return value if math.isfinite(value) else None", "return str(value)",
          "tests/test_encoding.py::test_a_value_becomes_this_text"),
    Guard("a result that cannot be stored is not tried again", "F26: the effect has happened",
          "runtime/worker/outcomes.py", "kind, reason = FailureKind.NOT_SERIALISABLE,",
          "kind, reason = FailureKind.ERROR,",
          "tests/runtime/test_worker.py::test_a_result_that_json_cannot_hold_fails_at_once_and_is_not_tried_again"),
    Guard("no redirect to another host", "SSRF: whom a service names is not asked with our trust", "pack/http.py",
          "    if before.hostname != after.hostname or (before.port != after.port and not upgraded):\n",
          "    if False:\n", "tests/pack/test_http.py::test_redirects_elsewhere_and_in_circles_are_refused"),
)  # fmt: skip
