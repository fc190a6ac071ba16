"""What happens at a crash point: what there is before, what is done, and what must have become of it in the end."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import sqlalchemy

from mainspring import Unique, task
from mainspring.domain.dependencies import Need, OnFailure
from mainspring.domain.rate import Rate
from mainspring.domain.spec import FanOut, OverlapPolicy
from mainspring.encoding import INLINE_LIMIT
from mainspring.errors import Conflict, UnknownName
from mainspring.ids import RunId
from mainspring.services.dead_letters import DeadFilter, DeadLetters, Edit
from mainspring.services.editing import Edit as RunEdit
from mainspring.services.editing import Editing
from mainspring.services.enqueue import Request
from mainspring.store import queueing
from mainspring.store.runs import save_checkpoint
from mainspring.store.schema import metadata
from mainspring.store.tables import StoredTask, put_tasks
from tests.crashpoints.process import Process
from tests.crashpoints.world import World
from tests.promises.evidence import Evidence, Run
from tests.promises.faults import Point
from tests.services.arrange import every
from tests.store.arrange import HOUR, MINUTE, NOON, SECOND, new_run

HALF_HOUR: Final = 30 * MINUTE
LONG_TEXT: Final = "y" * (INLINE_LIMIT + 1)
Ends = Mapping[str, str | tuple[str, ...]]
"""How the run of each label must end: a state, or the one or other; a failed run as `failed:kind`."""


@task(name="demo.succeed")
def succeed(text: str = "") -> None:
    """Have a name and parameters; nothing here calls it."""


@dataclass(frozen=True, slots=True)
class Story:
    """What happened at a point."""

    fault: str
    point: Point
    times: int
    """How often the act took hold, as far as its first transaction tells: before the fault, and when asked again."""

    @property
    def beheaded(self) -> bool:
        """Whether the process that acted died, or lost its lease."""
        return self.fault in ("crash", "pause", "long pause")


@dataclass(frozen=True)
class Scenario:
    """A story to be told with a fault at each of its points."""

    name: str
    arrange: Callable[[Process], None]
    act: Callable[[Process], None]
    expect: Callable[[World, Evidence, Story], Iterable[str]]
    asked: bool = False
    """Whether a person or program asks for the act, and asks again when there was no answer."""


def _put(process: Process, *names: str, **changes: Any) -> list[RunId]:
    """Insert a run for each name (`label=task`), remember its label, and return the ids."""
    labels: dict[str, RunId] = process.world.notes.setdefault("labels", {})
    runs = []
    for name in names:
        label, _, kind = name.partition("=")
        once = label.startswith("once")
        given = {"task": kind or "demo.succeed", "due_at": process.clock.now(), "at_most_once": once}
        runs.append(new_run(**given | changes))
        labels[label] = runs[-1].id
    now = process.clock.now()
    process.database.write(lambda tx: queueing.insert_runs(tx, runs, now))
    for run in runs:
        process.world.say(run.id)
    return [run.id for run in runs]


def _holder(process: Process) -> Process:
    """Return a second process, which goes on living whatever happens."""
    return Process(process.world, process.database, "holder")


def _leave(process: Process, key: str = "actor") -> None:
    process.world.notes[key] = process.hands


def _ends(ends: Ends) -> Callable[[World, Evidence, Story], Iterator[str]]:
    def expect(world: World, evidence: Evidence, story: Story) -> Iterator[str]:
        return judge_ends(world, evidence, ends)

    return expect


def judge_ends(world: World, evidence: Evidence, ends: Ends) -> Iterator[str]:
    """Compare how the labelled runs ended with *ends*, which names all of them and all runs there are."""
    labels: dict[str, RunId] = world.notes["labels"]
    runs = {run.id: run for run in evidence.runs}
    assert set(ends) == set(labels), "every run has an end"
    if len(runs) != len(labels):
        yield f"{len(runs)} runs, expected {len(labels)}"
    for label, wanted in ends.items():
        run = runs.get(labels[label])
        found = "gone" if run is None else _end(run)
        if found not in ((wanted,) if isinstance(wanted, str) else wanted):
            yield f"run {label!r} is {found}, expected {wanted}"


def _end(run: Run) -> str:
    return run.state if run.failure_kind is None else f"{run.state}:{run.failure_kind}"


def _count(world: World, evidence: Evidence, n: int) -> Iterator[str]:
    if len(evidence.runs) != n:
        yield f"{len(evidence.runs)} runs, expected {n}"
    yield from (f"run {run.id} is {_end(run)}" for run in evidence.runs if run.state != "succeeded")


def _nothing(process: Process) -> None:
    pass


# -- enqueue --


def _enqueue_one(process: Process) -> None:
    process.world.say(process.enqueuer.enqueue(Request(succeed, {"text": "one"}), by="ann"))


def _enqueue_many(process: Process) -> None:
    now = process.clock.now()
    requests = [
        Request(succeed, {"text": "now"}),
        Request(succeed, {"text": "later"}, due_at=now + 5 * SECOND),
        Request(succeed, {"text": LONG_TEXT}, queue="other", priority=8),
    ]
    for run_id in process.enqueuer.enqueue_many(requests):
        process.world.say(run_id)


def _enqueue_unique(process: Process) -> None:
    # Whoever asks again comes by the same run, ended or not.
    unique = Unique(fields=("text",), states="any", on_conflict="existing")
    for wish in (
        Request(succeed, {"text": "alone"}, unique=unique),
        Request(succeed, {"text": "alone"}, unique=unique),
    ):
        process.world.say(process.enqueuer.enqueue(wish, by="ann"))


def _runs_to_replace(process: Process) -> None:
    unique = Unique(fields=("text",), on_conflict="replace")
    wish = Request(succeed, {"text": "alone"}, due_at=process.clock.now() + HOUR, unique=unique)
    run_id = process.enqueuer.enqueue(wish)
    process.world.notes["labels"] = {"alone": run_id}
    process.world.notes["wish"] = replace(wish, due_at=None, priority=8)
    process.world.say(run_id)


def _replace(process: Process) -> None:
    labels: dict[str, RunId] = process.world.notes["labels"]
    # When nobody heard the first answer, the run may have ended meanwhile: then this is a wish for another one.
    placed = process.enqueuer.place([process.world.notes["wish"]])[0]
    labels.setdefault("alone" if placed.run_id == labels["alone"] else f"again {placed.run_id}", placed.run_id)
    process.world.say(placed.run_id)


def _replaced(world: World, evidence: Evidence, story: Story) -> Iterator[str]:
    yield from judge_ends(world, evidence, dict.fromkeys(world.notes["labels"], "succeeded"))


def _runs_to_edit(process: Process) -> None:
    _put(process, "ready", "scheduled")
    (later,) = _put(process, "later", due_at=process.clock.now() + HOUR)
    process.world.notes["edited"] = [*process.world.notes["labels"].values()]
    assert later in process.world.notes["edited"]


def _edit_runs(process: Process) -> None:
    editing = Editing(process.database, process.clock)
    wish = RunEdit(priority=8, queue="other", due_at=process.clock.now() + 5 * SECOND)
    for run_id in process.world.notes["edited"]:
        # One that was edited before the fault may have started since.
        with contextlib.suppress(Conflict):
            editing.edit(run_id, wish, "ann")


def _enqueued(n: int) -> Callable[[World, Evidence, Story], Iterator[str]]:
    return lambda world, evidence, story: _count(world, evidence, n * story.times)


def _prepare_waiting(process: Process) -> None:
    first = new_run()
    process.world.notes["runs"] = [
        first,
        new_run(needs=(Need(first.id),)),
        new_run(needs=(Need(first.id),), parameters=f'"{LONG_TEXT}"'),
    ]


def _enqueue_waiting(process: Process) -> None:
    # Whoever gives the ids himself may ask as often as he likes.
    runs, now = process.world.notes["runs"], process.clock.now()
    process.database.write(lambda tx: queueing.insert_runs(tx, runs, now))
    for run in runs:
        process.world.say(run.id)


# -- schedules --


def _schedules_due(process: Process) -> None:
    for spec in (
        every(HOUR, "plain", task="demo.succeed"),
        every(HALF_HOUR, "late", task="demo.succeed"),
        every(HOUR, "fanned", task="demo.succeed", fan_out=FanOut("text", ("a", "b", "c")), pack="press"),
    ):
        process.scheduling.put(spec, "file", "ann")
    process.clock.advance(HOUR + 5 * SECOND)
    process.world.notes["ledger"] = {
        ("plain", "13:00"): ("fired", 1), ("late", "12:30"): ("coalesced", 0), ("late", "13:00"): ("fired", 1),
        ("fanned", "13:00"): ("fired", 3),
    }  # fmt: skip
    process.world.notes["outbox"] = 1


def _schedules_overlapping(process: Process) -> None:
    for policy in (OverlapPolicy.SKIP, OverlapPolicy.QUEUE_ONE, OverlapPolicy.CANCEL_RUNNING):
        fan_out = FanOut("text", ("a", "b")) if policy is OverlapPolicy.QUEUE_ONE else None
        process.scheduling.put(
            every(HOUR, policy.value, task="long.succeed", overlap=policy, fan_out=fan_out), "file", "ann"
        )
    process.clock.advance(HOUR + 2 * SECOND)
    process.fire()
    process.clock.advance(HOUR - 4 * SECOND)
    holder = _holder(process)
    holder.begin()
    holder.cycle()
    _leave(holder, "holder")
    process.clock.advance(4 * SECOND)
    process.world.notes["ledger"] = {
        ("skip", "13:00"): ("fired", 1), ("skip", "14:00"): ("skipped", 0),
        ("queue_one", "13:00"): ("fired", 2), ("queue_one", "14:00"): ("fired", 2),
        ("cancel_running", "13:00"): ("fired", 1), ("cancel_running", "14:00"): ("fired", 1),
    }  # fmt: skip


def _fire(process: Process) -> None:
    process.fire()


def _ledger(world: World, evidence: Evidence, story: Story) -> Iterator[str]:
    """Compare the ledger and the number of runs of each fire time with what the arrangement noted."""
    names = _names(world)
    found: dict[tuple[str, str], tuple[str, int]] = {}
    runs = Counter((run.schedule_id, run.fire_at) for run in evidence.runs)
    for row in evidence.occurrences:
        key = names[row.schedule_id], _clock_time(row.fire_at)
        if key in found or row.n != 1:
            yield f"occurrence {key} has {row.n} times in one row, or two rows"
        found[key] = row.outcome, runs[row.schedule_id, row.fire_at]
    wanted = world.notes["ledger"]
    if found != wanted:
        yield f"the ledger is {found}, expected {wanted}"
    if (messages := _rows(world, "outbox")) != world.notes.get("outbox", 0):
        yield f"{messages} messages"


def _names(world: World) -> dict[str, str]:
    table = metadata.tables["schedules"]
    return {row.id: row.name for row in world.look(sqlalchemy.select(table.c.id, table.c.name))}


def _rows(world: World, table: str) -> int:
    return int(world.look(sqlalchemy.select(sqlalchemy.func.count()).select_from(metadata.tables[table]))[0][0])


def _clock_time(micros: int) -> str:
    return f"{NOON.fromtimestamp(micros / 1_000_000, NOON.tzinfo):%H:%M}"


def _schedule_to_edit(process: Process) -> None:
    process.scheduling.put(every(HOUR, task="demo.succeed"), "file", "ann")
    process.clock.advance(HOUR + 7 * MINUTE)
    # Noticed seven minutes late, the fire time of the old rule fires; 13:05 of the new rule lies before the edit.
    process.world.notes["ledger"] = {("s1", "13:00"): ("fired", 1)}


def _edit(process: Process) -> None:
    process.scheduling.put(every(5 * MINUTE, task="demo.succeed"), "file", "ann")
    process.world.say("edited")


def _edited(world: World, evidence: Evidence, story: Story) -> Iterator[str]:
    yield from _ledger(world, evidence, story)
    if (versions := _rows(world, "schedule_versions")) != 2:
        yield f"{versions} versions of the schedule, expected 2"


def _schedules_to_steer(process: Process) -> None:
    for name in ("paused", "resumed", "deleted"):
        process.scheduling.put(every(HOUR, name, task="demo.succeed"), "file", "ann")
    process.clock.advance(MINUTE)
    process.scheduling.pause("resumed", "ann")
    process.clock.advance(HOUR)
    process.world.notes["ledger"] = {
        ("paused", "13:00"): ("fired", 1), ("resumed", "13:00"): ("skipped", 0), ("deleted", "13:00"): ("fired", 1),
    }  # fmt: skip


def _steer(process: Process) -> None:
    done_before = contextlib.suppress(Conflict, UnknownName)
    with done_before:
        process.scheduling.pause("paused", "ann")
    process.world.say("paused")
    with done_before:
        process.scheduling.resume("resumed", "ann")
    process.world.say("resumed")
    with done_before:
        process.scheduling.delete("deleted", "ann")
    process.world.say("deleted")


def _steered(world: World, evidence: Evidence, story: Story) -> Iterator[str]:
    yield from _ledger(world, evidence, story)
    table = metadata.tables["schedules"].c
    query = sqlalchemy.select(table.name, table.paused_at, table.deleted_at, table.next_at).order_by(table.name)
    found = {row.name: (row.paused_at is not None, row.deleted_at is not None) for row in world.look(query)}
    wanted = {"deleted": (False, True), "paused": (True, False), "resumed": (False, False)}
    if found != wanted:
        yield f"schedules are (paused, deleted) {found}, expected {wanted}"


def _schedule_to_trigger(process: Process) -> None:
    process.scheduling.put(every(HOUR, task="demo.succeed", fan_out=FanOut("text", ("a", "b"))), "file", "ann")


def _trigger(process: Process) -> None:
    for run_id in process.scheduling.trigger("s1", "ann"):
        process.world.say(run_id)


# -- the queue --


def _scheduled_runs(process: Process) -> None:
    _put(process, "one", "two", "once", due_at=NOON + MINUTE)
    process.clock.advance(MINUTE + SECOND)


def _stage(process: Process) -> None:
    process.stager.run_once()


def _waiting_runs(process: Process) -> None:
    (needed,) = _put(process, "needed")
    _put(process, "one", "once", needs=(Need(needed),))
    worker = _holder(process)
    worker.begin()
    worker.cycle()
    worker.work()
    worker.cycle(0)
    worker.stop()


def _diamond(process: Process) -> None:
    """Two runs under way, each needed by the same run, and that one by another; a third that fails stops one."""
    left, right, broken = _put(process, "left", "right", "broken=demo.fail")
    (both,) = _put(process, "both", needs=(Need(left, OnFailure.STOP), Need(right, OnFailure.STOP)))
    _put(process, "last", needs=(Need(both, OnFailure.STOP),))
    (stopped,) = _put(process, "stopped", needs=(Need(broken, OnFailure.STOP), Need(right, OnFailure.STOP)))
    _put(process, "stopped too", needs=(Need(stopped, OnFailure.STOP),))
    _put(process, "undone", needs=(Need(broken, OnFailure.COMPENSATE),))
    process.begin()
    process.cycle()
    _leave(process)


def _worthless_runs(process: Process) -> None:
    _put(process, "tried=demo.retry", expires_at=NOON + MINUTE)
    worker = _holder(process)
    worker.begin()
    worker.cycle()
    worker.work()
    worker.cycle(0)
    worker.stop()
    _put(process, "ready", expires_at=NOON + MINUTE)
    _put(process, "scheduled", expires_at=NOON + MINUTE, due_at=NOON + 2 * MINUTE)
    _put(process, "good", expires_at=NOON + HOUR)
    process.clock.advance(MINUTE + SECOND)


def _ready_runs(process: Process) -> None:
    _put(process, "one", "once", "retried=demo.retry")
    _put(process, "long", parameters=f'"{LONG_TEXT}"')
    _put(process, "other", queue="other")
    process.begin()
    _leave(process)


def _claim(process: Process) -> None:
    process.cycle()


def _claimed(world: World, evidence: Evidence, story: Story) -> Iterator[str]:
    lost = ("succeeded", "failed:lost") if story.beheaded else "succeeded"
    ends = dict.fromkeys(("one", "retried", "long", "other"), "succeeded")
    yield from judge_ends(world, evidence, {**ends, "once": lost})


# -- the ends of attempts --


def _running_runs(*names: str) -> Callable[[Process], None]:
    def arrange(process: Process) -> None:
        _put(process, *names)
        process.begin()
        process.cycle()
        _leave(process)

    return arrange


def _save_checkpoint(process: Process) -> None:
    run = next(run for run in process.running.values() if run.id == process.world.notes["labels"]["moved"])
    session, now = process.session, process.clock.now()
    assert session is not None
    for page in ("1", "2"):
        if process.database.write(lambda tx, page=page: save_checkpoint(tx, session, run.id, run.attempt, page, now)):  # type: ignore[misc]
            process.world.say(f"page {page}")


def _stands_where_it_was_said(world: World, evidence: Evidence, story: Story) -> Iterator[str]:
    lost = ("succeeded", "failed:lost") if story.beheaded else "succeeded"
    yield from judge_ends(world, evidence, {"moved": "succeeded", "plain": "succeeded", "once": lost})
    table = metadata.tables["run_progress"].c
    found = [row.checkpoint for row in world.look(sqlalchemy.select(table.checkpoint))]
    said = [int(text.removeprefix("page ")) for text in world.said if text.startswith("page ")]
    if said and (found == [] or int(found[0]) < max(said)):
        yield f"the checkpoint is {found}, although page {max(said)} was acknowledged"


def _running_and_ready(process: Process) -> None:
    _running_runs("given back=demo.interrupt", "done", "once")(process)
    _put(process, "next", "once next")


def _finish(process: Process) -> None:
    process.work()
    process.cycle(0)


def _cycle(process: Process) -> None:
    process.work()
    process.cycle()


def _finish_and_stop(process: Process) -> None:
    process.work()
    process.cycle(0)
    process.stop()


def _lost_if_beheaded(*sure: str, once: Iterable[str] = ("once",), **others: str) -> Callable[..., Iterator[str]]:
    def expect(world: World, evidence: Evidence, story: Story) -> Iterator[str]:
        ends: dict[str, str | tuple[str, ...]] = dict.fromkeys(sure, "succeeded")
        ends |= {label.replace("_", " "): end for label, end in others.items()}
        ends |= dict.fromkeys(once, ("succeeded", "failed:lost") if story.beheaded else "succeeded")
        yield from judge_ends(world, evidence, ends)

    return expect


# -- limits --

ONE_AT_A_TIME: Final = '[{"name":"key/task:demo","limit":1}]'
LIMITED: Final = ("first", "second", "retried", "free")
PACED: Final = '[{"name":"api"},{"name":"key/task:demo","limit":1}]'


def _limited_runs(process: Process) -> None:
    limits = {"name": "api", "limits": '{"rate":"1/s"}', "state": "{}", "version": 1, "updated_at": NOON}
    process.database.write(lambda tx: tx.core(metadata.tables["resources"].insert().values(**limits)))
    _put(process, "first", "second", uses=ONE_AT_A_TIME)
    _put(process, "retried=demo.retry", "once", uses=PACED, turn_key="a")
    _put(process, "free", turn_key="b")
    process.begin()
    _leave(process)


def _limited_and_running(process: Process) -> None:
    _limited_runs(process)
    process.cycle()
    assert {run.id for run in process.running.values()} >= {process.world.notes["labels"]["first"]}
    _leave(process)


def _held_and_free(process: Process) -> None:
    """Leave held runs and no attempt that could let them go: the place that one had was given back by nobody."""
    _limited_and_running(process)
    process.work()
    process.cycle(0)
    process.database.write(lambda tx: tx.core(metadata.tables["holdings"].delete()))
    process.clock.advance(2 * SECOND)
    _leave(process)


def _let_go(process: Process) -> None:
    process.releaser.run_once()


def _interrupted(world: World, evidence: Evidence, story: Story) -> Iterator[str]:
    ends = {"given back": "succeeded", "unknown": "succeeded", "once": "failed:lost"}
    yield from judge_ends(world, evidence, ends)


def _dead_session(process: Process) -> None:
    poison, plain, once, cancelled, once_cancelled = "poison", "plain", "once", "cancelled", "once cancelled"
    (poisonous,) = _put(process, poison)
    for _ in range(3):
        _die_with_all(process)
        process.rescuer.run_once()
    _put(process, plain, once)
    asked = _put(process, cancelled, once_cancelled)
    worker = Process(process.world, process.database, "dead")
    worker.begin()
    worker.cycle()
    assert len(worker.running) == 5
    assert (poisonous, 4) in worker.running
    for run_id in asked:
        process.steering.cancel(run_id, "ann")
    process.clock.advance(9 * SECOND)
    _put(process, "held=long.succeed")
    holder = _holder(process)
    holder.begin()
    holder.cycle()
    _leave(holder, "holder")
    process.clock.advance(4 * SECOND)


def _die_with_all(process: Process) -> None:
    worker = Process(process.world, process.database, "dead")
    worker.begin()
    worker.cycle()
    process.clock.advance(13 * SECOND)


def _rescue(process: Process) -> None:
    process.rescuer.run_once()


def _runs_to_cancel(process: Process) -> None:
    _put(process, "running=long.succeed")
    holder = _holder(process)
    holder.begin()
    holder.cycle()
    _leave(holder, "holder")
    _put(process, "ready", "left alone")
    _put(process, "scheduled", due_at=NOON + HOUR)


def _cancel(process: Process) -> None:
    labels = process.world.notes["labels"]
    for label in ("ready", "running", "scheduled"):
        with contextlib.suppress(Conflict):
            if not process.steering.cancel(labels[label], "ann", "no need").asked:
                process.world.say(f"cancelled {labels[label]}")


def _cancelled(world: World, evidence: Evidence, story: Story) -> Iterator[str]:
    # While the one who cancels sleeps, the run may come to its end.
    late = ("cancelled", "succeeded") if story.fault == "long pause" else "cancelled"
    yield from judge_ends(
        world, evidence, {"ready": late, "running": late, "scheduled": "cancelled", "left alone": "succeeded"}
    )
    states = {run.id: run.state for run in evidence.runs}
    said = [text.partition(" ")[2] for text in world.said if text.startswith("cancelled ")]
    yield from (f"run {run_id} was said to be cancelled" for run_id in said if states[run_id] != "cancelled")


def _failed_run(process: Process) -> None:
    _running_runs("failed=demo.break", "good")(process)
    process.work()
    process.cycle(0)
    process.stop()
    process.world.notes.pop("actor")


def _retry(process: Process) -> None:
    with contextlib.suppress(Conflict):
        process.steering.retry(process.world.notes["labels"]["failed"], "ann")
    process.world.say("retried")


def _dead_letters(process: Process) -> None:
    _running_runs("broken=demo.break", "other=demo.break", "good")(process)
    process.work()
    process.cycle(0)
    process.stop()
    process.world.notes.pop("actor")
    described = StoredTask("demo.break", "", {}, {}, {}, "1")
    process.database.write(lambda tx: put_tasks(tx, [described], process.clock.now()))


def _replay(process: Process) -> None:
    letters = DeadLetters(process.database, process.clock)
    ids = [process.world.notes["labels"][label] for label in ("broken", "other")]
    letters.replay(letters.look(DeadFilter(ids=ids), Edit(rate=Rate.parse("1/s"))), "ann")
    process.world.say("replayed")


def _replayed_once(world: World, evidence: Evidence, story: Story) -> Iterator[str]:
    labels: dict[str, RunId] = world.notes["labels"]
    table = metadata.tables["runs"].c
    replays = Counter(row[0] for row in world.look(sqlalchemy.select(table.replay_of)) if row[0] is not None)
    for label in ("broken", "other"):
        if (n := replays.pop(labels[label], 0)) != 1:
            yield f"run {label!r} was replayed {n} times"
    yield from (f"run {run_id} was replayed" for run_id in replays)
    undecided = table.decided_at.is_(None) & table.id.in_([labels["broken"], labels["other"]])
    yield from (f"run {row[0]} is undecided" for row in world.look(sqlalchemy.select(table.id).where(undecided)))


def _live(process: Process) -> None:
    _put(process, "held=long.succeed", "once")
    process.begin()
    process.cycle()
    _leave(process)


def _beat_and_stop(process: Process) -> None:
    process.beat()
    process.stop()


def _stopped(world: World, evidence: Evidence, story: Story) -> Iterator[str]:
    # A process that could not end its session is alive, and goes on with what it has.
    once = ("succeeded", "failed:lost") if story.fault.endswith("error") else "failed:lost"
    yield from judge_ends(world, evidence, {"held": "succeeded", "once": once})


SCENARIOS: Final = (
    Scenario("enqueue one", _nothing, _enqueue_one, _enqueued(1), asked=True),
    Scenario("enqueue many", _nothing, _enqueue_many, _enqueued(3), asked=True),
    Scenario("enqueue unique", _nothing, _enqueue_unique, lambda w, e, s: _count(w, e, 1), asked=True),
    Scenario("replace unique", _runs_to_replace, _replace, _replaced, asked=True),
    Scenario("edit runs", _runs_to_edit, _edit_runs, _ends(
        dict.fromkeys(("ready", "scheduled", "later"), "succeeded")), asked=True),
    Scenario("enqueue waiting", _prepare_waiting, _enqueue_waiting, lambda w, e, s: _count(w, e, 3), asked=True),
    Scenario("fire", _schedules_due, _fire, _ledger),
    Scenario("fire overlapping", _schedules_overlapping, _fire, _ledger),
    Scenario("edit while due", _schedule_to_edit, _edit, _edited, asked=True),
    Scenario("pause, resume, delete", _schedules_to_steer, _steer, _steered, asked=True),
    Scenario("trigger", _schedule_to_trigger, _trigger, _enqueued(2), asked=True),
    Scenario("stage", _scheduled_runs, _stage, _ends(dict.fromkeys(("one", "two", "once"), "succeeded"))),
    Scenario("release", _waiting_runs, _stage, _ends(dict.fromkeys(("needed", "one", "once"), "succeeded"))),
    Scenario("expire", _worthless_runs, _stage, _ends({
        "tried": "succeeded", "ready": "cancelled", "scheduled": "cancelled", "good": "succeeded"})),
    Scenario("claim", _ready_runs, _claim, _claimed),
    Scenario("claim with limits", _limited_runs, _claim, _lost_if_beheaded(*LIMITED)),
    Scenario("finish and let go", _limited_and_running, _cycle, _lost_if_beheaded(*LIMITED)),
    Scenario("let go", _held_and_free, _let_go, _lost_if_beheaded(*LIMITED)),
    Scenario("finish", _running_runs(
        "ok", "result=demo.long", "retried=demo.retry", "failed=demo.fail", "snoozed=demo.snooze", "once",
    ), _finish, _lost_if_beheaded("ok", "result", "retried", "snoozed", failed="failed:error")),
    Scenario("checkpoint", _running_runs("moved", "plain", "once"), _save_checkpoint, _stands_where_it_was_said),
    Scenario("finish what others need", _diamond, _finish, _ends({
        "left": "succeeded", "right": "succeeded", "broken": "failed:error", "both": "succeeded", "last": "succeeded",
        "stopped": "cancelled", "stopped too": "cancelled", "undone": "succeeded"})),
    Scenario("finish and claim", _running_and_ready, _cycle, _lost_if_beheaded(
        "given back", "done", "next", once=("once", "once next"))),
    Scenario("give back and stop", _running_runs(
        "given back=demo.interrupt", "unknown=demo.unknown", "once=demo.interrupt"), _finish_and_stop, _interrupted),
    Scenario("heartbeat and stop", _live, _beat_and_stop, _stopped),
    Scenario("rescue", _dead_session, _rescue, _ends({
        "plain": "succeeded", "once": "failed:lost", "cancelled": "cancelled", "once cancelled": "failed:lost",
        "poison": "failed:poison", "held": "succeeded"})),
    Scenario("cancel", _runs_to_cancel, _cancel, _cancelled, asked=True),
    Scenario("replay batch", _dead_letters, _replay, _replayed_once, asked=True),
    Scenario("retry", _failed_run, _retry, _ends({"failed": "succeeded", "good": "succeeded"}), asked=True),
)  # fmt: skip
