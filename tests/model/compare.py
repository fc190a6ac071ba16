"""Hold what the database holds against what it must hold, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.model.expected import Model, Run
from tests.model.store import QUEUES, READ, Rows

_REASONS: Final = {
    "expired": "expired",
    "the worker of attempt": "lost its worker",
    "replaced by the next fire time (overlap": "replaced",
    "the machine was restarted": "restarted",
    "its lease ran out": "lease ran out",
    "due": "",
    "closed": "closed",
    "noticed late; the misfire policy is skip": "skip",
    "noticed late; only the latest of the backlog": "latest",
    "noticed late; older than": "too old",
    "noticed late; only the latest": "beyond the cap",
    "a run of the fire time before": "skip",
    "one fire time already waits": "queue_one",
    "replaced by the next fire time before": "cancel_running",
}


def reason_class(text: str | None) -> str | None:
    """Return the class of a reason in words; what people and workers gave themselves stays as it is."""
    if text is None:
        return None
    return next((name for start, name in _REASONS.items() if text.startswith(start)), text)


class Mismatch(AssertionError):
    """The database is not as it must be."""


class Comparison:
    """Remembers the places that were given out, so that a later look can tell whether they were kept."""

    def __init__(self) -> None:
        self._highest = 0

    def check(self, model: Model, rows: Rows) -> None:
        """Compare everything.

        Raises:
            Mismatch: says what differs, table by table.
        """
        found = _by_key(rows)
        problems = list(self._take_places(model, found["runs"]))
        for table, expected in _expected(model).items():
            if found[table] != expected:
                problems += _differences(table, expected, found[table])
        if problems:
            raise Mismatch("\n".join(problems))

    def take_places(self, model: Model, rows: Rows) -> None:
        """Learn the places of what became ready in the middle of a step, before it is claimed in the same step.

        Raises:
            Mismatch: one does not lie behind all others.
        """
        if problems := list(self._take_places(model, {row[0]: row for row in rows["runs"]})):
            raise Mismatch("\n".join(problems))

    def _take_places(self, model: Model, runs: Mapping[Any, tuple[Any, ...]]) -> Iterator[str]:
        """Give each run that has become ready the place that the database chose, if it lies behind all others."""
        place = READ["runs"].split().index("seq")
        before = self._highest
        for chain in model.arrivals:
            last = before
            for run in chain:
                row = runs.get(run.id)
                if row is None:
                    continue
                seq = row[place]
                if seq is None or seq <= last:
                    yield f"runs: {run.id} must stand behind place {last}, its place is {seq}"
                else:
                    run.seq = last = seq
                    self._highest = max(self._highest, seq)
        model.arrivals.clear()


def _by_key(rows: Rows) -> dict[str, dict[Any, tuple[Any, ...]]]:
    found = {
        "runs": {row[0]: (*row[:-1], reason_class(row[-1])) for row in rows["runs"]},
        "ready": {row[-1]: row for row in rows["ready"]},
        "worker_sessions": {row[0]: (*row[:6], reason_class(row[6]), row[7]) for row in rows["worker_sessions"]},
        "schedules": {row[0]: row for row in rows["schedules"]},
        "occurrences": {row[:2]: (*row[:6], reason_class(row[6]), row[7]) for row in rows["occurrences"]},
        "attempts": {row[:2]: row for row in rows["attempts"]},
        "run_payloads": {row[0]: row for row in rows["run_payloads"]},
        "queues": {row[0]: (row[0], row[1] is not None) for row in rows["queues"]},
    }
    for table, by_key in found.items():
        if len(by_key) != len(rows[table]):
            raise Mismatch(f"{table}: {len(rows[table])} rows have {len(by_key)} keys: {rows[table]}")
    return found


def _expected(model: Model) -> dict[str, dict[Any, tuple[Any, ...]]]:
    runs = model.runs
    return {
        "runs": {run.id: run.row() for run in runs.values()},
        "ready": {run.id: _ready_row(run) for run in runs.values() if run.state == "ready"},
        "worker_sessions": {session.id: session.row() for session in model.sessions.values()},
        "schedules": {schedule.id: schedule.row() for schedule in model.schedules.values()},
        "occurrences": {
            (key, d.fire_at): (key, d.fire_at, d.until_at, d.n, d.outcome, d.cause, d.reason, d.version)
            for key, ledger in model.ledger.items()
            for d in ledger
        },
        "attempts": {key: (*key, *values) for key, values in model.attempts.items()},
        "run_payloads": {key: (key, *model.results.get(key, (None, None))) for key in runs},
        "queues": {name: (name, name in model.paused) for name in QUEUES},
    }


def _ready_row(run: Run) -> tuple[Any, ...]:
    return run.queue, 9 - run.priority, 0, run.seq, run.id


def _differences(
    table: str, expected: Mapping[Any, tuple[Any, ...]], found: Mapping[Any, tuple[Any, ...]]
) -> Iterator[str]:
    names = [name.lstrip("@#") for name in READ[table].split()]
    for key in sorted({*expected, *found}, key=str):
        wanted, is_there = expected.get(key), found.get(key)
        if wanted == is_there:
            continue
        if wanted is None:
            yield f"{table}: {dict(zip(names, is_there or (), strict=True))} must not be there"
        elif is_there is None:
            yield f"{table}: {dict(zip(names, wanted, strict=True))} is missing"
        else:
            for name, must, has in zip(names, wanted, is_there, strict=True):
                if must != has:
                    yield f"{table}: {name} of {key} is {has!r}, must be {must!r}"
