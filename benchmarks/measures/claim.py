"""Claiming in large tables: it must cost what it costs in empty ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import psycopg

from benchmarks import pump, tasks
from benchmarks.contestants import Mainspring
from benchmarks.figures import Figure, least, most, percentile, ratio
from benchmarks.multiply import key, multiply
from benchmarks.recording import Calls, calls_of, recorder
from benchmarks.setting import Setting
from benchmarks.trace import now
from mainspring.ids import ClaimId, SessionId, uuid7
from mainspring.store import claiming
from mainspring.store.database import Database, Tx

TITLE = "Claim: finish ten runs and claim the next ten, in one transaction"
_BATCH = 10
_CYCLES = 300
_LATER: Final = timedelta(days=30)
_PART_ON_SQLITE: Final = 5
_FINISHED: Final = 5


class _Undo(Exception):
    """Takes a claim back that was made only to be looked at."""


def measure_claim(setting: Setting) -> list[Figure]:
    """Measure in tables that hold nothing else, then in large ones."""
    n = setting.sizes.stored // (_PART_ON_SQLITE if setting.ground.kind == "SQLite" else 1)
    size = f"with {n:,} ready, {n:,} scheduled, {_FINISHED * n:,} ended"
    with _filled(setting, 0) as ours:
        small, plan = _look(ours)
        empty = _times(setting, ours)
    with _filled(setting, n) as ours:
        large, same = _look(ours)
        full = _times(setting, ours)
    return [
        *_durations(setting, "empty otherwise", empty, None),
        *_durations(setting, size, full, 10.0),
        *_reads(setting, size, small, large),
        setting.figure(TITLE, "same plan in both: 1 is yes", "", [float(plan == same)], wanted=least(1.0)),
    ]


def _durations(setting: Setting, name: str, rounds: list[list[float]], bound: float | None) -> list[Figure]:
    wanted = {"p50": None, "p99": None if bound is None else most(bound)}
    return [
        setting.figure(
            TITLE, f"{name}, {part}", "ms", [percentile(times, share) for times in rounds], wanted=wanted[part]
        )
        for part, share in (("p50", 0.5), ("p99", 0.99))
    ]


def _reads(setting: Setting, size: str, small: int, large: int) -> list[Figure]:
    on_sqlite = setting.ground.kind == "SQLite"
    what = "pages read by a fresh connection" if on_sqlite else "buffers touched"
    note = "one run claimed"
    before = setting.figure(TITLE, f"empty otherwise, {what}", "", [small], note=note)
    after = setting.figure(TITLE, f"{size}, {what}", "", [large], note=note, wanted=None if on_sqlite else most(60.0))
    return [
        before,
        after,
        ratio(after, before, most(2.0) if on_sqlite else None, f"{what}, large ÷ empty"),
    ]


@contextmanager
def _filled(setting: Setting, n: int) -> Iterator[Mainspring]:
    """Give an installation with so many runs of each kind beside those that will be claimed."""
    with setting.installed() as ours:
        if n:
            _fill(ours, n)
        ours.bulk(_BATCH * (_CYCLES * setting.sizes.rounds + 2))
        _settle(ours)
        yield ours


def _fill(ours: Mainspring, n: int) -> None:
    database, client = ours.application.database, ours.client
    ended = client.enqueue(tasks.coroutine, number=0).id
    pump.drain(database, pump.open_session(database, 1), 1)
    later = client.enqueue_with(tasks.coroutine, {"number": 0}, delay=_LATER).id
    waiting = client.enqueue(tasks.coroutine, number=0).id
    _multiply(database, ended, range(1, _FINISHED * n), {}, "attempts")
    moment = "r.due_at + g.n" if database.dialect == "sqlite" else "r.due_at + g.n * interval '1 microsecond'"
    _multiply(database, later, range(10 * n, 11 * n - 1), {"due_at": moment})
    # Places far behind those that a user would be given next: what we enqueue ourselves is claimed first.
    _multiply(database, waiting, range(20 * n, 21 * n - 1), {"seq": f"g.n + {10**9}"}, "ready")


def _multiply(database: Database, run_id: str, numbers: range, changed: dict[str, str], *more: str) -> None:
    multiply(database, "runs", f"id = '{run_id}'", numbers, changed | {"id": key(database)})
    for table in ("run_payloads", *more):
        multiply(database, table, f"run_id = '{run_id}'", numbers, changed | {"run_id": key(database)})


def _settle(ours: Mainspring) -> None:
    """Let the database come to rest, as it would by itself after a while."""
    if ours.application.database.dialect == "sqlite":
        ours.application.database.tidy()
    else:
        with closing(psycopg.connect(ours.address, autocommit=True)) as connection:
            connection.execute("VACUUM (ANALYZE)")


def _times(setting: Setting, ours: Mainspring) -> list[list[float]]:
    """Return the milliseconds that each cycle takes, by round."""
    database = ours.application.database
    session = pump.open_session(database, _BATCH)
    claimed = pump.cycle(database, session, [], _BATCH)
    rounds = []
    for _ in range(setting.sizes.rounds):
        times = []
        for _ in range(_CYCLES):
            outcomes = [pump.succeeded(run) for run in claimed]
            began = now()
            claimed = pump.cycle(database, session, outcomes, _BATCH)
            times.append((now() - began) * 1000)
        rounds.append(times)
    return rounds


def _look(ours: Mainspring) -> tuple[int, list[str]]:
    """Return how many pages a claim of one run reads, and its plan."""
    ours.disconnect()
    try:
        with recorder(ours.address) as database:
            session = pump.open_session(database, 1)
            calls = calls_of(database, lambda on: _claim_and_undo(on, session))
            with closing(database.connect_plainly()) as connection:
                if database.dialect == "sqlite":
                    return _pages(connection, calls), _plan_of_sqlite(connection, calls)
                return _explained(connection, calls)
    finally:
        ours.reconnect()


def _claim_and_undo(database: Database, session: SessionId) -> None:
    lease_now = database.lease_now()

    def work(tx: Tx) -> None:
        found = claiming.claim(tx, session, pump.QUEUE, 1, pump.CLOCK.now(), lease_now, ClaimId(uuid7()))
        if len(found) != 1:
            raise AssertionError("there was nothing to claim")
        raise _Undo

    try:
        database.write(work)
    except _Undo:
        return


def _pages(connection: Any, calls: Calls) -> int:
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute("SELECT 1 FROM runs LIMIT 0").fetchall()
    before = _bytes_read()
    for call in calls:
        call.make(connection)
    return round((_bytes_read() - before) / int(size))


def _bytes_read() -> int:
    """Return how many bytes this process has asked the system for, from the disk or its cache."""
    text = Path(f"/proc/{os.getpid()}/io").read_text(encoding="ascii")
    return int(text.partition("rchar: ")[2].split()[0])


def _plan_of_sqlite(connection: Any, calls: Calls) -> list[str]:
    plan = []
    for call in calls:
        if call.method == "execute" and not call.is_boundary:
            given = () if call.parameters is None else call.parameters
            plan += [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {call.statement}", given)]
    return plan


def _explained(connection: psycopg.Connection[Any], calls: Calls) -> tuple[int, list[str]]:
    touched, plan = 0, list[str]()
    connection.execute("BEGIN")
    for call in calls:
        if not call.is_boundary:
            cursor = psycopg.ClientCursor(connection)
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {call.statement}", call.parameters)
            (((found,),),) = cursor.fetchall()
            touched += found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"]
            plan += list(_nodes(found["Plan"]))
    connection.execute("ROLLBACK")
    return touched, plan


def _nodes(plan: dict[str, Any]) -> Iterator[str]:
    yield " ".join(str(plan.get(name, "")) for name in ("Node Type", "Relation Name", "Index Name", "Join Type"))
    for part in plan.get("Plans", ()):
        yield from _nodes(part)
