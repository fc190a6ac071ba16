"""Judge evidence by the invariants I1 to I11: one pure function for chaos, crash points, simulation and model alike.

The sentences it returns name the run or occurrence, so that a violation can be looked up in the database that was kept.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from mainspring.domain.states import TRANSITIONS
from tests.promises.evidence import Change, Effect, Evidence, Occurrence, Run

LEASE: Final = 12.0
POLL: Final = 1.0
_FINAL: Final = ("succeeded", "failed", "cancelled")
_EDGES: Final = frozenset((before.value, after.value) for (before, _), after in TRANSITIONS.items())
_BIRTHS: Final = frozenset({"scheduled", "waiting", "held", "ready"})
_REOPENED: Final = ("failed", "ready")


class Violation(NamedTuple):
    """A promise that was broken."""

    invariant: str
    subject: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.subject} {self.sentence}"


@dataclass(frozen=True)
class Recovery:
    """How long what was interrupted waited for its next attempt, in seconds."""

    waits: Sequence[float]

    @property
    def p99(self) -> float:
        """Return the 99th percentile, 0 where nothing was interrupted."""
        ordered = sorted(self.waits)
        return ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)] if ordered else 0.0

    @property
    def longest(self) -> float:
        """Return the longest wait."""
        return max(self.waits, default=0.0)


def violations(evidence: Evidence) -> list[Violation]:
    """Return every broken promise that *evidence* shows."""
    return [
        *_occurrences(evidence),
        *_accepted(evidence),
        *_effects(evidence),
        *_paths(evidence),
        *_leases(evidence),
        *_recoveries(evidence),
        *_stuck(evidence),
        *(Violation("I9", "ledger", sentence) for sentence in evidence.findings),
        *(Violation("I10", "secret", sentence) for sentence in evidence.leaks),
        *(Violation("I11", "resources", sentence) for sentence in evidence.excesses),
        *_worth(evidence),
    ]


def _occurrences(evidence: Evidence) -> Iterator[Violation]:
    """I1: each expected occurrence has one outcome; a fired one exactly one run per member; no run without one."""
    by_key: dict[tuple[str, int], list[Occurrence]] = defaultdict(list)
    for occurrence in evidence.occurrences:
        by_key[occurrence.schedule_id, occurrence.fire_at].append(occurrence)
    for key, rows in by_key.items():
        if len(rows) > 1:
            yield Violation("I1", f"occurrence {key}", f"has {len(rows)} outcomes")
    members: dict[tuple[str, int], list[str]] = defaultdict(list)
    for run in evidence.runs:
        if run.kind == "scheduled" and run.schedule_id is not None and run.fire_at is not None:
            members[run.schedule_id, run.fire_at].append(run.member)
    fired = {key for key, rows in by_key.items() if rows[0].outcome == "fired"}
    for key in members:
        if key not in fired:
            yield Violation("I1", f"occurrence {key}", "has runs, but the ledger does not say that it fired")
    for key in fired:
        found = members.get(key, [])
        if not found:
            yield Violation("I1", f"occurrence {key}", "fired, but has no run")
        elif len(set(found)) != len(found):
            yield Violation("I1", f"occurrence {key}", f"has {len(found)} runs for {len(set(found))} members")
    if evidence.expected is not None:
        yield from _as_expected(evidence.expected, evidence.occurrences, members)


def _as_expected(
    expected: Mapping[tuple[str, int], tuple[str, ...]],
    occurrences: Sequence[Occurrence],
    members: Mapping[tuple[str, int], list[str]],
) -> Iterator[Violation]:
    stretches: dict[str, list[Occurrence]] = defaultdict(list)
    for occurrence in occurrences:
        stretches[occurrence.schedule_id].append(occurrence)
    named = {schedule_id for schedule_id, _ in expected}
    for key, wanted in expected.items():
        covering = [o for o in stretches[key[0]] if o.fire_at <= key[1] <= o.until_at]
        if len(covering) != 1:
            how = "no outcome" if not covering else f"{len(covering)} outcomes"
            yield Violation("I1", f"occurrence {key}", f"was expected and has {how}")
        elif covering[0].outcome == "fired" and sorted(members.get(key, [])) != sorted(wanted):
            yield Violation("I1", f"occurrence {key}", f"has runs for {members.get(key)}, expected {list(wanted)}")
    for occurrence in occurrences:
        if occurrence.schedule_id in named and (occurrence.schedule_id, occurrence.fire_at) not in expected:
            yield Violation("I1", f"occurrence {occurrence[:2]}", f"is {occurrence.outcome}, but was not expected")


def _accepted(evidence: Evidence) -> Iterator[Violation]:
    """I2: whatever was acknowledged exists."""
    present = {run.id for run in evidence.runs}
    for run_id in sorted(evidence.accepted - present):
        yield Violation("I2", f"run {run_id}", "was acknowledged and does not exist")


def _effects(evidence: Evidence) -> Iterator[Violation]:
    """I3 and I4: at most one effect where asked, at least one for each success, none by an attempt that never was."""
    if not evidence.effects:
        return
    started: dict[str, set[int]] = defaultdict(set)
    times: dict[tuple[str, int], int] = defaultdict(int)
    ended: dict[str, set[int]] = defaultdict(set)
    for effect in evidence.effects:
        if effect.what == "start":
            started[effect.run_id].add(effect.attempt)
            times[effect.run_id, effect.attempt] += 1
        elif effect.what == "end":
            ended[effect.run_id].add(effect.attempt)
    for (run_id, attempt), count in times.items():
        if count > 1:
            yield Violation("I3", f"run {run_id}", f"attempt {attempt} was executed {count} times")
    # A run that somebody started again by hand was asked to happen once more.
    again = Counter(c.run_id for c in evidence.history if (c.state_before, c.state) == _REOPENED)
    for run in evidence.runs:
        began = started.get(run.id, set())
        if run.at_most_once and len(began) > 1 + again[run.id] and run.tries < len(began):
            yield Violation("I3", f"run {run.id}", f"is at_most_once and had effects in attempts {sorted(began)}")
        if run.state == "succeeded" and run.attempt not in ended.get(run.id, set()):
            yield Violation("I4", f"run {run.id}", f"succeeded in attempt {run.attempt}, which had no effect")
        if began and max(began) > run.attempt:
            yield Violation("I4", f"run {run.id}", f"had an effect in attempt {max(began)} of {run.attempt}")


def _paths(evidence: Evidence) -> Iterator[Violation]:
    """I5: the states of a run are a path of the machine, the ends absorb, attempts grow by one at each claim."""
    by_run: dict[str, list[Change]] = defaultdict(list)
    for change in evidence.history:
        by_run[change.run_id].append(change)
    for run_id, changes in by_run.items():
        subject, before = f"run {run_id}", None
        for change in changes:
            if change.state_before != before:
                yield Violation("I5", subject, f"was {before} and then changed from {change.state_before}")
            if change.state_before is None:
                if change.state not in _BIRTHS:
                    yield Violation("I5", subject, f"was created {change.state}")
            elif (change.state_before, change.state) not in _EDGES:
                yield Violation("I5", subject, f"went from {change.state_before} to {change.state}")
            claimed = change.state == "running"
            if change.attempt - change.attempt_before != (1 if claimed else 0):
                step = f"from attempt {change.attempt_before} to {change.attempt}"
                yield Violation("I5", subject, f"went {step} on becoming {change.state}")
            before = change.state
    yield from _counted(evidence)


def _counted(evidence: Evidence) -> Iterator[Violation]:
    if not evidence.attempts:
        return
    recorded: dict[str, list[int]] = defaultdict(list)
    charged: dict[str, int] = defaultdict(int)
    for attempt in evidence.attempts:
        recorded[attempt.run_id].append(attempt.number)
        charged[attempt.run_id] += attempt.charged
    for run in evidence.runs:
        last = run.attempt - (run.state == "running")
        if recorded[run.id] != list(range(1, last + 1)):
            yield Violation("I5", f"run {run.id}", f"has records of attempts {recorded[run.id]} and ended {last}")
        if charged[run.id] != run.tries:
            yield Violation("I5", f"run {run.id}", f"counts {run.tries} tries, its attempts charge {charged[run.id]}")


def _leases(evidence: Evidence) -> Iterator[Violation]:
    """I6: no more leases at once than a limit allows, by the history of the leases."""
    if not evidence.limits:
        return
    task_of = {run.id: run.task for run in evidence.runs}
    holding: dict[str, int] = defaultdict(int)
    for change in sorted(evidence.history, key=lambda change: change.at):
        task = task_of.get(change.run_id, "")
        if task not in evidence.limits:
            continue
        if change.state == "running":
            holding[task] += 1
            if holding[task] > evidence.limits[task]:
                yield Violation("I6", f"task {task}", f"held {holding[task]} leases of {evidence.limits[task]}")
        elif change.state_before == "running":
            holding[task] -= 1


def recovery(evidence: Evidence) -> Recovery:
    """Return how long interrupted attempts waited for the next one of their run."""
    died = {death.session_id: death.boot_seconds for death in evidence.deaths}
    starts: dict[str, dict[int, float]] = defaultdict(dict)
    for effect in evidence.effects:
        if effect.what == "start":
            starts[effect.run_id].setdefault(effect.attempt, effect.boot_seconds)
    waits = []
    # What failed by its loss does not start again by itself; somebody may start it by hand, whenever they like.
    failed = {(c.run_id, c.attempt) for c in evidence.history if (c.state_before, c.state) == ("running", "failed")}
    once = {run.id for run in evidence.runs if run.at_most_once}
    for attempt in evidence.attempts:
        death = died.get(attempt.session_id)
        again = starts[attempt.run_id].get(attempt.number + 1)
        by_hand = attempt.run_id in once or (attempt.run_id, attempt.number) in failed
        if attempt.outcome == "lost" and death is not None and again is not None and not by_hand:
            waits.append(again - counted_from(death, again, evidence.outages))
    return Recovery(waits)


def counted_from(death: float, again: float, outages: Sequence[tuple[float, float]]) -> float:
    """Return *death*, or the end of the outages that kept it from being recovered from in the time allowed."""
    for since, until in sorted(outages):
        if since < again and since <= death + LEASE + 2 * POLL:
            death = max(death, min(until, again))
    return death


def _recoveries(evidence: Evidence) -> Iterator[Violation]:
    """I7: the runs of the dead start again within lease + 2 polls (p99), and within two leases at the latest."""
    found = recovery(evidence)
    if found.p99 > LEASE + 2 * POLL:
        yield Violation(
            "I7", "recovery", f"took {found.p99:.1f} s (p99 of {len(found.waits)}), allowed {LEASE + 2 * POLL}"
        )
    if found.longest > 2 * LEASE:
        yield Violation("I7", "recovery", f"took {found.longest:.1f} s at the longest, allowed {2 * LEASE}")


def _stuck(evidence: Evidence) -> Iterator[Violation]:
    """I8: after the faults nothing waits that could run."""
    if not evidence.quiet:
        return
    for run in evidence.runs:
        if run.state not in _FINAL:
            yield Violation("I8", f"run {run.id}", f"is still {run.state} after the faults have ended")


def _worth(evidence: Evidence) -> Iterator[Violation]:
    """A proof by faults that hit nothing proves nothing."""
    for fault, least in evidence.must_interrupt.items():
        found = evidence.interrupted.get(fault, 0)
        if found < least:
            yield Violation("I0", fault, f"interrupted {found} running attempts; fewer than {least} prove nothing")


def effects_by_run(effects: Sequence[Effect]) -> Mapping[str, list[Effect]]:
    """Return the effects of each run, in the order in which they were written."""
    found: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        found[effect.run_id].append(effect)
    return found


def unfinished(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that have not ended."""
    return [run for run in runs if run.state not in _FINAL]
