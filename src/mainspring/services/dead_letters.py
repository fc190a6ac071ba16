"""Decide on dead letters, the failed runs on which nobody has decided yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from mainspring.clock import Clock
from mainspring.domain.parameters import misfits, value_from_text
from mainspring.domain.queue_order import QUEUE_NAME
from mainspring.domain.rate import Rate
from mainspring.domain.runs import NewRun, RunKind
from mainspring.domain.signature import Symptom, symptom_of
from mainspring.encoding import decode, encode, fingerprint
from mainspring.errors import InvalidInput, NotFound
from mainspring.ids import RunId, new_run_id, uuid7
from mainspring.services.directory import Directory
from mainspring.services.drain import Drain, drain_of
from mainspring.services.enqueue import snapshot
from mainspring.store import dead_letters as stored
from mainspring.store import queueing, runs
from mainspring.store.database import Database, Tx
from mainspring.store.dead_letters import DeadFilter, DeadGroup, DeadLetter
from mainspring.store.hints import READY, SCHEDULES
from mainspring.store.runs import RunFilter, StoredRun

__all__ = ["DeadFilter", "DeadLetters", "Edit", "Group", "Look", "Replayed", "RunFilter"]

_REASONS_SHOWN: Final = 10
_IDS_RECORDED: Final = 100
_REPLAY: Final = "dead.replay"
Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters that failed in the same way."""

    signature: str
    count: int
    first_at: datetime
    last_at: datetime
    example: RunId
    """The newest of them."""
    symptom: Symptom
    traceback: str | None
    """That of the example."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What a replay gets that its dead letter had not; without any of it the same work is done again."""

    texts: Mapping[str, str] = field(default_factory=dict)
    """Parameters for all, each read as its task's schema wants it."""
    each: Mapping[RunId, Mapping[str, Any]] = field(default_factory=dict)
    """Parameters for single runs; they win."""
    queue: str | None = None
    priority: int | None = None
    rate: Rate | None = None
    """How fast they come due; all at once without one."""
    checkpoint: bool = True
    """Go on from the last checkpoint where there is one."""

    def __post_init__(self) -> None:
        if self.queue is not None and QUEUE_NAME.fullmatch(self.queue) is None:
            raise InvalidInput(f"queue {self.queue!r} is not usable; write 1 to 100 letters, digits, '_', '.' and '-'")
        if self.rate is not None and self.rate.burst > 1:
            raise InvalidInput(f"rate {self.rate}: a replay is spread evenly and knows no burst; leave it out")

    @property
    def step(self) -> timedelta:
        """Return how long after one replay the next comes due."""
        return timedelta(0) if self.rate is None else self.rate.per / self.rate.n


@dataclass(frozen=True, slots=True)
class Changed:
    """What becomes of one parameter: how many runs have another value than before, and one of them."""

    name: str
    count: int
    before: Any
    """None where the run had no such parameter."""
    after: Any


@dataclass(frozen=True, slots=True)
class Look:
    """What a replay would do; nothing has been done."""

    wanted: DeadFilter
    edit: Edit
    until: RunId | None
    """The last of those meant; None where there is none."""
    count: int
    by_task: Mapping[str, int]
    refused: Mapping[str, int]
    """Why runs would be left as they are, and how many; the commonest reasons."""
    refused_count: int
    changed: tuple[Changed, ...]
    checkpoints: int
    """How many would go on from a checkpoint."""
    drain: Drain

    @property
    def replayable(self) -> int:
        """Return how many would be replayed."""
        return self.count - self.refused_count


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did."""

    count: int
    until: datetime | None
    """When the last of them comes due."""


class DeadLetters:
    """Acts on dead letters; each is decided once, and every decision is audited with its filter and count."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._directory = Directory(database, clock)

    def count(self) -> int:
        """Return how many there are, counted up to 100,000."""
        return self._database.read(stored.count)

    def count_of(self, wanted: DeadFilter) -> int:
        """Return how many there are of those that *wanted* lets through."""
        return self._database.read(partial(stored.count_of, wanted=wanted))

    def groups(self, wanted: DeadFilter, most: int = 20, offset: int = 0) -> list[Group]:
        """Return groups, the largest first; of the newest 100,000 dead letters that *wanted* lets through."""
        return [_group(row) for row in self._database.read(lambda tx: stored.groups(tx, wanted, most, offset))]

    def group(self, signature: str) -> list[Group]:
        """Return the group of this signature: one, or one for each task where failures were not signed yet.

        Raises:
            NotFound: there is none.
        """
        found = self.groups(DeadFilter(signature=signature), most=1_000)
        if not found:
            raise NotFound("dead letter", f"with the signature {signature}")
        return found

    def runs(self, wanted: DeadFilter, most: int = 50, before: RunId | None = None) -> list[StoredRun]:
        """Return dead letters that *wanted* lets through, newest first."""
        return self._database.read(lambda tx: stored.list_dead(tx, wanted, most, before))

    def look(self, wanted: DeadFilter, edit: Edit) -> Look:
        """Return what a replay would do.

        Raises:
            InvalidInput: *edit* cannot be read, or names a run that is not among those meant.
        """
        until = self._database.read(lambda tx: stored.last_id(tx, wanted))
        by_task: Counter[str] = Counter()
        queues: Counter[tuple[str, str]] = Counter()
        refused: Counter[str] = Counter()
        changed: dict[str, Changed] = {}
        checkpoints, left = 0, set(edit.each)
        for letter in self._letters(wanted, until):
            by_task[letter.run.task] += 1
            left.discard(letter.run.id)
            after, why = self._parameters(letter, edit)
            if why is not None:
                refused[why] += 1
                continue
            queues[edit.queue or letter.run.queue, letter.run.task] += 1
            checkpoints += edit.checkpoint and letter.has_checkpoint
            _note_changes(changed, decode(letter.parameters), after)
        self._refuse_strangers(left)
        drain = self._database.read(lambda tx: drain_of(tx, queues, edit.step, self._clock.now()))
        shown = dict(refused.most_common(_REASONS_SHOWN))
        count, no = sum(by_task.values()), sum(refused.values())
        changes = tuple(changed[name] for name in sorted(changed))
        return Look(wanted, edit, until, count, dict(by_task), shown, no, changes, checkpoints, drain)

    def _refuse_strangers(self, ids: Collection[RunId]) -> None:
        """Refuse parameters for runs that are not meant; what a replay that was interrupted has done is no stranger."""
        known = self._database.read(partial(stored.letters, ids=sorted(ids))) if ids else []
        strangers = set(ids) - {letter.run.id for letter in known if letter.run.decided_at is not None}
        if strangers:
            first = min(strangers)
            raise InvalidInput(f"run {first} has parameters of its own, but is not among the dead letters meant")

    def replay(self, look: Look, actor: str, told: Told = lambda done: None) -> Replayed:
        """Make a new run of each dead letter that *look* saw and that can be replayed, spread over time by its rate.

        *told* hears after each batch how many are done. What ends in the middle is gone on with by the same call: what
        is done is decided, and a rate goes on from the last replay.
        """
        subject, done = _subject(look.wanted), 0
        begin = self._begin(subject, look.edit)
        for batch in self._pages(look.wanted, look.until):
            due_at = begin + done * look.edit.step
            count = self._replay_batch(batch, look, actor, subject, due_at)
            done += count
            told(done)
        return Replayed(done, begin + (done - 1) * look.edit.step if done else None)

    def _replay_batch(
        self, batch: Sequence[tuple[RunId, int]], look: Look, actor: str, subject: str, due_at: datetime
    ) -> int:
        letters = self._letters_of(batch)
        now, mark, step = self._clock.now(), uuid7(), look.edit.step
        expected = dict(batch)
        plans: dict[RunId, NewRun] = {}
        for letter in letters:
            parameters, why = self._parameters(letter, look.edit)
            if why is None and letter.run.attempt == expected[letter.run.id]:
                plans[letter.run.id] = self._new_run(letter, parameters, look.edit, actor)

        def work(tx: Tx) -> int:
            before = stored.landed(tx, mark)
            if before is not None:
                return int(before["count"])
            ids = stored.lock_dead(tx, ((run_id, expected[run_id]) for run_id in plans))
            if not ids:
                return 0
            made = [_due(plans[run_id], due_at + place * step) for place, run_id in enumerate(ids)]
            stored.decide(tx, ids, now, f"replayed by {actor}")
            queueing.insert_runs(tx, made, now)
            if look.edit.checkpoint:
                stored.copy_checkpoints(tx, [(run_id, plans[run_id].id) for run_id in ids], now)
            body = {"count": len(ids), "until": made[-1].due_at, **described(look.wanted), **_edit_described(look.edit)}
            stored.record(tx, mark, now, actor, _REPLAY, subject, body)
            return len(ids)

        count = self._database.write(work)
        if count:
            self._database.sender.send(READY if due_at <= now else SCHEDULES)
        return count

    def _new_run(self, letter: DeadLetter, parameters: Mapping[str, Any], edit: Edit, actor: str) -> NewRun:
        run, body = letter.run, letter.snapshot
        span = body.get("expires")
        decided = self._directory.decide(
            run.task,
            queue=edit.queue or run.queue,
            priority=run.priority if edit.priority is None else edit.priority,
            max_tries=int(body.get("max_tries", run.max_tries)),
            expires=None if span is None else timedelta(seconds=span),
            by="the replay",
        )
        extra = {"replay_of": run.id, "reason": f"replayed by {actor}"}
        if "schedule" in body:
            extra["schedule"] = body["schedule"]
        needs = self._directory.needs(run.task, parameters)
        return NewRun(
            id=new_run_id(),
            task=run.task,
            queue=decided.queue,
            priority=decided.priority,
            max_tries=decided.max_tries,
            at_most_once=decided.at_most_once,
            parameters=encode(parameters),
            due_at=run.due_at,
            # Counted from when the replay comes due; `_due` moves both.
            expires_at=None if decided.expires is None else run.due_at + decided.expires,
            # Not of the schedule: its overlap policy would wait for, skip because of or cancel what is replayed.
            kind=RunKind.ENQUEUED,
            fire_at=run.fire_at,
            member=run.member,
            labels=encode(dict(run.labels)),
            owner_id=letter.owner_id,
            params_version=letter.params_version,
            snapshot=snapshot(run.task, self._directory.code_version(run.task), decided, extra=extra),
            replay_of=run.id,
            uses=needs.uses,
            turn_key=needs.key,
        )

    def _parameters(self, letter: DeadLetter, edit: Edit) -> tuple[Mapping[str, Any], str | None]:
        """Return the parameters of a replay, and why it is refused, if it is."""
        run = letter.run
        task = self._directory.tasks.get(run.task)
        if task is None:
            return {}, f"no worker has ever described the task {run.task!r}"
        texts = {name: value_from_text(name, text, task.schema, "--set") for name, text in edit.texts.items()}
        values = {**(decode(letter.parameters) or {}), **texts, **edit.each.get(run.id, {})}
        problems = misfits(task.schema, values)
        return values, f"parameters of task {run.task!r} do not fit: {'; '.join(problems)}" if problems else None

    def _begin(self, subject: str, edit: Edit) -> datetime:
        """Return when the first replay comes due: with a rate, after all that a replay of the same letters has made."""
        now = self._clock.now()
        last = self._database.read(partial(stored.last_record, action=_REPLAY, subject=subject))
        if edit.rate is None or last is None:
            return now
        return max(now, datetime.fromisoformat(last["until"]) + edit.step)

    def retry(self, wanted: DeadFilter, actor: str, told: Told = lambda done: None) -> int:
        """Make the same runs ready again, with as many tries as they had at first; return how many."""
        act = _Act("dead.retry", _reopen, hint=READY)
        return self._decide_all(wanted, actor, act, told)

    def discard(self, wanted: DeadFilter, actor: str, reason: str = "", told: Told = lambda done: None) -> int:
        """Decide that nothing becomes of these dead letters; return how many there were. `restore` undoes it."""
        why = f"{stored.DISCARDED}{actor}" + (f": {reason}" if reason else "")
        act = _Act("dead.discard", partial(stored.decide, reason=why), {"reason": reason})
        return self._decide_all(wanted, actor, act, told)

    def restore(self, wanted: DeadFilter, actor: str, told: Told = lambda done: None) -> int:
        """Make discarded runs dead letters again; return how many."""
        return self._decide_all(wanted, actor, _Act("dead.restore", _restore, discarded=True), told)

    def _decide_all(self, wanted: DeadFilter, actor: str, act: _Act, told: Told) -> int:
        done = 0
        until = self._database.read(partial(stored.last_id, wanted=wanted, discarded=act.discarded))
        for batch in self._pages(wanted, until, discarded=act.discarded):
            count = self._database.write(partial(act.run, uuid7(), self._clock.now(), actor, wanted, batch))
            done += count
            if act.hint and count:
                self._database.sender.send(act.hint)
            told(done)
        return done

    def export(self, wanted: DeadFilter) -> Iterator[dict[str, Any]]:
        """Yield every dead letter that *wanted* lets through with its parameters and how its attempts ended."""
        until = self._database.read(lambda tx: stored.last_id(tx, wanted))
        for batch in self._pages(wanted, until):
            letters = self._letters_of(batch)
            ends = self._database.read(partial(stored.attempts_of, ids=[letter.run.id for letter in letters]))
            for letter in letters:
                yield _exported(letter, ends[letter.run.id])

    def _letters(self, wanted: DeadFilter, until: RunId | None) -> Iterator[DeadLetter]:
        for batch in self._pages(wanted, until):
            yield from self._letters_of(batch)

    def _letters_of(self, batch: Sequence[tuple[RunId, int]]) -> list[DeadLetter]:
        return self._database.read(partial(stored.letters, ids=[run_id for run_id, _ in batch]))

    def _pages(
        self, wanted: DeadFilter, until: RunId | None, *, discarded: bool = False
    ) -> Iterator[list[tuple[RunId, int]]]:
        """Yield those meant by ascending id, each once, whatever becomes of them meanwhile."""
        after: RunId | None = None
        while until is not None:
            page = partial(stored.page, wanted=wanted, after=after, until=until, discarded=discarded)
            found = self._database.read(page)
            if not found:
                return
            yield found
            after = found[-1][0]


def described(wanted: DeadFilter) -> dict[str, Any]:
    """Return a filter as JSON values for the audit; conditions that are not given are left out."""
    like = wanted.like
    ids = None if wanted.ids is None else sorted(wanted.ids)
    said = {
        "signature": wanted.signature,
        "runs": ids if ids is None else ids[:_IDS_RECORDED],
        "runs_given": None if ids is None else len(ids),
        "task": like.task,
        "queue": like.queue,
        "schedule": like.schedule,
        "labels": dict(like.labels) if like.labels else None,
        "since": wanted.since,
        "until": wanted.until,
        "text": wanted.text,
    }
    given = {name: value for name, value in said.items() if value is not None}
    return {"filter": given or "all"}


def _edit_described(edit: Edit) -> dict[str, Any]:
    said = {
        "set": dict(edit.texts) or None,
        "edited_runs": len(edit.each) or None,
        "to_queue": edit.queue,
        "priority": edit.priority,
        "rate": None if edit.rate is None else str(edit.rate),
        "from_checkpoint": edit.checkpoint,
    }
    return {name: value for name, value in said.items() if value is not None}


def _subject(wanted: DeadFilter) -> str:
    """Return what the audit calls those meant: the same filter has the same subject, whenever `--since 2h` was said."""
    said = described(replace(wanted, since=None, until=None))["filter"]
    if wanted.signature is not None and len(said) == 1:
        return wanted.signature
    whole = encode([said, sorted(wanted.ids or ())])
    return f"dead letters {fingerprint(whole)[:16]}"


def _group(row: DeadGroup) -> Group:
    symptom = symptom_of(row.task, row.kind, row.error_type, row.message, row.traceback)
    return Group(row.signature, row.count, row.first_at, row.last_at, row.example, symptom, row.traceback)


def _note_changes(changed: dict[str, Changed], before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
    old = before or {}
    for name, value in after.items():
        if name not in old or old[name] != value:
            known = changed.get(name)
            first = (old.get(name), value) if known is None else (known.before, known.after)
            changed[name] = Changed(name, 1 if known is None else known.count + 1, *first)


def _due(run: NewRun, due_at: datetime) -> NewRun:
    expires_at = None if run.expires_at is None else due_at + (run.expires_at - run.due_at)
    return replace(run, due_at=due_at, expires_at=expires_at)


@dataclass(frozen=True, slots=True)
class _Act:
    """One decision on many dead letters."""

    action: str
    do: Callable[[Tx, Sequence[RunId], datetime], object]
    more: Mapping[str, Any] = field(default_factory=dict)
    discarded: bool = False
    """Whether it is about discarded runs instead of undecided ones."""
    hint: str = ""

    def run(
        self, mark: str, now: datetime, actor: str, wanted: DeadFilter, batch: Sequence[tuple[RunId, int]], tx: Tx
    ) -> int:
        """Decide on those of *batch* that still stand as they were seen; return how many."""
        before = stored.landed(tx, mark)
        if before is not None:
            return int(before["count"])
        ids = stored.lock_dead(tx, batch, discarded=self.discarded)
        if ids:
            self.do(tx, ids, now)
            body = {"count": len(ids), **described(wanted), **self.more}
            stored.record(tx, mark, now, actor, self.action, _subject(wanted), body)
        return len(ids)


def _restore(tx: Tx, ids: Sequence[RunId], now: datetime) -> None:
    stored.restore(tx, ids)


def _reopen(tx: Tx, ids: Sequence[RunId], now: datetime) -> None:
    letters = stored.letters(tx, ids)
    for letter, place in zip(letters, queueing.take_places(tx, len(letters)), strict=True):
        tries = max(int(letter.snapshot.get("max_tries", letter.run.max_tries)), 1)
        runs.reopen(tx, letter.run, place, now, tries)


def _exported(letter: DeadLetter, ends: Sequence[Any]) -> dict[str, Any]:
    run = letter.run
    names = (
        "id", "task", "queue", "priority", "schedule", "fire_at", "member", "created_at", "finished_at", "attempt",
        "tries", "max_tries", "failure_kind", "failure_message", "failure_signature", "labels",
    )  # fmt: skip
    told = ("attempt", "outcome", "started_at", "finished_at", "reason", "error_type", "error_message", "traceback")
    return {
        **{name: getattr(run, name) for name in names},
        "parameters": decode(letter.parameters),
        "attempts": [{name: getattr(end, name) for name in told} for end in ends],
    }
