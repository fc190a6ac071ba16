"""A mark that a wrong clock has moved into the future goes back, and no instant fires twice by that."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from mainspring.domain.runs import RunKind
from mainspring.domain.spec import Misfire, MisfirePolicy, OverlapPolicy
from mainspring.domain.triggers.interval import IntervalTrigger
from mainspring.errors import Conflict, InvalidInput, UnknownName
from mainspring.services.rewind import cut_at
from mainspring.store.rewinding import Cut, Stretch
from mainspring.verify import verify
from tests.services.arrange import cron, every, minutely, when
from tests.services.clocks import Machine, machine, small_machine
from tests.store.arrange import HOUR, MINUTE, NOON, SECOND

__all__ = ["machine", "small_machine"]


def _fooled(machine: Machine, **changes: Any) -> None:
    """Let an operator confirm a clock that is three hours ahead, at 12:02:01; then set it right, at 12:03:00."""
    machine.world.put(minutely(**changes))
    machine.pass_by(MINUTE)
    machine.pass_by(MINUTE)
    machine.step(3 * HOUR, server=True)
    machine.confirm()
    machine.tick()
    assert machine.mark() == when("15:02")
    machine.step(-3 * HOUR, server=True)
    machine.clock.advance(59 * SECOND)
    machine.restart()


def _sound(machine: Machine) -> None:
    verdict = verify(machine.database, machine.clock.now())
    assert verdict.ok, list(verdict.lines())


def test_without_a_rewind_a_schedule_waits_until_the_false_time(machine: Machine) -> None:
    _fooled(machine)
    assert not machine.look().refused
    machine.pass_by(HOUR)
    assert machine.world.fired() == ["12:01", "12:02", "15:02"]
    (problem,) = machine.state().problems()
    assert problem == (
        "schedule 's1' does not fire before 2026-03-02T15:02:00+00:00, to where a wrong clock moved it; "
        "`mainspring schedules rewind s1 --to now`"
    )


def test_a_rewound_schedule_fires_each_minute_but_not_again_what_had_its_run(machine: Machine) -> None:
    _fooled(machine)
    done = machine.rewinding.rewind("s1", machine.clock.now(), "ann")
    # 12:03 to 15:01 were coalesced: the minute that has come is not undone, the others are undecided again.
    assert (done.mark, done.to, done.kept, done.undecided) == (when("15:02"), when("12:03"), 1, 178)
    assert done.next_at == when("12:04")
    assert machine.mark() == when("12:03")
    _sound(machine)
    assert machine.world.ledger()[-2:] == [
        ("12:03", "12:03", 1, "coalesced", None), ("15:02", "15:02", 1, "fired", None),
    ]  # fmt: skip
    machine.pass_by(MINUTE)
    machine.pass_by(MINUTE)
    _sound(machine)
    assert machine.world.fired() == ["12:01", "12:02", "15:02", "12:04", "12:05"]
    assert list(machine.state().problems()) == []
    machine.pass_by(when("15:01") - machine.clock.now())
    for _ in range(3):
        machine.pass_by(MINUTE)
    _sound(machine)
    assert machine.world.fired() == ["12:01", "12:02", "15:02", "12:04", "12:05", "15:01", "15:03", "15:04"]
    assert machine.mark() == when("15:04")
    ledger = machine.world.ledger()
    assert ledger[-4:] == [(f"15:0{n}", f"15:0{n}", 1, "fired", None) for n in (1, 2, 3, 4)]
    # From the first to the last minute each has one outcome.
    assert sum(row[2] for row in ledger) == (when("15:04") - NOON) // MINUTE
    reasons = {row.reason for row in machine.world.reading.ledger(machine.world.scheduling.require("s1").id, 10)}
    assert "fired ahead of its time, by a clock that was ahead" in reasons


@pytest.mark.parametrize("misfire", ["skip", "latest", "all"])
def test_a_backlog_over_an_instant_that_had_its_run_leaves_it_out(machine: Machine, misfire: str) -> None:
    machine.world.put(minutely(misfire="all"))
    machine.step(6 * MINUTE, server=True)
    machine.confirm()
    machine.tick()  # 12:06:01, fires 12:01 to 12:06
    machine.step(-6 * MINUTE, server=True)
    machine.world.put(minutely(misfire=misfire))  # settles nothing: the mark is ahead
    machine.rewinding.rewind("s1", machine.clock.now(), "ann")
    machine.restart()
    machine.clock.advance(10 * MINUTE)
    machine.tick(20)
    assert machine.mark() == when("12:10")
    fired = machine.world.fired()
    assert fired[:6] == ["12:01", "12:02", "12:03", "12:04", "12:05", "12:06"]
    later = {"skip": ["12:10"], "latest": ["12:10"], "all": ["12:07", "12:08", "12:09", "12:10"]}
    assert fired[6:] == later[misfire]
    assert sum(row[2] for row in machine.world.ledger()) == 10
    _sound(machine)


def test_with_again_what_had_its_runs_gets_others(machine: Machine) -> None:
    _fooled(machine)
    done = machine.rewinding.rewind("s1", machine.clock.now(), "ann", again=True)
    assert (done.kept, done.undecided) == (0, 179)
    assert machine.world.ledger()[-1] == ("12:03", "12:03", 1, "coalesced", None)
    machine.pass_by(when("15:02") - machine.clock.now())
    assert machine.world.fired() == ["12:01", "12:02", "15:02", "15:02"]
    assert [run.kind for run in machine.world.runs("s1")][2:] == [RunKind.MANUAL, RunKind.SCHEDULED]
    _sound(machine)


def test_a_rewind_to_the_past_catches_up_with_what_was_left_out(machine: Machine) -> None:
    _fooled(machine)
    machine.rewinding.rewind("s1", when("12:02:00"), "ann")
    machine.tick()
    assert machine.world.fired() == ["12:01", "12:02", "15:02", "12:03"]
    _sound(machine)


def test_a_mark_that_an_edit_has_moved_goes_back_with_its_version(machine: Machine) -> None:
    machine.world.put(minutely())
    machine.step(24 * HOUR, server=True)
    machine.world.put(minutely(parameters={"a": 1}))
    machine.world.scheduling.pause("s1", "ann", "a rest")
    machine.step(-24 * HOUR, server=True)
    assert machine.mark() == NOON + 24 * HOUR
    (done,) = machine.rewinding.rewind_all(machine.clock.now(), "ann")
    assert done.name == "s1"
    machine.world.scheduling.resume("s1", "ann")
    machine.pass_by(MINUTE)
    assert machine.world.fired()[-1] == "12:01"


def test_a_rule_that_was_changed_since_may_name_what_had_its_run_or_not(machine: Machine) -> None:
    machine.world.put(minutely(misfire="all"))
    machine.step(6 * MINUTE, server=True)
    machine.confirm()
    machine.tick()  # 12:06:01, fires 12:01 to 12:06
    machine.step(-6 * MINUTE, server=True)
    machine.rewinding.rewind("s1", machine.clock.now(), "ann")
    machine.world.put(every(2 * MINUTE, misfire="all"))
    machine.restart()
    machine.look()
    for _ in range(9):
        machine.pass_by(MINUTE)
        _sound(machine)
    machine.tick(3)
    fired = ["12:01", "12:02", "12:03", "12:04", "12:05", "12:06", "12:08"]
    assert machine.world.fired() == fired
    assert [row[0] for row in machine.world.ledger()] == fired


def test_a_dry_run_changes_nothing_and_says_what_would(machine: Machine) -> None:
    _fooled(machine)
    before = machine.world.ledger()
    planned = machine.rewinding.rewind("s1", machine.clock.now(), "ann", dry_run=True)
    assert (machine.world.ledger(), machine.mark()) == (before, when("15:02"))
    assert machine.audit("schedule.rewind") == []
    assert machine.rewinding.rewind("s1", machine.clock.now(), "ann") == planned
    (body,) = machine.audit_bodies("schedule.rewind")
    assert (body["fired"], body["undecided"], body["again"]) == (1, 178, False)
    assert body["from"] == "2026-03-02T15:02:00+00:00"


def test_all_rewinds_only_what_stands_in_the_future(machine: Machine) -> None:
    machine.world.put(minutely("well"))
    _fooled(machine)
    machine.rewinding.rewind("well", machine.clock.now(), "ann")
    assert [one.name for one in machine.rewinding.rewind_all(machine.clock.now(), "ann")] == ["s1"]
    assert machine.rewinding.rewind_all(machine.clock.now(), "ann") == []
    assert machine.audit("schedule.rewind") == [("ann", "schedule.rewind")] * 2


def test_a_second_rewind_keeps_what_the_first_kept(machine: Machine) -> None:
    _fooled(machine)
    machine.rewinding.rewind("s1", machine.clock.now(), "ann")
    machine.pass_by(MINUTE)
    machine.rewinding.rewind("s1", when("12:03:30"), "ann")
    machine.tick(2)
    # 12:04 had its run as well; it has no other.
    assert machine.world.fired() == ["12:01", "12:02", "15:02", "12:04"]
    assert machine.mark() == when("12:04")
    _sound(machine)


def test_a_plan_made_before_a_rewind_is_not_written(machine: Machine) -> None:
    _fooled(machine, misfire=Misfire(MisfirePolicy.ALL, cap=500), overlap=OverlapPolicy.CANCEL_RUNNING)
    machine.clock.advance(when("15:03") - machine.clock.now())

    def rewind() -> None:
        machine.faulty.before_write = lambda: None
        machine.rewinding.rewind("s1", when("15:00"), "ann")

    machine.faulty.before_write = rewind
    machine.look()
    machine.tick(4)
    fired = machine.world.fired()
    assert fired.count("15:02") == 1
    assert machine.mark() == when("15:03")
    _sound(machine)


def test_what_cannot_be_rewound_is_refused_with_the_reason(machine: Machine) -> None:
    machine.world.put(minutely())
    machine.pass_by(MINUTE)
    with pytest.raises(Conflict, match="stands at 2026-03-02T12:01:00"):
        machine.rewinding.rewind("s1", when("12:01"), "ann")
    with pytest.raises(InvalidInput, match="is in the future"):
        machine.rewinding.rewind("s1", when("12:02"), "ann")
    with pytest.raises(UnknownName, match="unknown schedule 's2'; known: s1"):
        machine.rewinding.rewind("s2", when("12:00"), "ann")
    machine.step(timedelta(days=3))
    with pytest.raises(Conflict, match="ahead"):
        machine.rewinding.rewind("s1", when("12:00"), "ann")


@pytest.mark.parametrize("to", ["12:01", "12:07", "12:29:30", "12:31", "12:52", "12:59:59"])
def test_a_stretch_is_cut_the_same_from_either_side(to: str) -> None:
    spec = minutely()
    trigger = spec.trigger
    assert isinstance(trigger, IntervalTrigger)
    stretch = Stretch(when("12:01"), when("13:00"), 60, spec)
    end: datetime = when(to).replace(second=0)
    assert cut_at(stretch, when(to)) == Cut(end, (end - NOON) // MINUTE)


def test_a_sparse_stretch_is_cut_at_its_last_fire_time() -> None:
    spec = cron("0 0 1 * *")  # the first of each month
    first = spec.next_after(NOON)
    assert first is not None
    stretch = Stretch(first, first + timedelta(days=366), 13, spec)
    cut = cut_at(stretch, first + timedelta(days=340))
    assert (cut.until_at.isoformat(), cut.n) == ("2027-03-01T00:00:00+00:00", 12)
