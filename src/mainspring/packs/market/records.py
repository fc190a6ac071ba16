"""Keep what schedules started and what scrapes gave: two permanent tables, made to be read with SQL.

PostgreSQL has JSONB and `timestamptz`. SQLite has JSON as text, for its `json_extract` and `json_each`, and instants as
text in UTC, `YYYY-MM-DD HH:MM:SS.ffffff`: they sort by time and compare with `datetime('now', '-24 hours')`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Dialect,
    Double,
    MetaData,
    Table,
    Text,
    and_,
    exists,
    insert,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, TypeEngine

from mainspring.pack import OccurrenceFired
from mainspring.packs.market.plain_json import clean_text

_SQLITE_INSTANT = "%Y-%m-%d %H:%M:%S.%f"


class JsonValue(TypeDecorator[Any]):
    """A JSON value; None is SQL's NULL."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type for *dialect*."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.JSONB(none_as_null=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Write *value* in the form of *dialect*."""
        if value is None or dialect.name == "postgresql":
            return value
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Return the value that was written."""
        return json.loads(value) if isinstance(value, str) and dialect.name != "postgresql" else value


class UtcInstant(TypeDecorator[datetime]):
    """An aware UTC datetime."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type for *dialect*."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Write *value* in the form of *dialect*."""
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(UTC).strftime(_SQLITE_INSTANT)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return an aware datetime in UTC."""
        if value is None or isinstance(value, datetime):
            return None if value is None else value.astimezone(UTC)
        return datetime.strptime(value, _SQLITE_INSTANT).replace(tzinfo=UTC)


metadata = MetaData(naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s"})

schedule_executions = Table(
    "schedule_executions",
    metadata,
    Column("schedule_name", Text, nullable=False),
    Column("scraper_name", Text, nullable=False),
    Column("tickers", JsonValue, nullable=False),
    Column("job_ids", JsonValue, nullable=False),
    Column("executed_at", UtcInstant, nullable=False, index=True),
)
"""One row for each fire time at which one of the pack's schedules started jobs; `executed_at`: when it did."""

scraper_results = Table(
    "scraper_results",
    metadata,
    Column("job_id", Text, nullable=False, index=True),
    Column("scraper_name", Text, nullable=False),
    Column("ticker", Text, nullable=False),
    Column("success", Boolean(create_constraint=False), nullable=False),
    Column("data", JsonValue),
    Column("error", Text),
    Column("response_time", Double),
    Column("metadata", JsonValue, nullable=False),
    Column("executed_at", UtcInstant, nullable=False, index=True),
)
"""One row for each scrape that came to its end: a job that failed twice and then succeeded has three.

`job_id` is the id of the run, `response_time` is in seconds, `executed_at` is when the scrape ended.
"""


@dataclass(frozen=True, slots=True)
class ScraperRecord:
    """A row of `scraper_results`; `data` and `metadata` are plain JSON values."""

    job_id: str
    scraper_name: str
    ticker: str
    success: bool
    data: Any
    error: str | None
    response_time: float | None
    metadata: Any
    executed_at: datetime

    def as_row(self) -> dict[str, Any]:
        """Return the values by column, in the form in which both databases hold them."""
        row = {name: getattr(self, name) for name in self.__slots__}
        texts = {name: clean_text(row[name]) for name in ("job_id", "scraper_name", "ticker", "error") if row[name]}
        return row | texts


def add_result(connection: Connection, record: ScraperRecord) -> None:
    """Write *record*, once: where a commit's answer was lost, the same record is given again."""
    table = scraper_results
    row = record.as_row()
    values = [literal(row[column.name], column.type) for column in table.c]
    same = and_(table.c.job_id == row["job_id"], table.c.executed_at == record.executed_at)
    source = select(*values).where(~exists().where(same))
    connection.execute(insert(table).from_select([column.name for column in table.c], source))


def add_execution(connection: Connection, event: OccurrenceFired) -> None:
    """Write what a schedule started."""
    scraper = event.labels.get("scraper") or next((run.parameters.get("scraper") for run in event.runs), None)
    tickers = [str(run.parameters.get("ticker", run.member)) for run in event.runs]
    connection.execute(
        insert(schedule_executions).values(
            schedule_name=clean_text(event.schedule),
            scraper_name=clean_text(str(scraper or "")),
            tickers=[clean_text(ticker) for ticker in tickers],
            job_ids=[run.id for run in event.runs],
            executed_at=event.recorded_at,
        )
    )


def list_results(connection: Connection, most: int, scraper: str | None = None) -> Sequence[dict[str, Any]]:
    """Return the newest *most* rows of `scraper_results`, newest first."""
    query = select(scraper_results).order_by(scraper_results.c.executed_at.desc()).limit(most)
    if scraper is not None:
        query = query.where(scraper_results.c.scraper_name == scraper)
    return [dict(row) for row in connection.execute(query).mappings()]


def list_executions(connection: Connection, most: int, schedule: str | None = None) -> Sequence[dict[str, Any]]:
    """Return the newest *most* rows of `schedule_executions`, newest first."""
    query = select(schedule_executions).order_by(schedule_executions.c.executed_at.desc()).limit(most)
    if schedule is not None:
        query = query.where(schedule_executions.c.schedule_name == schedule)
    return [dict(row) for row in connection.execute(query).mappings()]
