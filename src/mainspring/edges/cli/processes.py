"""The commands that stay: `up`, `scheduler` and `worker`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mainspring.app import Application, Project
    from mainspring.runtime.loops import Loop

_log = logging.getLogger("mainspring.cli")
_PROCESS_LOG = "mainspring-process"
_FORMAT = "%(asctime)s %(levelname)-7s %(name)s %(message)s"

Supervised = Annotated[bool, typer.Option("--supervised", hidden=True)]
Replaces = Annotated[int | None, typer.Option("--replaces", hidden=True)]
LogLevel = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")]
Slots = Annotated[int | None, typer.Option("--slots", min=1, max=1000, help="Runs to work on at the same time.")]
Queues = Annotated[
    str | None,
    typer.Option("--queues", help="Queues in strict order ('high,low') or with weights ('scraping:3,ai:1')."),
]
Drain = Annotated[
    str | None, typer.Option("--drain", help="How long a stop lets runs finish: a duration or 'forever'.")
]
Name = Annotated[str | None, typer.Option("--name", help="Name of this process in lists; host and pid unless given.")]


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("up")(up)
    app.command("scheduler")(scheduler)
    app.command("worker")(worker)


def up(
    context: typer.Context,
    reload: Annotated[bool, typer.Option("--reload", help="Restart the worker when a Python file changes.")] = False,
    slots: Slots = None,
    queues: Queues = None,
    drain: Drain = None,
    log_level: LogLevel = "info",
    checked: Annotated[Path | None, typer.Option("--checked", hidden=True)] = None,
) -> None:
    """Run everything: a scheduler and a worker, kept running until Ctrl-C.

    Ctrl-C lets running work finish; a second one interrupts it and gives it back; a third one kills.
    """
    from mainspring.clock import SystemClock
    from mainspring.edges.cli.project import global_options
    from mainspring.runtime.supervisor import Child, SourceWatch, Supervisor

    _set_up_logging(log_level)
    if checked is None:
        _check_and_begin_again(context, {"worker.slots": slots, "worker.queues": queues, "worker.drain": drain})
    base = [sys.executable, "-m", "mainspring", *global_options(context)]
    level = ["--log-level", log_level, "--supervised"]
    options = (("--slots", slots), ("--queues", queues), ("--drain", drain))
    given = [str(part) for option in options if option[1] is not None for part in option]

    def command(*words: str) -> list[str]:
        return [*base, *words, *level]

    def replacing(pid: int | None) -> list[str]:
        return [] if pid is None else ["--replaces", str(pid)]

    children = [
        Child("worker", lambda pid: [*command("worker", "--apply"), *given, *replacing(pid)]),
        Child("scheduler", lambda pid: [*command("scheduler"), *replacing(pid)]),
    ]
    watch = SourceWatch(checked) if reload and checked is not None else None
    raise typer.Exit(Supervisor(children, SystemClock(), watch, "worker").run())


def _check_and_begin_again(context: typer.Context, overrides: dict[str, object]) -> None:
    """Check the configuration, then become this command anew: a supervisor must not keep in memory what checked it.

    A server must be there and prepared: its children would otherwise die of that again and again.
    """
    from mainspring.edges.cli.opening import PATIENCE
    from mainspring.edges.cli.project import load

    project = load(context, overrides)
    loaded = project.loaded
    if not project.database_address().startswith("sqlite:"):
        from mainspring.app import ensure_schema

        application = project.open(PATIENCE)
        ensure_schema(application)
        application.close()
    typer.echo(f"Mainspring is starting on {loaded.path} - Ctrl-C stops", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    words = [*sys.argv[1:], "--checked", str(loaded.root.absolute())]
    os.execv(sys.executable, [sys.executable, "-m", "mainspring", *words])  # noqa: S606 - our own command, no shell


def scheduler(
    context: typer.Context,
    name: Name = None,
    supervised: Supervised = False,
    replaces: Replaces = None,
    log_level: LogLevel = "info",
) -> None:
    """Run a scheduler: it fires schedules and stages what comes due. Any number may run at once."""
    from mainspring.app import make_scheduler
    from mainspring.edges.cli.project import load
    from mainspring.runtime.supervisor import StopSignals

    _set_up_logging(log_level)
    signals = StopSignals()
    project = load(context)
    application = _open(project, supervised, replaces)
    process = make_scheduler(application, name)
    process.start()
    signals.wait(application.clock)
    process.stop()
    application.close()


def worker(
    context: typer.Context,
    name: Name = None,
    slots: Slots = None,
    queues: Queues = None,
    drain: Drain = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Apply schedules and routes first, and whenever the file changes.")
    ] = False,
    supervised: Supervised = False,
    replaces: Replaces = None,
    log_level: LogLevel = "info",
) -> None:
    """Run a worker: it claims runs from its queues and executes them. Any number may run at once."""
    from mainspring.runtime.worker.logs import capture_logs

    _set_up_logging(log_level)
    capture_logs()
    from mainspring.app import WorkerProcess
    from mainspring.edges.cli.project import load
    from mainspring.runtime.supervisor import StopSignals

    signals = StopSignals()
    project = load(context, {"worker.slots": slots, "worker.queues": queues, "worker.drain": drain})
    project.check()
    application = _open(project, supervised, replaces)
    watch = _apply_and_watch(application, project) if apply else None
    process = WorkerProcess(application, project, name)
    signals.again = process.worker.interrupt
    process.start()
    if watch is not None:
        watch.start()
    signals.wait(application.clock)
    if watch is not None:
        watch.stop()
    process.stop()
    application.close()


def _apply_and_watch(application: Application, project: Project) -> Loop:
    from mainspring.app import apply, take_over
    from mainspring.edges.cli.project import actor
    from mainspring.errors import StoreUnavailable
    from mainspring.runtime.loops import Loop
    from mainspring.runtime.reloading import ConfigurationWatch
    from mainspring.services.clock_guard import ClockInDoubt

    who = actor()
    watch = ConfigurationWatch(project.loaded, lambda new: take_over(application, project, new, who), project.watched)
    try:
        _log.info("schedules_applied %s", apply(application, project, who).in_words())
    except (StoreUnavailable, ClockInDoubt) as error:
        # A full disk, a copy that nobody has adopted, a wrong clock: what is there runs on, and this is tried again.
        _log.error("schedules_not_applied; the stored ones stay in force until they can be: %s", error)
        watch.again()
    return Loop("configuration", watch.run_once, application.clock)


class RedactingFormatter(logging.Formatter):
    """Formats records without the secrets that the configuration knows, tracebacks included."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__(_FORMAT)
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for *record*."""
        return self._redact(super().format(record))


def _hide_secrets(project: Project) -> None:
    for handler in logging.getLogger().handlers:
        # The process's own alone: what goes into the logs of attempts is redacted there.
        if handler.get_name() == _PROCESS_LOG:
            handler.setFormatter(RedactingFormatter(project.loaded.secrets.redact))


def _open(project: Project, supervised: bool, replaces: int | None) -> Application:
    from mainspring.app import bury_process, ensure_schema
    from mainspring.runtime.supervisor import die_with_parent

    _hide_secrets(project)
    if supervised:
        die_with_parent()
    application = project.open()
    ensure_schema(application)
    if replaces is not None:
        bury_process(application, replaces)
    return application


def _set_up_logging(level: str) -> None:
    chosen = logging.getLevelNamesMapping().get(level.upper())
    if chosen is None:
        raise typer.BadParameter(
            f"{level!r} is not known; write debug, info, warning or error", param_hint="--log-level"
        )
    logging.basicConfig(level=chosen, format=_FORMAT, stream=sys.stderr, force=True)
    for handler in logging.getLogger().handlers:
        handler.setLevel(chosen)
        handler.set_name(_PROCESS_LOG)
    for noisy in ("alembic", "httpx2", "httpcore2", "asyncio"):
        logging.getLogger(noisy).setLevel(max(chosen, logging.WARNING))
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
