"""Run Alembic's migrations on the connection that `migrate.upgrade` opened."""

from __future__ import annotations

from alembic import context

from mainspring.store.schema import metadata

config = context.config
context.configure(
    connection=config.attributes["connection"],
    target_metadata=metadata,
    version_table="schema_versions",
    version_table_schema=config.attributes["schema"],
    transaction_per_migration=False,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
