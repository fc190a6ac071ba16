"""The composition root: the only module that chooses concrete classes and puts them together."""

from __future__ import annotations

import importlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from mainspring import config
from mainspring.clock import Clock, SystemClock, boot_id
from mainspring.config.loading import DEFAULT, Loaded
from mainspring.config.schedule import to_spec
from mainspring.config.secrets import secrets_in
from mainspring.config.variables import Variables
from mainspring.config.written import read_definitions
from mainspring.domain.needs import QueueLimits
from mainspring.domain.routes import Route
from mainspring.domain.spec import ScheduleSpec
from mainspring.domain.tasks import Task
from mainspring.errors import ConfigurationInvalid, InvalidInput, MainspringError, ParametersInvalid, unknown_name
from mainspring.pack.interface import Pack, PackContext
from mainspring.runtime.isolation.code import ChildCode, IsolatedCode
from mainspring.runtime.loops import Loop
from mainspring.runtime.scheduler import Maintenance, Scheduler
from mainspring.runtime.worker.attempt import AttemptContext
from mainspring.runtime.worker.worker import Worker, WorkerOptions
from mainspring.services import adoption
from mainspring.services.artifacts import ArtifactRules, ArtifactStore
from mainspring.services.auditing import Auditing
from mainspring.services.backfill import Backfilling
from mainspring.services.caching import Caching
from mainspring.services.catalog import Catalog
from mainspring.services.dead_letters import DeadLetters
from mainspring.services.defining import Defining, Surroundings
from mainspring.services.editing import Editing
from mainspring.services.enqueue import Enqueuer, Placed, Request
from mainspring.services.graphs import GraphEnqueuer, Graphs
from mainspring.services.locks import Locking
from mainspring.services.maintenance import Retention
from mainspring.services.ordering import Ordering
from mainspring.services.packs import PackDoor, PackEvents, find_pack, make_tables
from mainspring.services.queues import Queueing
from mainspring.services.reading import Reading
from mainspring.services.resources import AppliedResources, ResourceLimits, Resources
from mainspring.services.runs import Steering
from mainspring.services.schedules import Applied, Scheduling
from mainspring.services.standstill import MaintenanceMode
from mainspring.services.statistics import Figures, figures
from mainspring.store import limiting, migrate, tables
from mainspring.store.database import Database, Tx
from mainspring.store.hints import READY, SCHEDULES
from mainspring.store.joining import join

_log = logging.getLogger("mainspring.app")
PACK_EVENTS_EVERY = 1.0
CLEAR_EVERY = 600.0
"""Seconds between two looks for artifacts whose time is over."""
PATIENCE = 30.0
"""Seconds for which processes that stay try a server again that does not answer."""


def open_database(
    address: str, schema: str = "mainspring", retry_for: float = PATIENCE, hints: str | None = None
) -> Database:
    """Return the database at *address*: ``sqlite:///path`` or ``postgresql://…``; its schema is not looked at.

    A server that does not answer is tried again for *retry_for* seconds. *hints* is a direct address for listening,
    where *address* leads through a pooler.

    Raises:
        InvalidInput: the address is of another kind.
        StoreUnavailable: the file cannot be opened.
    """
    if address.startswith("sqlite:///"):
        from mainspring.store.sqlite.database import SqliteDatabase

        return SqliteDatabase.at_address(address)
    if address.startswith(("postgresql://", "postgres://")):
        try:
            from mainspring.store.postgres.database import PostgresDatabase
        except ImportError as error:
            raise InvalidInput(
                f"PostgreSQL needs the extra 'postgres': install mainspring[postgres] ({error})"
            ) from error
        return PostgresDatabase(address, schema, retry_for=retry_for, hints_url=hints)
    kind = address.partition(":")[0]
    raise InvalidInput(f"database addresses of kind {kind!r} are not known; write sqlite:///file or postgresql://…")


class Application:
    """A database with the services on it: what edges and clients hold."""

    def __init__(
        self,
        database: Database,
        clock: Clock | None = None,
        files: tuple[Path, ArtifactRules] | None = None,
        around: Surroundings | None = None,
    ) -> None:
        """Open the services; *files* says where artifacts lie, *around* what holds for schedules handed over."""
        self.database, self.clock, self._files, self._around = database, clock or SystemClock(), files, around

    @cached_property
    def artifacts(self) -> ArtifactStore:
        """Keeps artifacts.

        Raises:
            InvalidInput: only a configuration says where they lie.
        """
        if self._files is None:
            raise InvalidInput("artifacts need a mainspring.yaml, which says where they lie; give --config")
        return ArtifactStore(self.database, self.clock, *self._files)

    @cached_property
    def caching(self) -> Caching:
        """Keeps results for later runs."""
        return Caching(self.database, self.clock)

    @cached_property
    def enqueuer(self) -> Enqueuer:
        """Puts runs in."""
        return Enqueuer(self.database, self.clock)

    @cached_property
    def graph_enqueuer(self) -> GraphEnqueuer:
        """Puts graphs of runs in."""
        return GraphEnqueuer(self.database, self.clock)

    @cached_property
    def graphs(self) -> Graphs:
        """Looks at graphs of runs, and steers them."""
        return Graphs(self.database, self.clock)

    @cached_property
    def scheduling(self) -> Scheduling:
        """Keeps schedules."""
        return Scheduling(self.database, self.clock)

    @cached_property
    def steering(self) -> Steering:
        """Acts on runs."""
        return Steering(self.database, self.clock)

    @cached_property
    def editing(self) -> Editing:
        """Changes runs that have not started."""
        return Editing(self.database, self.clock)

    @cached_property
    def locking(self) -> Locking:
        """Gives and takes locks."""
        return Locking(self.database, self.clock)

    @cached_property
    def reading(self) -> Reading:
        """Answers questions."""
        return Reading(self.database, self.clock)

    @cached_property
    def defining(self) -> Defining:
        """Reads schedules that somebody hands over."""
        return Defining(self.database, self.clock, self._around)

    @cached_property
    def backfilling(self) -> Backfilling:
        """Makes up for fire times."""
        return Backfilling(self.database, self.clock)

    @cached_property
    def maintenance_mode(self) -> MaintenanceMode:
        """Lets the installation stand still."""
        return MaintenanceMode(self.database, self.clock)

    @cached_property
    def ordering(self) -> Ordering:
        """Makes runs of tasks that are known by name alone."""
        return Ordering(self.database, self.clock)

    @cached_property
    def queueing(self) -> Queueing:
        """Acts on queues."""
        return Queueing(self.database, self.clock)

    @cached_property
    def auditing(self) -> Auditing:
        """Reads who did what."""
        return Auditing(self.database)

    @cached_property
    def figures(self) -> Callable[..., Figures]:
        """Counts what attempts did."""
        return partial(figures, self.database)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """Decides on failed runs."""
        return DeadLetters(self.database, self.clock)

    def place_in(self, connection: Any, requests: Iterable[Request]) -> list[Placed]:
        """Enqueue runs inside the transaction of *connection*, and tell workers of its commit where it can be known."""
        joined = join(self.database, connection)
        placed = self.enqueuer.place_in(joined.tx, requests)
        joined.after_commit(lambda: self.database.sender.send(READY))
        return placed

    @cached_property
    def resources(self) -> Resources:
        """Looks at resources and acts on them."""
        return Resources(self.database, self.clock)

    def close(self) -> None:
        """Close the database."""
        self.database.close()


@dataclass(frozen=True, slots=True)
class AppliedProject:
    """What applying a project changed: its schedules, and its resources."""

    schedules: Applied
    resources: AppliedResources

    def in_words(self) -> str:
        """Return what changed, in one line."""
        parts = [self.schedules.in_words()]
        if self.resources.in_words():
            parts.append(f"resources: {self.resources.in_words()}")
        return "; ".join([*parts, *self.resources.kept])


@dataclass(frozen=True, slots=True)
class LoadedPack:
    """A pack with its checked settings."""

    pack: Pack
    settings: Any


class Project:
    """A configuration with the code that it names; loading it imports that code."""

    def __init__(self, loaded: Loaded, clock: Clock | None = None) -> None:
        self.loaded, self.clock = loaded, clock or SystemClock()

    @cached_property
    def packs(self) -> dict[str, LoadedPack]:
        """The packs that the configuration names, their settings checked."""
        found: dict[str, LoadedPack] = {}
        for name in self.loaded.settings.packs:
            with self._blaming("packs"):
                pack = find_pack(name)
            with self._blaming(f"pack {pack.name}"):
                given = self.loaded.pack_settings(pack.name)
                settings = pack.settings(self.loaded.variables, given, self.loaded.root)
            found[pack.name] = LoadedPack(pack, settings)
        unused = sorted(set(self.loaded.settings.pack_settings) - set(found))
        if unused:
            message = unknown_name("pack", unused[0], found)
            raise ConfigurationInvalid([f"{self.loaded.source_of('pack_settings')}: pack_settings: {message}"])
        return found

    @cached_property
    def pack_tasks(self) -> dict[str, list[Task[..., Any]]]:
        """The packs' tasks, by the name of the pack."""
        return {name: list(entry.pack.tasks(entry.settings)) for name, entry in self.packs.items()}

    @cached_property
    def catalog(self) -> Catalog:
        """All tasks of the configured modules and packs."""
        tasks = [task for found in self.pack_tasks.values() for task in found]
        root = str(self.loaded.root.absolute())
        if root not in sys.path:
            sys.path.insert(0, root)
        for module in self.loaded.settings.tasks:
            tasks += self._tasks_of(module)
        with self._blaming("tasks"):
            return Catalog(tasks)

    @cached_property
    def specs(self) -> list[ScheduleSpec]:
        """All schedules: the configuration's and the packs'; each is checked against its task's parameters."""
        settings = self.loaded.settings
        specs = dict(settings.schedule_specs())
        for name, entry in self.packs.items():
            specs |= {key: spec for key, spec in self._pack_specs(name, entry).items() if key not in specs}
        problems = [problem for spec in specs.values() for problem in self._parameter_problems(spec)]
        if problems:
            raise ConfigurationInvalid(problems)
        return list(specs.values())

    @property
    def routes(self) -> list[Route]:
        """The configuration's routes, then the packs'."""
        own = [Route(route.task, route.queue, route.priority) for route in self.loaded.settings.routes]
        return own + [route for entry in self.packs.values() for route in entry.pack.routes(entry.settings)]

    @property
    def queues(self) -> dict[str, str]:
        """The queues of configuration and packs with their descriptions."""
        described = {name: text for entry in self.packs.values() for name, text in entry.pack.queues().items()}
        return described | {name: queue.description for name, queue in self.loaded.settings.queues.items()}

    @property
    def undeclared_resources(self) -> dict[str, str]:
        """Resources that tasks name without the configuration declaring them: name to the first such task."""
        used = {
            name: task.name
            for task in reversed(list(self.catalog))
            if not callable(task.flow.uses)
            for name in task.flow.uses
        }
        return {name: task for name, task in sorted(used.items()) if name not in self.resources and "{" not in name}

    @property
    def queue_limits(self) -> dict[str, QueueLimits]:
        """The limits of the queues that the configuration names."""
        return {name: QueueLimits(said.running, said.per_key) for name, said in self.loaded.settings.queues.items()}

    @property
    def resources(self) -> dict[str, ResourceLimits]:
        """The resources that the configuration declares."""
        return {name: declared.limits() for name, declared in self.loaded.settings.resources.items()}

    def check(self) -> None:
        """Load everything and check it.

        Raises:
            ConfigurationInvalid: with everything that is wrong.
        """
        _ = self.catalog, self.specs, self.routes

    def database_address(self) -> str:
        """Return the address of the database: the configured one, else one that a pack's settings name.

        Raises:
            SecretMissing: the address is a reference to a secret that is not there.
        """
        if self.loaded.source_of("database") == DEFAULT:
            for entry in self.packs.values():
                address = entry.pack.database(entry.settings)
                if address is not None:
                    self.loaded.secrets.remember(*secrets_in({"database": address}, Variables({})))
                    return address
        return self.loaded.database_address()

    @property
    def watched(self) -> list[Path]:
        """Return files beside the configuration whose change changes the packs' schedules."""
        return [path for entry in self.packs.values() for path in entry.pack.watched(self.loaded.root)]

    def open(self, retry_for: float = PATIENCE) -> Application:
        """Return the services on the configured database; its schema is not looked at.

        A server that does not answer is tried again for *retry_for* seconds.
        """
        settings = self.loaded.settings
        hints = self.loaded.hints_address()
        database = open_database(self.database_address(), settings.database_schema, retry_for, hints)
        files, around = (self.artifact_folder, self.artifact_rules), Surroundings.of(settings)
        return Application(database, self.clock, files, around)

    def worker_options(self, name: str | None = None) -> WorkerOptions:
        """Return what a worker of this project serves, and how it stops."""
        given = self.loaded.settings.worker
        slots, drain = given.slots, given.drain
        for entry in self.packs.values():
            defaults = entry.pack.worker(entry.settings)
            if self.loaded.source_of("worker.slots") == DEFAULT:
                slots = defaults.get("slots", slots)
            if self.loaded.source_of("worker.drain") == DEFAULT:
                drain = defaults.get("drain", drain)
        return WorkerOptions(
            name or default_name(), given.queues, slots, drain, self.artifact_folder, self.artifact_rules,
            self.isolated_code,
        )  # fmt: skip

    @property
    def artifact_folder(self) -> Path:
        """The folder of this host for artifacts."""
        return self.loaded.data_dir / "artifacts"

    @property
    def artifact_rules(self) -> ArtifactRules:
        """Where artifacts go, how much there may be, and for how long they stay."""
        given = self.loaded.settings.artifacts
        location: str | None = given.location or None
        if location is not None and "://" not in location:
            location = str(self.loaded.root.absolute() / location)
        return ArtifactRules(location, given.largest, given.per_run, given.total, given.keep)

    @property
    def isolated_code(self) -> IsolatedCode:
        """Where a child process of a worker finds this project's tasks."""
        overrides = {name: value for name, value in self.loaded.overrides.items() if value is not None}
        arguments = {"path": str(self.loaded.path.absolute()), "overrides": overrides}
        return IsolatedCode(f"{__name__}:code_of_project", arguments)

    def _tasks_of(self, module: str) -> list[Task[..., Any]]:
        where = f"{self.loaded.source_of('tasks')}: tasks"
        try:
            loaded = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and module.startswith(error.name):
                raise ConfigurationInvalid(
                    [f"{where}: there is no module {module!r} in {self.loaded.root.absolute()} or on the Python path"]
                ) from error
            raise ConfigurationInvalid(
                [f"{where}: module {module!r} needs {error.name!r}, which is not installed"]
            ) from error
        except MainspringError as error:
            raise ConfigurationInvalid([f"{where}: module {module!r}: {error}"]) from error
        except Exception as error:  # whatever a user's module raises, it is the module's mistake
            said = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"
            raise ConfigurationInvalid(
                [f"{where}: module {module!r} fails at import{_place_of(error)}: {said}"]
            ) from error
        found = [value for value in vars(loaded).values() if isinstance(value, Task)]
        if not found:
            raise ConfigurationInvalid([f"{where}: module {module!r} holds no task; decorate a function with @task"])
        return list(dict.fromkeys(found))

    def _pack_specs(self, name: str, entry: LoadedPack) -> dict[str, ScheduleSpec]:
        with self._blaming(f"pack {name}"):
            written = entry.pack.schedules(entry.settings, self.loaded.root)
            settings = self.loaded.settings
            schedules = read_definitions(written, f"pack {name}")
        own = settings.own_calendars()
        return {
            key: to_spec(key, schedule, settings.zone, settings.scheduler, own, pack=name)
            for key, schedule in schedules.items()
        }

    def _parameter_problems(self, spec: ScheduleSpec) -> Iterator[str]:
        where = self._where(spec)
        task = self.catalog.find(spec.task)
        if task is None:
            yield f"{where}: {unknown_name('task', spec.task, self.catalog.names)}"
            return
        for member in spec.members():
            given = dict(spec.parameters)
            if spec.fan_out is not None:
                given[spec.fan_out.parameter] = member
            try:
                task.validate(given)
            except ParametersInvalid as error:
                yield f"{where}: {error}"
                return

    def _where(self, spec: ScheduleSpec) -> str:
        origin = self.loaded.source_of(f"schedules.{spec.name}.task")
        if spec.pack is not None and origin == DEFAULT:
            origin = f"pack {spec.pack}"
        return f"{origin}: schedules.{spec.name}"

    @contextmanager
    def _blaming(self, what: str) -> Iterator[None]:
        try:
            yield
        except ConfigurationInvalid:
            raise
        except InvalidInput as error:
            raise ConfigurationInvalid([f"{self.loaded.path.name}: {what}: {error}"]) from error


def _place_of(error: Exception) -> str:
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f" ({Path(error.filename).name}:{error.lineno})"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})"


def load_project(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None
) -> Project:
    """Load the configuration; nothing of the user's code is imported yet.

    Raises:
        ConfigurationInvalid: with everything that is wrong.
    """
    return Project(config.load(path, environ, overrides))


def default_name() -> str:
    """Return a name for this process."""
    return f"{socket.gethostname()}-{os.getpid()}"


def register(application: Application, project: Project) -> None:
    """Write what this project offers: tasks, queues, the packs' tables; and its routes where there are none yet."""
    now, routes = application.clock.now(), project.routes

    def work(tx: Tx) -> None:
        tables.put_tasks(tx, project.catalog.describe(), now)
        tables.put_queues(tx, project.queues)
        limiting.put_queue_limits(tx, project.queue_limits)
        tables.put_first_routes(tx, routes)

    application.database.write(work)
    for entry in project.packs.values():
        make_tables(application.database, entry.pack)


def apply(application: Application, project: Project, actor: str, *, reset_resources: bool = False) -> AppliedProject:
    """Make schedules, routes and resources in the database equal to the project's; all is checked before a write.

    Limits of resources that somebody edited by hand are left alone and told, unless *reset_resources* takes the file's.
    """
    project.check()
    application.scheduling.require_ours(project.specs, "file")
    register(application, project)
    routes = project.routes
    if application.database.write(lambda tx: tables.put_routes(tx, routes)):
        application.database.sender.send(SCHEDULES)
    shared = application.resources.apply(project.resources, actor, reset=reset_resources)
    return AppliedProject(application.scheduling.apply(project.specs, "file", actor), shared)


def make_scheduler(application: Application, name: str | None = None) -> Scheduler:
    """Return a scheduler on the database."""
    return Scheduler(application.database, application.clock, name or default_name())


class PackEntrance:
    """Gives tasks of packs the contexts they ask for, made once; the database is opened when the first one is."""

    def __init__(self, project: Project, application: Callable[[], Application]) -> None:
        self._project, self._application = project, application
        self._contexts: dict[str, PackContext] = {}

    def enter(self, task: Task[..., Any], context: AttemptContext) -> dict[str, Any]:
        """Return the arguments of *task* that a pack gives."""
        return {name: self._given(task, kind) for name, kind in task.given_parameters.items()}

    def _given(self, task: Task[..., Any], kind: type) -> Any:
        if kind is not PackContext:
            raise InvalidInput(f"task {task.name!r} asks for a {kind.__name__}, which nobody gives")
        owner = next((name for name, tasks in self._project.pack_tasks.items() if task in tasks), None)
        if owner is None:
            raise InvalidInput(f"task {task.name!r} asks for a PackContext but belongs to no pack")
        return pack_context(self._application(), self._project, owner, self._contexts)


def code_of_project(path: str, overrides: Mapping[str, object]) -> ChildCode:
    """Load a project's code in a process that children are forked from; nothing is opened before they are."""
    project = load_project(Path(path), os.environ, overrides)
    entrance = PackEntrance(project, cache(project.open))
    return ChildCode({task.name: task for task in project.catalog}, entrance.enter)


class WorkerProcess:
    """A worker with all that runs beside it: maintenance, and the messages to packs."""

    def __init__(self, application: Application, project: Project, name: str | None = None) -> None:
        self._project, self._application = project, application
        database, clock = application.database, application.clock
        self._maintenance = Maintenance(database, clock, on_overdue=lambda: self.worker.warm())
        files = ArtifactStore(database, clock, project.artifact_folder, project.artifact_rules)
        self._retention = Retention(files, self._maintenance.guard)
        self._clearing = Loop("artifacts", self._clear_away, clock)
        events = PackEvents(database, {name: entry.pack for name, entry in project.packs.items()})
        self._events = Loop("pack-events", lambda: 0.0 if events.run_once() else PACK_EVENTS_EVERY, clock)
        self.worker = Worker(
            database,
            clock,
            project.catalog,
            project.worker_options(name),
            redact=project.loaded.secrets.redact,
            enter=PackEntrance(project, lambda: application).enter,
            on_hint=self._on_hint,
        )

    def start(self) -> None:
        """Register the project's tasks, then begin to claim."""
        register(self._application, self._project)
        self.worker.start()
        self._maintenance.start()
        self._clearing.start()
        self._events.start()

    def stop(self) -> None:
        """Stop in two stages; see `Worker.stop`."""
        self._retention.stop()
        self.worker.stop()
        self._clearing.stop()
        self._maintenance.stop()
        self._events.stop()

    def _clear_away(self) -> float:
        self._retention.run_once()
        return CLEAR_EVERY

    def _on_hint(self, topics: frozenset[str]) -> None:
        if SCHEDULES in topics or not topics:
            self._maintenance.wake()
        self._events.wake()


def pack_context(application: Application, project: Project, name: str, kept: dict[str, PackContext]) -> PackContext:
    """Return the context of the pack of this name, the same for the life of the process."""
    if name not in kept:
        kept[name] = PackContext(
            pack=name,
            settings=project.packs[name].settings,
            database=PackDoor(application.database),
            clock=application.clock,
            log=logging.getLogger(f"pack.{name}"),
            folder=project.loaded.root,
        )
    return kept[name]


def ensure_schema(application: Application) -> None:
    """Bring a SQLite file to the schema of this release; refuse a PostgreSQL database that has not got it.

    Raises:
        SchemaOutdated: says what to do.
    """
    if application.database.dialect == "sqlite":
        migrate.upgrade(application.database)
    migrate.require_current(application.database)
    adoption.settle(application.database)


def bury_process(application: Application, pid: int) -> None:
    """End the sessions of a process of this host that its supervisor saw die: its runs need not wait for the lease."""
    now = application.clock.now()
    application.database.write(lambda tx: tables.end_process(tx, socket.gethostname(), pid, boot_id(), now))


def take_over(application: Application, running: Project, new: Loaded, actor: str) -> str:
    """Put a new configuration of a running project into force; return what that changed.

    Raises:
        ConfigurationInvalid: the new one is refused whole.
    """
    project = Project(new, running.clock)
    # Packs and task modules stay as they were imported; only a restart changes code.
    project.__dict__["packs"], project.__dict__["catalog"] = running.packs, running.catalog
    return f"schedules: {apply(application, project, actor).in_words()}"
