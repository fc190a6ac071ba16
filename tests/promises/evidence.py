"""Gather what a run of the whole service left behind: the tables, their history, and effects outside the database."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from mainspring.store.database import Database, Tx
from mainspring.verify.look import Look, look


class Occurrence(NamedTuple):
    """A row of the ledger; instants in microseconds since 1970 UTC."""

    schedule_id: str
    fire_at: int
    until_at: int
    n: int
    outcome: str


class Run(NamedTuple):
    """A run as the database has it at the end."""

    id: str
    task: str
    kind: str
    state: str
    failure_kind: str | None
    attempt: int
    tries: int
    losses: int
    at_most_once: bool
    schedule_id: str | None
    fire_at: int | None
    member: str


class Attempt(NamedTuple):
    """An attempt that ended."""

    run_id: str
    number: int
    session_id: str
    outcome: str
    charged: bool


class Change(NamedTuple):
    """One change of a run's state or attempt, in the order in which the database made them for that run."""

    run_id: str
    state_before: str | None
    """None for the run's creation."""
    state: str
    attempt_before: int
    attempt: int
    session_id: str | None
    at: int


class Effect(NamedTuple):
    """A line that a task wrote outside the database."""

    run_id: str
    attempt: int
    what: str
    """start, effect or end."""
    pid: int
    """Of the process in which the function ran."""
    boot_seconds: float


class Death(NamedTuple):
    """A session whose process was killed, or frozen beyond its lease."""

    session_id: str
    fault: str
    boot_seconds: float


@dataclass(frozen=True)
class Evidence:
    """All that the checker judges by; what is left empty is not judged."""

    runs: Sequence[Run] = ()
    occurrences: Sequence[Occurrence] = ()
    attempts: Sequence[Attempt] = ()
    history: Sequence[Change] = ()
    effects: Sequence[Effect] = ()
    accepted: frozenset[str] = frozenset()
    """Runs whose enqueue was acknowledged."""
    expected: Mapping[tuple[str, int], tuple[str, ...]] | None = None
    """The members (one empty text without a fan-out) of each occurrence that had to fire, by schedule id and fire time;
    None: the ledger is not judged against an expectation."""
    deaths: Sequence[Death] = ()
    outages: Sequence[tuple[float, float]] = ()
    """Times, in seconds since boot, in which nobody could use the database: no recovery could begin in them."""
    quiet: bool = True
    """The faults have ended, and what was left had the time to finish."""
    findings: Sequence[str] = ()
    """What `db verify` and the database's own integrity check complained about."""
    leaks: Sequence[str] = ()
    """Places where a secret canary was found."""
    excesses: Sequence[str] = ()
    """Resource bounds that were broken, in sentences."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """How many runs of a task may hold a lease at once, by task name."""
    interrupted: Mapping[str, int] = field(default_factory=dict)
    """How many running attempts each class of faults interrupted."""
    must_interrupt: Mapping[str, int] = field(default_factory=dict)
    """How many it had to interrupt at least, so that the proof means something."""


_HISTORY_SQLITE: Final = (
    """CREATE TABLE run_history (id INTEGER PRIMARY KEY, run_id TEXT, state_before TEXT, state TEXT, attempt_before INT,
                                attempt INT, session_id TEXT, at INT)""",
    """CREATE TRIGGER run_created AFTER INSERT ON runs BEGIN
         INSERT INTO run_history (run_id, state_before, state, attempt_before, attempt, session_id, at)
         VALUES (new.id, NULL, new.state, 0, new.attempt, new.session_id,
                 CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER));
       END""",
    """CREATE TRIGGER run_changed AFTER UPDATE ON runs WHEN old.state <> new.state OR old.attempt <> new.attempt BEGIN
         INSERT INTO run_history (run_id, state_before, state, attempt_before, attempt, session_id, at)
         VALUES (new.id, old.state, new.state, old.attempt, new.attempt, new.session_id,
                 CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER));
       END""",
)

_HISTORY_POSTGRES: Final = (
    """
CREATE TABLE public.run_history (id bigint GENERATED ALWAYS AS IDENTITY, run_id uuid, state_before text, state text,
                                 attempt_before int, attempt int, session_id uuid, at timestamptz);
CREATE FUNCTION public.log_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO public.run_history (run_id, state_before, state, attempt_before, attempt, session_id, at)
    VALUES (new.id, NULL, new.state, 0, new.attempt, new.session_id, clock_timestamp());
  ELSIF old.state <> new.state OR old.attempt <> new.attempt THEN
    INSERT INTO public.run_history (run_id, state_before, state, attempt_before, attempt, session_id, at)
    VALUES (new.id, old.state, new.state, old.attempt, new.attempt, new.session_id, clock_timestamp());
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER log_run AFTER INSERT OR UPDATE ON mainspring.runs FOR EACH ROW EXECUTE FUNCTION public.log_run()""",
)


def begin_history(database: Database) -> None:
    """Have the database log every change of a run's state in the transaction that makes it; once, before anything."""
    statements = _HISTORY_SQLITE if database.dialect == "sqlite" else _HISTORY_POSTGRES

    def work(tx: Tx) -> None:
        for statement in statements:
            tx.plain.exec_driver_sql(statement)

    database.write(work)


def gather(database: Database, effects: Path | None = None, **more: Any) -> Evidence:
    """Read the evidence of *database* at one moment; *more* are further fields of `Evidence`."""
    found = look(database, _tables)
    return Evidence(effects=read_effects(effects) if effects else (), **(found | more))


def _tables(seen: Look) -> dict[str, Any]:
    return {
        "runs": [
            Run._make((*row[:8], bool(row[8]), *row[9:]))
            for row in seen.rows(
                "SELECT key(id), task, kind, state, failure_kind, attempt, tries, losses, at_most_once, "
                "key(schedule_id), micros(fire_at), member FROM runs ORDER BY id"
            )
        ],
        "occurrences": [
            Occurrence._make(row)
            for row in seen.rows(
                "SELECT key(schedule_id), micros(fire_at), micros(until_at), n, outcome FROM occurrences "
                "ORDER BY schedule_id, fire_at"
            )
        ],
        "attempts": [
            Attempt._make((*row[:4], bool(row[4])))
            for row in seen.rows(
                "SELECT key(run_id), attempt, key(session_id), outcome, charged FROM attempts ORDER BY run_id, attempt"
            )
        ],
        "history": [Change._make(row) for row in _history(seen)],
    }


def _history(seen: Look) -> list[Any]:
    found = seen.rows(
        "SELECT count(*) FROM sqlite_master WHERE name = 'run_history'"
        if not seen.postgres
        else "SELECT count(*) FROM pg_tables WHERE tablename = 'run_history'"
    )
    if not found[0][0]:
        return []
    table = "public.run_history" if seen.postgres else "run_history"
    return seen.rows(
        f"SELECT key(run_id), state_before, state, attempt_before, attempt, key(session_id), micros(at) FROM {table} "
        "ORDER BY run_id, id"
    )


def write_effect(
    path: Path, run_id: str, attempt: int, what: str, boot_seconds: float, *, durable: bool = False
) -> None:
    """Append a line to the effect ledger; one write, so that lines of several processes never mix."""
    line = f"{run_id} {attempt} {what} {os.getpid()} {boot_seconds:.6f}\n".encode("ascii")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_effects(path: Path) -> list[Effect]:
    """Return the effect ledger."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="ascii").splitlines():
        run_id, attempt, what, pid, at = line.split()
        rows.append(Effect(run_id, int(attempt), what, int(pid), float(at)))
    return rows
