"""Of runs that are the same only one is made, however many ask for it and when; and the second one gets its answer."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mainspring import Unique, task
from mainspring.domain.dependencies import Need
from mainspring.domain.runs import Ended
from mainspring.domain.states import RunState
from mainspring.errors import BulkInterrupted, DuplicateRun, InvalidInput, StoreUnavailable
from mainspring.ids import RunId
from mainspring.services.enqueue import Placed, Request
from mainspring.services.maintenance import Tidier
from mainspring.store import keys, queueing
from mainspring.store.database import Database
from tests.services.arrange import Installation, every, when
from tests.store.arrange import HOUR, MINUTE, NOON, SECOND, contents, count, new_run, together
from tests.store.conftest import Open


@task(name="prices.load")
def load(ticker: str, day: int = 0) -> None:
    """Load."""


@task(name="prices.once", unique=Unique(fields=("ticker",)))
def once(ticker: str, day: int = 0) -> None:
    """Load what no other run loads."""


def place(installation: Installation, unique: Unique | None = None, **options: Any) -> Placed:
    """Ask for a run of ticker A, unless other *parameters* are given."""
    parameters = options.pop("parameters", {"ticker": "A"})
    return installation.enqueuer.place([Request(load, parameters, unique=unique, **options)])[0]


def parameters_of(installation: Installation, run_id: str) -> Any:
    return installation.reading.run(installation.look(run_id).id).parameters


# -- whom a key keeps away --


def test_a_second_run_is_rejected_and_nothing_is_written(installation: Installation) -> None:
    first = installation.enqueuer.enqueue(Request(once, {"ticker": "A"}))
    before = contents(installation.database)
    with pytest.raises(DuplicateRun) as caught:
        installation.enqueuer.enqueue(Request(once, {"ticker": "A", "day": 1}))
    assert (caught.value.run_id, caught.value.state) == (first, "ready")
    assert str(caught.value) == (
        f"run {first} of task 'prices.once' has the same unique key and is ready; nothing was enqueued. Wait for it, "
        "cancel it, or ask with on_conflict='existing' or 'replace'"
    )
    assert contents(installation.database) == before


def test_only_the_chosen_fields_make_the_difference(installation: Installation) -> None:
    for unique, tickers in ((Unique(), {"A": 1, "B": 1}), (Unique(fields=()), {"A": 1})):
        installation.enqueuer.enqueue(Request(load, {"ticker": "A"}, unique=unique))
        if "B" in tickers:
            installation.enqueuer.enqueue(Request(load, {"ticker": "B"}, unique=unique))
        with pytest.raises(DuplicateRun):
            installation.enqueuer.enqueue(Request(load, {"ticker": "B"}, unique=unique))


def test_a_default_left_out_is_the_same_as_the_default_given(installation: Installation) -> None:
    place(installation, Unique())
    with pytest.raises(DuplicateRun):
        place(installation, Unique(), parameters={"ticker": "A", "day": 0})


@pytest.mark.parametrize("ended", [Ended.SUCCEEDED, Ended.FAILED])
def test_a_run_that_has_ended_is_in_nobodys_way(installation: Installation, ended: Ended) -> None:
    first = place(installation, Unique())
    (claimed,) = installation.claim()
    with pytest.raises(DuplicateRun, match="is running"):
        place(installation, Unique())
    installation.finish(claimed, ended=ended)
    second = place(installation, Unique())
    assert (second.run_id != first.run_id, second.existing) == (True, False)
    with pytest.raises(DuplicateRun, match=second.run_id):
        place(installation, Unique())


def test_a_run_that_waits_for_its_next_try_has_not_ended(installation: Installation) -> None:
    place(installation, Unique())
    installation.finish(*installation.claim(), ended=Ended.RETRIED)
    with pytest.raises(DuplicateRun, match="is scheduled"):
        place(installation, Unique())


def test_a_key_of_any_state_holds_until_its_period_ends_though_its_run_is_deleted(installation: Installation) -> None:
    unique = Unique(period=HOUR, states="any")
    installation.at("12:20")
    first = place(installation, unique)
    installation.finish(*installation.claim())
    installation.database.write(lambda tx: tx.core(_runs().delete().where(_runs().c.id == first.run_id)))
    installation.at("12:59:59")
    assert Tidier(installation.database, installation.clock).run_once() == 0
    with pytest.raises(DuplicateRun, match=first.run_id):
        place(installation, unique)
    installation.at("13:00")
    assert not place(installation, unique).existing


def test_a_key_of_any_state_without_a_period_holds_for_ever(installation: Installation) -> None:
    place(installation, Unique(states="any"))
    installation.finish(*installation.claim())
    installation.clock.advance(timedelta(days=4_000))
    assert Tidier(installation.database, installation.clock).run_once() >= 0
    with pytest.raises(DuplicateRun, match="is succeeded"):
        place(installation, Unique(states="any"))


def test_periods_are_counted_from_1970_in_utc(installation: Installation) -> None:
    unique = Unique(period=timedelta(days=1))
    installation.at("23:59:59")
    place(installation, unique)
    installation.at("3 00:00")
    place(installation, unique)
    with pytest.raises(DuplicateRun):
        place(installation, unique)


# -- what the second one gets --


def test_the_existing_run_is_returned_as_it_is(installation: Installation) -> None:
    first = place(installation, Unique())
    before = contents(installation.database)
    assert place(installation, Unique(on_conflict="existing"), priority=9) == Placed(first.run_id, existing=True)
    assert contents(installation.database) == before


def test_a_run_that_waits_is_replaced_in_its_place(installation: Installation) -> None:
    unique = Unique(fields=("ticker",), on_conflict="replace")
    first = place(installation, unique, expires=HOUR)
    second = place(
        installation, unique, parameters={"ticker": "A", "day": 7}, priority=8, due_at=NOON + MINUTE, expires=HOUR
    )
    assert second == Placed(first.run_id, existing=True)
    run = installation.look(first.run_id)
    assert (run.state, run.priority, run.due_at, run.expires_at) == (
        RunState.SCHEDULED, 8, NOON + MINUTE, NOON + MINUTE + HOUR,
    )  # fmt: skip
    assert parameters_of(installation, run.id) == {"ticker": "A", "day": 7}
    assert count(installation.database, "ready") == 0
    third = place(installation, unique)
    assert installation.look(third.run_id).state is RunState.READY
    assert [run.id for run in installation.claim()] == [first.run_id]


def test_a_run_under_way_is_not_replaced_and_the_key_passes_to_a_new_one(installation: Installation) -> None:
    unique = Unique(fields=("ticker",), on_conflict="replace")
    first = place(installation, unique)
    installation.claim()
    second = place(installation, unique, parameters={"ticker": "A", "day": 7})
    assert not second.existing
    assert parameters_of(installation, first.run_id) == {"ticker": "A", "day": 0}
    assert place(installation, unique) == Placed(second.run_id, existing=True)


def test_the_last_of_many_wishes_wins_and_waits_anew_but_not_for_ever(installation: Installation) -> None:
    unique = Unique(fields=("ticker",), on_conflict="keep_last", wait=30 * SECOND, wait_at_most=50 * SECOND)
    first = place(installation, unique)
    due = []
    for day, time in enumerate(("12:00:10", "12:00:40", "12:00:49")):
        installation.at(time)
        assert place(installation, unique, parameters={"ticker": "A", "day": day}).run_id == first.run_id
        due.append(installation.look(first.run_id).due_at)
    assert due == [when("12:00:40"), when("12:00:50"), when("12:00:50")]
    installation.at("12:00:50")
    installation.stager.run_once()
    (claimed,) = installation.claim()
    assert json.loads(claimed.parameters or "")["day"] == 2
    assert place(installation, unique).run_id != first.run_id


# -- many at once --


def test_of_alike_wishes_in_one_call_one_is_made(installation: Installation) -> None:
    unique = Unique(fields=("ticker",), on_conflict="replace")
    wishes = [Request(load, {"ticker": t, "day": n}, unique=unique) for n, t in enumerate("ABAB")]
    wishes.append(Request(load, {"ticker": "A", "day": 9}))
    placed = installation.enqueuer.place(wishes)
    assert [p.existing for p in placed] == [False, False, True, True, False]
    assert (placed[2].run_id, placed[3].run_id) == (placed[0].run_id, placed[1].run_id)
    assert [parameters_of(installation, placed[n].run_id)["day"] for n in (0, 1, 4)] == [2, 3, 9]
    assert [run.id for run in installation.claim()] == [placed[n].run_id for n in (0, 1, 4)]


def test_a_rejected_wish_undoes_its_transaction_and_says_how_far_it_got(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainspring.services.enqueue.BATCH", 2)
    wishes = [Request(once, {"ticker": t}) for t in ("A", "B", "C", "A", "D")]
    with pytest.raises(
        BulkInterrupted, match="the first 2 runs are enqueued, what follows them is not: run "
    ) as caught:
        installation.enqueuer.place(iter(wishes))
    assert isinstance(caught.value.__cause__, DuplicateRun)
    assert list(caught.value.run_ids) == [run.id for run in installation.claim()]


@pytest.mark.parametrize("on_conflict", ["reject", "existing", "replace"])
def test_of_two_who_ask_at_once_exactly_one_makes_the_run(open_database: Open, clock: Any, on_conflict: Any) -> None:
    sides = [Installation(open_database(), clock) for _ in range(4)]
    unique = Unique(fields=("ticker",), on_conflict=on_conflict)

    def ask(side: Installation, n: int) -> Placed | None:
        try:
            return place(side, unique, parameters={"ticker": f"T{n}"})
        except DuplicateRun:
            return None

    for n in range(8):
        answers = together(*(lambda side=side, n=n: ask(side, n) for side in sides))  # type: ignore[misc]
        assert [a.existing for a in answers if a is not None].count(False) == 1
        assert count(sides[0].database, "runs") == n + 1
        if on_conflict != "reject":
            assert len({a.run_id for a in answers if a is not None}) == 1


def test_a_key_that_somebody_settles_is_waited_for(open_database: Open, clock: Any) -> None:
    one, two = Installation(open_database(), clock), Installation(open_database(), clock)
    if one.database.dialect != "postgresql":
        pytest.skip("one transaction alone may write to a file")
    place(one, Unique())
    one.finish(*one.claim())
    key = Unique().key_of("prices.load", {"ticker": "A", "day": 0}, NOON)

    def work(tx: Any) -> None:
        # The key is free: two who judge it at once would both take it.
        keys.lock(tx, [new_run(key=key)])
        with two.database.within(0.3), pytest.raises(StoreUnavailable):
            place(two, Unique())

    one.database.write(work)
    assert not place(two, Unique()).existing


# -- asked again after a lost reply --


@pytest.mark.parametrize("on_conflict", ["reject", "existing", "replace"])
def test_who_asks_again_after_a_lost_reply_makes_no_second_run(installation: Installation, on_conflict: Any) -> None:
    key = Unique(on_conflict=on_conflict).key_of("demo.task", {}, NOON)
    first, wish = new_run(key=key), new_run(key=key, parameters='{"n":2}')
    if on_conflict == "replace":
        _settle(installation.database, first)
    done = _settle(installation.database, wish)
    # It starts before we ask again: as though it were another's, we would now make one of our own.
    installation.claim()
    again = _settle(installation.database, wish, repeated=True)
    assert again.stand_ins == done.stand_ins
    assert count(installation.database, "runs") == 1


def test_who_asks_again_after_its_run_has_ended_and_passed_on_its_key_makes_none(installation: Installation) -> None:
    key = Unique().key_of("demo.task", {}, NOON)
    wish, later = new_run(key=key), new_run(key=key)
    _settle(installation.database, wish)
    installation.finish(*installation.claim())
    _settle(installation.database, later)
    assert _settle(installation.database, wish, repeated=True).stand_ins == {}
    assert count(installation.database, "runs") == 2


def _settle(database: Database, run: Any, *, repeated: bool = False) -> Any:
    def work(tx: Any) -> Any:
        tx.repeated = repeated
        settled = keys.settle(tx, [run], NOON)
        queueing.insert_runs(tx, settled.fresh, NOON)
        tx.repeated = False
        return settled

    return database.write(work)


# -- schedules --


def test_a_fire_time_whose_key_is_held_becomes_a_cancelled_run_that_says_why(installation: Installation) -> None:
    installation.describe(once)
    held = installation.enqueuer.enqueue(Request(once, {"ticker": "A"}))
    installation.put(replace(every(MINUTE), task="prices.once", parameters={"ticker": "A"}))
    assert installation.fire("12:01").fired == 1
    (run,) = installation.runs("s1")
    assert (run.state, run.state_reason) == (RunState.CANCELLED, f"run {held} has the same unique key and is ready")
    installation.finish(*installation.claim())
    installation.fire("12:02")
    assert [run.state for run in installation.runs("s1")] == [RunState.CANCELLED, RunState.READY]


def test_a_fire_time_that_replaces_takes_the_place_of_what_waits(installation: Installation) -> None:
    @task(name="prices.newest", unique=Unique(fields=("ticker",), on_conflict="replace"))
    def newest(ticker: str) -> None:
        pass

    installation.describe(newest)
    held = installation.enqueuer.enqueue(Request(newest, {"ticker": "A"}))
    installation.put(replace(every(MINUTE), task="prices.newest", parameters={"ticker": "A"}))
    installation.fire("12:01")
    (run,) = installation.runs("s1")
    assert run.state is RunState.READY
    before = installation.look(held)
    assert (before.state, before.state_reason) == (
        RunState.CANCELLED, f"replaced by run {run.id} with the same unique key",
    )  # fmt: skip
    assert [r.id for r in installation.claim()] == [run.id]


def test_a_schedule_is_not_triggered_where_its_run_is_there_already(installation: Installation) -> None:
    installation.describe(once)
    installation.put(replace(every(HOUR), task="prices.once", parameters={"ticker": "A"}))
    (first,) = installation.scheduling.trigger("s1", "ann")
    with pytest.raises(DuplicateRun, match=first):
        installation.scheduling.trigger("s1", "ann")


# -- housekeeping --


def test_keys_that_hold_nothing_are_forgotten_and_others_stay(installation: Installation) -> None:
    place(installation, Unique(), parameters={"ticker": "ended"})
    installation.finish(*installation.claim())
    place(installation, Unique(), parameters={"ticker": "waits"})
    place(installation, Unique(period=MINUTE, states="any"), parameters={"ticker": "over"})
    place(installation, Unique(period=HOUR, states="any"), parameters={"ticker": "holds"})
    place(installation, Unique(states="any"), parameters={"ticker": "for ever"})
    installation.at("12:01")
    Tidier(installation.database, installation.clock).run_once()
    assert count(installation.database, "run_keys") == 3
    for ticker, unique in (
        ("waits", Unique()), ("holds", Unique(period=HOUR, states="any")), ("for ever", Unique(states="any")),
    ):  # fmt: skip
        with pytest.raises(DuplicateRun):
            place(installation, unique, parameters={"ticker": ticker})


def test_a_key_that_passes_on_while_it_is_looked_at_is_not_forgotten(installation: Installation) -> None:
    place(installation, Unique())
    installation.finish(*installation.claim())
    stale = installation.database.read(
        lambda tx: [tuple(r) for r in tx.rows("stale_keys", {"now": tx.at(NOON), "n": 9})]
    )
    assert len(stale) == 1
    place(installation, Unique())
    assert installation.database.write(lambda tx: tx.many("drop_keys", stale)) == 0
    with pytest.raises(DuplicateRun):
        place(installation, Unique())


# -- what cannot be meant --


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fields": "ticker"}, "fields 'ticker' are not names of parameters"),
        ({"period": timedelta(0)}, "period datetime.timedelta(0) is not a positive timedelta"),
        ({"states": "unfinishd"}, "unknown states 'unfinishd'; did you mean 'unfinished'?"),
        ({"on_conflict": "reject_"}, "did you mean 'reject'?"),
        ({"on_conflict": "keep_last"}, "keep_last needs wait="),
        ({"wait": MINUTE}, "wait and wait_at_most belong to keep_last, not to 'reject'"),
        ({"on_conflict": "keep_last", "wait": HOUR, "wait_at_most": MINUTE}, "is shorter than wait"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Unique(**options)
    assert said in str(caught.value)


def test_a_field_that_the_task_has_not_is_refused_where_it_is_named(installation: Installation) -> None:
    with pytest.raises(InvalidInput, match="unknown parameter 'tiker'; did you mean 'ticker'"):
        task(name="x", unique=Unique(fields=("tiker",)))(lambda ticker: None)
    with pytest.raises(InvalidInput, match="unknown parameter 'tiker'; did you mean 'ticker'"):
        place(installation, Unique(fields=("tiker",)))
    with pytest.raises(InvalidInput, match=r"unique 'ticker' is not usable; write unique=Unique\("):
        task(name="x", unique="ticker")(lambda ticker: None)  # type: ignore[call-overload]


def _runs() -> Any:
    from mainspring.store.schema import runs

    return runs


# -- runs that depend on others --


def test_a_run_that_waits_for_others_is_replaced_and_goes_on_waiting(installation: Installation) -> None:
    first = installation.enqueuer.enqueue(Request(once, {"ticker": "B"}))
    waiting = place(installation, Unique(fields=("ticker",)), needs=(Need(RunId(first)),))
    for due_at in (NOON - HOUR, NOON + HOUR):
        found = place(
            installation, Unique(fields=("ticker",), on_conflict="replace"), due_at=due_at,
            parameters={"ticker": "A", "day": 9},
        )  # fmt: skip
        assert found == Placed(waiting.run_id, existing=True)
    later = place(
        installation,
        Unique(fields=("ticker",), on_conflict="keep_last", wait=HOUR),
        parameters={"ticker": "A", "day": 8},
    )
    assert later.run_id == waiting.run_id
    assert parameters_of(installation, waiting.run_id) == {"ticker": "A", "day": 8}
    installation.stager.run_once()
    assert installation.look(waiting.run_id).state is RunState.WAITING
    (claimed,) = installation.claim()
    installation.finish(claimed)
    assert [run.id for run in installation.claim()] == [waiting.run_id], "it starts when what it needs has ended"


@pytest.mark.parametrize("on_conflict", ["existing", "replace"])
def test_a_run_that_depends_on_others_takes_no_other_one_for_itself(
    installation: Installation, on_conflict: Any
) -> None:
    first = installation.enqueuer.enqueue(Request(once, {"ticker": "B"}))
    before = contents(installation.database)
    with pytest.raises(
        InvalidInput, match=f"on_conflict='{on_conflict}', and a run that is there already waits for none"
    ):
        place(installation, Unique(on_conflict=on_conflict), needs=(Need(RunId(first)),))
    assert contents(installation.database) == before
