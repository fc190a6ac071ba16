"""The worker: one pump that finishes what has ended and claims for free slots, in one transaction each time."""

from __future__ import annotations

import json
import logging
import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from mainspring.clock import Clock
from mainspring.domain.needs import ASK
from mainspring.domain.queue_order import QueueOrder
from mainspring.domain.runs import ClaimedRun, Ended, FinishResult, Outcome
from mainspring.domain.tasks import Task
from mainspring.errors import StoreFull, StoreUnavailable
from mainspring.ids import ClaimId, RunId, SessionId, uuid7
from mainspring.runtime.isolation import system
from mainspring.runtime.isolation.code import IsolatedCode
from mainspring.runtime.isolation.execution import IsolatedExecution
from mainspring.runtime.isolation.executor import CANCEL_GRACE, INTERRUPT_GRACE, IsolatedExecutor
from mainspring.runtime.loops import Loop, backoff
from mainspring.runtime.session import Session
from mainspring.runtime.worker import outcomes
from mainspring.runtime.worker.attempt import Attempt, AttemptContext, StopCause
from mainspring.runtime.worker.execution import ParametersUnread, Surroundings, TaskExecution
from mainspring.runtime.worker.executors import LoopExecutor, ThreadExecutor
from mainspring.runtime.worker.logs import AttemptLog
from mainspring.runtime.worker.reports import Reporter
from mainspring.runtime.worker.result_cache import ResultCache
from mainspring.runtime.worker.soft_limits import SoftLimits
from mainspring.services.artifacts import ArtifactRules, ArtifactStore
from mainspring.services.catalog import Catalog
from mainspring.services.standstill import StandstillWatch
from mainspring.store import claiming
from mainspring.store.database import Database
from mainspring.store.hints import CANCEL, READY, SCHEDULES
from mainspring.store.sessions import Held

_log = logging.getLogger("mainspring.worker")
POLL: Final = 1.0
_INTERRUPT_GRACE: Final = INTERRUPT_GRACE
_KILL_SECONDS: Final = 3.0
_LONGEST_BACKOFF: Final = 5.0


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker serves, and how it stops."""

    name: str
    queues: QueueOrder | None = None
    """None serves every queue, in turns."""
    slots: int = 10
    drain: timedelta | None = timedelta(seconds=25)
    """How long to let running attempts finish on a stop; None waits for ever."""
    artifacts: Path = Path(".mainspring/artifacts")
    """The folder of this host for artifacts, unless the rules name another place, and for files on their way."""
    artifact_rules: ArtifactRules | None = None
    code: IsolatedCode | None = None
    """Where child processes find the tasks; None means that this worker cannot isolate."""


class Worker:
    """Serves queues until stopped; `start` and `stop` may be called from any thread."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        catalog: Catalog,
        options: WorkerOptions,
        *,
        redact: Callable[[str], str] = lambda text: text,
        enter: Callable[[Task[..., Any], AttemptContext], dict[str, Any]] | None = None,
        on_hint: Callable[[frozenset[str]], None] = lambda topics: None,
    ) -> None:
        """Prepare a worker; *enter* gives further arguments to functions, *on_hint* hears every hint as well."""
        self._database, self._clock, self._catalog, self._options = database, clock, catalog, options
        self._extra_hint = on_hint
        artifacts = ArtifactStore(database, clock, options.artifacts, options.artifact_rules)
        self._results = ResultCache(database, clock)
        self._around = Surroundings(database, clock, artifacts, redact, enter, self._on_done)
        self._session = Session(
            database, clock, "worker", options.name, tasks=catalog.names, queues=_queues_text(options.queues),
            slots=options.slots, on_hint=self._on_hint, on_held=self._on_held, on_lost=self._on_lost,
        )  # fmt: skip
        self._coroutines, self._threads = LoopExecutor(), ThreadExecutor()
        self._children: IsolatedExecutor | None = None
        if options.code is not None and system.SUPPORTED:
            self._children = IsolatedExecutor(options.code, options.artifacts, self._trusted_for)
        self._soft_limits = SoftLimits(clock)
        self._standstill = StandstillWatch(database, clock)
        self._full = False
        """The database's disk has no room: nothing is claimed until a write has succeeded."""
        self._running: dict[tuple[str, int], Attempt] = {}
        self._running_lock = threading.Lock()
        self._done: deque[Outcome] = deque()
        self._signal, self._ended = threading.Event(), threading.Event()
        self._claiming: ClaimId | None = None
        self._reporter = Reporter(database, clock, self._attempts, redact)
        self._reports = Loop("reports", self._reporter.run_once, clock)
        self._pump = threading.Thread(target=self._serve, name="mainspring-pump", daemon=True)
        self._accepting, self._stopping = True, False
        self._turn = 0
        self._look_at = 0.0
        self._hungry = True
        self._unknown_before: set[tuple[str, int]] = set()

    def start(self) -> None:
        """Open the session and begin to claim."""
        self._session.open()
        self._reports.start()
        self._pump.start()

    def stop(self) -> None:
        """Stop in two stages: claim nothing more and let attempts finish; then interrupt what is left and give it back.

        The lease is kept alive all the while. Returns when nothing runs any more.
        """
        with self._running_lock:
            # A claim under way starts before this, and is drained, or sees it, and gives back what it took.
            self._accepting = False
        self._signal.set()
        self._drain()
        self._stopping = True
        self._signal.set()
        self._pump.join()
        self._reports.stop()
        self._report_the_last()
        self._soft_limits.stop()
        self._coroutines.stop()
        self._threads.stop()
        if self._children is not None:
            self._children.stop()
        self._session.close()

    def interrupt(self) -> None:
        """End the first stage of a stop now."""
        self._options = replace(self._options, drain=timedelta(0))
        self._ended.set()

    @property
    def busy(self) -> int:
        """Return how many attempts are running."""
        return len(self._running)

    @property
    def children(self) -> IsolatedExecutor | None:
        """The child processes of this worker, if it can isolate."""
        return self._children

    def warm(self) -> None:
        """Prepare for suspects: another worker has missed renewals, and its runs may soon be taken back."""
        if self._children is not None and self._accepting:
            self._children.warm()

    def _trusted_for(self) -> float:
        return self._session.trusted_until - self._clock.monotonic()

    def _report_the_last(self) -> None:
        try:
            self._reporter.run_once()
        except StoreUnavailable as error:
            _log.warning("progress_not_saved error=%s", error)

    def _drain(self) -> None:
        began = self._clock.monotonic()
        self._wait_while_running(lambda: began + _seconds(self._options.drain))
        left = self._attempts()
        if left:
            _log.warning("drain_ended interrupted=%d", len(left))
            for attempt in left:
                attempt.ask_to_stop(StopCause.INTERRUPTED)
            self._wait_for_interrupted(self._clock.monotonic() + _INTERRUPT_GRACE)

    def _wait_while_running(self, until: Callable[[], float]) -> None:
        while True:
            self._ended.clear()
            left = until() - self._clock.monotonic()
            if not self._running or left <= 0:
                return
            self._clock.wait(self._ended, min(left, POLL))

    def _wait_for_interrupted(self, until: float) -> None:
        self._wait_while_running(lambda: until)
        if self._children is not None:
            # Its keeper kills what has not ended; a run that goes back must not go on.
            self._children.wait_until_idle(INTERRUPT_GRACE + _KILL_SECONDS)
        for attempt in self._attempts():
            # A thread cannot be stopped: its run goes back, and what it still returns is dropped.
            if attempt.settle():
                self._on_done(attempt, outcomes.interrupted(attempt, self._clock.now(), self._around.redact))

    def _serve(self) -> None:
        failures = 0
        while not (self._stopping and not self._done and not self._running):
            self._signal.clear()
            try:
                worked = self._cycle()
            except StoreFull as error:
                failures += 1
                if not self._full:
                    _log.error(
                        "database_full error=%s; nothing is claimed, ends are recorded when there is room", error
                    )
                self._full = True
                self._clock.wait(self._signal, backoff(failures, 0.1, _LONGEST_BACKOFF))
                continue
            except StoreUnavailable as error:
                failures += 1
                _log.warning("database_unavailable times=%d error=%s", failures, error)
                self._clock.wait(self._signal, backoff(failures, 0.1, _LONGEST_BACKOFF))
                continue
            except Exception:  # the pump outlives any mistake; what it failed to record is tried again
                failures += 1
                _log.exception("pump_failed times=%d", failures)
                self._clock.wait(self._signal, backoff(failures, 0.1, _LONGEST_BACKOFF))
                continue
            failures = 0
            if worked:
                self._resume()
            if not worked and not self._done:
                self._clock.wait(self._signal, self._idle_seconds())

    def _resume(self) -> None:
        if self._full:
            self._full = False
            _log.warning("database_has_room; runs are claimed again")

    def _idle_seconds(self) -> float:
        """Return how long there is nothing to do unless somebody signals."""
        full = len(self._running) >= self._options.slots
        if full or self._standstill.seen or not (self._accepting and self._session.trusted):
            return POLL
        return max(self._look_at - self._clock.monotonic(), 0.0)

    def _cycle(self) -> bool:
        """Record what has ended and claim for the free slots; return whether anything was done."""
        # First: it may ask the database, and nothing that has ended may be lost when that does not answer.
        still = self._standstill.in_force()
        batch = [self._done.popleft() for _ in range(len(self._done))]
        free = 0 if still else self._free(sum((o.run.id, o.run.attempt) in self._running for o in batch))
        if not batch and not free:
            return False
        if self._full and batch:
            # What has ended goes first; it takes less room than what begins.
            free = 0
        began, session = self._clock.monotonic(), self._session.id
        claim_id = self._claiming = ClaimId(uuid7())
        was_hungry = self._hungry
        if free:
            # Before the claim: a hint that arrives during it asks for another.
            self._hungry = False
        try:
            queues = self._queues() if free else ()
            result, claimed = claiming.cycle(
                self._database, session, batch, self._choose, queues, free, self._clock.now(), claim_id
            )
        except BaseException:
            self._done.extendleft(reversed(batch))
            self._hungry = self._hungry or was_hungry
            self._claiming = None
            raise
        self._forget(batch)
        for run_id in result.fenced:
            _log.warning("fenced run_id=%s; its lease was lost and its outcome is not recorded", run_id)
        if free:
            self._hungry = self._hungry or len(claimed) == free or result.more
            self._look_at = began + POLL
        # Which queues have work was looked up before these became ready.
        self._hungry = self._hungry or result.released > 0
        if claimed and session == self._session.id and self._session.trusted:
            # Otherwise the session was lost meanwhile, and whoever rescues these runs may start them.
            self._start_all(claimed, session)
        self._claiming = None
        self._announce(batch, result)
        return bool(claimed or batch)

    def _free(self, ending: int) -> int:
        if not (self._accepting and self._session.trusted):
            return 0
        free = self._options.slots - len(self._running) + ending
        wanted = ending or self._hungry or self._clock.monotonic() >= self._look_at
        return free if wanted else 0

    def _queues(self) -> Sequence[str]:
        if self._options.queues is not None:
            return self._options.queues.names
        return self._database.read(claiming.all_queues_with_work)

    def _choose(self, queues: Sequence[str]) -> Sequence[str]:
        self._turn += 1
        order = self._options.queues
        if order is not None:
            wanted = set(queues)
            return [name for name in order.pick_order(self._turn) if name in wanted]
        if not queues:
            return ()
        first = self._turn % len(queues)
        return [*queues[first:], *queues[:first]]

    def _announce(self, batch: Sequence[Outcome], result: FinishResult) -> None:
        if result.released or any(o.ended in (Ended.INTERRUPTED, Ended.LOST) for o in batch):
            self._database.sender.send(READY)
        if result.earliest_due_at is not None:
            # Those who stage runs may be asleep until something that was due before this.
            self._database.sender.send(SCHEDULES)

    def _start_all(self, claimed: Sequence[ClaimedRun], session: SessionId) -> None:
        """Start what *session* claimed; what it lost meanwhile belongs to whoever rescues it."""
        claimed = self._around.with_parameters(claimed)
        now = self._clock.now()
        coroutines: list[TaskExecution] = []
        calls: list[TaskExecution] = []
        isolated: list[IsolatedExecution] = []
        results = self._results.look((run, self._catalog.find(run.task)) for run in claimed)
        for run in claimed:
            task = self._catalog.find(run.task)
            if task is None:
                self._hand_in(outcomes.given_back(run, now, f"worker {self._options.name} has no task {run.task!r}"))
                continue
            if run.attempt == 1 and run.expires_at is not None and run.expires_at <= now:
                self._hand_in(outcomes.expired(run, now))
                continue
            if (task.flow.limits or run.uses == ASK) and (unasked := self._needs(run, task, now)) is not None:
                self._hand_in(unasked)
                continue
            refused = self._cannot_isolate(task)
            if refused is not None:
                self._hand_in(outcomes.given_back(run, now, refused))
                continue
            looked = results.get(run.id)
            if looked is not None and looked.found is not None:
                self._hand_in(outcomes.taken_over(run, looked.found, now))
                continue
            attempt = Attempt(run, now, task, AttemptLog(task.limits.output_limit), session=session)
            attempt.cache_key = None if looked is None else looked.key
            with self._running_lock:
                # Judged here: a session that is lost from now on finds the attempt among those it drops.
                if attempt.key in self._running or session != self._session.id or not self._session.trusted:
                    continue
                if self._accepting:
                    self._running[attempt.key] = attempt
            if not self._accepting and attempt.key not in self._running:
                self._hand_in(outcomes.not_begun(run, now))
                continue
            if self._children is not None and (task.limits.isolated or run.suspect):
                attempt.isolated = True
                isolated.append(IsolatedExecution(attempt, task, self._around))
                continue
            self._warn_of_what_cannot_hold(attempt, task)
            execution = TaskExecution(attempt, task, self._around)
            (coroutines if task.is_async else calls).append(execution)
        if isolated and self._children is not None:
            self._children.submit(isolated)
        self._soft_limits.watch([execution.attempt for execution in (*coroutines, *calls)])
        if coroutines:
            self._coroutines.submit(coroutines)
        if calls:
            self._threads.submit(calls)

    def _needs(self, run: ClaimedRun, task: Task[..., Any], now: datetime) -> Outcome | None:
        """Return the outcome of a run whose limits nobody has asked: back with its needs; None lets it begin."""
        if run.uses not in (None, "[]", ASK):
            return None
        text = run.parameters
        try:
            parameters = json.loads(text if text is not None else self._around.long_parameters(run.id))
            needs = task.flow.needs(task.name, parameters)
        except ParametersUnread as error:
            return outcomes.given_back(run, now, str(error))
        except Exception as error:  # the function is the user's code
            return outcomes.raised(
                Attempt(run, now, task, AttemptLog(task.limits.output_limit)), error, now, self._around.redact
            )
        return None if needs.uses is None else outcomes.not_asked(run, needs, now)

    def _cannot_isolate(self, task: Task[..., Any]) -> str | None:
        """Return why a run of *task* cannot begin here; a suspect runs beside the others where nothing better is."""
        if not task.limits.isolated or self._children is not None or not system.SUPPORTED:
            return None
        return f"task {task.name!r} runs isolated, and worker {self._options.name} has no code for child processes"

    def _warn_of_what_cannot_hold(self, attempt: Attempt, task: Task[..., Any]) -> None:
        if task.limits.isolated:
            attempt.note(self._clock.now(), f"this system ({sys.platform}) has no isolation: no hard limit holds")

    def _attempts(self) -> list[Attempt]:
        with self._running_lock:
            return list(self._running.values())

    def _on_done(self, attempt: Attempt, outcome: Outcome) -> None:
        self._reporter.ended(attempt)
        self._hand_in(outcome)

    def _hand_in(self, outcome: Outcome) -> None:
        self._done.append(outcome)
        self._signal.set()

    def _forget(self, batch: Sequence[Outcome]) -> None:
        with self._running_lock:
            for outcome in batch:
                self._running.pop((outcome.run.id, outcome.run.attempt), None)
        self._ended.set()

    def _on_hint(self, topics: frozenset[str]) -> None:
        # No topic means that hints may have been missed.
        if READY in topics or not topics:
            self._hungry = True
            self._signal.set()
        if CANCEL in topics:
            self._session.look()
        self._extra_hint(topics)

    def _on_held(self, held: list[Held]) -> None:
        """Obey cancels, and give back what the database says we hold and we know nothing of, seen twice in a row."""
        if self._children is not None:
            self._children.trust()
        known = {attempt.key: attempt for attempt in self._attempts()}
        ending = {(str(o.run.id), o.run.attempt) for o in tuple(self._done)}
        unknown: set[tuple[str, int]] = set()
        for item in held:
            key = (str(item.run_id), item.attempt)
            attempt = known.get(key)
            if attempt is None and key not in ending and item.claim_id != self._claiming:
                unknown.add(key)
            elif attempt is not None and item.cancel_asked:
                self._cancel(attempt)
        for run_id, number in sorted(unknown & self._unknown_before):
            self._adopt_lost_claim(run_id, number)
        self._unknown_before = unknown

    def _cancel(self, attempt: Attempt) -> None:
        """Ask an attempt to stop; one that goes on for a while says in its log what can be done and what cannot."""
        now = self._clock.monotonic()
        attempt.ask_to_stop(StopCause.CANCELLED)
        if attempt.asked_at is None:
            attempt.asked_at = now
        elif now - attempt.asked_at >= CANCEL_GRACE and not (attempt.said_so or attempt.isolated):
            attempt.said_so = True
            attempt.note(self._clock.now(), _goes_on(attempt, now - attempt.asked_at))

    def _adopt_lost_claim(self, run_id: str, number: int) -> None:
        session = self._session.id
        found = self._database.read(lambda tx: claiming.held_run(tx, session, RunId(run_id)))
        if found is not None and found.attempt == number and (run_id, number) not in self._running:
            _log.warning("claim_adopted run_id=%s attempt=%d; its reply was lost", run_id, number)
            self._start_all([found], session)

    def _on_lost(self) -> None:
        """Drop everything: these attempts belong to whoever rescues them."""
        for attempt in self._attempts():
            attempt.ask_to_stop(StopCause.LOST)
            attempt.settle()
        with self._running_lock:
            self._running.clear()
        self._done.clear()
        self._hungry = True
        self._ended.set()
        self._signal.set()


def _goes_on(attempt: Attempt, seconds: float) -> str:
    begin = f"cancel was asked {seconds:.0f} s ago and the task goes on"
    if attempt.task is not None and attempt.task.is_async:
        return f"{begin}: it was cancelled and caught that; only @task(isolated=True) makes it possible to kill it"
    return (
        f"{begin}: a thread can only be asked, by ctx.cancelled and ctx.progress(); "
        "only @task(isolated=True) makes it possible to kill it"
    )


def _seconds(span: timedelta | None) -> float:
    return math.inf if span is None else span.total_seconds()


def _queues_text(order: QueueOrder | None) -> str:
    if order is None:
        return "*"
    if order.strict:
        return ",".join(order.names)
    return ",".join(f"{name}:{weight}" for name, weight in zip(order.names, order.weights, strict=True))
