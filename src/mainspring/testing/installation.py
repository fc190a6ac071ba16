"""A real installation in a temporary SQLite file, on a clock that stands still until a test moves it."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from mainspring.app import Application
from mainspring.client import Client, Run
from mainspring.clock import ManualClock, boot_id
from mainspring.config.schedule import ScheduleDefaults, to_spec
from mainspring.config.written import read_definitions
from mainspring.domain.duration import parse_duration
from mainspring.domain.resource_limits import ResourceLimits
from mainspring.domain.runs import ClaimedRun, Outcome
from mainspring.domain.spec import ScheduleSpec
from mainspring.domain.tasks import Task
from mainspring.errors import InvalidInput
from mainspring.ids import RunId, SessionId, uuid7
from mainspring.runtime.worker import outcomes
from mainspring.runtime.worker.attempt import Attempt, AttemptContext
from mainspring.runtime.worker.execution import Surroundings, TaskExecution
from mainspring.runtime.worker.logs import AttemptHandler
from mainspring.runtime.worker.reports import progress_of
from mainspring.runtime.worker.result_cache import ResultCache
from mainspring.services.artifacts import ArtifactStore
from mainspring.services.catalog import Catalog
from mainspring.services.fire import Firer
from mainspring.services.maintenance import Releaser, Stager
from mainspring.store import claiming, migrate, sessions, tables
from mainspring.store import runs as stored
from mainspring.store.runs import RunFilter
from mainspring.store.sessions import NewSession
from mainspring.store.sqlite.database import SqliteDatabase
from mainspring.testing.inline import at_least_info, await_here
from mainspring.testing.records import LedgerEntry, RunRecord, entry_of, record_of
from mainspring.version import VERSION

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When the clock of a test installation stands at first: Thursday, 1 January 2026, midnight UTC."""
_MOST_ATTEMPTS: Final = 10_000
_LEASE: Final = timedelta(days=3_650)


class StillClock(ManualClock):
    """A clock that only the test moves; whoever would wait on it is told so instead of waiting for ever."""

    def wait(self, signal: threading.Event, timeout: float) -> bool:
        """Return at once if nothing is to be waited for.

        Raises:
            InvalidInput: the clock stands still, so that the wait would never end.
        """
        if signal.is_set() or timeout <= 0:
            return signal.is_set()
        raise InvalidInput("only the test moves its clock, so this would wait for ever; call drain() first")


class TestApp:
    """An installation for one test: enqueue, move the clock, fire, run everything inline, look."""

    __test__ = False

    def __init__(
        self,
        folder: Path,
        tasks: Iterable[Task[..., Any]] = (),
        schedules: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        start: datetime = START,
        zone: str = "UTC",
        give: Mapping[type, Any] | None = None,
        resources: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Open it in *folder*; see `open_test_app`."""
        self.clock = StillClock(start)
        self._catalog, self._zone, self._give = Catalog(tasks), zone, dict(give or {})
        specs = list(self._specs(schedules or {}))
        path = folder / "mainspring.db"
        path.write_bytes(_migrated_file())
        self._database = SqliteDatabase(path)
        self._application = Application(self._database, self.clock)
        self.client = Client(self._application, "test")
        self._firer, self._stager = Firer(self._database, self.clock), Stager(self._database, self.clock)
        self._releaser = Releaser(self._database, self.clock)
        self._artifacts = ArtifactStore(self._database, self.clock, folder / "artifacts")
        self._results = ResultCache(self._database, self.clock)
        described = self._catalog.describe()
        self._database.write(lambda tx: tables.put_tasks(tx, described, start))
        self._application.scheduling.apply(specs, "test", "test")
        declared = {name: ResourceLimits.from_mapping(body) for name, body in (resources or {}).items()}
        self._application.resources.apply(declared, "test")
        self._session = self._open_session()

    def enqueue(self, task: Task[..., Any], /, **parameters: Any) -> Run:
        """Enqueue a run; `client` has more ways to.

        Raises:
            ParametersInvalid: the parameters do not fit.
        """
        return self.client.enqueue(task, **parameters)

    def advance(self, by: timedelta | str) -> datetime:
        """Move the clock forward, by a timedelta or a text such as ``1h30m``; return the new time. Nothing runs yet."""
        self.clock.advance(parse_duration(by) if isinstance(by, str) else by)
        return self.clock.now()

    def fire_due(self) -> int:
        """Decide every fire time that has come, as a scheduler does; return how many runs that made."""
        fired = 0
        while True:
            result = self._firer.run_once()
            if result.failed:
                raise InvalidInput(f"schedules cannot be fired: {', '.join(result.failed)}; the log says why")
            fired += result.fired
            if not result.more:
                return fired

    def drain(self) -> int:
        """Run everything that is ready, inline, one after the other as a worker claims it; return how many attempts.

        What a run enqueues is run as well. A retry comes due later: move the clock, and drain again.

        Raises:
            InvalidInput: there was no end after 10,000 attempts.
        """
        with _logs_kept():
            for done in range(_MOST_ATTEMPTS):
                run = self._claim()
                if run is None:
                    return done
                self._finish(self._attempt(run))
        raise InvalidInput(f"still not drained after {_MOST_ATTEMPTS:,} attempts: does a task enqueue itself for ever?")

    def pause(self, schedule: str, reason: str = "") -> None:
        """Pause a schedule."""
        self._application.scheduling.pause(schedule, "test", reason)

    def resume(self, schedule: str) -> None:
        """Resume a schedule."""
        self._application.scheduling.resume(schedule, "test")

    def trigger(self, schedule: str) -> list[RunId]:
        """Start the runs of a schedule by hand; return their ids."""
        return self._application.scheduling.trigger(schedule, "test")

    def runs(self, task: Task[..., Any] | None = None, schedule: str | None = None) -> list[RunRecord]:
        """Return all runs in the order in which they were made, or those of a task or schedule."""
        wanted = RunFilter(task=None if task is None else task.name, schedule=schedule)
        found = self._application.reading.runs(wanted, 100_000)
        return [self.run(run.id) for run in reversed(found)]

    def run(self, run_id: str) -> RunRecord:
        """Return a run.

        Raises:
            NotFound: there is none of this id.
        """
        view = self._application.reading.run(RunId(run_id))
        return record_of(view, self._application.reading.log(RunId(run_id), view.run.attempt))

    def ledger(self, schedule: str) -> list[LedgerEntry]:
        """Return what became of the fire times of a schedule, oldest first.

        Raises:
            UnknownName: there is no such schedule.
        """
        found = self._application.scheduling.require(schedule)
        return [entry_of(row) for row in reversed(self._application.reading.ledger(found.id, 100_000))]

    def close(self) -> None:
        """Close the database."""
        self._application.close()

    def __enter__(self) -> TestApp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _specs(self, schedules: Mapping[str, Mapping[str, Any]]) -> Iterator[ScheduleSpec]:
        for name, written in read_definitions(schedules, "schedules of the test").items():
            spec = to_spec(name, written, self._zone, ScheduleDefaults(), {})
            task = self._catalog.require(spec.task)
            for member in spec.members():
                fanned = {} if spec.fan_out is None else {spec.fan_out.parameter: member}
                task.validate({**spec.parameters, **fanned})
            yield spec

    def _open_session(self) -> SessionId:
        session = NewSession(
            SessionId(uuid7()), "worker", "test", "test", 0, boot_id(), VERSION, "[]", "*", 1, wake_address=""
        )
        now, lease_now = self.clock.now(), self._database.lease_now()
        self._database.write(lambda tx: sessions.open_session(tx, session, _LEASE, now, lease_now))
        return session.id

    def _claim(self) -> ClaimedRun | None:
        self._stager.run_once()
        self._releaser.run_once()
        queues = self._database.read(claiming.all_queues_with_work)
        _, claimed = claiming.cycle(self._database, self._session, (), list, queues, 1, self.clock.now())
        return claimed[0] if claimed else None

    def _finish(self, outcome: Outcome) -> None:
        claiming.cycle(self._database, self._session, [outcome], list, (), 0, self.clock.now())

    def _attempt(self, run: ClaimedRun) -> Outcome:
        now, task = self.clock.now(), self._catalog.find(run.task)
        if task is None:
            return outcomes.given_back(run, now, f"the test has no task {run.task!r}")
        if run.expires_at is not None and run.expires_at <= now:
            return outcomes.expired(run, now)
        looked = self._results.look([(run, task)]).get(run.id)
        if looked is not None and looked.found is not None:
            return outcomes.taken_over(run, looked.found, now)
        attempt, ended = Attempt(run, now, task, session=self._session), list[Outcome]()
        attempt.cache_key = None if looked is None else looked.key
        around = Surroundings(
            self._database, self.clock, self._artifacts, lambda text: text, self._enter,
            lambda attempt, outcome: ended.append(outcome),
        )  # fmt: skip
        execution = TaskExecution(attempt, task, around)
        with at_least_info(logging.getLogger(f"task.{task.name}")):
            if task.is_async:
                await_here(execution.coroutine())
            else:
                copy_context().run(execution.call)
        self._save_progress(attempt)
        return ended[0]

    def _save_progress(self, attempt: Attempt) -> None:
        if attempt.progress is not None:
            row = (attempt.run.id, attempt.run.attempt, progress_of(attempt))
            self._database.write(lambda tx: stored.save_progress(tx, [row], self.clock.now()))

    def _enter(self, task: Task[..., Any], context: AttemptContext) -> dict[str, Any]:
        for kind in task.given_parameters.values():
            if kind not in self._give:
                raise InvalidInput(f"task {task.name!r} asks for a {kind.__name__}; pass open_test_app(give={{…}})")
        return {name: self._give[kind] for name, kind in task.given_parameters.items()}


def open_test_app(
    folder: Path,
    tasks: Iterable[Task[..., Any]] = (),
    schedules: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    start: datetime = START,
    zone: str = "UTC",
    give: Mapping[type, Any] | None = None,
    resources: Mapping[str, Mapping[str, Any]] | None = None,
) -> TestApp:
    """Open an installation for one test in *folder*, such as pytest's ``tmp_path``; close it, or use it with ``with``.

    Args:
        folder: where the database and artifacts go; it must hold none yet.
        tasks: the tasks that its worker knows.
        schedules: schedules by name, written as in ``mainspring.yaml``.
        start: where the clock stands at first, an aware datetime.
        zone: the zone of schedules that name none.
        resources: what runs share, by name, written as in ``mainspring.yaml``.
        give: what tasks are given that ask for more than their parameters, by type (such as `PackContext`).

    Raises:
        ConfigurationInvalid: a schedule cannot be used.
        UnknownName: a schedule names a task that is not among *tasks*.
        ParametersInvalid: a schedule's parameters do not fit its task.
    """
    return TestApp(folder, tasks, schedules, start=start, zone=zone, give=give, resources=resources)


@contextmanager
def _logs_kept() -> Iterator[None]:
    handler, root = AttemptHandler(), logging.getLogger()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


@cache
def _migrated_file() -> bytes:
    """Return a file with the schema; copying it takes a thousandth of the time that making it takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        database = SqliteDatabase(path)
        migrate.upgrade(database)
        database.tidy()
        database.close()
        return path.read_bytes()
