"""Things of an owner, made below the interface."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import count

from mainspring import task
from mainspring.app import Application
from mainspring.domain.runs import NewRun
from mainspring.domain.unique import Unique
from mainspring.ids import RunId, new_run_id
from mainspring.services.accounts import Accounts
from mainspring.services.catalog import Catalog
from mainspring.services.resources import ResourceLimits
from mainspring.store import queueing, schema, tables
from mainspring.store.database import Tx

_numbers = count(1)


@task(name="add")
def add(a: int, b: int = 0) -> int:
    """Add two numbers."""
    return a + b


def describe(application: Application) -> None:
    """Write what a worker would write of its tasks and queues."""

    def work(tx: Tx) -> None:
        tables.put_tasks(tx, Catalog([add, once, alone]).describe(), application.clock.now())
        tables.put_queues(tx, {"default": "", "reports": "Slow work"})

    application.database.write(work)
    _, version = application.resources.find_limits("brapi")
    if not version:
        application.resources.set_limits("brapi", ResourceLimits(concurrency=3), version, "test")


@task(name="once", unique=Unique(on_conflict="existing"))
def once(a: int) -> int:
    """Be alone with these parameters."""
    return a


@task(name="alone", unique=Unique())
def alone() -> None:
    """Be alone."""


@dataclass(frozen=True, slots=True)
class Things:
    """One of everything that has an owner, and of everything that has none."""

    number: int
    run: RunId
    dead: RunId
    signature: str
    schedule: str
    artifact: str
    key: str
    user: str

    def fill(self, path: str) -> str:
        """Return *path* with these things in it."""
        names = {"run_id": self.run, "artifact_id": self.artifact, "key_id": self.key,
                 "signature": self.signature, "schedule": self.schedule}  # fmt: skip
        kinds = {"users": self.user, "tasks": "add", "queues": "default", "resources": "brapi"}
        for name, value in names.items():
            path = path.replace(f"{{{name}}}", value)
        for kind, value in kinds.items():
            path = path.replace(f"/{kind}/{{name}}", f"/{kind}/{value}")
        assert "{" not in path
        return path


def dead_run(application: Application, owner_id: str, signature: str) -> RunId:
    """Make a run of an account that has failed."""
    now = application.clock.now()
    run = NewRun(new_run_id(), "add", "default", 5, 1, '{"a":1}', now + timedelta(hours=1), owner_id=owner_id)
    failed = {
        "state": "failed", "failure_kind": "error", "failure_message": "it broke", "failure_signature": signature,
        "finished_at": now, "attempt": 1, "tries": 1,
    }  # fmt: skip

    def work(tx: Tx) -> None:
        queueing.insert_runs(tx, [run], now)
        tx.core(schema.runs.update().where(schema.runs.c.id == run.id).values(**failed))

    application.database.write(work)
    return run.id


def make_things(application: Application, accounts: Accounts, owner_id: str) -> Things:
    """Make one of everything for the account of this id."""
    describe(application)
    number, now = next(_numbers), application.clock.now()
    run = NewRun(new_run_id(), "add", "default", 5, 1, '{"a":1}', now, owner_id=owner_id)
    dead = dead_run(application, owner_id, f"{number:016x}")
    spec = application.defining.spec(f"s{number}", {"task": "add", "every": "1d", "parameters": {"a": 1}})
    schedule = application.scheduling.create(spec, owner_id, "test").id
    application.database.write(lambda tx: queueing.insert_runs(tx, [run], now))
    artifact = application.artifacts.save(run.id, 1, "a.txt", b"what it found", "text/html")
    owner = accounts.require_id(owner_id).name
    key = accounts.create_key(owner, "a key", ["runs:read"], "test").key.id
    name = f"somebody-{number}"
    accounts.create(name, accounts.require(owner).role, "test")
    return Things(number, run.id, dead, f"{number:016x}", schedule, artifact, key, name)
