"""Make figures of what the commands answered, and compare them with what must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

RECOVERING: Final = ("bcb", "selic_target")
"""The scraper and ticker whose source fails twice and then recovers."""
RECOVERS_AFTER: Final = 2
BROKEN: Final = ("crypto", "XRPBRL")
"""Those whose source never answers."""
MOST_TRIES: Final = 4
FINAL: Final = ("succeeded", "failed", "cancelled")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """A run of the pack, with the errors of its tries."""

    id: str
    scraper: str
    ticker: str
    state: str
    tries: int
    errors: tuple[str, ...] = ()

    @property
    def target(self) -> tuple[str, str]:
        """Return what was scraped: scraper and ticker."""
        return self.scraper, self.ticker


@dataclass(slots=True)
class Figures:
    """The jobs of one scraper, counted."""

    runs: int = 0
    succeeded: int = 0
    retried: int = 0
    failed: int = 0
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the jobs are."""

    total: int
    states: Mapping[str, int] = field(default_factory=dict)
    retrying: int = 0

    @property
    def done(self) -> int:
        """Return how many have ended."""
        return sum(self.states.get(state, 0) for state in FINAL)

    def in_words(self) -> str:
        """Return the progress in a line."""
        parts = [f"{self.done} of {self.total} jobs done", f"{self.states.get('running', 0)} running"]
        return ", ".join([*parts, f"{self.retrying} waiting to be retried"])


def progress(runs: Sequence[Json], total: int) -> Progress:
    """Return how far *runs* are, of *total* that will be there."""
    retrying = sum(1 for run in runs if run["state"] == "scheduled" and run["tries"])
    return Progress(max(total, len(runs)), Counter(run["state"] for run in runs), retrying)


def jobs(runs: Iterable[Json], results: Iterable[Json]) -> list[Job]:
    """Return the jobs in the order in which they came, from `runs list` and `market results` (newest first both)."""
    errors: dict[str, list[str]] = {}
    for result in results:
        if not result["success"]:
            errors.setdefault(result["job_id"], []).insert(0, result["error"])
    found = [
        Job(
            run["id"],
            run["labels"]["scraper"],
            run["member"],
            run["state"],
            run["tries"],
            tuple(errors.get(run["id"], ())),
        )
        for run in runs
    ]
    return found[::-1]


def by_scraper(found: Iterable[Job]) -> dict[str, Figures]:
    """Return the figures of each scraper, by name."""
    counted: dict[str, Figures] = {}
    for job in sorted(found, key=lambda job: job.scraper):
        figures = counted.setdefault(job.scraper, Figures())
        figures.runs += 1
        figures.succeeded += job.state == "succeeded"
        figures.failed += job.state == "failed"
        figures.retried += job.tries > 1
        figures.tries += job.tries
    return counted


def problems(found: Sequence[Job], started: Iterable[str], refused: int) -> list[str]:
    """Return what is not as it must be.

    *started* are the ids that the triggers gave; *refused* is how many requests the services answered with 503. A
    schedule may also have fired by itself meanwhile; such jobs count like the others.
    """
    known = {job.id for job in found}
    wrong = [f"job {job_id} was started and is not there" for job_id in started if job_id not in known]
    wrong += [f"{_named(job)} is {job.state}" for job in found if job.state not in FINAL]
    for job in found:
        if job.target == BROKEN:
            if (job.state, job.tries) != ("failed", MOST_TRIES):
                wrong.append(f"{_named(job)} must fail after {MOST_TRIES} tries; it is {job.state} after {job.tries}")
        elif job.state != "succeeded":
            wrong.append(f"{_named(job)} must succeed; it is {job.state}: {'; '.join(job.errors)}")
        elif job.errors and job.target != RECOVERING:
            wrong.append(f"{_named(job)} was retried: {'; '.join(job.errors)}")
    recovered = sum(len(job.errors) for job in found if job.target == RECOVERING)
    if recovered != RECOVERS_AFTER:
        wrong.append(
            f"{' '.join(RECOVERING)} must fail {RECOVERS_AFTER} times before it succeeds; it failed {recovered} times"
        )
    tries = sum(len(job.errors) for job in found)
    if tries != refused:
        wrong.append(f"the services refused {refused} requests, and {tries} tries failed")
    return wrong


def _named(job: Job) -> str:
    return f"job {job.id[-8:]} ({job.scraper} {job.ticker})"
