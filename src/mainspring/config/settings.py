"""Describe every setting of `mainspring.yaml`: its type, its default, its unit and its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from mainspring.config.kinds import (
    ByteSize,
    Database,
    DatabaseAddress,
    Day,
    Drain,
    Keep,
    ModuleName,
    PackName,
    Priority,
    QueueName,
    Queues,
    ResourceName,
    SchemaName,
    TaskPattern,
    Text,
    Zone,
    integer,
    problem,
    whole_number,
)
from mainspring.config.resources import ResourceConfig
from mainspring.config.schedule import ScheduleConfig, ScheduleDefaults, to_spec
from mainspring.config.section import Section, setting
from mainspring.domain.size import Size
from mainspring.domain.spec import ScheduleSpec


class QueueConfig(Section):
    """A queue."""

    description: Text = setting("", "What runs in it, in words.")
    running: Annotated[int, BeforeValidator(whole_number(1, 100_000)), integer(1, 100_000)] | None = setting(
        None, "Runs of it at the same time, on all workers together. Default: any number.", "runs"
    )
    per_key: Annotated[int, BeforeValidator(whole_number(1, 100_000)), integer(1, 100_000)] | None = setting(
        None, "The same for each concurrency key or value of 'fair' alone.", "runs"
    )


class Route(Section):
    """A rule that sends tasks to a queue or gives them a priority, by name."""

    task: TaskPattern = Field(description="Name of a task, or a pattern with * and ?.")
    queue: QueueName | None = setting(None, "Queue for runs of these tasks.")
    priority: Priority | None = setting(None, "high (8), normal (5), low (2) or 0 to 9.")

    @model_validator(mode="after")
    def _says_something(self) -> Route:
        if self.queue is None and self.priority is None:
            raise problem("a route needs 'queue' or 'priority'")
        return self


class WorkerSettings(Section):
    """Settings of every worker that is not told otherwise at its start."""

    queues: Queues | None = setting(
        None,
        "Queues it serves: names in strict order, or each with a weight. Default: every queue, in turns.",
    )
    slots: Annotated[int, BeforeValidator(whole_number(1, 1_000)), integer(1, 1_000)] = setting(
        10, "Runs that it works on at the same time.", "runs"
    )
    drain: Drain = setting(
        timedelta(seconds=25), "How long a stopping worker lets its runs finish: a duration or 'forever'.", "duration"
    )


class ArtifactSettings(Section):
    """Where artifacts of runs go, how much there may be, and for how long they stay."""

    location: Text = setting(
        "",
        "Folder, or address such as s3://bucket/folder (extra 's3'). Default: the folder 'artifacts' in 'data_dir' of "
        "each host.",
    )
    largest: ByteSize = setting(Size(256_000_000), "What one artifact may have.", "size")
    per_run: ByteSize = setting(Size(1_000_000_000), "What all artifacts of one run may have together.", "size")
    total: ByteSize = setting(Size(20_000_000_000), "What all artifacts of the installation may have together.", "size")
    keep: Keep = setting(timedelta(days=30), "How long an artifact stays: a duration or 'forever'.", "duration")


class ServerSettings(Section):
    """Where the interface (REST) listens."""

    host: Text = setting("127.0.0.1", "Address to listen on; others than loopback need accounts.")
    port: Annotated[int, BeforeValidator(whole_number(0, 65_535)), integer(0, 65_535)] = setting(
        8000, "Port to listen on; 0 lets the system choose one."
    )
    url: Text | None = setting(
        None, "Address by which people reach it where a proxy stands in front, such as https://jobs.example.com."
    )
    base_path: Text = setting("", "Path below which a proxy serves it, such as /mainspring.")
    trusted_proxies: tuple[Text, ...] = setting(
        (), "Addresses of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."
    )

    @model_validator(mode="after")
    def _usable(self) -> ServerSettings:
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise problem(f"url {self.url!r} must begin with http:// or https://")
        if self.base_path and not (self.base_path.startswith("/") and not self.base_path.endswith("/")):
            raise problem(
                f"base_path {self.base_path!r} must begin with a slash and not end with one, such as /mainspring"
            )
        return self


class CalendarDay(Section):
    """A day of a calendar of one's own."""

    date: Day = Field(description="The day.")
    name: Text = setting("closed", "What the day is; shown as the reason for a skipped fire time.")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return value if isinstance(value, dict) else {"date": value}


class Settings(Section):
    """All settings."""

    database: Database = setting(
        DatabaseAddress("sqlite:///mainspring.db"),
        "Address of the database: sqlite:///file or postgresql://user:password@host/name.",
    )
    database_schema: SchemaName = Field(
        default="mainspring", alias="schema", description="PostgreSQL schema that holds the tables; unused on SQLite."
    )
    hints_database: Database | None = setting(
        None,
        "A direct address of the same PostgreSQL database for listening, where 'database' leads through a pooler such "
        "as PgBouncer; without it such processes look once a second.",
    )
    zone: Zone = setting("UTC", "Time zone of schedules that name none.")
    data_dir: Text = setting(".mainspring", "Folder for artifacts and for what processes leave for each other.")
    tasks: tuple[ModuleName, ...] = setting((), "Python modules that hold tasks; imported at start.")
    packs: tuple[PackName, ...] = setting((), "Packs to load: names of installed packs, or module:object.")
    pack_settings: Mapping[str, Mapping[str, Any]] = setting({}, "Settings of each pack, by its name.")
    queues: Mapping[QueueName, QueueConfig] = setting(
        {"default": QueueConfig()},
        "The queues. Where they are written down, every queue named elsewhere in the configuration must be among them.",
    )
    resources: Mapping[ResourceName, ResourceConfig] = setting(
        {}, "What runs share and how much of it they may use, by name; tasks name them in `uses`."
    )
    routes: tuple[Route, ...] = setting((), "Rules that give tasks a queue and a priority; the first match wins.")
    worker: WorkerSettings = setting(WorkerSettings(), "What a worker serves, and how it stops.")
    artifacts: ArtifactSettings = setting(ArtifactSettings(), "What runs leave behind as files.")
    server: ServerSettings = setting(ServerSettings(), "Where the interface listens.")
    scheduler: ScheduleDefaults = setting(ScheduleDefaults(), "What holds for schedules that say nothing else.")
    calendars: Mapping[str, tuple[CalendarDay, ...]] = setting({}, "Calendars of your own: name to a list of days.")
    schedules: Mapping[str, ScheduleConfig] = setting({}, "The schedules, by name.")

    def own_calendars(self) -> dict[str, dict[date, str]]:
        """Return the calendars as days with labels."""
        return {name: {day.date: day.name for day in days} for name, days in self.calendars.items()}

    def schedule_specs(self) -> dict[str, ScheduleSpec]:
        """Return the schedules as the domain knows them, with every default filled in."""
        own = self.own_calendars()
        return {
            name: to_spec(name, schedule, self.zone, self.scheduler, own) for name, schedule in self.schedules.items()
        }
