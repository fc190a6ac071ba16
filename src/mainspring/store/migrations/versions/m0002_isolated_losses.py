"""Count the losses that a run suffered alone in a process of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the count, with a default: processes of the release before go on writing rows without it."""
    column = sa.Column("isolated_losses", sa.Integer(), server_default=sa.text("0"), nullable=False)
    op.add_column("runs", column, schema=op.get_context().opts["version_table_schema"])
