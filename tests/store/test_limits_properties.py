"""Whatever happens in whatever order: no limit is exceeded, no order broken, and nobody waits for ever."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import count as numbers
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from mainspring.clock import ManualClock
from mainspring.domain.needs import needs_of
from mainspring.domain.resources import Rate, Report, ResourceLimits
from mainspring.domain.runs import Blame, ClaimedRun, Ended
from mainspring.ids import SessionId
from mainspring.services.maintenance import Releaser
from mainspring.store import queueing, sessions
from mainspring.store.database import Database
from mainspring.store.schema import holdings, holds, ready, resources, runs
from mainspring.store.tables import set_queue_paused
from tests.store.arrange import NOON, SECOND, claim, finish, new_run, open_session, outcome, put, renew, rescue

QUEUES: Final = ("one", "two")
PRIORITIES: Final = (2, 5, 8)
KEYS: Final = (None, "a", "b")
ENDS: Final = (Ended.SUCCEEDED, Ended.FAILED, Ended.RETRIED, Ended.INTERRUPTED, Ended.CANCELLED, Ended.LOST)
LIMITS: Final = {"slots": 2, "rated": 3, "key/task:t:a": 1, "key/task:t:b": 2}
MIXES: Final = ((), ("slots",), ("rated",), ("key/task:t:a",), ("key/task:t:b", "slots"), ("rated", "key/task:t:a"))
STEPS: Final = ("put", "put", "claim", "claim", "end", "end", "pause", "cancel", "die", "tick", "release")
_EXAMPLES = numbers(1)
_ROUNDS: Final = 400


class World:
    """Two workers on queues and limits that no other example uses."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database, self.clock, self.prefix = database, clock, f"x{next(_EXAMPLES)}-"
        self.releaser = Releaser(database, clock)
        self.sessions: dict[SessionId, list[ClaimedRun]] = {}
        self.names = {name: self._own(name) for name in LIMITS}
        declared = {"slots": ResourceLimits(concurrency=2), "rated": ResourceLimits(3, Rate(2, SECOND))}
        for name, limits in declared.items():
            row = {"name": self.names[name], "limits": limits.to_json(), "state": "{}", "version": 1}
            database.write(lambda tx, row=row: tx.core(resources.insert().values(**row, updated_at=NOON)))  # type: ignore[misc]

    def _own(self, name: str) -> str:
        return f"{name}:{self.prefix}" if name.startswith("key/") else self.prefix + name

    def queue(self, number: int) -> str:
        return self.prefix + QUEUES[number % 2]

    def session(self, number: int) -> SessionId:
        living = list(self.sessions)
        if len(living) < 2:
            living.append(open_session(self.database, self.clock.now()))
            self.sessions[living[-1]] = []
        return living[number % 2 if len(living) > 1 else 0]

    def step(self, name: str, number: int) -> None:
        getattr(self, name)(number)
        self.check()

    def put(self, number: int) -> None:
        names = [self.names[name] for name in MIXES[number % len(MIXES)]]
        needs = [
            {"name": own, "limit": LIMITS[name]} if name.startswith("key/") else {"name": own}
            for name, own in self.names.items()
            if own in names
        ]
        fields: dict[str, Any] = {"uses": json.dumps(needs) if needs else None, "turn_key": KEYS[number % 3]}
        fields |= {"queue": self.queue(number // 2), "priority": PRIORITIES[number // 3 % 3]}
        put(self.database, *(new_run(**fields) for _ in range(number % 4 + 1)), now=self.clock.now())

    def claim(self, number: int) -> None:
        session, queue = self.session(number), self.queue(number // 7)
        claimed = claim(self.database, session, number % 5 + 1, queue, self.clock.now())
        self.sessions[session] += claimed
        self.check_order(claimed)

    def end(self, number: int) -> None:
        session = self.session(number)
        running = self.sessions[session]
        if running:
            run, ended = running.pop(number % len(running)), ENDS[number % len(ENDS)]
            said = (Blame(Report.REFUSED, None, SECOND), Blame(Report.FAILED), None)[number // 5 % 3]
            blame = said if ended in (Ended.RETRIED, Ended.FAILED) else None
            now = self.clock.now()
            finish(self.database, session, outcome(run, ended, now, blame=blame), now=now)

    def pause(self, number: int) -> None:
        paused, name = number % 2 == 0, self.queue(number // 2)
        self.database.write(lambda tx: set_queue_paused(tx, name, paused, "", NOON, "ann"))

    def cancel(self, number: int) -> None:
        query = select(runs.c.id).where(runs.c.queue == self.queue(number), runs.c.state.in_(("held", "ready")))
        ids = [row.id for row in self.database.read(lambda tx: tx.core(query).all())]
        if ids:
            chosen = [ids[number % len(ids)]]
            self.database.write(lambda tx: queueing.cancel(tx, chosen, "enough", self.clock.now()))

    def die(self, number: int) -> None:
        if self.sessions:
            session = list(self.sessions)[number % len(self.sessions)]
            del self.sessions[session]
            self.database.write(lambda tx: sessions.end_session(tx, session, "dead", "killed", self.clock.now()))
            rescue(self.database, self.clock.now())

    def tick(self, number: int) -> None:
        self.clock.advance(timedelta(milliseconds=number % 1_500))
        for session in self.sessions:
            renew(self.database, session, self.clock.now())
        self.database.write(lambda tx: queueing.stage_due(tx, self.clock.now()))

    def release(self, number: int) -> None:
        self.releaser.run_once()

    def check(self) -> None:
        """Compare what runs with every limit, and what is held with what says so."""
        mine = runs.c.queue.startswith(self.prefix)
        query = select(runs.c.id, runs.c.uses, runs.c.state).where(mine, runs.c.finished_at.is_(None))
        found = self.database.read(lambda tx: tx.core(query).all())
        used = Counter(need.name for row in found if row.state == "running" for need in needs_of(row.uses))
        for name, own in self.names.items():
            assert used[own] <= LIMITS[name], (name, used[own])
        held = {row.id for row in found if row.state == "held"}
        rows = self.database.read(
            lambda tx: tx.core(select(holds.c.run_id).where(holds.c.queue.startswith(self.prefix)))
        )
        assert {row.run_id for row in rows} == held

    def check_order(self, claimed: Sequence[ClaimedRun]) -> None:
        """No run of the same queue with the same needs stands before one that was claimed."""
        for run in claimed:
            rank, turn, seq = run.rank, run.turn, run.seq
            query = select(runs.c.priority, runs.c.turn, runs.c.seq).where(
                runs.c.queue == run.queue,
                runs.c.state.in_(("held", "ready")),
                runs.c.uses.is_not_distinct_from(run.uses),
            )
            for row in self.database.read(lambda tx, query=query: tx.core(query).all()):  # type: ignore[misc]
                assert (9 - row.priority, row.turn, row.seq) > (rank, turn, seq)

    def come_to_the_end(self) -> None:
        """Let two workers go on without faults: every run must end, with nothing but the duty to let go the held."""
        for number in range(2):
            self.pause(2 * number + 1)
        left = select(runs.c.id).where(runs.c.queue.startswith(self.prefix), runs.c.finished_at.is_(None)).limit(1)
        for number in range(_ROUNDS):
            self.tick(500)
            self.release(0)
            for queue in range(2):
                session = self.session(number)
                claimed = claim(self.database, session, 5, self.queue(queue), self.clock.now())
                self.check()
                ended = [*self.sessions[session], *claimed]
                self.sessions[session] = []
                now = self.clock.now()
                finish(self.database, session, *(outcome(run, at=now) for run in ended), now=now)
            if not self.database.read(lambda tx: tx.core(left).first()):
                break
        else:
            raise AssertionError("a run waits for ever")
        for table in (holds, ready, holdings):
            rows = self.database.read(lambda tx, table=table: tx.core(select(table)).all())  # type: ignore[misc]
            assert [row for row in rows if str(row[0]).endswith(self.prefix)] == []


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5_000)), min_size=10, max_size=40))
def test_limits_hold_and_everybody_goes_on(
    database: Database, clock: ManualClock, steps: list[tuple[str, int]]
) -> None:
    world = World(database, clock)
    for name, number in steps:
        world.step(name, number)
    world.come_to_the_end()
