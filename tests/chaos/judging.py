"""Judge one run: put the evidence together, measure recoveries, and ask the checker."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from mainspring.verify.look import Look
from tests.chaos.places import Outage
from tests.chaos.plan import LEASE, Plan
from tests.chaos.strikes import ENDS, Strike
from tests.promises.checker import POLL, Recovery, Violation, counted_from, recovery, violations
from tests.promises.evidence import Death, Effect, Evidence, Run

_BELIEVED_AFTER: Final = 2.0
_LONGEST: Final = 6.0
"""Seconds that no task takes."""
_ALLOWED: Final = LEASE + 2 * POLL
_CLOCKS_AGREE: Final = 0.5
"""Seconds by which reading two clocks one after the other may differ, at the most."""


class Session(NamedTuple):
    """A life of a process in the database; seconds since boot."""

    id: str
    kind: str
    pid: int
    started: float
    state: str
    ended: float | None
    reason: str


@dataclass(frozen=True)
class Facts:
    """What a run left behind beside the evidence."""

    plan: Plan
    strikes: Sequence[Strike]
    outages: Sequence[Outage]
    sessions: Sequence[Session]
    tickets: Sequence[tuple[str, str]]
    """Run id and ticket of what the client enqueued; each ticket was asked for once."""
    boot_to_wall: float
    """What to add to seconds since boot for seconds since 1970."""
    problems: Sequence[Violation] = ()
    """Seen by the harness while it ran: processes that ended by themselves, orphans, exit codes."""


@dataclass(frozen=True)
class Judgement:
    """The figures of a run and the promises it broke."""

    violations: list[Violation]
    runs: int
    states: Mapping[str, int]
    strikes: Mapping[str, int]
    interrupted: Mapping[str, int]
    recovery: Recovery
    child_recovery: Recovery
    attempts: int
    effects: int
    slowest: list[str]
    """The longest recoveries, to look them up in what is kept."""
    extra: dict[str, Any] = field(default_factory=dict)


def read_sessions(seen: Look, boot_to_wall: float) -> list[Session]:
    """Return all sessions, in the order in which they began."""
    rows = seen.rows(
        "SELECT key(id), kind, pid, micros(started_at), state, micros(ended_at), coalesce(state_reason, '') "
        "FROM worker_sessions ORDER BY started_at"
    )

    def boot(micros: int | None) -> float | None:
        return None if micros is None else micros / 1e6 - boot_to_wall

    return [
        Session(i, kind, pid, boot(began) or 0.0, state, boot(end), why)
        for i, kind, pid, began, state, end, why in rows
    ]


def deaths(strikes: Iterable[Strike], sessions: Iterable[Session]) -> list[Death]:
    """Return when each session died that a strike killed, froze or cut off."""
    of_pid: dict[int, list[Session]] = defaultdict(list)
    for session in sessions:
        of_pid[session.pid].append(session)
    found: dict[str, Death] = {}
    for strike in strikes:
        if strike.fault.kind not in ("kill", "stop") and strike.fault.what != "half-open":
            continue
        for pid in strike.pids:
            lives = [s for s in of_pid[pid] if s.started <= strike.at + _CLOCKS_AGREE]
            if lives:
                # A life that was frozen and then killed died when it was frozen.
                death = Death(lives[-1].id, strike.fault.kind, strike.at)
                found.setdefault(death.session_id, death)
    return list(found.values())


def open_attempts(effects: Sequence[Effect], at: float, until: float | None = None) -> list[tuple[str, int, int]]:
    """Return the attempts whose function was under way then (or at some time until then): run, attempt and process."""
    until = at if until is None else until
    begun: dict[tuple[str, int], Effect] = {}
    ended: dict[tuple[str, int], float] = {}
    for effect in effects:
        key = effect.run_id, effect.attempt
        if effect.what == "start":
            begun[key] = effect
        elif effect.what in ENDS:
            ended[key] = effect.boot_seconds
    return [
        (*key, effect.pid)
        for key, effect in begun.items()
        # What never wrote its end is not under way for ever.
        if effect.boot_seconds <= until and at < min(ended.get(key, at + 1), effect.boot_seconds + _LONGEST)
    ]


def interrupted(evidence: Evidence, facts: Facts) -> dict[str, int]:
    """Return how many attempts were under way in what each class of faults hit."""
    session_of = {(a.run_id, a.number): a.session_id for a in evidence.attempts}
    pid_of = {session.id: session.pid for session in facts.sessions}
    seconds = _by_time(evidence.effects)
    counts: Counter[str] = Counter()
    for strike in facts.strikes:
        kind = strike.fault.kind
        # A network that fails hits all that runs meanwhile; the others hit what runs at that moment.
        until = (strike.until or strike.at + 0.5) if kind == "proxy" else strike.at
        near = range(int(strike.at - _LONGEST), int(until + _LONGEST) + 1)
        under_way = open_attempts([e for second in near for e in seconds.get(second, ())], strike.at, until)
        if kind in ("full", "server"):
            counts[kind] += len(under_way)
        elif strike.fault.what == "child":
            counts["kill of a child"] += sum(1 for _, _, pid in under_way if pid in strike.pids)
        elif kind != "clock":
            homes = [pid_of.get(session_of.get((run, number), ""), pid) for run, number, pid in under_way]
            counts[kind] += sum(1 for pid in homes if pid in strike.pids)
    return dict(counts)


def _spans(outages: Sequence[Outage]) -> list[tuple[float, float]]:
    return [(outage.since, outage.until) for outage in outages if outage.until is not None]


def _by_time(effects: Sequence[Effect]) -> Mapping[int, list[Effect]]:
    seconds: dict[int, list[Effect]] = defaultdict(list)
    for effect in effects:
        seconds[int(effect.boot_seconds)].append(effect)
    return seconds


def child_waits(evidence: Evidence, facts: Facts) -> Recovery:
    """Return how long the runs of killed children waited: their worker lives on and gives them back at once."""
    starts: dict[tuple[str, int], Effect] = {}
    for effect in evidence.effects:
        if effect.what == "start":
            starts.setdefault((effect.run_id, effect.attempt), effect)
    dead = {session.session_id for session in evidence.deaths}
    lost = {(a.run_id, a.number) for a in evidence.attempts if a.outcome == "lost" and a.session_id not in dead}
    waits = []
    for strike in facts.strikes:
        if strike.fault.what == "child":
            for key, effect in starts.items():
                again = starts.get((key[0], key[1] + 1))
                if effect.pid in strike.pids and key in lost and again is not None and effect.boot_seconds <= strike.at:
                    began = counted_from(strike.at, again.boot_seconds, _spans(facts.outages))
                    waits.append(again.boot_seconds - began)
    return Recovery(waits)


def judge(evidence: Evidence, facts: Facts) -> Judgement:
    """Return what the run shows; *evidence* is complete but for deaths and interruptions, which are found here."""
    killed, away = deaths(facts.strikes, facts.sessions), _spans(facts.outages)
    hit = interrupted(evidence, facts)
    evidence = replace(evidence, deaths=killed, outages=away, interrupted=hit, must_interrupt=facts.plan.must_interrupt)
    children = child_waits(evidence, facts)
    found = [
        *violations(evidence),
        *facts.problems,
        *_too_few(evidence, facts),
        *_too_early(evidence, facts),
        *_twice(facts),
        *_lost_without_cause(evidence, facts),
    ]
    if children.longest > _ALLOWED:
        sentence = f"took {children.longest:.1f} s after the kill of a child, allowed {_ALLOWED}"
        found.append(Violation("I7", "recovery", sentence))
    states = Counter(_state(run) for run in evidence.runs)
    strikes = Counter(strike.fault.kind for strike in facts.strikes)
    return Judgement(
        found, len(evidence.runs), dict(states), dict(strikes), hit, recovery(evidence), children,
        len(evidence.attempts), len(evidence.effects), slowest(evidence),
    )  # fmt: skip


def slowest(evidence: Evidence, most: int = 5) -> list[str]:
    """Return the longest recoveries in words."""
    starts = {(e.run_id, e.attempt): e.boot_seconds for e in evidence.effects if e.what == "start"}
    died = {death.session_id: death for death in evidence.deaths}
    found = []
    for attempt in evidence.attempts:
        death, again = died.get(attempt.session_id), starts.get((attempt.run_id, attempt.number + 1))
        if attempt.outcome == "lost" and death is not None and again is not None:
            wait = again - counted_from(death.boot_seconds, again, evidence.outages)
            found.append(
                (wait, f"{wait:.1f} s: run {attempt.run_id}, attempt {attempt.number + 1} at {again:.1f}, {death}")
            )
    return [words for _, words in sorted(found, reverse=True)[:most]]


def _state(run: Run) -> str:
    return f"{run.state} ({run.failure_kind})" if run.failure_kind else run.state


def _too_few(evidence: Evidence, facts: Facts) -> Iterator[Violation]:
    """A run that did less than was planned proves less."""
    if len(evidence.runs) < facts.plan.runs_at_least:
        yield Violation("I0", "runs", f"are {len(evidence.runs)}, fewer than {facts.plan.runs_at_least}")
    done = Counter(strike.fault.kind for strike in facts.strikes)
    for kind in sorted({fault.kind for fault in facts.plan.faults}):
        if done[kind] < facts.plan.count(kind):
            yield Violation("I0", kind, f"struck {done[kind]} times, {facts.plan.count(kind)} were planned")


def _too_early(evidence: Evidence, facts: Facts) -> Iterator[Violation]:
    """I1: nothing is fired before its time, whatever a scheduler's clock says.

    But on SQLite, where nobody else knows the time, a jump of up to a day is believed after three looks at the clock.
    """
    believed = [
        strike.at + _BELIEVED_AFTER
        for strike in facts.strikes
        if facts.plan.kind == "sqlite" and strike.fault.kind == "clock" and 0 < strike.fault.step <= 86_400
    ]
    due = {run.id: run.fire_at / 1e6 for run in evidence.runs if run.kind == "scheduled" and run.fire_at is not None}
    for effect in evidence.effects:
        if effect.what == "start" and effect.run_id in due:
            early = due[effect.run_id] - (effect.boot_seconds + facts.boot_to_wall)
            if early > _CLOCKS_AGREE and not any(at <= effect.boot_seconds for at in believed):
                yield Violation("I1", f"run {effect.run_id}", f"started {early:.1f} s before its fire time")


def _twice(facts: Facts) -> Iterator[Violation]:
    """I2: what was asked for once is there once, lost replies or not."""
    runs: dict[str, list[str]] = defaultdict(list)
    for run_id, ticket in facts.tickets:
        runs[ticket].append(run_id)
    for ticket, ids in runs.items():
        if len(ids) > 1:
            yield Violation("I2", f"ticket {ticket}", f"was enqueued once and has {len(ids)} runs: {ids}")


def _lost_without_cause(evidence: Evidence, facts: Facts) -> Iterator[Violation]:
    """I7: no session loses its runs unless something hit it."""
    struck = {death.session_id for death in evidence.deaths}
    hit = [s for s in facts.strikes if s.fault.kind in ("proxy", "stop") or s.fault.what == "child"]
    lives = {session.id: session for session in facts.sessions}
    for session_id in sorted({a.session_id for a in evidence.attempts if a.outcome == "lost"} - struck):
        session = lives.get(session_id)
        if session is None or session.state != "dead" or session.ended is None:
            continue
        window = session.ended - 2 * LEASE, session.ended
        away = any(o.since <= window[1] and (o.until is None or o.until >= window[0]) for o in facts.outages)
        near = any(
            session.pid in s.pids and s.at <= window[1] and (s.until or s.at) >= window[0] for s in hit
        )  # fmt: skip
        if not away and not near:
            ended = f"{session.ended:.1f} s ({session.reason})"
            yield Violation("I7", f"session {session_id}", f"of process {session.pid} lost its lease at {ended} unhurt")
