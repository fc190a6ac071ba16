"""The tables, once, for both databases.

No foreign keys on hot tables: `db verify` checks what they would. Text columns that hold JSON end up as the same bytes
everywhere. A migration, not this module, changes a database that exists; a test compares the two.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from mainspring.domain.access import Role
from mainspring.domain.dependencies import OnFailure
from mainspring.domain.occurrences import Cause, Outcome
from mainspring.domain.runs import RunKind
from mainspring.domain.states import FINAL, FailureKind, RunState
from mainspring.store.types import Blob, Instant, Json, Key

SCHEMA_VERSION = "0003"
MIN_APP_VERSION = "0.1.0"
"""The oldest release whose processes work on this schema: a migration that takes something away raises it."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, values: Any, name: str, *, optional: bool = False) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    clause = f"{column} IN ({listed})"
    return CheckConstraint(f"{column} IS NULL OR {clause}" if optional else clause, name=name)


_FINAL_LIST = ", ".join(f"'{state}'" for state in sorted(FINAL))
UNFINISHED_CLAUSE = f"state NOT IN ({_FINAL_LIST})"

meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""SQLite's sequences: `ready` for the order of arrival. PostgreSQL has `ready_seq`."""

users = Table(
    "users",
    metadata,
    Column("id", Key, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("email", String(320)),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text),
    Column("epoch", Integer, nullable=False, server_default=text("0")),
    Column("disabled_at", Instant),
    Column("created_at", Instant, nullable=False),
    _one_of("role", Role, "role"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("user_id", Key, nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("scopes", Json, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("used_at", Instant),
    Column("revoked_at", Instant),
)

logins = Table(
    "logins",
    metadata,
    Column("id_hash", String(64), primary_key=True),
    Column("user_id", Key, nullable=False, index=True),
    Column("epoch", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

sign_in_links = Table(
    "sign_in_links",
    metadata,
    Column("secret_hash", String(64), primary_key=True),
    Column("user_id", Key, nullable=False),
    Column("expires_at", Instant, nullable=False),
)
"""Links that sign in once."""

sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("subject", String(400), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("until_at", Instant, nullable=False),
)
"""How often signing in failed in a row, by account and by address; until then the next try is refused unseen."""

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("account", String(200), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("status", Integer),
    Column("headers", Json),
    Column("body", Text),
    Column("created_at", Instant, nullable=False, index=True),
)
"""Answers to requests that may be sent again; without a status the first of them is under way."""

tasks = Table(
    "tasks",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("description", Text, nullable=False),
    Column("schema", Json, nullable=False),
    Column("defaults", Json, nullable=False),
    Column("policies", Json, nullable=False),
    Column("code_version", String(64), nullable=False),
    Column("seen_at", Instant, nullable=False),
)

queues = Table(
    "queues",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("paused_at", Instant),
    Column("paused_by", String(200)),
    Column("pause_reason", Text),
    Column("turn", BigInteger, nullable=False, server_default=text("0")),
    Column("limits", Json, nullable=False, server_default=text("'{}'")),
)

schedules = Table(
    "schedules",
    metadata,
    Column("id", Key, primary_key=True),
    Column("owner_id", String(36), nullable=False, server_default=text("''")),
    Column("name", String(200), nullable=False),
    Column("task", String(200), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("spec", Json, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("source", String(400), nullable=False),
    Column("zone", String(64), nullable=False),
    Column("next_at", Instant),
    Column("last_at", Instant),
    Column("effective_at", Instant, nullable=False),
    Column("catch_up_until", Instant),
    Column("computed_with", String(200), nullable=False),
    Column("paused_at", Instant),
    Column("paused_until", Instant),
    Column("paused_by", String(200)),
    Column("pause_reason", Text),
    Column("labels", Json, nullable=False, server_default=text("'{}'")),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("deleted_at", Instant),
    CheckConstraint("version >= 1", name="version"),
    Index("uq_schedules_owner_id_name", "owner_id", "name", unique=True, sqlite_where=text("deleted_at IS NULL"),
          postgresql_where=text("deleted_at IS NULL")),
    Index("ix_schedules_due", "next_at", sqlite_where=text("next_at IS NOT NULL"),
          postgresql_where=text("next_at IS NOT NULL")),
)  # fmt: skip

schedule_versions = Table(
    "schedule_versions",
    metadata,
    Column("schedule_id", Key, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("spec", Json, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("effective_at", Instant, nullable=False),
    Column("actor", String(200), nullable=False),
)

occurrences = Table(
    "occurrences",
    metadata,
    Column("schedule_id", Key, primary_key=True),
    Column("fire_at", Instant, primary_key=True),
    Column("until_at", Instant, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("local_key", String(64)),
    Column("spec_version", Integer, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("cause", String(16)),
    Column("reason", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    _one_of("outcome", Outcome, "outcome"),
    _one_of("cause", Cause, "cause", optional=True),
    CheckConstraint("(outcome = 'skipped') = (cause IS NOT NULL)", name="cause_of_skip"),
    CheckConstraint("n >= 1 AND until_at >= fire_at AND (n = 1) = (until_at = fire_at)", name="stretch"),
    CheckConstraint("outcome <> 'fired' OR n = 1", name="fired_alone"),
    Index("uq_occurrences_local_key", "schedule_id", "local_key", unique=True,
          sqlite_where=text("local_key IS NOT NULL"), postgresql_where=text("local_key IS NOT NULL")),
)  # fmt: skip

runs = Table(
    "runs",
    metadata,
    Column("id", Key, primary_key=True),
    Column("task", String(200), nullable=False),
    Column("queue", String(200), nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("state_reason", Text),
    Column("failure_kind", String(20)),
    Column("failure_message", Text),
    Column("kind", String(12), nullable=False),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("losses", Integer, nullable=False, server_default=text("0")),
    Column("isolated_losses", Integer, nullable=False, server_default=text("0")),
    Column("returns", Integer, nullable=False, server_default=text("0")),
    Column("max_tries", Integer, nullable=False),
    Column("at_most_once", Boolean, nullable=False),
    Column("schedule_id", Key),
    Column("fire_at", Instant),
    Column("member", String(400), nullable=False, server_default=text("''")),
    Column("concurrency_key", String(400)),
    Column("uses", Json),
    Column("needs_left", Integer, nullable=False, server_default=text("0")),
    Column("awaited", Boolean, nullable=False, server_default=text("false")),
    Column("failure_signature", String(16)),
    Column("replay_of", Key),
    Column("turn", BigInteger, nullable=False, server_default=text("0")),
    Column("seq", BigInteger),
    Column("due_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("cancel_requested_at", Instant),
    Column("cancel_reason", Text),
    Column("parent_id", Key),
    Column("root_id", Key),
    Column("labels", Json, nullable=False, server_default=text("'{}'")),
    Column("owner_id", String(36), nullable=False, server_default=text("''")),
    Column("params_version", Integer, nullable=False, server_default=text("1")),
    Column("snapshot_hash", String(64)),
    Column("traceparent", String(64)),
    Column("session_id", Key),
    Column("claim_id", Key),
    Column("deadline_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("decided_at", Instant),
    _one_of("state", RunState, "state"),
    _one_of("failure_kind", FailureKind, "failure_kind", optional=True),
    _one_of("kind", RunKind, "kind"),
    CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
    CheckConstraint("attempt >= 0 AND tries >= 0 AND losses >= 0 AND tries <= attempt", name="counts"),
    CheckConstraint("max_tries >= 1", name="max_tries"),
    CheckConstraint("(state = 'failed') = (failure_kind IS NOT NULL)", name="failed_has_kind"),
    CheckConstraint(
        "state <> 'running' OR (session_id IS NOT NULL AND started_at IS NOT NULL)", name="running_has_owner"
    ),
    CheckConstraint(f"(state IN ({_FINAL_LIST})) = (finished_at IS NOT NULL)", name="final_has_end"),
    Index("uq_runs_occurrence", "schedule_id", "fire_at", "member", unique=True,
          sqlite_where=text("kind = 'scheduled'"), postgresql_where=text("kind = 'scheduled'")),
    Index("ix_runs_due", "due_at", sqlite_where=text("state = 'scheduled'"),
          postgresql_where=text("state = 'scheduled'")),
    Index("ix_runs_session", "session_id", sqlite_where=text("state = 'running'"),
          postgresql_where=text("state = 'running'")),
    Index("ix_runs_schedule_unfinished", "schedule_id",
          sqlite_where=text(f"schedule_id IS NOT NULL AND {UNFINISHED_CLAUSE}"),
          postgresql_where=text(f"schedule_id IS NOT NULL AND {UNFINISHED_CLAUSE}")),
    Index("ix_runs_waiting", "id", sqlite_where=text("state IN ('waiting', 'held')"),
          postgresql_where=text("state IN ('waiting', 'held')")),
    Index("ix_runs_free", "id", sqlite_where=text("state = 'waiting' AND needs_left <= 0"),
          postgresql_where=text("state = 'waiting' AND needs_left <= 0")),
    Index("ix_runs_root", "root_id", "id", sqlite_where=text("root_id IS NOT NULL"),
          postgresql_where=text("root_id IS NOT NULL")),
    Index("ix_runs_expires", "expires_at",
          sqlite_where=text("expires_at IS NOT NULL AND state IN ('scheduled', 'waiting', 'held', 'ready')"),
          postgresql_where=text("expires_at IS NOT NULL AND state IN ('scheduled', 'waiting', 'held', 'ready')")),
    Index("ix_runs_failed", "id", sqlite_where=text("state = 'failed' AND decided_at IS NULL"),
          postgresql_where=text("state = 'failed' AND decided_at IS NULL")),
    Index("ix_runs_failure_signature", "failure_signature", "id",
          sqlite_where=text("state = 'failed' AND decided_at IS NULL"),
          postgresql_where=text("state = 'failed' AND decided_at IS NULL")),
    Index("ix_runs_decided", "failure_signature", "id", sqlite_where=text("decided_at IS NOT NULL"),
          postgresql_where=text("decided_at IS NOT NULL")),
    Index("ix_runs_replay_of", "replay_of", sqlite_where=text("replay_of IS NOT NULL"),
          postgresql_where=text("replay_of IS NOT NULL")),
    postgresql_with={"fillfactor": "70"},
)  # fmt: skip

run_payloads = Table(
    "run_payloads",
    metadata,
    Column("run_id", Key, primary_key=True),
    Column("parameters", Json),
    Column("result", Json),
    Column("result_hash", String(64)),
    Column("result_attempt", Integer),
)
"""A parameters or result text over the inline limit is NULL here and lives in `blobs` under a key made from the run."""

snapshots = Table(
    "snapshots",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("body", Json, nullable=False),
    Column("created_at", Instant, nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    Column("run_id", Key, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("session_id", Key, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("charged", Boolean, nullable=False),
    Column("reason", Text),
    Column("error_type", String(400)),
    Column("error_message", Text),
    Column("traceback", Text),
    Column("result_hash", String(64)),
    _one_of(
        "outcome",
        ("succeeded", "failed", "retried", "snoozed", "held", "interrupted", "returned", "lost", "cancelled"),
        "outcome",
    ),
)

run_progress = Table(
    "run_progress",
    metadata,
    Column("run_id", Key, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("done", Double, nullable=False),
    Column("total", Double),
    Column("note", Text, nullable=False),
    Column("gained", Double, nullable=False, server_default=text("0")),
    Column("span", Double, nullable=False, server_default=text("0")),
    Column("checkpoint", Json),
    Column("checkpoint_attempt", Integer),
    Column("checkpoint_at", Instant),
    Column("updated_at", Instant, nullable=False),
)
"""What running attempts report. Attempt 0 has reported nothing: the row is there for its checkpoint."""

ready = Table(
    "ready",
    metadata,
    Column("queue", String(200), primary_key=True),
    Column("rank", SmallInteger, primary_key=True),
    Column("turn", BigInteger, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("run_id", Key, nullable=False),
    Column("limited", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("run_id"),
    sqlite_with_rowid=False,
    postgresql_with={
        "autovacuum_vacuum_scale_factor": "0.01",
        "autovacuum_vacuum_threshold": "500",
        "autovacuum_vacuum_cost_delay": "0",
    },
)

run_keys = Table(
    "run_keys",
    metadata,
    Column("scope", String(200), primary_key=True),
    Column("key", String(400), primary_key=True),
    Column("run_id", Key, nullable=False),
    Column("until_end", Boolean, nullable=False, server_default=text("false")),
    Column("expires_at", Instant),
    Column("asked_by", Key),
    Index("ix_run_keys_until_end", "run_id", sqlite_where=text("until_end = 1"), postgresql_where=text("until_end")),
    Index("ix_run_keys_expires_at", "expires_at", sqlite_where=text("expires_at IS NOT NULL"),
          postgresql_where=text("expires_at IS NOT NULL")),
)  # fmt: skip
"""What no two runs may have; `asked_by` is the id that the last wish to change the holder came with."""

result_cache = Table(
    "result_cache",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("task", String(200), nullable=False),
    Column("run_id", Key, nullable=False),
    Column("result", Json, nullable=False),
    Column("result_hash", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False, index=True),
)

locks = Table(
    "locks",
    metadata,
    Column("name", String(400), primary_key=True),
    Column("fence", BigInteger, nullable=False),
    Column("holder", String(400)),
    Column("boot_id", String(64)),
    Column("acquired_at", Instant),
    Column("lease_until", Instant),
)

worker_sessions = Table(
    "worker_sessions",
    metadata,
    Column("id", Key, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("name", String(200), nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("version", String(32), nullable=False),
    Column("tasks", Json, nullable=False),
    Column("queues", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("wake_address", Text),
    Column("state", String(16), nullable=False),
    Column("state_reason", Text),
    Column("started_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("lease_until", Instant, nullable=False),
    _one_of("kind", ("worker", "scheduler"), "kind"),
    _one_of("state", ("live", "stopped", "dead"), "state"),
    Index("ix_worker_sessions_live", "lease_until", sqlite_where=text("state = 'live'"),
          postgresql_where=text("state = 'live'")),
    postgresql_with={
        "fillfactor": "50",
        "autovacuum_vacuum_scale_factor": "0.01",
        "autovacuum_vacuum_threshold": "500",
        "autovacuum_vacuum_cost_delay": "0",
    },
)  # fmt: skip

duties = Table(
    "duties",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("session_id", Key),
    Column("lease_until", Instant),
    Column("ran_at", Instant),
)

resources = Table(
    "resources",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("source", String(400), nullable=False, server_default=text("''")),
    Column("limits", Json, nullable=False),
    Column("state", Json, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

holds = Table(
    "holds",
    metadata,
    Column("run_id", Key, primary_key=True),
    Column("resource", Text, nullable=False),
    Column("queue", String(200), nullable=False),
    Column("rank", SmallInteger, nullable=False),
    Column("turn", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("until_at", Instant),
    Column("held_at", Instant, nullable=False),
    Index("ix_holds_order", "resource", "rank", "turn", "seq"),
)
"""Runs that one limit holds back, each with the place at which it goes on waiting."""

holdings = Table(
    "holdings",
    metadata,
    Column("resource", Text, primary_key=True),
    Column("run_id", Key, primary_key=True, index=True),
    Column("attempt", Integer, nullable=False),
)
"""What running attempts have taken of limits, and the next attempts of ready runs let go; all else is stale."""

key_turns = Table(
    "key_turns",
    metadata,
    Column("key", String(400), primary_key=True),
    Column("queue", String(200), primary_key=True),
    Column("rank", SmallInteger, primary_key=True),
    Column("turn", BigInteger, nullable=False),
)
"""The last turn of each key in its queue and rank; the empty key says which turn whoever comes now takes at least."""

dependencies = Table(
    "dependencies",
    metadata,
    Column("run_id", Key, primary_key=True),
    Column("needs_run_id", Key, primary_key=True, index=True),
    Column("policy", String(16), nullable=False, server_default=text("'stop'")),
    Column("parameter", Text),
    _one_of("policy", OnFailure, "policy"),
)
"""`parameter` says as JSON which parameters the result of the needed run fills: null, or its places in a list."""

events = Table(
    "events",
    metadata,
    Column("id", Key, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("name", String(64), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("owner_id", String(36), nullable=False, server_default=text("''")),
    Column("body", Json, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Key, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(200), nullable=False, index=True),
    Column("body", Json, nullable=False),
)

stats = Table(
    "stats",
    metadata,
    Column("minute", Instant, primary_key=True),
    Column("task", String(200), primary_key=True),
    Column("queue", String(200), primary_key=True),
    Column("session_id", Key, primary_key=True),
    Column("succeeded", BigInteger, nullable=False, server_default=text("0")),
    Column("failed", BigInteger, nullable=False, server_default=text("0")),
    Column("retried", BigInteger, nullable=False, server_default=text("0")),
    Column("other", BigInteger, nullable=False, server_default=text("0")),
    Column("seconds", Double, nullable=False, server_default=text("0")),
    Column("wait_seconds", Double, nullable=False, server_default=text("0")),
    Column("longest", Double, nullable=False, server_default=text("0")),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Key, primary_key=True),
    Column("topic", String(200), nullable=False),
    Column("body", Json, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index("ix_outbox_topic", "topic", "id"),
    postgresql_with={
        "autovacuum_vacuum_scale_factor": "0.01",
        "autovacuum_vacuum_threshold": "500",
        "autovacuum_vacuum_cost_delay": "0",
    },
)

blobs = Table(
    "blobs",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("body", Blob, nullable=False),
    Column("created_at", Instant, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", Key, primary_key=True),
    Column("run_id", Key, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("name", String(400), nullable=False),
    Column("media_type", String(200), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("location", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, index=True),
)
