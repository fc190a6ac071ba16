"""Make room for limits, holds, graphs of runs, keys, caches, locks, grouped failures and accounts."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from mainspring.store.types import Instant, Json, Key

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add columns with defaults (processes of the release before go on writing without them) and new tables."""
    schema = op.get_context().opts["version_table_schema"]

    def add(table: str, name: str, kind: Any, default: str | None = None) -> None:
        value = None if default is None else sa.text(default)
        column: sa.Column[Any] = sa.Column(name, kind, server_default=value, nullable=default is None)
        op.add_column(table, column, schema=schema)

    add("runs", "uses", sa.Text())
    add("runs", "needs_left", sa.Integer(), "0")
    add("runs", "awaited", sa.Boolean(), "false")
    add("runs", "failure_signature", sa.String(length=16))
    add("runs", "replay_of", Key())
    for name, columns, clause in (
        ("ix_runs_failure_signature", ["failure_signature", "id"], "state = 'failed' AND decided_at IS NULL"),
        ("ix_runs_decided", ["failure_signature", "id"], "decided_at IS NOT NULL"),
        ("ix_runs_replay_of", ["replay_of"], "replay_of IS NOT NULL"),
    ):
        where = sa.text(clause)
        op.create_index(name, "runs", columns, schema=schema, sqlite_where=where, postgresql_where=where)
    add("ready", "limited", sa.Boolean(), "false")
    add("resources", "source", sa.String(length=400), "''")
    add("dependencies", "parameter", sa.Text())
    add("run_keys", "until_end", sa.Boolean(), "false")
    add("run_progress", "gained", sa.Double(), "0")
    add("run_progress", "span", sa.Double(), "0")
    add("run_progress", "checkpoint_attempt", sa.Integer())
    add("run_progress", "checkpoint_at", Instant())
    op.create_index("ix_artifacts_expires_at", "artifacts", ["expires_at"], schema=schema)
    free, rooted = sa.text("state = 'waiting' AND needs_left <= 0"), sa.text("root_id IS NOT NULL")
    op.create_index("ix_runs_free", "runs", ["id"], schema=schema, sqlite_where=free, postgresql_where=free)
    op.create_index(
        "ix_runs_root", "runs", ["root_id", "id"], schema=schema, sqlite_where=rooted, postgresql_where=rooted
    )
    add("run_keys", "asked_by", Key())
    op.create_index(
        "ix_run_keys_until_end", "run_keys", ["run_id"], schema=schema,
        sqlite_where=sa.text("until_end = 1"), postgresql_where=sa.text("until_end"),
    )  # fmt: skip
    op.create_index(
        "ix_run_keys_expires_at", "run_keys", ["expires_at"], schema=schema,
        sqlite_where=sa.text("expires_at IS NOT NULL"), postgresql_where=sa.text("expires_at IS NOT NULL"),
    )  # fmt: skip
    # Nothing has ever been held: the table was made for a form that was not built.
    op.drop_table("holds", schema=schema)
    op.create_table(
        "holds",
        sa.Column("run_id", Key(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("queue", sa.String(length=200), nullable=False),
        sa.Column("rank", sa.SmallInteger(), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("until_at", Instant(), nullable=True),
        sa.Column("held_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_holds"),
        schema=schema,
    )
    op.create_index("ix_holds_order", "holds", ["resource", "rank", "turn", "seq"], schema=schema)
    op.create_table(
        "holdings",
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("run_id", Key(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("resource", "run_id", name="pk_holdings"),
        schema=schema,
    )
    op.create_index("ix_holdings_run_id", "holdings", ["run_id"], schema=schema)
    # Nobody has had an account so far.
    op.drop_table("users", schema=schema)
    op.create_table(
        "users",
        sa.Column("id", Key(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=True),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("disabled_at", Instant(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.CheckConstraint("role IN ('viewer', 'user', 'operator', 'admin')", name=op.f("ck_users_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
        schema=schema,
    )
    op.create_table(
        "sign_in_links",
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", Key(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("secret_hash", name="pk_sign_in_links"),
        schema=schema,
    )
    op.create_table(
        "sign_in_failures",
        sa.Column("subject", sa.String(length=400), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("until_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name="pk_sign_in_failures"),
        schema=schema,
    )
    op.create_table(
        "key_turns",
        sa.Column("key", sa.String(length=400), nullable=False),
        sa.Column("queue", sa.String(length=200), nullable=False),
        sa.Column("rank", sa.SmallInteger(), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", "queue", "rank", name="pk_key_turns"),
        schema=schema,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("account", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", Json(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("account", "key", name="pk_idempotency_keys"),
        schema=schema,
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], schema=schema)
    op.create_table(
        "result_cache",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("task", sa.String(length=200), nullable=False),
        sa.Column("run_id", Key(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("result_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_result_cache"),
        schema=schema,
    )
    op.create_index("ix_result_cache_expires_at", "result_cache", ["expires_at"], schema=schema)
    op.create_table(
        "locks",
        sa.Column("name", sa.String(length=400), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(length=400), nullable=True),
        sa.Column("boot_id", sa.String(length=64), nullable=True),
        sa.Column("acquired_at", Instant(), nullable=True),
        sa.Column("lease_until", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_locks"),
        schema=schema,
    )
