"""Examine a PostgreSQL server: whether it keeps what it acknowledges, and whether anything holds it back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

from mainspring.ids import uuid7
from mainspring.services.doctor import Check, fine, guarded, problem, warning
from mainspring.store.database import Database
from mainspring.store.postgres.database import PostgresDatabase

_OLDEST: Final = 130_000
_OLD_SNAPSHOT: Final = 300
_OLD_TRANSACTIONS: Final = 10_000_000
_DEAD_SHARE: Final = 0.2
_DEAD_ENOUGH: Final = 5_000
_CONNECTIONS_SHARE: Final = 0.8
_LISTEN_SECONDS: Final = 2.0
_HOT: Final = ("ready", "worker_sessions", "outbox", "runs")


def postgres_checks(database: Database) -> Iterator[Check]:
    """Look at the server of *database*."""
    # The fault layers of tests stand before it and pass everything on.
    postgres = cast("PostgresDatabase", database)
    for name, look in (
        ("postgresql", _version),
        ("durability", _durability),
        ("pooler", _pooler),
        ("wake-up", _listen),
        ("connections", _connections),
        ("snapshots", _snapshots),
        ("vacuum", _vacuum),
    ):
        yield from guarded(name, lambda look=look: [look(postgres)])  # type: ignore[misc]


def _ask(database: PostgresDatabase, query: str, *parameters: Any) -> tuple[Any, ...]:
    (row,) = database.read(lambda tx: tx.raw().execute(query, parameters).fetchall())
    return tuple(row)


def _version(database: PostgresDatabase) -> Check:
    number, text, standby = _ask(
        database,
        "SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery()",
    )
    if standby:
        return problem("postgresql", "the server is a standby and cannot be written", "connect to the primary")
    if number < _OLDEST:
        return problem("postgresql", f"PostgreSQL {text} is older than 13", "upgrade the server")
    return fine("postgresql", f"PostgreSQL {text}")


def _durability(database: PostgresDatabase) -> Check:
    synchronous, fsync, full_pages = _ask(
        database,
        "SELECT current_setting('synchronous_commit'), current_setting('fsync'), current_setting('full_page_writes')",
    )
    if fsync != "on" or full_pages != "on":
        wrong = "fsync" if fsync != "on" else "full_page_writes"
        return problem(
            "durability", f"{wrong} is off: a crash of the machine can destroy the database", f"set {wrong} = on"
        )
    if synchronous in ("off", "local"):
        what = "a crash" if synchronous == "off" else "a failover"
        return problem(
            "durability",
            f"synchronous_commit is {synchronous}: {what} takes back what was acknowledged",
            "set synchronous_commit = on for this database or role",
        )
    return fine("durability", f"synchronous_commit={synchronous}, fsync=on: what is acknowledged survives a crash")


def _pooler(database: PostgresDatabase) -> Check:
    known, real = database.read(
        lambda tx: (tx.raw().info.backend_pid, tx.raw().execute("SELECT pg_backend_pid()").fetchall()[0][0])
    )
    if known != real:
        return warning(
            "pooler",
            "the connection goes through a pooler such as PgBouncer, where hints between processes do not work "
            "in transaction mode: work starts up to a second later",
            "give Mainspring a direct connection, or leave it so",
        )
    return fine("pooler", "the connection is direct")


def _listen(database: PostgresDatabase) -> Check:
    # A channel of its own: nobody is woken by a doctor.
    channel = f"mainspring_doctor_{uuid7().replace('-', '')[-12:]}"
    connection = database.connect_raw()
    try:
        connection.execute(f"LISTEN {channel}".encode())
        connection.execute(f"NOTIFY {channel}".encode())
        heard = list(connection.notifies(timeout=_LISTEN_SECONDS, stop_after=1))
    finally:
        connection.close()
    if heard:
        return fine("wake-up", "LISTEN and NOTIFY work")
    return warning(
        "wake-up",
        f"a NOTIFY was not heard within {_LISTEN_SECONDS:g} s: work starts up to a second later",
        "use a direct connection instead of a pooler in transaction mode",
    )


def _connections(database: PostgresDatabase) -> Check:
    used, most = _ask(
        database,
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int, "
        "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int",
    )
    said = f"{used:,} of {most:,} connections are in use"
    if used > most * _CONNECTIONS_SHARE:
        return warning("connections", said, "raise max_connections, or let other clients use a pooler")
    return fine("connections", said)


def _snapshots(database: PostgresDatabase) -> Check:
    seconds, who = _ask(
        database,
        "SELECT coalesce(extract(epoch FROM max(clock_timestamp() - xact_start)), 0)::int, "
        "(array_agg(coalesce(nullif(application_name, ''), backend_type) || ' (pid ' || pid || ')' "
        "ORDER BY xact_start))[1] FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()",
    )
    if seconds > _OLD_SNAPSHOT:
        return warning(
            "snapshots",
            f"a transaction of {who} has been open for {seconds // 60:,} min: dead rows pile up and claims get slower",
            f"end it (SELECT pg_terminate_backend(pid)), and keep transactions under {_OLD_SNAPSHOT // 60} min",
        )
    (age,) = _ask(
        database,
        "SELECT coalesce(max(greatest(age(xmin), age(catalog_xmin))), 0)::bigint FROM ("
        "SELECT xmin, catalog_xmin FROM pg_replication_slots "
        "UNION ALL SELECT transaction, NULL FROM pg_prepared_xacts) AS held",
    )
    if age > _OLD_TRANSACTIONS:
        return warning(
            "snapshots",
            f"a replication slot or prepared transaction is {age:,} transactions old: dead rows pile up",
            "drop it if nobody needs it (pg_replication_slots, pg_prepared_xacts)",
        )
    return fine("snapshots", f"the oldest open transaction is {seconds:,} s old")


def _vacuum(database: PostgresDatabase) -> Check:
    rows = database.read(
        lambda tx: (
            tx.raw()
            .execute(
                "SELECT relname, n_dead_tup, n_live_tup FROM pg_stat_user_tables "
                "WHERE schemaname = %s AND relname = ANY(%s) ORDER BY n_dead_tup DESC",
                (database.schema, list(_HOT)),
            )
            .fetchall()
        )
    )
    for name, dead, live in rows:
        if dead > _DEAD_ENOUGH and dead > _DEAD_SHARE * live:
            return warning(
                "vacuum",
                f"table {name} has {dead:,} dead rows beside {live:,} live ones",
                "see that autovacuum is on and that no old transaction holds it back; "
                f"VACUUM {database.schema}.{name} helps at once",
            )
    (on,) = _ask(database, "SELECT current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on'")
    if not on:
        return problem("vacuum", "autovacuum or track_counts is off: tables grow without end", "set both on")
    return fine("vacuum", "dead rows are cleared in time")
