"""Whoever changes several rows takes them in one order, so that no two wait for each other in a circle.

`python -m tests.store.test_deadlocks [seconds] [seed]` does it for longer.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from mainspring.clock import SystemClock
from mainspring.domain.dependencies import Need, OnFailure
from mainspring.domain.occurrences import Pause
from mainspring.domain.runs import Ended
from mainspring.domain.spec import OverlapPolicy
from mainspring.ids import RunId, ScheduleId
from mainspring.store import claiming, dependants, ledger, limiting, queueing, sessions, turns
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.queueing import log_key
from mainspring.store.schedules import edit_schedule, get_schedule, pause_schedule, resume_schedule
from mainspring.store.schema import runs
from tests.servers import PostgresCluster
from tests.store.arrange import MINUTE, NOON, SECOND, add, every, firing, new_run, open_session, outcome, put

ENDS = (Ended.SUCCEEDED, Ended.RETRIED, Ended.INTERRUPTED, Ended.RETURNED, Ended.FAILED, Ended.LOST)
LIMITED = (
    '[{"name":"key/task:t:a","limit":1}]', '[{"name":"key/task:t:b","limit":2},{"name":"api"}]',
    '[{"name":"api"},{"name":"key/task:t:a","limit":1}]',
)  # fmt: skip
_CLOCK = SystemClock()


@dataclass
class Traffic:
    """Everything that changes runs, at once and on as few runs as possible, so that it meets."""

    url: str
    seed: int
    waiting: bool = False
    """Whether runs are added that wait for others, whatever state these are in."""
    done: dict[str, int] = field(default_factory=dict)
    errors: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        # A circle shows at once instead of after a second.
        self.database = PostgresDatabase(f"{self.url}?options=-cdeadlock_timeout%3D5ms")
        self.stop = threading.Event()
        self.schedules = [
            add(self.database, every(MINUTE, f"s{n}", overlap=OverlapPolicy.CANCEL_RUNNING)).id for n in range(3)
        ]

    def run(self, seconds: float) -> None:
        """Let everybody work for *seconds*."""
        duties = [self.works] * 3 + [self.cancels] * 2
        duties += [self.rescues, self.stages, self.enqueues, self.fires, self.edits, self.reports, self.lets_go]
        threads = [threading.Thread(target=self._repeat, args=(duty, n)) for n, duty in enumerate(duties)]
        for thread in threads:
            thread.start()
        _CLOCK.wait(self.stop, seconds)
        self.stop.set()
        for thread in threads:
            thread.join(30)
        self.database.close()
        if self.errors:
            raise self.errors[0]

    def _repeat(self, duty: Callable[[random.Random], Callable[[], None]], number: int) -> None:
        step = duty(random.Random(self.seed * 100 + number))
        try:
            while not self.stop.is_set():
                step()
                self.done[duty.__name__] = self.done.get(duty.__name__, 0) + 1
        except BaseException as error:
            self.errors.append(error)
            self.stop.set()

    def some(self, chance: random.Random, n: int) -> list[RunId]:
        """Return some unfinished runs in no order."""
        query = runs.select().with_only_columns(runs.c.id).where(runs.c.finished_at.is_(None)).limit(100)
        ids = [RunId(row.id) for row in self.database.read(lambda tx: tx.core(query).all())]
        return chance.sample(ids, min(n, len(ids)))

    def works(self, chance: random.Random) -> Callable[[], None]:
        session, running = open_session(self.database), list[Any]()

        def step() -> None:
            nonlocal session, running
            ended = [outcome(run, chance.choice(ENDS), due_at=NOON, log=b"log") for run in running]
            chance.shuffle(ended)
            result, running = claiming.cycle(
                self.database, session, ended, list, ["default", "other"], chance.randint(5, 15), NOON
            )
            if result.fenced or not running:
                session = open_session(self.database)

        return step

    def cancels(self, chance: random.Random) -> Callable[[], None]:
        return lambda: self._write(lambda tx: queueing.cancel(tx, self.some(chance, 20), "x", NOON))

    def rescues(self, chance: random.Random) -> Callable[[], None]:
        def step() -> None:
            live = self.database.read(lambda tx: tx.raw().execute(_LIVE).fetchall())
            if live:
                doomed = chance.choice(live)[0]
                self._write(lambda tx: sessions.end_session(tx, doomed, "dead", "x", NOON))
            self._write(lambda tx: sessions.rescue(tx, "boot-1", NOON, NOON, 20))

        return step

    def stages(self, chance: random.Random) -> Callable[[], None]:
        def step() -> None:
            self._write(lambda tx: queueing.stage_due(tx, NOON, 20))
            self._write(lambda tx: queueing.expire(tx, NOON, 20))
            found = self.database.read(lambda tx: dependants.look(tx, most=20)).found
            self._write(lambda tx: queueing.release_waiting(tx, found, NOON))

        return step

    def enqueues(self, chance: random.Random) -> Callable[[], None]:
        def step() -> None:
            if len(self.some(chance, 100)) < 80:
                kinds = [{}, {"queue": "other"}, {"due_at": NOON + SECOND}, {"expires_at": NOON}, {"priority": 9}]
                kinds += [{"uses": uses, "queue": queue} for uses in LIMITED for queue in ("default", "other")]
                kinds += [
                    {"turn_key": "b"},
                    {"turn_key": "a", "uses": LIMITED[0], "due_at": NOON + SECOND},
                    {"turn_key": "a"},
                ]
                put(self.database, *(new_run(**chance.choice(kinds)) for _ in range(30)))  # type: ignore[arg-type]
            if self.waiting and len(self.some(chance, 100)) < 80:
                needed = [Need(run_id, chance.choice(list(OnFailure))) for run_id in self.some(chance, 20)]
                pairs = [tuple(chance.sample(needed, 2)) for _ in range(30)] if len(needed) > 1 else []
                put(self.database, *(new_run(needs=pair) for pair in pairs))

        return step

    def lets_go(self, chance: random.Random) -> Callable[[], None]:
        def step() -> None:
            names = [usage.name for usage in self.database.read(limiting.held_limits)]
            chance.shuffle(names)
            self._write(lambda tx: limiting.let_go(tx, names, NOON, again=True))
            self._write(turns.advance)
            self._write(turns.forget)

        return step

    def fires(self, chance: random.Random) -> Callable[[], None]:
        def step() -> None:
            now = NOON + chance.randint(1, 100_000) * MINUTE
            found = [self.database.read(lambda tx, i=i: get_schedule(tx, i)) for i in self.schedules]  # type: ignore[misc]
            planned = []
            for one in found:
                assert one is not None
                mark = one.position.mark
                until = min(now, mark + 2 * MINUTE)
                planned.append(firing(one.spec, one.position, until))
            chance.shuffle(planned)
            self._write(lambda tx: ledger.fire(tx, planned, NOON, "2026a"))

        return step

    def edits(self, chance: random.Random) -> Callable[[], None]:
        def step() -> None:
            old = self.database.read(lambda tx: get_schedule(tx, ScheduleId(chance.choice(self.schedules))))
            assert old is not None
            if old.position.pause is not None:
                self._write(lambda tx: resume_schedule(tx, old, old.position.mark, "x"))
            elif chance.random() < 0.5:
                self._write(lambda tx: pause_schedule(tx, old, Pause(old.position.mark, None, "x", ""), "x"))
            else:
                spec = every(chance.randint(1, 5) * MINUTE, old.name, overlap=OverlapPolicy.CANCEL_RUNNING)
                self._write(lambda tx: edit_schedule(tx, old, spec, "x", old.position.mark, "x", "2026a"))

        return step

    def reports(self, chance: random.Random) -> Callable[[], None]:
        def step() -> None:
            logs = [(log_key(run_id, 1), b"part", NOON) for run_id in self.some(chance, 20)]
            self._write(lambda tx: tx.many("save_blobs", logs))

        return step

    def _write(self, work: Callable[[Any], Any]) -> None:
        self.database.write(work)


_LIVE = "SELECT id::text FROM mainspring.worker_sessions WHERE state = 'live'"


def deadlocks(cluster: PostgresCluster) -> int:
    """Return how many circles the server has had to break."""
    return cluster.log.count("deadlock detected")


@pytest.mark.parametrize("seed", [1, 2])
def test_nobody_waits_in_a_circle(shared_postgres: PostgresCluster, postgres_store_url: str, seed: int) -> None:
    before = deadlocks(shared_postgres)
    traffic = Traffic(postgres_store_url, seed)
    traffic.run(3.0)
    assert deadlocks(shared_postgres) == before, shared_postgres.log[-3000:]
    assert all(
        traffic.done.get(name, 0) > 3 for name in ("works", "cancels", "rescues", "stages", "fires", "edits", "lets_go")
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_a_circle_of_runs_that_wait_for_runs_is_broken_and_everybody_goes_on(
    shared_postgres: PostgresCluster, postgres_store_url: str, seed: int
) -> None:
    # A run that waited when its place in the order was decided may run by now: such circles are rare, and the one
    # transaction that the server ends is done again. None may reach whoever asked.
    traffic = Traffic(postgres_store_url, seed, waiting=True)
    traffic.run(3.0)
    assert traffic.errors == []
    assert all(traffic.done.get(name, 0) > 3 for name in ("works", "cancels", "rescues", "stages", "enqueues"))


def main(seconds: float = 60.0, seed: int = 1) -> int:
    """Do it for longer and say what was done."""
    from mainspring.store.migrate import upgrade
    from tests.servers import postgres_cluster

    with postgres_cluster() as cluster:
        database = PostgresDatabase(cluster.url())
        upgrade(database)
        database.close()
        traffic = Traffic(cluster.url(), seed)
        traffic.run(seconds)
        found = deadlocks(cluster)
    print(f"seed {seed}, {seconds:g} s: {found} deadlocks in {traffic.done}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*(float(word) for word in sys.argv[1:2]), *(int(word) for word in sys.argv[2:3])))
