"""Dead letters are grouped by what they have in common, and each is decided once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy

from mainspring.domain.rate import Rate
from mainspring.domain.runs import Ended
from mainspring.domain.states import FailureKind, RunState
from mainspring.domain.tasks import task
from mainspring.encoding import INLINE_LIMIT, decode
from mainspring.errors import InvalidInput, NotFound, StoreUnavailable
from mainspring.ids import RunId
from mainspring.services.dead_letters import DeadFilter, DeadLetters, Edit, RunFilter
from mainspring.services.enqueue import Request
from mainspring.store import dead_letters as stored
from mainspring.store.schema import audit, run_progress, runs
from tests.services.arrange import Faulty, Installation, minutely
from tests.store.arrange import HOUR, MINUTE, NOON, SECOND, contents, finish, new_run, outcome, put, rescue, together

ALL = DeadFilter()


@task(name="demo.task", max_retries=3, priority="high")
def demo(n: int = 0, text: str = "") -> None: ...


@task(name="demo.other")
def other(n: int) -> None: ...


def dead(installation: Installation) -> DeadLetters:
    return DeadLetters(installation.database, installation.clock)


def fail(installation: Installation, n: int = 3, message: str = "no answer after {} s", **options: Any) -> list[RunId]:
    """Let *n* runs fail, each with a number in its message; return their ids."""
    installation.describe(demo, other)
    kind = options.pop("task", demo)
    requests = [Request(kind, {"n": i, **options.pop("parameters", {})}, **options) for i in range(n)]
    ids = installation.enqueuer.enqueue_many(requests)
    fail_ready(installation, message, n, queue=options.get("queue") or "default")
    return ids


def fail_ready(installation: Installation, message: str = "it broke", n: int = 10, queue: str = "default") -> None:
    now = installation.clock.now()
    ends = [
        outcome(run, Ended.FAILED, now, error_message=message.format(place), error_type="OSError")
        for place, run in enumerate(installation.claim(n, queue))
    ]
    finish(installation.database, installation.session, *ends, now=now)


def replays(installation: Installation) -> dict[RunId, Any]:
    """Return the runs that replay others, by the id of the run that they replay."""
    query = sqlalchemy.select(runs).where(runs.c.replay_of.is_not(None)).order_by(runs.c.id)
    rows = installation.database.read(lambda tx: tx.core(query).all())
    assert len({row.replay_of for row in rows}) == len(rows), "a dead letter was replayed twice"
    return {row.replay_of: row for row in rows}


def audited(installation: Installation) -> list[tuple[str, str, Any]]:
    query = sqlalchemy.select(audit).order_by(audit.c.id).where(audit.c.action.like("dead.%"))
    return [
        (row.actor, row.action, decode(row.body)) for row in installation.database.read(lambda tx: tx.core(query).all())
    ]


def replay(installation: Installation, wanted: DeadFilter = ALL, **edit: Any) -> int:
    letters = dead(installation)
    return letters.replay(letters.look(wanted, Edit(**edit)), "ann").count


def test_failures_are_grouped_by_what_they_have_in_common(installation: Installation) -> None:
    alike = fail(installation, 3)
    installation.clock.advance(MINUTE)
    fail(installation, 2, "disk {} is full")
    fail(installation, 2, task=other)
    letters = dead(installation)

    first, *rest = letters.groups(ALL)
    assert (first.count, first.symptom.task, first.symptom.error_type) == (3, "demo.task", "OSError")
    assert (first.symptom.message, first.example) == ("no answer after # s", alike[-1])
    assert (first.first_at, first.last_at) == (NOON, NOON)
    assert sorted((group.count, group.symptom.task, group.symptom.message) for group in rest) == [
        (2, "demo.other", "no answer after # s"), (2, "demo.task", "disk # is full"),
    ]  # fmt: skip
    assert {group.signature for group in (first, *rest)} == {
        installation.look(run_id).failure_signature for run_id in [run.id for run in installation.runs()]
    }
    assert all(group.signature == group.symptom.signature for group in (first, *rest))
    assert letters.groups(ALL, 1, 1) == rest[:1]
    assert letters.count() == letters.count_of(ALL) == 7
    assert [run.id for run in letters.runs(DeadFilter(signature=first.signature), 2)] == alike[:0:-1]
    assert letters.group(first.signature) == [first]
    with pytest.raises(NotFound, match="there is no dead letter with the signature 0123456789abcdef"):
        letters.group("0123456789abcdef")


def test_only_failed_runs_that_wait_for_a_decision_count(installation: Installation) -> None:
    fail(installation, 2)
    decided, retried = fail(installation, 2, "something else")
    letters = dead(installation)
    letters.discard(DeadFilter(ids=[decided]), "ann")
    installation.steering.retry(retried, "ann")
    installation.enqueuer.enqueue(Request(demo))

    assert [group.count for group in letters.groups(ALL)] == [2]
    assert installation.look(retried).failure_signature is None


def test_lost_and_poisonous_runs_are_one_group_for_each_task(installation: Installation) -> None:
    put(installation.database, new_run(at_most_once=True), new_run(at_most_once=True))
    installation.claim(2)
    installation.clock.advance(timedelta(days=500))
    rescue(installation.database, installation.clock.now())

    (group,) = dead(installation).groups(ALL)
    assert (group.count, group.symptom.error_type, group.signature) == (2, "lost", group.symptom.signature)


def test_runs_that_an_older_release_left_unsigned_are_a_group_too(installation: Installation) -> None:
    old = fail(installation, 2)
    installation.database.write(lambda tx: tx.core(runs.update().values(failure_signature=None)))
    fail(installation, 1)
    letters = dead(installation)

    assert [(group.count, group.signature == "unsigned") for group in letters.groups(ALL)] == [(2, True), (1, False)]
    assert replay(installation, DeadFilter(signature="unsigned")) == 2
    assert set(replays(installation)) == set(old)


@pytest.mark.parametrize(("wanted", "places"), [
    (DeadFilter(RunFilter(task="demo.other")), [2]),
    (DeadFilter(RunFilter(queue="slow")), [1]),
    (DeadFilter(RunFilter(labels={"team": "data"})), [1]),
    (DeadFilter(RunFilter(schedule="s1")), [3]),
    (DeadFilter(since=NOON + MINUTE), [2, 3]),
    (DeadFilter(until=NOON + MINUTE), [0, 1]),
    (DeadFilter(text="NO ANSWER"), [0, 2]),
    (DeadFilter(text="100%"), []),
])  # fmt: skip
def test_filters(installation: Installation, wanted: DeadFilter, places: list[int]) -> None:
    made = fail(installation, 1)
    made += fail(installation, 1, "disk full", queue="slow", labels={"team": "data"})
    installation.clock.advance(MINUTE)
    made += fail(installation, 1, task=other)
    installation.put(minutely())
    made += installation.scheduling.trigger("s1", "ann")
    fail_ready(installation, "of a schedule")
    letters = dead(installation)

    meant = {made[place] for place in places}
    assert {run.id for run in letters.runs(wanted)} == meant
    assert sum(group.count for group in letters.groups(wanted)) == letters.count_of(wanted) == len(meant)
    assert replay(installation, wanted) == len(meant)
    assert set(replays(installation)) == meant


def test_a_look_says_what_a_replay_would_do_and_does_nothing(installation: Installation) -> None:
    first, second, third = fail(installation, 3)
    fail(installation, 1, task=other)
    put(installation.database, new_run(task="gone.task"), new_run(parameters='{"n": "many"}'))
    fail_ready(installation)
    before = contents(installation.database)

    edit = Edit({"n": "1"}, {first: {"n": 5}}, rate=Rate.parse("30/min"))
    look = dead(installation).look(ALL, edit)
    assert contents(installation.database) == before
    assert (look.count, look.replayable, look.by_task) == (6, 5, {"demo.task": 4, "demo.other": 1, "gone.task": 1})
    assert look.refused == {"no worker has ever described the task 'gone.task'": 1}
    (change,) = look.changed
    assert (change.name, change.count, change.before, change.after) == ("n", 4, 0, 5)
    (room,) = look.drain.queues
    assert (room.name, room.coming, room.workers, room.slots) == ("default", 5, 1, 10)
    assert (look.drain.arrival, look.drain.time) == (8 * SECOND, 8 * SECOND)

    refused = dead(installation).look(DeadFilter(ids=[second, third]), Edit({"m": "1"}))
    assert refused.refused == {"parameters of task 'demo.task' do not fit: unknown parameter 'm'": 2}
    assert refused.replayable == 0
    with pytest.raises(InvalidInput, match=f"run {first} has parameters of its own, but is not among"):
        dead(installation).look(DeadFilter(ids=[second]), edit)


def test_a_replay_is_a_new_run_that_does_the_same_work_and_both_say_so(installation: Installation) -> None:
    span = HOUR
    (old,) = fail(installation, 1, parameters={"text": "x" * (INLINE_LIMIT + 1)}, labels={"team": "data"}, expires=span)
    installation.clock.advance(MINUTE)

    assert replay(installation) == 1
    (row,) = replays(installation).values()
    new, before = installation.reading.run(row.id), installation.reading.run(old)
    assert (new.run.state, new.run.priority, new.run.max_tries) == (RunState.READY, 8, 4)
    assert (new.parameters, new.run.labels) == (before.parameters, {"team": "data"})
    assert (new.run.due_at, new.run.expires_at) == (NOON + MINUTE, NOON + MINUTE + span)
    assert (new.run.replay_of, new.snapshot["replay_of"]) == (old, old)
    assert (before.replays, before.run.state) == ((new.run.id,), RunState.FAILED)
    assert (before.run.state_reason, before.run.decided_at) == ("replayed by ann", NOON + MINUTE)
    assert [run.id for run in installation.claim()] == [new.run.id]
    assert audited(installation) == [
        ("ann", "dead.replay",
         {"count": 1, "until": "2026-03-02T12:01:00+00:00", "filter": "all", "from_checkpoint": True}),
    ]  # fmt: skip


def test_a_replay_may_have_other_parameters_another_queue_and_another_priority(installation: Installation) -> None:
    first, second = fail(installation, 2)
    assert replay(installation, texts={"text": "7"}, each={second: {"n": 9}}, queue="slow", priority=1) == 2
    made = replays(installation)
    assert [installation.reading.run(made[old].id).parameters for old in (first, second)] == [
        {"n": 0, "text": "7"}, {"n": 9, "text": "7"},
    ]  # fmt: skip
    assert {(row.queue, row.priority) for row in made.values()} == {("slow", 1)}
    assert dead(installation).look(ALL, Edit(each={second: {"n": 9}})).count == 0, "said again, it is no stranger"
    with pytest.raises(InvalidInput, match="queue 'a b' is not usable"):
        Edit(queue="a b")
    with pytest.raises(InvalidInput, match="a replay is spread evenly and knows no burst"):
        Edit(rate=Rate.parse("5/s burst 3"))


def test_what_does_not_fit_stays_a_dead_letter(installation: Installation) -> None:
    (good,) = fail(installation, 1)
    put(installation.database, new_run(task="gone.task"))
    fail_ready(installation)
    assert replay(installation) == 1
    assert set(replays(installation)) == {good}
    assert [run.task for run in dead(installation).runs(ALL)] == ["gone.task"]


def test_a_replay_of_a_scheduled_run_keeps_its_fire_time_and_is_not_in_the_way_of_the_schedule(
    installation: Installation,
) -> None:
    installation.describe(demo)
    installation.put(minutely(overlap="skip"))
    installation.fire("12:01")
    fail_ready(installation)
    assert replay(installation, rate=Rate.parse("1/h")) == 1
    (row,) = replays(installation).values()
    assert (row.schedule_id, row.fire_at, row.kind) == (None, NOON + MINUTE, "enqueued")
    assert installation.reading.run(row.id).snapshot["schedule"]["name"] == "s1"
    installation.fire("12:02")
    assert installation.fired() == ["12:01", "12:02"]


@pytest.mark.parametrize("kept", [True, False])
def test_a_replay_goes_on_from_the_last_checkpoint_unless_told_otherwise(
    installation: Installation, kept: bool
) -> None:
    with_one, without = fail(installation, 2)
    values = {"attempt": 1, "done": 3.0, "total": 9.0, "note": "page 3", "checkpoint": '{"page":3}', "updated_at": NOON}
    other_values = values | {"checkpoint": None}
    insert = run_progress.insert()
    installation.database.write(lambda tx: tx.core(insert.values(run_id=with_one, **values)))
    installation.database.write(lambda tx: tx.core(insert.values(run_id=without, **other_values)))

    assert dead(installation).look(ALL, Edit(checkpoint=kept)).checkpoints == int(kept)
    assert replay(installation, checkpoint=kept) == 2
    new = [row.id for row in replays(installation).values()]
    query = sqlalchemy.select(run_progress).where(run_progress.c.run_id.in_(new))
    found = installation.database.read(lambda tx: tx.core(query).all())
    assert [(row.checkpoint, row.attempt, row.done) for row in found] == ([('{"page":3}', 0, 0.0)] if kept else [])


def test_a_rate_spreads_the_replays_over_time_and_goes_on_where_it_was_interrupted(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    _batches_of(monkeypatch, 2)
    ids = fail(installation, 5)
    faulty = Faulty(installation.database)
    letters = DeadLetters(faulty, installation.clock)
    told: list[int] = []

    def first_batch(done: int) -> None:
        told.append(done)
        faulty.down = True

    edit = Edit(rate=Rate.parse("6/min"))
    with pytest.raises(StoreUnavailable):
        letters.replay(letters.look(ALL, edit), "ann", first_batch)
    faulty.down = False
    assert (told, len(replays(installation))) == ([2], 2)

    installation.clock.advance(SECOND)
    done = letters.replay(letters.look(ALL, edit), "ann", told.append)
    made = replays(installation)
    assert [made[run_id].due_at - NOON for run_id in ids] == [place * 10 * SECOND for place in range(5)]
    assert (done.count, done.until, told) == (3, NOON + 40 * SECOND, [2, 2, 3])
    assert [made[run_id].state for run_id in ids] == ["ready", *["scheduled"] * 4]
    assert [body["count"] for *_, body in audited(installation)] == [2, 2, 1]


def _batches_of(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    page = stored.page
    monkeypatch.setattr(stored, "page", lambda *given, **named: page(*given, **named, most=n))


def test_what_fails_while_a_replay_is_under_way_is_not_replayed_by_it(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    _batches_of(monkeypatch, 1)
    ids = fail(installation, 2)
    letters = dead(installation)
    look = letters.look(ALL, Edit())
    assert letters.replay(look, "ann", lambda done: fail_ready(installation)).count == 2
    assert set(replays(installation)) == set(ids)


def test_of_two_who_replay_the_same_letters_one_replays_each(installation: Installation) -> None:
    ids = fail(installation, 3)
    faulty, theirs = Faulty(installation.database), dead(installation)
    mine = DeadLetters(faulty, installation.clock)
    look = mine.look(ALL, Edit())

    def bob_is_faster() -> None:
        faulty.before_write = lambda: None
        assert theirs.replay(theirs.look(ALL, Edit()), "bob").count == 3

    faulty.before_write = bob_is_faster
    assert mine.replay(look, "ann").count == 0
    assert set(replays(installation)) == set(ids)
    assert {installation.look(run_id).state_reason for run_id in ids} == {"replayed by bob"}
    assert [actor for actor, *_ in audited(installation)] == ["bob"]


def test_of_four_who_replay_at_the_same_moment_each_letter_is_replayed_once(installation: Installation) -> None:
    ids = fail(installation, 20)
    looks = [(letters := dead(installation), letters.look(ALL, Edit())) for _ in range(4)]
    counts = together(*(lambda pair=pair: pair[0].replay(pair[1], "ann").count for pair in looks))  # type: ignore[misc]
    assert sum(counts) == 20
    assert set(replays(installation)) == set(ids)


def test_a_letter_that_failed_anew_meanwhile_is_left_to_the_next_look(installation: Installation) -> None:
    (run_id,) = fail(installation, 1)
    faulty = Faulty(installation.database)
    letters = DeadLetters(faulty, installation.clock)

    def somebody_retries_it() -> None:
        faulty.before_write = lambda: None
        installation.steering.retry(run_id, "bob")
        fail_ready(installation, "in another way")

    faulty.before_write = somebody_retries_it
    assert letters.discard(ALL, "ann") == 0
    assert [run.id for run in letters.runs(DeadFilter(text="in another way"))] == [run_id]
    assert letters.discard(ALL, "ann") == 1


def test_many_are_retried_as_the_same_runs(installation: Installation) -> None:
    ids = fail(installation, 3)
    letters = dead(installation)
    assert letters.retry(DeadFilter(ids=ids[:2]), "ann") == 2
    assert [installation.look(run_id).state for run_id in ids] == ["ready", "ready", "failed"]
    assert {installation.look(run_id).max_tries for run_id in ids[:2]} == {5}
    assert [run.id for run in installation.claim()] == ids[:2]
    assert letters.retry(ALL, "ann") == 1
    assert [(action, body["count"]) for _, action, body in audited(installation)] == [
        ("dead.retry", 2),
        ("dead.retry", 1),
    ]


def test_a_discard_says_why_and_is_undone(installation: Installation) -> None:
    first, second = fail(installation, 2)
    letters = dead(installation)
    assert letters.discard(DeadFilter(ids=[first]), "ann", "no use") == 1
    run = installation.look(first)
    assert (run.state, run.state_reason, run.decided_at) == (RunState.FAILED, "discarded by ann: no use", NOON)
    assert [run.id for run in letters.runs(ALL)] == [second]

    assert replay(installation, DeadFilter(ids=[second])) == 1
    signature = str(run.failure_signature)
    assert letters.restore(DeadFilter(signature=signature), "bob") == 1, "what was replayed is not restored"
    assert [run.id for run in letters.runs(ALL)] == [first]
    assert (installation.look(first).state_reason, installation.look(first).decided_at) == (None, None)
    assert [(actor, action, body["count"]) for actor, action, body in audited(installation)] == [
        ("ann", "dead.discard", 1), ("ann", "dead.replay", 1), ("bob", "dead.restore", 1),
    ]  # fmt: skip


def test_an_export_has_all_that_is_known_of_each(installation: Installation) -> None:
    ids = fail(installation, 2)
    found = list(dead(installation).export(ALL))
    assert [letter["id"] for letter in found] == ids
    assert [letter["parameters"]["n"] for letter in found] == [0, 1]
    (end,) = found[0]["attempts"]
    assert (end["error_type"], end["error_message"], end["attempt"]) == ("OSError", "no answer after 0 s", 1)
    assert list(dead(installation).export(DeadFilter(ids=[]))) == []


def test_kinds_of_failures_are_told_apart(installation: Installation) -> None:
    installation.describe(demo)
    installation.enqueuer.enqueue_many([Request(demo), Request(demo)])
    kinds: Sequence[FailureKind] = (FailureKind.PARAMETERS, FailureKind.NOT_SERIALISABLE)
    ends = [
        outcome(run, Ended.FAILED, failure_kind=kind, error_type=None, error_message=None, reason=f"it is {kind}")
        for run, kind in zip(installation.claim(), kinds, strict=True)
    ]
    finish(installation.database, installation.session, *ends)
    found = {(group.symptom.error_type, group.symptom.message) for group in dead(installation).groups(ALL)}
    assert found == {("parameters", "it is parameters"), ("not_serialisable", "it is not_serialisable")}
