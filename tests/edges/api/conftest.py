"""Serve the interface in this process, on a database of the test's own, by its clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from mainspring.app import Application
from mainspring.clock import ManualClock
from mainspring.domain.access import Role
from mainspring.edges.api.app import make_app
from mainspring.edges.api.security import Gate
from mainspring.services.accounts import Accounts, local_principal
from mainspring.services.artifacts import ArtifactRules
from mainspring.store.migrate import upgrade
from mainspring.store.sqlite.database import SqliteDatabase
from tests.store.arrange import NOON

Serve = Callable[..., TestClient]
HOST = "http://127.0.0.1:8000"


@pytest.fixture
def clock() -> ManualClock:
    """Noon of 2 March 2026; judges leases too."""
    return ManualClock(NOON)


@pytest.fixture
def application(tmp_path: Path, clock: ManualClock) -> Iterator[Application]:
    """The services on an empty database."""
    database = SqliteDatabase(tmp_path / "mainspring.db", lease_clock=clock.now)
    upgrade(database)
    yield Application(database, clock, (tmp_path / "artifacts", ArtifactRules()))
    database.close()


@pytest.fixture
def accounts(application: Application) -> Accounts:
    """The accounts, with a quick hash."""
    return Accounts(application.database, application.clock, PasswordHasher(1, 8, 1))


@pytest.fixture
def serve(application: Application, accounts: Accounts) -> Iterator[Serve]:
    """Return a client of a server with accounts, or, with ``auth=False``, of one without."""
    opened: list[TestClient] = []

    def start(*, auth: bool = True, hosts: tuple[str, ...] = ("127.0.0.1",), **more: Any) -> TestClient:
        gate = Gate(accounts, None if auth else local_principal("me"), hosts)
        opened.append(TestClient(make_app(application, gate, **more), HOST, raise_server_exceptions=False))
        return opened[-1]

    yield start
    for client in opened:
        client.close()


@pytest.fixture
def key(accounts: Accounts) -> Callable[..., dict[str, str]]:
    """Return the headers of somebody of this role, who is made when necessary."""

    def headers(role: Role, name: str = "", scopes: tuple[str, ...] = ("*",)) -> dict[str, str]:
        who = name or f"a-{role.value}"
        if who not in [user.name for user in accounts.all()]:
            accounts.create(who, role, "test")
        return {"Authorization": f"Bearer {accounts.create_key(who, 'test', scopes, 'test').secret}"}

    return headers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    return tmp_path
