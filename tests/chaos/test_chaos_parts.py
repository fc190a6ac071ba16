"""The parts of the harness that could be wrong and make every run look right."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.chaos.disk import SmallDisk, can_mount
from tests.chaos.judging import (
    Facts,
    Judgement,
    Session,
    child_waits,
    deaths,
    interrupted,
    judge,
    open_attempts,
)
from tests.chaos.places import CLOCK, Lock, Outage, SqlitePlace, write_locks
from tests.chaos.plan import Fault, Kind, Plan, make_plan
from tests.chaos.project import SCHEDULES, Scheduled, expected
from tests.chaos.strikes import EffectTail, Strike
from tests.promises.checker import Recovery, counted_from, recovery
from tests.promises.evidence import Attempt, Change, Death, Effect, Evidence, Occurrence, Run, write_effect

START = datetime(2026, 11, 22, 11, 59, 50, tzinfo=UTC)
NAMES = {schedule.name: schedule.name for schedule in SCHEDULES}


# What must fire.


def _times(name: str, seconds: int) -> list[str]:
    found = expected(START, START + timedelta(seconds=seconds), NAMES)
    return [f"{datetime.fromtimestamp(at / 1e6, UTC):%M:%S}" for schedule, at in found if schedule == name]


def test_fire_times_are_those_that_the_words_of_a_schedule_say() -> None:
    assert _times("second", 3) == ["59:50", "59:51", "59:52", "59:53"]
    assert _times("two-seconds", 5) == ["59:50", "59:52", "59:54"]
    assert _times("all", 7) == ["59:50", "59:53", "59:56"]
    assert _times("five", 10) == ["59:50", "59:55", "00:00"]
    assert _times("sao-paulo", 25) == ["59:50", "00:00", "00:10"]
    assert _times("lord-howe", 40) == ["00:07", "00:22"]
    assert _times("minute", 70) == ["00:00", "01:00"]


def test_an_expected_occurrence_names_all_members_of_its_set() -> None:
    found = expected(START, START, NAMES)
    assert found["all", 1_795_348_790_000_000] == ("a0", "a1", "a2", "a3", "a4", "a5")
    assert found["second", 1_795_348_790_000_000] == ("",)


def test_a_time_that_occurs_twice_is_expected_as_its_rule_says() -> None:
    berlin = Scheduled("s", "t", {}, lambda start, at: at.second == 0 and at.minute == 30, members=("",))
    night = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
    assert len(expected(night, night + timedelta(hours=2), {"s": "s"}, (berlin,))) == 2


def test_the_schedules_fire_about_ten_runs_a_second() -> None:
    found = expected(START, START + timedelta(minutes=10), NAMES)
    assert 8 * 600 < sum(map(len, found.values())) < 12 * 600


# The plan.


def test_equal_seeds_give_equal_plans_and_others_do_not() -> None:
    assert make_plan("postgres", 5, 10) == make_plan("postgres", 5, 10)
    assert make_plan("postgres", 5, 10).faults != make_plan("postgres", 6, 10).faults


@pytest.mark.parametrize("seed", range(5))
def test_ten_minutes_have_all_the_faults_that_are_promised(seed: int) -> None:
    sqlite, postgres = make_plan("sqlite", seed, 10), make_plan("postgres", seed, 10)
    assert Counter(fault.kind for fault in sqlite.faults) == {"kill": 150, "stop": 30, "full": 5, "clock": 5}
    assert Counter(fault.kind for fault in postgres.faults) == {
        "kill": 150, "stop": 30, "full": 5, "clock": 5, "proxy": 30, "server": 15,
    }  # fmt: skip
    assert postgres.must_interrupt == dict.fromkeys(["kill", "stop", "full", "proxy", "server", "kill of a child"], 20)
    assert sqlite.runs_at_least == 15_000
    assert all(fault.length > 12 for fault in postgres.faults if fault.kind == "stop")
    assert {fault.step for fault in sqlite.faults if fault.kind == "clock"} == {3600, -3600, 365 * 86_400}


def test_a_short_form_is_in_proportion() -> None:
    plan = make_plan("sqlite", 1, 1)
    assert (plan.count("kill"), plan.count("stop"), plan.count("full"), plan.runs_at_least) == (15, 3, 1, 1500)
    assert set(plan.must_interrupt.values()) == {2}
    assert {make_plan("sqlite", seed, 1).faults == plan.faults for seed in range(5)} == {True, False}


def test_in_a_form_of_seconds_only_what_strikes_often_has_to_meet_something() -> None:
    plan = make_plan("sqlite", 1, 0.25)
    assert (plan.count("kill"), plan.count("stop"), plan.count("full")) == (4, 1, 1)
    assert plan.must_interrupt == {"kill": 1}


def test_what_cannot_be_had_is_left_out_and_changes_nothing_else() -> None:
    whole, part = make_plan("sqlite", 1, 10), make_plan("sqlite", 1, 10, without=frozenset({"full"}))
    assert part.faults == tuple(fault for fault in whole.faults if fault.kind != "full")
    assert "full" not in part.must_interrupt


# Deaths and recoveries.

KILL, CHILD, STOP = Fault(0, "kill", "worker"), Fault(0, "kill", "child"), Fault(0, "stop", "worker", 14)
FIRST = Session("w1", "worker", 7, 90.0, "dead", 112.0, "its lease ran out")
SECOND = Session("w2", "worker", 7, 130.0, "live", None, "")


def test_a_death_is_that_of_the_session_which_the_process_had_at_that_time() -> None:
    strikes = [Strike(STOP, "worker-1", 100.0, (7,)), Strike(KILL, "worker-1", 150.0, (7,))]
    assert deaths(strikes, [FIRST, SECOND]) == [Death("w1", "stop", 100.0), Death("w2", "kill", 150.0)]


def test_a_session_that_was_frozen_and_then_killed_died_when_it_was_frozen() -> None:
    strikes = [Strike(STOP, "worker-1", 100.0, (7,)), Strike(KILL, "worker-1", 105.0, (7,))]
    assert deaths(strikes, [FIRST]) == [Death("w1", "stop", 100.0)]


@pytest.mark.parametrize(
    ("outages", "counts_from"),
    [
        ([], 100.0),
        ([(80.0, 99.0)], 100.0),
        ([(95.0, 103.0)], 103.0),
        ([(110.0, 118.0)], 118.0),
        # Too late to have kept anybody: 114 s is all that is allowed.
        ([(114.5, 120.0)], 100.0),
        ([(117.0, 125.0), (104.0, 105.0)], 125.0),
        # Begun after the recovery, or ended after it: then it was no outage for this run.
        ([(112.0, 130.0)], 112.5),
    ],
)
def test_the_time_without_a_database_is_taken_out_of_a_recovery(
    outages: list[tuple[float, float]], counts_from: float
) -> None:
    again = 112.5 if counts_from == 112.5 else 140.0
    assert counted_from(100.0, again, outages) == counts_from


def test_an_outage_after_the_recovery_changes_nothing() -> None:
    assert counted_from(100.0, 109.0, [(110.0, 118.0)]) == 100.0


def test_a_recovery_is_measured_from_death_to_the_next_start() -> None:
    evidence = Evidence(
        attempts=[Attempt("r1", 1, "w1", "lost", False)],
        effects=[Effect("r1", 1, "start", 7, 99.0), Effect("r1", 2, "start", 8, 111.5)],
        deaths=deaths([Strike(KILL, "worker-1", 100.0, (7,))], [FIRST]),
    )
    assert recovery(evidence) == Recovery([11.5])


# A whole run, as small as can be.

PLAN = Plan("sqlite", 1, 60.0, (KILL,), 2, {"kill": 1})
SCHEDULED = Run("r1", "t", "scheduled", "succeeded", None, 2, 1, 1, False, "s1", 1_099_000_000, "")
ENQUEUED = Run("r2", "t", "enqueued", "succeeded", None, 1, 1, 0, True, None, None, "")
EVIDENCE = Evidence(
    runs=[SCHEDULED, ENQUEUED],
    occurrences=[Occurrence("s1", 1_099_000_000, 1_099_000_000, 1, "fired")],
    attempts=[
        Attempt("r1", 1, "w1", "lost", False),
        Attempt("r1", 2, "w2", "succeeded", True),
        Attempt("r2", 1, "w1", "succeeded", True),
    ],
    history=[
        Change("r1", None, "ready", 0, 0, None, 1),
        Change("r1", "ready", "running", 0, 1, "w1", 2),
        Change("r1", "running", "ready", 1, 1, "w1", 3),
        Change("r1", "ready", "running", 1, 2, "w2", 4),
        Change("r1", "running", "succeeded", 2, 2, "w2", 5),
        Change("r2", None, "ready", 0, 0, None, 1),
        Change("r2", "ready", "running", 0, 1, "w1", 2),
        Change("r2", "running", "succeeded", 1, 1, "w1", 3),
    ],
    effects=[
        Effect("r2", 1, "start", 7, 98.0),
        Effect("r2", 1, "end", 7, 98.5),
        Effect("r1", 1, "start", 7, 99.5),
        Effect("r1", 2, "start", 8, 111.0),
        Effect("r1", 2, "end", 8, 111.5),
    ],
    accepted=frozenset({"r2"}),
    expected={("s1", 1_099_000_000): ("",)},
)
FACTS = Facts(
    PLAN, [Strike(KILL, "worker-1", 100.0, (7,))], [], [FIRST, SECOND._replace(pid=8, started=101.0)], [("r2", "7-1")],
    1000.0,
)  # fmt: skip


def _broken(evidence: Evidence = EVIDENCE, facts: Facts = FACTS) -> set[str]:
    return {violation.invariant for violation in judge(evidence, facts).violations}


def test_a_sound_run_breaks_nothing_and_has_its_figures() -> None:
    found = judge(EVIDENCE, FACTS)
    assert isinstance(found, Judgement)
    assert found.violations == []
    assert (found.runs, found.interrupted, found.recovery) == (2, {"kill": 1}, Recovery([11.0]))


def test_a_run_that_is_taken_out_of_the_evidence_is_missed() -> None:
    assert "I1" in _broken(replace(EVIDENCE, runs=[ENQUEUED]))
    assert "I2" in _broken(replace(EVIDENCE, runs=[SCHEDULED]))


def test_an_outcome_that_is_taken_out_of_the_evidence_is_missed() -> None:
    assert "I1" in _broken(replace(EVIDENCE, occurrences=[]))


def test_an_effect_before_its_fire_time_is_found() -> None:
    assert "I1" in _broken(facts=replace(FACTS, boot_to_wall=980.0))


def test_an_effect_before_its_fire_time_is_forgiven_only_after_a_jump_that_nobody_can_tell_from_the_truth() -> None:
    def broken(kind: Kind, at: float, step: float) -> set[str]:
        jump = Strike(Fault(0, "clock", "scheduler", step=step), "clock", at)
        early = replace(FACTS, boot_to_wall=980.0, plan=replace(PLAN, kind=kind), strikes=[*FACTS.strikes, jump])
        return _broken(facts=early)

    assert broken("sqlite", 95.0, 3600.0) == set()
    assert broken("sqlite", 98.0, 3600.0) == {"I1"}
    assert broken("sqlite", 95.0, 365 * 86_400.0) == {"I1"}
    assert broken("postgres", 95.0, 3600.0) == {"I1"}


def test_a_doubled_enqueue_is_found() -> None:
    assert "I2" in _broken(facts=replace(FACTS, tickets=[("r2", "7-1"), ("r3", "7-1")]))


def test_a_recovery_beyond_the_lease_is_found() -> None:
    late = [e._replace(boot_seconds=e.boot_seconds + 4) if e.attempt == 2 else e for e in EVIDENCE.effects]
    assert _broken(replace(EVIDENCE, effects=late)) == {"I7"}
    assert _broken(replace(EVIDENCE, effects=late), replace(FACTS, outages=[Outage("x", 101.0, 103.0)])) == set()


def test_a_session_that_lost_its_runs_unhurt_is_found() -> None:
    other = Strike(KILL, "worker-2", 100.0, (9,))
    found = judge(EVIDENCE, replace(FACTS, strikes=[other])).violations
    assert any("unhurt" in violation.sentence for violation in found)


def test_fewer_runs_or_faults_than_planned_are_found() -> None:
    assert "I0" in _broken(facts=replace(FACTS, plan=replace(PLAN, runs_at_least=3)))
    assert "I0" in _broken(facts=replace(FACTS, plan=replace(PLAN, faults=(KILL, KILL))))


def test_faults_that_interrupt_nothing_are_found() -> None:
    assert "I0" in _broken(facts=replace(FACTS, plan=replace(PLAN, must_interrupt={"kill": 2})))


def test_only_what_is_under_way_counts_as_interrupted() -> None:
    assert open_attempts(EVIDENCE.effects, 98.2) == [("r2", 1, 7)]
    assert open_attempts(EVIDENCE.effects, 100.0) == [("r1", 1, 7)]
    half = [*EVIDENCE.effects, Effect("r1", 1, "effect", 7, 99.7)]
    assert open_attempts(half, 100.0) == [("r1", 1, 7)]
    assert open_attempts([*half, Effect("r1", 1, "fail", 7, 99.8)], 100.0) == []
    # Nothing runs for a minute: an attempt that never wrote its end is long dead.
    assert open_attempts(EVIDENCE.effects, 160.0) == []


def test_a_network_that_fails_for_a_while_hits_all_that_runs_meanwhile() -> None:
    cut = Strike(Fault(0, "proxy", "half-open", 14), "worker-1", 97.0, (7,), until=99.6)
    assert interrupted(EVIDENCE, replace(FACTS, strikes=[cut])) == {"proxy": 2}
    assert interrupted(EVIDENCE, replace(FACTS, strikes=[replace(cut, until=98.1)])) == {"proxy": 1}
    assert interrupted(EVIDENCE, replace(FACTS, strikes=[replace(cut, at=98.6, until=99.0)])) == {"proxy": 0}


def test_an_attempt_in_a_child_counts_for_the_worker_above_it() -> None:
    moved = [effect._replace(pid=77) if effect.attempt == 1 else effect for effect in EVIDENCE.effects]
    assert interrupted(replace(EVIDENCE, effects=moved), FACTS) == {"kill": 1}


def test_a_killed_child_counts_apart_and_its_run_waits_for_no_lease() -> None:
    moved = [effect._replace(pid=77) if effect.attempt == 1 else effect for effect in EVIDENCE.effects]
    evidence = replace(EVIDENCE, effects=moved)
    facts = replace(FACTS, strikes=[Strike(CHILD, "child", 100.0, (77,))])
    assert interrupted(evidence, facts) == {"kill of a child": 1}
    assert child_waits(evidence, facts) == Recovery([11.0])


# What the harness reads and fills.


def test_the_tail_knows_which_attempts_run(tmp_path: Path) -> None:
    path = tmp_path / "effects"
    path.touch()
    tail = EffectTail(path)
    now = CLOCK.monotonic()
    write_effect(path, "r0", 1, "start", now - 60.0)
    write_effect(path, "r1", 1, "start", now)
    write_effect(path, "r2", 1, "start", now)
    write_effect(path, "r1", 1, "effect", now)
    write_effect(path, "r1", 1, "end", now)
    with path.open("a", encoding="ascii") as file:
        file.write("r3 1 sta")
    tail.look()
    assert set(tail.open) == {("r2", 1)}
    with path.open("a", encoding="ascii") as file:
        file.write(f"rt 99 {now}\n")
    tail.look()
    assert set(tail.open) == {("r2", 1), ("r3", 1)}
    tail.forget({99})
    assert set(tail.open) == {("r2", 1)}


def test_a_process_that_holds_the_write_lock_is_known_by_it(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from mainspring.store.sqlite.database import SqliteDatabase
def work(tx):
    print("writing", flush=True)
    sys.stdin.readline()
database = SqliteDatabase(Path(sys.argv[1]))
database.write(work)
print("written", flush=True)
sys.stdin.readline()
database.close()
"""
    place = SqlitePlace(tmp_path)
    try:
        command = [sys.executable, "-c", program, str(place.path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            assert place.is_locked_by([process.pid])
            assert not place.is_locked_by([process.pid + 1])
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "written\n"
            assert not place.is_locked_by([process.pid])
    finally:
        place.close()


def test_who_waits_for_a_lock_does_not_hold_it() -> None:
    table = """1: FLOCK  ADVISORY  WRITE 41 00:2f:10 0 EOF
1: -> FLOCK  ADVISORY  WRITE 42 00:2f:10 0 EOF
2: POSIX  ADVISORY  READ 43 00:2f:11 123 123
3: POSIX  ADVISORY  WRITE 44 00:2f:11 120 120
"""
    assert write_locks(table) == [Lock(41, 10), Lock(44, 11)]


@pytest.mark.skipif(not can_mount(), reason="only root can mount")
def test_a_small_disk_is_full_until_it_is_freed(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "disk", 8)
    if not disk.mounted:
        pytest.skip("mounting is not allowed here")
    try:
        file = disk.folder / "file"
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            file.write_bytes(b"x" * 8192)
        disk.free()
        assert file.write_bytes(b"x" * 8192) == 8192
    finally:
        disk.close()
    assert list(disk.folder.iterdir()) == []
