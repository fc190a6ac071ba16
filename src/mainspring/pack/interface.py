"""What a pack contributes, and what it is given: the whole contract between a pack and Mainspring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mainspring.clock import Clock
from mainspring.domain.routes import Route
from mainspring.domain.tasks import Task

if TYPE_CHECKING:
    import logging

    import typer
    from sqlalchemy import Connection, MetaData

T = TypeVar("T")


class PackDatabase(Protocol):
    """The installation's database, for the pack's own tables."""

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run *work* in one durable transaction; it may run again after a lost connection."""

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run *work* on a connection for reading."""

    async def awrite(self, work: Callable[[Connection], T]) -> T:
        """`write`, without holding up the event loop."""

    async def aread(self, work: Callable[[Connection], T]) -> T:
        """`read`, without holding up the event loop."""


@dataclass
class PackContext:
    """What a pack is given: one for each pack and process. A task gets it by naming a parameter with this type."""

    pack: str
    settings: Any
    """What `Pack.settings` returned."""
    database: PackDatabase
    clock: Clock
    log: logging.Logger
    folder: Path
    """The folder of the project: relative paths in settings start here."""
    kept: dict[str, Any] = field(default_factory=dict)
    """Whatever the pack keeps for the life of the process, such as its HTTP client."""


PackContext.__mainspring_given__ = True  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class FiredRun:
    """A run that a fired occurrence became."""

    id: str
    member: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OccurrenceFired:
    """An occurrence of one of the pack's schedules was fired; told exactly once, in a transaction."""

    schedule: str
    fire_at: datetime
    recorded_at: datetime
    runs: tuple[FiredRun, ...]
    labels: Mapping[str, str]


class Pack:
    """Tasks, schedules, tables, settings, routes, commands and listeners that plug in together.

    A subclass overrides what it contributes. It is found by the entry point group ``mainspring.packs``, or named in the
    configuration as ``module:object``.
    """

    name: str
    description: str = ""

    def settings(self, variables: Mapping[str, str], given: Mapping[str, Any], folder: Path) -> Any:
        """Return the pack's settings, checked, from the environment (over `.env`) and ``pack_settings`` of the file.

        Raises:
            InvalidInput: names the setting, its value and the way out.
        """
        return dict(given)

    def tasks(self, settings: Any) -> Sequence[Task[..., Any]]:
        """Return the pack's tasks; their names begin with the pack's name and a dot."""
        return ()

    def schedules(self, settings: Any, folder: Path) -> Mapping[str, Mapping[str, Any]]:
        """Return the pack's schedules by name, written as in ``mainspring.yaml``.

        Raises:
            InvalidInput: a file of the pack's own cannot be used.
        """
        return {}

    def routes(self, settings: Any) -> Sequence[Route]:
        """Return routes that stand behind those of the configuration."""
        return ()

    def queues(self) -> Mapping[str, str]:
        """Return the pack's queues with their descriptions."""
        return {}

    def worker(self, settings: Any) -> Mapping[str, Any]:
        """Return defaults for the settings ``worker.slots`` and ``worker.drain`` where nobody has set them."""
        return {}

    def tables(self) -> MetaData | None:
        """Return the pack's own tables; they are made when missing, in the database's default schema."""
        return None

    def commands(self, context: Callable[[], PackContext]) -> typer.Typer | None:
        """Return commands; they appear as ``mainspring <name of the pack> …``.

        *context* opens the project of the command line on first call; a command calls it when it runs, not before, so
        that ``--help`` needs neither a project nor a database.
        """
        return None

    def database(self, settings: Any) -> str | None:
        """Return the address of the database that the pack's settings name, for where ``database`` is not set."""
        return None

    def watched(self, folder: Path) -> Sequence[Path]:
        """Return files of the project whose change changes `schedules`; they need not exist."""
        return ()

    def starter_files(self) -> Mapping[str, str]:
        """Return the files of a new project, by their path below its folder: what ``init --pack`` writes.

        ``mainspring.yaml`` must be among them, and must name the pack. Without any, ``init`` writes a plain project
        that does.
        """
        return {}

    def on_occurrence_fired(self, event: OccurrenceFired, connection: Connection) -> None:
        """Hear that one of the pack's schedules fired; what is written on *connection* happens exactly once."""
