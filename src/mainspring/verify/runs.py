"""Verify runs against all that belongs to them: a page of runs and the rows around it, at one moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from mainspring.verify.look import Look, Row, instant
from mainspring.verify.schedules import GRACE_US, Frame
from mainspring.verify.verdict import Verdict, many

RUNS_AT_ONCE: Final = 5_000
FIRST: Final = "00000000-0000-0000-0000-000000000000"
_LAST: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_FINAL: Final = ("succeeded", "failed", "cancelled")
_STATES: Final = ("scheduled", "waiting", "held", "ready", "running", *_FINAL)


class Run(NamedTuple):
    """A row of `runs`, as far as it is compared; instants in microseconds."""

    id: str
    state: str
    kind: str
    failure_kind: str | None
    attempt: int
    tries: int
    queue: str
    priority: int
    turn: int
    seq: int | None
    due_at: int
    finished_at: int | None
    schedule_id: str | None
    fire_at: int | None
    session_id: str | None
    session_state: str | None
    """None where the session is not there."""
    session_seen_at: int | None
    session_ended_at: int | None
    has_schedule: bool
    """Whether its schedule exists, or it names none."""
    has_snapshot: bool
    decided: bool
    needs_left: int

    @property
    def subject(self) -> str:
        """Return the run for people."""
        return f"run {self.id}"


class Attempt(NamedTuple):
    """A row of `attempts`: one that has ended."""

    run_id: str
    number: int
    outcome: str
    charged: bool
    result_hash: str | None


class Payload(NamedTuple):
    """A row of `run_payloads`, without the values themselves."""

    run_id: str
    has_parameters: bool
    has_result: bool
    result_hash: str | None
    result_attempt: int | None


class Around:
    """The rows of other tables that belong to the runs after one id up to another."""

    def __init__(self, look: Look, after: str, until: str) -> None:
        between = {"after": after, "until": until}
        self.attempts = _by_run([Attempt._make(row) for row in look.rows(_ATTEMPTS, **between)])
        self.payloads = _by_run([Payload._make(row) for row in look.rows(_PAYLOADS, **between)])
        self.ready: dict[str, list[Row]] = defaultdict(list)
        for run_id, *place in look.rows(_READY, **between):
            self.ready[run_id].append(tuple(place))
        self.holds: dict[str, list[Row]] = defaultdict(list)
        for run_id, *hold in look.rows(_HOLDS, **between):
            self.holds[run_id].append(tuple(hold))
        self.holdings: dict[str, list[Row]] = defaultdict(list)
        for run_id, *taken in look.rows(_HOLDINGS, **between):
            self.holdings[run_id].append(tuple(taken))
        self.needs: dict[str, list[Row]] = defaultdict(list)
        for run_id, *needed in look.rows(_NEEDS, **between):
            self.needs[run_id].append(tuple(needed))

    def strangers(self, known: Collection[str]) -> list[tuple[str, str]]:
        """Return (table, run id) of rows whose run is not among *known*."""
        tables = {
            "attempts": self.attempts,
            "run_payloads": self.payloads,
            "ready": self.ready,
            "holds": self.holds,
            "dependencies": self.needs,
        }
        return [(name, run_id) for name, rows in tables.items() for run_id in sorted(set(rows) - set(known))]


def _by_run(rows: Sequence[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.run_id].append(row)
    return found


_RUNS: Final = (
    "SELECT key(r.id), r.state, r.kind, r.failure_kind, r.attempt, r.tries, r.queue, r.priority, r.turn, r.seq, "
    "micros(r.due_at), micros(r.finished_at), key(r.schedule_id), micros(r.fire_at), key(r.session_id), s.state, "
    "micros(s.seen_at), micros(s.ended_at), "
    "r.schedule_id IS NULL OR EXISTS (SELECT 1 FROM schedules c WHERE c.id = r.schedule_id), "
    "r.snapshot_hash IS NULL OR EXISTS (SELECT 1 FROM snapshots b WHERE b.hash = r.snapshot_hash), "
    "r.decided_at IS NOT NULL, r.needs_left "
    "FROM runs r LEFT JOIN worker_sessions s ON r.state = 'running' AND s.id = r.session_id "
    "WHERE r.id > :after AND (r.created_at >= :since OR r.finished_at IS NULL OR r.finished_at >= :since) "
    "ORDER BY r.id LIMIT :most"
)
_ATTEMPTS: Final = (
    "SELECT key(run_id), attempt, outcome, charged, result_hash FROM attempts "
    "WHERE run_id > :after AND run_id <= :until ORDER BY run_id, attempt"
)
_PAYLOADS: Final = (
    "SELECT key(run_id), "
    "parameters IS NOT NULL OR EXISTS (SELECT 1 FROM blobs b WHERE b.key = 'parameters/' || key(run_id)), "
    "result IS NOT NULL OR EXISTS (SELECT 1 FROM blobs b WHERE b.key = 'result/' || key(run_id)), "
    "result_hash, result_attempt FROM run_payloads WHERE run_id > :after AND run_id <= :until"
)
_READY: Final = (
    "SELECT key(run_id), queue, rank, turn, seq FROM ready WHERE run_id > :after AND run_id <= :until ORDER BY run_id"
)
_HOLDS: Final = (
    "SELECT key(run_id), queue, rank, turn, seq FROM holds WHERE run_id > :after AND run_id <= :until ORDER BY run_id"
)
_HOLDINGS: Final = (
    "SELECT key(run_id), resource, attempt FROM holdings WHERE run_id > :after AND run_id <= :until ORDER BY run_id"
)
_NEEDS: Final = (
    "SELECT key(d.run_id), key(d.needs_run_id), n.state, micros(n.finished_at) FROM dependencies d "
    "LEFT JOIN runs n ON n.id = d.needs_run_id WHERE d.run_id > :after AND d.run_id <= :until ORDER BY d.run_id"
)


def verify_page(look: Look, after: str, frame: Frame) -> tuple[Verdict, str | None]:
    """Compare the next runs with what belongs to them; return what was found and the id to go on from, or None."""
    verdict = Verdict()
    since = instant(0 if frame.since is None else frame.since)
    runs = [Run._make(row) for row in look.rows(_RUNS, after=after, since=since, most=RUNS_AT_ONCE)]
    more = len(runs) == RUNS_AT_ONCE
    around = Around(look, after, runs[-1].id if more else _LAST)
    for run in runs:
        verdict.runs += 1
        verdict.attempts += len(around.attempts.get(run.id, ()))
        _check_row(run, verdict)
        _check_session(run, verdict, frame)
        _check_ready(run, around.ready.get(run.id, ()), verdict)
        _check_hold(run, around.holds.get(run.id, ()), verdict)
        _check_holdings(run, around.holdings.get(run.id, ()), verdict)
        _check_attempts(run, around.attempts.get(run.id, ()), verdict)
        _check_payload(run, around, verdict)
        _check_needs(run, around.needs.get(run.id, ()), verdict, frame)
    if frame.since is None:
        for table, run_id in around.strangers({run.id for run in runs}):
            verdict.error(f"{table}_without_run", f"run {run_id}", f"has rows in {table}, but does not exist")
    return verdict, runs[-1].id if more else None


def _check_row(run: Run, verdict: Verdict) -> None:
    if run.state not in _STATES:
        verdict.error("state_unknown", run.subject, f"is in the state {run.state!r}, which does not exist")
    if (run.state in _FINAL) != (run.finished_at is not None):
        end = "no end" if run.finished_at is None else "an end"
        verdict.error("end_differs", run.subject, f"is {run.state} and has {end}")
    if (run.state == "failed") != (run.failure_kind is not None):
        verdict.error("failure_differs", run.subject, f"is {run.state} with the failure kind {run.failure_kind}")
    if run.decided and run.state != "failed":
        verdict.error("decided_differs", run.subject, f"is {run.state}, but was decided on as a dead letter")
    if run.kind == "scheduled" and (run.schedule_id is None or run.fire_at is None):
        verdict.error("run_without_schedule", run.subject, "was scheduled, but says not by which schedule or for when")
    elif not run.has_schedule:
        verdict.error(
            "run_without_schedule", run.subject, f"belongs to schedule {run.schedule_id}, which does not exist"
        )
    if not run.has_snapshot:
        verdict.error("snapshot_missing", run.subject, "refers to a snapshot that does not exist")


def _check_session(run: Run, verdict: Verdict, frame: Frame) -> None:
    if run.state != "running":
        return
    if run.session_state is None:
        verdict.error("session_missing", run.subject, f"runs on session {run.session_id}, which does not exist")
        return
    alive = run.session_state == "live"
    silent_since = run.session_seen_at if alive else run.session_ended_at
    silent = frame.now - (silent_since or 0)
    if alive and silent <= GRACE_US:
        return
    how = "has not renewed its lease for a minute" if alive else f"is {run.session_state}"
    sentence = f"runs on session {run.session_id}, which {how}; it waits for its rescue"
    if not alive and silent > GRACE_US and frame.worker_lives:
        verdict.error("rescue_overdue", run.subject, sentence + " although a worker lives")
    else:
        verdict.warn("waits_for_rescue", run.subject, sentence)


def _check_ready(run: Run, rows: Sequence[Row], verdict: Verdict) -> None:
    if run.state != "ready":
        if rows:
            verdict.error("ready_unexpected", run.subject, f"stands in queue {rows[0][0]!r}, but is {run.state}")
        return
    if not rows:
        verdict.error("ready_missing", run.subject, "is ready, but stands in no queue: nobody will claim it")
    elif len(rows) > 1:
        verdict.error("ready_doubled", run.subject, f"stands {len(rows)} times in its queue")
    elif rows[0] != (place := (run.queue, 9 - run.priority, run.turn, run.seq)):
        sentence = f"stands at {rows[0]}, its place is {place} (queue, rank, turn, seq)"
        verdict.error("ready_place_differs", run.subject, sentence)


def _check_hold(run: Run, rows: Sequence[Row], verdict: Verdict) -> None:
    if run.state != "held":
        if rows:
            verdict.error("hold_unexpected", run.subject, f"is said to be held back, but is {run.state}")
    elif not rows:
        verdict.error("hold_missing", run.subject, "is held, but nothing says by what: nobody will let it go")
    elif rows[0] != (place := (run.queue, 9 - run.priority, run.turn, run.seq)):
        sentence = f"is held at {rows[0]}, its place is {place} (queue, rank, turn, seq)"
        verdict.error("hold_place_differs", run.subject, sentence)


def _check_holdings(run: Run, rows: Sequence[Row], verdict: Verdict) -> None:
    """Refuse what an attempt to come has taken; what attempts that ended had taken counts for nothing."""
    last = run.attempt if run.state == "running" else run.attempt + 1
    if ahead := sorted(name for name, attempt in rows if attempt > last):
        verdict.error("holding_ahead", run.subject, f"is {_at(run)}, yet a later attempt has taken {ahead[0]!r}")


def _check_attempts(run: Run, attempts: Sequence[Attempt], verdict: Verdict) -> None:
    ended = run.attempt - 1 if run.state == "running" else run.attempt
    if run.state == "running" and run.attempt < 1:
        verdict.error("attempt_not_counted", run.subject, f"runs as attempt {run.attempt}")
    numbers = [attempt.number for attempt in attempts]
    if gone := sorted(set(range(1, ended + 1)) - set(numbers)):
        verdict.error("attempt_missing", run.subject, f"has no record of {_attempts(gone)} of {run.attempt}")
    if too_many := sorted(set(numbers) - set(range(1, ended + 1))):
        verdict.error("attempt_unexpected", run.subject, f"has a record of {_attempts(too_many)}, but is {_at(run)}")
    charged = sum(1 for attempt in attempts if attempt.charged)
    if charged != run.tries:
        verdict.error("tries_differ", run.subject, f"counts {many(run.tries, 'try')}, its attempts charge {charged}")
    _check_success(run, attempts, verdict)


def _check_success(run: Run, attempts: Sequence[Attempt], verdict: Verdict) -> None:
    succeeded = [attempt.number for attempt in attempts if attempt.outcome == "succeeded"]
    wanted = [run.attempt] if run.state == "succeeded" else []
    if succeeded != wanted:
        which = _attempts(succeeded) if succeeded else "no attempt"
        verdict.error("success_differs", run.subject, f"is {_at(run)}, but {which} succeeded")
    last = attempts[-1].outcome if attempts else "none"
    if run.state == "failed" and last not in ("failed", "lost"):
        verdict.error("failure_differs", run.subject, f"is failed, but the outcome of its last attempt is {last}")


def _check_payload(run: Run, around: Around, verdict: Verdict) -> None:
    payloads: Sequence[Payload] = around.payloads.get(run.id, ())
    if not payloads:
        verdict.error("payload_missing", run.subject, "has no row for its parameters")
        return
    payload = payloads[0]
    if not payload.has_parameters:
        verdict.error("parameters_missing", run.subject, "its parameters are neither in its row nor among the blobs")
    if payload.result_hash is not None and not payload.has_result:
        verdict.error("result_missing", run.subject, "its result is neither in its row nor among the blobs")
    for attempt in around.attempts.get(run.id, ()):
        kept = (payload.result_hash, payload.result_attempt)
        if attempt.outcome == "succeeded" and attempt.result_hash and kept != (attempt.result_hash, attempt.number):
            verdict.error("result_differs", run.subject, f"the result kept is not that of attempt {attempt.number}")


def _check_needs(run: Run, needs: Sequence[Row], verdict: Verdict, frame: Frame) -> None:
    for needed, state, _ in needs:
        if state is None:
            verdict.error("needed_run_missing", run.subject, f"needs run {needed}, which does not exist")
        if needed == run.id:
            verdict.error("needs_itself", run.subject, "waits for itself")
    if run.state == "waiting":
        ends = [finished_at for _, _, finished_at in needs]
        states = [state for _, state, _ in needs]
        unfinished = sum(state not in _FINAL for state in states)
        # One that is missing is reported already.
        if needs and None not in states and run.needs_left != unfinished:
            sentence = f"counts {many(run.needs_left, 'run')} that it waits for, but {unfinished} have not ended"
            verdict.error("needs_left_differs", run.subject, sentence)
        if not needs:
            verdict.error("waits_for_nothing", run.subject, "waits, but needs no run: nobody will release it")
        elif frame.worker_lives and all(end is not None and end < frame.now - GRACE_US for end in ends):
            verdict.warn("not_released", run.subject, "still waits, although all that it needs has ended")
    if run.state == "scheduled" and frame.worker_lives and run.due_at < frame.now - GRACE_US:
        verdict.warn("not_staged", run.subject, "came due more than a minute ago and is not ready yet")


def _attempts(numbers: Sequence[int]) -> str:
    return f"attempt{'' if len(numbers) == 1 else 's'} {', '.join(str(number) for number in numbers[:5])}"


def _at(run: Run) -> str:
    return f"{run.state} at attempt {run.attempt}"
