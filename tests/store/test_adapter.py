"""SQLAlchemy over our own connections."""

from __future__ import annotations

from datetime import datetime, timedelta

import psycopg
import pytest
import sqlalchemy
import time_machine

from mainspring.store.adapter import Adapter
from tests.servers import PostgresCluster
from tests.store.arrange import NOON


def test_a_connection_lost_while_the_clock_ran_ahead_does_not_condemn_those_made_after_it_was_set_back(
    shared_postgres: PostgresCluster,
) -> None:
    adapter = Adapter("postgresql+psycopg://")
    with time_machine.travel(_years_ahead(1)):
        lost = psycopg.connect(shared_postgres.url(), autocommit=True)
        over = adapter.wrap(lost)
        with shared_postgres.connect() as admin:
            admin.execute("SELECT pg_terminate_backend(%s)", (lost.info.backend_pid,))
        with pytest.raises(sqlalchemy.exc.DBAPIError):
            over.execute(sqlalchemy.text("SELECT 1"))
    lost.close()
    with time_machine.travel(NOON):
        fresh = psycopg.connect(shared_postgres.url(), autocommit=True)
        assert adapter.wrap(fresh).execute(sqlalchemy.text("SELECT 1")).scalar_one() == 1
        assert not fresh.closed
    fresh.close()


def _years_ahead(years: int) -> datetime:
    return NOON + years * timedelta(days=365)
