"""The checker finds each broken promise, and the evidence is what the database really did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mainspring.clock import ManualClock
from mainspring.errors import StoreUnavailable
from mainspring.store.database import Database, Tx
from mainspring.store.migrate import upgrade
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.sqlite.database import SqliteDatabase
from tests.promises.checker import violations
from tests.promises.evidence import (
    Attempt,
    Change,
    Death,
    Effect,
    Evidence,
    Occurrence,
    Run,
    begin_history,
    gather,
    read_effects,
    write_effect,
)
from tests.promises.faults import FaultLayer, Point, Repeat, unavailable
from tests.store import arrange

RUN = Run("r1", "t", "scheduled", "succeeded", None, 1, 1, 0, False, "s1", 60, "")
SOUND = Evidence(
    runs=[RUN],
    occurrences=[Occurrence("s1", 60, 60, 1, "fired")],
    attempts=[Attempt("r1", 1, "w1", "succeeded", True)],
    history=[
        Change("r1", None, "ready", 0, 0, None, 1),
        Change("r1", "ready", "running", 0, 1, "w1", 2),
        Change("r1", "running", "succeeded", 1, 1, "w1", 3),
    ],
    effects=[Effect("r1", 1, "start", 7, 1.0), Effect("r1", 1, "end", 7, 2.0)],
    accepted=frozenset({"r1"}),
    expected={("s1", 60): ("",)},
)
AGAIN = [Effect("r1", 2, "start", 8, 3.0), Effect("r1", 2, "end", 8, 4.0)]
ONCE = replace(SOUND, runs=[RUN._replace(at_most_once=True, attempt=2)])
FAULTS = {
    "an occurrence with two outcomes": ("I1", replace(SOUND, occurrences=[*SOUND.occurrences, *SOUND.occurrences])),
    "a run of no occurrence": ("I1", replace(SOUND, occurrences=[])),
    "a fired occurrence without a run": ("I1", replace(SOUND, runs=[])),
    "two runs of one member": ("I1", replace(SOUND, runs=[RUN, RUN._replace(id="r2")])),
    "an expected occurrence without an outcome": ("I1", replace(SOUND, expected={("s1", n): ("",) for n in (60, 90)})),
    "an outcome that nobody expected": ("I1", replace(SOUND, expected={("s1", 120): ("",)})),
    "a member left out": ("I1", replace(SOUND, expected={("s1", 60): ("", "b")})),
    "an acknowledged run that is gone": ("I2", replace(SOUND, accepted=frozenset({"r1", "r9"}))),
    "a second effect of a run that happens at most once": (
        "I3", replace(ONCE, effects=[*SOUND.effects, *AGAIN])),
    "an attempt executed twice": ("I3", replace(SOUND, effects=[*SOUND.effects, Effect("r1", 1, "start", 8, 3.0)])),
    "a success without an effect": ("I4", replace(SOUND, effects=[Effect("r9", 1, "start", 7, 1.0)])),
    "an effect of an attempt that never was": ("I4", replace(SOUND, effects=[*SOUND.effects, AGAIN[0]])),
    "a way that the machine does not know": (
        "I5", replace(SOUND, history=[*SOUND.history, Change("r1", "succeeded", "ready", 1, 1, None, 4)])),
    "a claim that does not count": (
        "I5", replace(SOUND, history=[SOUND.history[0], Change("r1", "ready", "running", 0, 0, "w1", 2)])),
    "a step that is missing": ("I5", replace(SOUND, history=[SOUND.history[0], SOUND.history[2]])),
    "an attempt without a record": ("I5", replace(SOUND, runs=[RUN._replace(attempt=2)], effects=[])),
    "tries that were not charged": ("I5", replace(SOUND, runs=[RUN._replace(tries=0)])),
    "more leases than the limit": (
        "I6", replace(SOUND, limits={"t": 1}, runs=[RUN, RUN._replace(id="r2", fire_at=None, kind="manual")],
                      accepted=frozenset(), attempts=[], effects=[], expected=None,
                      history=[*SOUND.history[:2], *(c._replace(run_id="r2") for c in SOUND.history)])),
    "a recovery that took too long": (
        "I7", replace(SOUND, runs=[RUN._replace(attempt=2)], history=[], deaths=[Death("w1", "kill -9", 2.0)],
                      attempts=[Attempt("r1", 1, "w1", "lost", False), Attempt("r1", 2, "w2", "succeeded", True)],
                      effects=[SOUND.effects[0], *(e._replace(boot_seconds=e.boot_seconds + 14) for e in AGAIN)])),
    "a run that waits for nothing": ("I8", replace(SOUND, runs=[RUN._replace(state="ready", attempt=1)])),
    "a ledger that brute force contradicts": ("I9", replace(SOUND, findings=["expected 2, fired 1"])),
    "a secret in a log": ("I10", replace(SOUND, leaks=["canary 3 in worker.log"])),
    "a process that grows": ("I11", replace(SOUND, excesses=["the worker grew by 900 MB"])),
    "faults that hit nothing": ("I0", replace(SOUND, must_interrupt={"kill -9": 20}, interrupted={"kill -9": 19})),
}  # fmt: skip


def test_sound_evidence_breaks_no_promise() -> None:
    assert violations(SOUND) == []


@pytest.mark.parametrize("name", FAULTS)
def test_the_checker_finds(name: str) -> None:
    invariant, evidence = FAULTS[name]
    assert invariant in {violation.invariant for violation in violations(evidence)}


def test_a_retry_of_a_run_that_asked_for_both_is_no_violation() -> None:
    asked = ONCE.runs[0]._replace(tries=2)
    effects = [*SOUND.effects, *AGAIN]
    attempts = [Attempt("r1", 1, "w1", "retried", True), Attempt("r1", 2, "w1", "succeeded", True)]
    assert violations(replace(ONCE, runs=[asked], effects=effects, attempts=attempts, history=[])) == []


def test_effects_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_effect(tmp_path / "effects", "r1", 1, "start", 1.5)
    write_effect(tmp_path / "effects", "r1", 1, "end", 2.25, durable=True)
    assert [(e.run_id, e.attempt, e.what, e.boot_seconds) for e in read_effects(tmp_path / "effects")] == [
        ("r1", 1, "start", 1.5),
        ("r1", 1, "end", 2.25),
    ]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[Database]:
    made: Database
    if request.param == "sqlite":
        made = SqliteDatabase(request.getfixturevalue("tmp_path") / "m.db", lease_clock=clock.now)
    else:
        made = PostgresDatabase(request.getfixturevalue("postgres_database"), lease_clock=clock.now)
    upgrade(made)
    yield made
    made.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(arrange.NOON)


def test_the_history_is_what_the_database_did(database: Database, clock: ManualClock) -> None:
    begin_history(database)
    session = arrange.open_session(database)
    (run,) = arrange.put_some(database, 1)
    arrange.finish(database, session, arrange.outcome(arrange.claim_one(database, session)))
    evidence = gather(database, accepted=frozenset({str(run)}))
    assert [(c.state_before, c.state, c.attempt) for c in evidence.history] == [
        (None, "ready", 0),
        ("ready", "running", 1),
        ("running", "succeeded", 1),
    ]
    assert violations(evidence) == []


def test_a_fault_strikes_where_it_is_told_to(database: Database) -> None:
    passed: list[tuple[str, str]] = []
    layer = FaultLayer(database, lambda point: passed.append((point.moment, point.statement)))
    arrange.put_some(layer, 1)
    assert passed[0] == ("before", "next_seq")
    assert [moment for moment, _ in passed[-2:]] == ["commit", "committed"]

    def fail(point: Point) -> None:
        if point.moment == "commit":
            raise unavailable(point)

    layer.strike = fail
    with pytest.raises(StoreUnavailable):
        arrange.put_some(layer, 1)
    assert arrange.count(database, "runs") == 1


def test_a_lost_reply_repeats_the_work_after_its_commit(database: Database) -> None:
    seen: list[bool] = []

    def lose(point: Point) -> None:
        if point.moment == "committed" and not seen:
            seen.append(True)
            raise Repeat

    layer = FaultLayer(database, lose)
    repeats: list[bool] = []

    def work(tx: Tx) -> None:
        repeats.append(tx.repeated)

    layer.write(work)
    assert repeats == [False, True]
