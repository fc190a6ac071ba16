"""The commands that stay: `up`, `scheduler`, `worker` and `serve`."""

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
    from mainspring.edges.api.server import ApiServer
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
Host = Annotated[str | None, typer.Option("--host", help="Address for the interface to listen on.")]
Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="Port for the interface; 0 lets the system choose one.")
]
NoAuth = Annotated[
    bool, typer.Option("--no-auth", help="Serve everybody on this machine without accounts; loopback only.")
]
NoApi = Annotated[bool, typer.Option("--no-api", help="Leave the interface out.")]
Name = Annotated[str | None, typer.Option("--name", help="Name of this process in lists; host and pid unless given.")]


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("up")(up)
    app.command("scheduler")(scheduler)
    app.command("worker")(worker)
    app.command("serve")(serve)


def up(
    context: typer.Context,
    reload: Annotated[bool, typer.Option("--reload", help="Restart the worker when a Python file changes.")] = False,
    slots: Slots = None,
    queues: Queues = None,
    drain: Drain = None,
    host: Host = None,
    port: Port = None,
    no_auth: NoAuth = False,
    no_api: NoApi = False,
    log_level: LogLevel = "info",
    checked: Annotated[Path | None, typer.Option("--checked", hidden=True)] = None,
) -> None:
    """Run everything: scheduler, interface and worker, kept running until Ctrl-C.

    Ctrl-C lets running work finish; a second one interrupts it and gives it back; a third one kills.
    """
    from mainspring.clock import SystemClock
    from mainspring.edges.cli.project import global_options
    from mainspring.runtime.supervisor import Child, SourceWatch, Supervisor

    _set_up_logging(log_level)
    if checked is None:
        overrides = {"worker.slots": slots, "worker.queues": queues, "worker.drain": drain}
        _check_and_begin_again(context, overrides | _server(host, port), not no_api, not no_auth)
    base = [sys.executable, "-m", "mainspring", *global_options(context)]
    level = ["--log-level", log_level, "--supervised"]
    options = (("--slots", slots), ("--queues", queues), ("--drain", drain))
    given = [str(part) for option in options if option[1] is not None for part in option]

    def command(*words: str) -> list[str]:
        return [*base, *words, *level]

    served = [] if no_api else ["--serve", *(["--no-auth"] if no_auth else [])]
    served += [str(part) for option in (("--host", host), ("--port", port)) if option[1] is not None for part in option]

    def replacing(pid: int | None) -> list[str]:
        return [] if pid is None else ["--replaces", str(pid)]

    children = [
        Child("worker", lambda pid: [*command("worker", "--apply"), *given, *replacing(pid)]),
        Child("scheduler", lambda pid: [*command("scheduler"), *served, *replacing(pid)]),
    ]
    watch = SourceWatch(checked) if reload and checked is not None else None
    raise typer.Exit(Supervisor(children, SystemClock(), watch, "worker").run())


def _server(host: str | None, port: int | None) -> dict[str, object]:
    return {"server.host": host, "server.port": port}


def _check_and_begin_again(context: typer.Context, overrides: dict[str, object], serves: bool, auth: bool) -> None:
    """Check the configuration, then become this command anew: a supervisor must not keep in memory what checked it.

    A server must be there and prepared: its children would otherwise die of that again and again.
    """
    from mainspring.edges.cli.opening import PATIENCE
    from mainspring.edges.cli.project import load

    project = load(context, overrides)
    loaded = project.loaded
    if serves:
        _check_listening(project, auth)
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


def _check_listening(project: Project, auth: bool) -> None:
    """Refuse what could not be served, before anything is started that would then die of it again and again."""
    from mainspring.edges.listening import check, is_loopback, listening_of

    listening = listening_of(project.loaded.settings, auth)
    check(listening)
    if is_loopback(listening.host):
        return
    from mainspring.app import ensure_schema
    from mainspring.edges.cli.opening import PATIENCE
    from mainspring.services.accounts import Accounts

    application = project.open(PATIENCE)
    ensure_schema(application)
    Accounts(application.database, application.clock).require_any(listening.host)
    application.close()


def scheduler(
    context: typer.Context,
    name: Name = None,
    with_api: Annotated[bool, typer.Option("--serve", help="Serve the interface as well.")] = False,
    host: Host = None,
    port: Port = None,
    no_auth: NoAuth = False,
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
    project = load(context, _server(host, port))
    application = _open(project, supervised, replaces)
    process = make_scheduler(application, name)
    # First: a port that is taken must not leave a scheduler behind that nobody can reach.
    server = _serve(application, project, not no_auth) if with_api else None
    process.start()
    signals.wait(application.clock)
    if server is not None:
        server.stop()
    process.stop()
    application.close()


def serve(
    context: typer.Context,
    host: Host = None,
    port: Port = None,
    no_auth: NoAuth = False,
    log_level: LogLevel = "info",
) -> None:
    """Serve the interface alone: REST on one port. `up` does so too; any number may run at once."""
    from mainspring.edges.cli.project import load
    from mainspring.edges.listening import check, listening_of
    from mainspring.runtime.supervisor import StopSignals

    _set_up_logging(log_level)
    signals = StopSignals()
    project = load(context, _server(host, port))
    check(listening_of(project.loaded.settings, not no_auth))
    application = _open(project, False, None)
    server = _serve(application, project, not no_auth)
    signals.wait(application.clock)
    server.stop()
    application.close()


def _serve(application: Application, project: Project, auth: bool) -> ApiServer:
    from mainspring.edges.api.server import ApiServer
    from mainspring.edges.cli.project import actor
    from mainspring.edges.listening import listening_of

    server = ApiServer(application, listening_of(project.loaded.settings, auth), actor())
    link = server.start()
    typer.echo(f"The interface listens on {server.address}{'' if auth else ' for everybody on this machine'}", err=True)
    if link is not None:
        typer.echo(f"Sign in as admin, once and within a quarter of an hour: {link}", err=True)
    return server


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
    for noisy in ("alembic", "httpx2", "httpcore2", "asyncio", "uvicorn"):
        logging.getLogger(noisy).setLevel(max(chosen, logging.WARNING))
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
