"""Every operation, asked by everybody, on a thing of their own and on somebody else's: who may do what, in a table.

The table is written by hand and does not look at the rights of the code; a route that has no row fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import pytest
from fastapi.testclient import TestClient

from mainspring.app import Application
from mainspring.clock import ManualClock
from mainspring.domain.access import Role
from mainspring.edges.api.security import routes_of
from mainspring.services.accounts import Accounts
from tests.edges.api.arrange import Things, make_things
from tests.edges.api.conftest import Serve

Cell = tuple[int, int]
"""What asking for a thing of one's own, and for somebody else's, comes to; 200 stands for anything but a refusal."""
OK, NO, NONE = 200, 403, 404


def _row(viewer: Cell, user: Cell, operator: Cell, admin: Cell) -> Mapping[str, Cell]:
    unknown = dict.fromkeys(("nobody", "bad key", "expired key"), (401, 401))
    return {**unknown, "viewer": viewer, "user": user, "operator": operator, "admin": admin}


_YES, _NOT, _OWN = (OK, OK), (NO, NO), (OK, NONE)
PUBLIC = dict.fromkeys(("nobody", "bad key", "expired key", "viewer", "user", "operator", "admin"), _YES)
ANYBODY = _row(_YES, _YES, _YES, _YES)
READ = _row(_YES, _OWN, _YES, _YES)
WRITE = _row(_NOT, _OWN, _YES, _YES)
MAKE = _row(_NOT, _YES, _YES, _YES)
STAFF = _row(_YES, _NOT, _YES, _YES)
OPERATE = _row(_NOT, _NOT, _YES, _YES)
ADMIN = _row(_NOT, _NOT, _NOT, _YES)
OWN_KEY = _row(_OWN, _OWN, _OWN, _YES)

TABLE: Final[Mapping[str, Mapping[str, Cell]]] = {
    "GET /api/v1/health": PUBLIC,
    "GET /api/v1/health/live": PUBLIC,
    "GET /api/v1/health/ready": PUBLIC,
    "POST /api/v1/sign-in": PUBLIC,
    "POST /api/v1/sign-in/link": PUBLIC,
    "GET /sign-in": PUBLIC,
    "GET /sign-in.js": PUBLIC,
    "GET /sign-in.css": PUBLIC,
    "GET /api/v1/openapi.json": ANYBODY,
    "GET /api/v1/self": ANYBODY,
    "PUT /api/v1/self/password": ANYBODY,
    "POST /api/v1/sign-out": ANYBODY,
    "GET /api/v1/keys": ANYBODY,
    "POST /api/v1/keys": ANYBODY,
    "DELETE /api/v1/keys/{key_id}": OWN_KEY,
    "GET /api/v1/users": ADMIN,
    "POST /api/v1/users": ADMIN,
    "GET /api/v1/users/{name}": ADMIN,
    "PATCH /api/v1/users/{name}": ADMIN,
    "PUT /api/v1/users/{name}/password": ADMIN,
    "POST /api/v1/users/{name}/link": ADMIN,
    "GET /api/v1/runs": ANYBODY,
    "POST /api/v1/runs": MAKE,
    "POST /api/v1/runs/bulk": MAKE,
    "GET /api/v1/runs/{run_id}": READ,
    "GET /api/v1/runs/{run_id}/attempts": READ,
    "GET /api/v1/runs/{run_id}/logs": READ,
    "GET /api/v1/runs/{run_id}/result": READ,
    "GET /api/v1/runs/{run_id}/artifacts": READ,
    "GET /api/v1/artifacts/{artifact_id}": READ,
    "PATCH /api/v1/runs/{run_id}": WRITE,
    "POST /api/v1/runs/{run_id}/cancel": WRITE,
    "POST /api/v1/runs/{run_id}/retry": WRITE,
    "GET /api/v1/schedules": ANYBODY,
    "POST /api/v1/schedules": MAKE,
    "POST /api/v1/schedules/preview": ANYBODY,
    "GET /api/v1/schedules/{schedule}": READ,
    "PUT /api/v1/schedules/{schedule}": WRITE,
    "DELETE /api/v1/schedules/{schedule}": WRITE,
    "POST /api/v1/schedules/{schedule}/pause": WRITE,
    "POST /api/v1/schedules/{schedule}/resume": WRITE,
    "POST /api/v1/schedules/{schedule}/trigger": WRITE,
    "GET /api/v1/schedules/{schedule}/preview": READ,
    "GET /api/v1/schedules/{schedule}/ledger": READ,
    "POST /api/v1/schedules/{schedule}/backfill/look": READ,
    "POST /api/v1/schedules/{schedule}/backfill": WRITE,
    "GET /api/v1/dead-letters": ANYBODY,
    "GET /api/v1/dead-letters/{signature}": READ,
    "POST /api/v1/dead-letters/replay/look": ANYBODY,
    "POST /api/v1/dead-letters/replay": MAKE,
    "POST /api/v1/dead-letters/retry": MAKE,
    "POST /api/v1/dead-letters/discard": MAKE,
    "POST /api/v1/dead-letters/restore": MAKE,
    "GET /api/v1/tasks": ANYBODY,
    "GET /api/v1/tasks/{name}": ANYBODY,
    "GET /api/v1/queues": ANYBODY,
    "GET /api/v1/queues/{name}": ANYBODY,
    "POST /api/v1/queues/{name}/pause": OPERATE,
    "POST /api/v1/queues/{name}/resume": OPERATE,
    "PUT /api/v1/queues/{name}/limits": OPERATE,
    "GET /api/v1/resources": ANYBODY,
    "GET /api/v1/resources/{name}": ANYBODY,
    "PUT /api/v1/resources/{name}/limits": OPERATE,
    "POST /api/v1/resources/{name}/trip": OPERATE,
    "POST /api/v1/resources/{name}/reset": OPERATE,
    "GET /api/v1/maintenance": STAFF,
    "PUT /api/v1/maintenance": ADMIN,
    "DELETE /api/v1/maintenance": ADMIN,
    "GET /api/v1/simulation": ANYBODY,
    "GET /api/v1/workers": STAFF,
    "GET /api/v1/statistics": STAFF,
    "GET /api/v1/audit": OPERATE,
}


def body_of(operation: str, things: Things) -> Any:
    """Return a body that the operation accepts, where it wants one."""
    name = operation.rpartition("/api/v1/")[2]
    definition = {"task": "add", "cron": "0 9 * * *", "parameters": {"a": 1}}
    past = {"since": "2026-03-01T00:00:00Z", "until": "2026-03-02T00:00:00Z"}
    dead = {"ids": [things.dead]}
    return {
        "schedules": {"name": f"new-{things.number}", "definition": definition},
        "schedules/preview": {"definition": definition},
        "schedules/{schedule}": {"definition": definition} if operation.startswith("PUT") else None,
        "schedules/{schedule}/backfill/look": past,
        "schedules/{schedule}/backfill": past,
        "dead-letters/replay/look": dead,
        "dead-letters/replay": dead,
        "dead-letters/retry": dead,
        "dead-letters/discard": dead,
        "dead-letters/restore": dead,
        "runs": {"task": "add", "parameters": {"a": 1}},
        "queues/{name}/limits": {"running": 5},
        "resources/{name}/limits": {"limits": {"concurrency": 5}},
        "maintenance": {},
        "runs/{run_id}": {"priority": 9} if operation.startswith("PATCH") else None,
        "runs/bulk": {"runs": [{"task": "add", "parameters": {"a": 1}}]},
        "sign-in": {"name": "nobody", "password": "x"},
        "sign-in/link": {"secret": "x"},
        "self/password": {"old": "wrong", "new": "x"},
        "keys": {"name": "one more", "scopes": ["runs:read"]},
        "users": {"name": f"new-{things.number}", "role": "viewer"},
        "users/{name}": {},
        "users/{name}/password": {"password": f"a good pass phrase {things.number}"},
    }.get(name)


def verdict(status: int, detail: str) -> int:
    """Return 401, 403 or 404 for a refusal, else 200; a sign-in that fails is an answer, and no refusal."""
    if status == 401 and "sign in, or send" not in detail and "key is not valid" not in detail:
        return OK
    return status if status in (401, 403, 404) else OK


@pytest.fixture
def askers(accounts: Accounts, clock: ManualClock) -> Callable[[], dict[str, tuple[str, dict[str, str]]]]:
    """Return who asks, each with the id of the account and the headers of a request, made anew at each call."""
    for role in Role:
        accounts.create(f"the-{role.value}", role, "test")
    accounts.create("somebody", Role.USER, "test")

    def make() -> dict[str, tuple[str, dict[str, str]]]:
        def key(name: str, expires: timedelta | None = None) -> tuple[str, dict[str, str]]:
            secret = accounts.create_key(name, "matrix", ["*"], "test", expires).secret
            return accounts.require(name).id, {"Authorization": f"Bearer {secret}"}

        expired = key("the-admin", timedelta(seconds=1))
        clock.advance(timedelta(seconds=2))
        bad = {"Authorization": f"Bearer ms_00000000_{'0' * 43}"}
        known = {role.value: key(f"the-{role.value}") for role in Role}
        return {"nobody": ("", {}), "bad key": ("", bad), "expired key": expired, **known}

    return make


def test_every_route_has_a_row_and_every_row_a_route(serve: Serve) -> None:
    routes = routes_of(serve().app)  # type: ignore[arg-type]
    served = {f"{method} {route.path}" for route in routes for method in route.methods}
    assert served == set(TABLE)


@pytest.mark.timeout(600)
def test_everybody_may_do_what_the_table_says(
    serve: Serve,
    application: Application,
    accounts: Accounts,
    askers: Callable[[], dict[str, tuple[str, dict[str, str]]]],
) -> None:
    client, wrong, asked = serve(), [], 0
    who, other = askers(), accounts.require("somebody").id
    for operation, row in TABLE.items():
        made: dict[str, Things] = {}
        for asker, cell in row.items():
            account, headers = who[asker]
            for owner, expected in zip((account or other, other), cell, strict=True):
                things = made.pop(owner, None) or make_things(application, accounts, owner)
                status, detail = ask(client, operation, things, headers)
                asked += 1
                if verdict(status, detail) != expected or status >= 500:
                    whose = "their own" if owner == account else "somebody else's"
                    wrong.append(f"{operation} by {asker} on {whose}: {status} {detail}, not {expected}")
                if operation.startswith("GET ") or status in (401, 403, 404):
                    # Nothing has become of them.
                    made[owner] = things
    assert not wrong, "\n".join(wrong)
    assert asked == len(TABLE) * 14


def ask(client: TestClient, operation: str, things: Things, headers: dict[str, str]) -> tuple[int, str]:
    method, path = operation.split(" ")
    client.cookies.clear()
    answer = client.request(method, things.fill(path), json=body_of(operation, things), headers=headers)
    problem = answer.headers["content-type"] == "application/problem+json" if answer.content else False
    return answer.status_code, answer.json()["detail"] if problem else ""
