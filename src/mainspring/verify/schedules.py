"""Verify one schedule: its versions, its ledger and the runs that it made, in steps of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mainspring.verify.ledger import LedgerCheck
from mainspring.verify.look import Look, instant, show
from mainspring.verify.outcomes import Entry, ScheduledRun, Span
from mainspring.verify.pauses import Pauses, read_pauses
from mainspring.verify.spec import Version, read_version
from mainspring.verify.verdict import Verdict
from mainspring.verify.walls import DAY_US, SECOND_US

ROWS_AT_ONCE: Final = 10_000
_RUNS_AT_ONCE: Final = 50_000
GRACE_US: Final = 60 * SECOND_US
"""Clocks of hosts may differ by less than this; a scheduler that lives decides within it."""
_LOOK_AHEAD_US: Final = 366 * DAY_US
_EARLY: Final = "fired ahead of its time, by a clock that was ahead"
"""The reason of a fire time that a wrong clock has fired and a rewind has left beyond the mark: it is not due yet."""
_BEGINNING: Final = -(2**61)
_END: Final = 2**61


@dataclass(frozen=True, slots=True)
class Stored:
    """A schedule as the database has it; instants in microseconds."""

    id: str
    name: str
    version: int
    spec: str
    enabled: bool
    next_at: int | None
    last_at: int | None
    effective_at: int
    deleted_at: int | None

    @property
    def subject(self) -> str:
        """Return the name for people."""
        return f"schedule {self.name}" + ("" if self.deleted_at is None else " (deleted)")

    @property
    def mark(self) -> int:
        """Return the instant up to which all is decided."""
        mark = self.effective_at if self.last_at is None else max(self.last_at, self.effective_at)
        return mark if self.deleted_at is None else max(mark, self.deleted_at)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the next step begins: after the row of *fire_at*; all up to *covered* has been compared."""

    fire_at: int
    covered: int
    ledger_end: int | None
    """Where the last row seen so far ends."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What all steps of one verification share."""

    now: int
    since: int | None
    scheduler_lives: bool
    worker_lives: bool


def verify_step(look: Look, schedule_id: str, place: Place | None, frame: Frame) -> tuple[Verdict, Place | None]:
    """Compare the next rows of a schedule; return what was found and where to go on, or None at the end.

    A step is one look: in between the schedule may fire, be edited or be deleted.
    """
    verdict = Verdict()
    stored = _stored(look, schedule_id)
    versions = None if stored is None else _versions(look, stored, verdict if place is None else Verdict())
    if stored is None or versions is None:
        return verdict, None
    limit = frame.now + GRACE_US
    # A deleted schedule names no fire times after its end; another one does even where it has not decided yet.
    end = stored.mark if stored.deleted_at is not None else max(stored.mark, limit)
    spans = _spans(look, stored, versions, end)
    if place is None:
        verdict.schedules = 1
        _check_local_keys(look, stored, verdict)
        place = _first_place(look, stored, spans, frame)
    entries = _entries(look, stored, place.fire_at, _rows_at_once(versions))
    more = len(entries) == _rows_at_once(versions)
    runs = _runs(look, stored, place.fire_at, entries[-1].fire_at if more else None)
    pauses = _pauses(look, stored, versions)
    check = LedgerCheck(verdict, stored.subject, spans, pauses, place.covered, limit)
    check.rows(entries, runs)
    last_at = _BEGINNING if stored.last_at is None else stored.last_at
    own = [entry.until_at for entry in entries if not entry.early or entry.fire_at <= last_at]
    ledger_end = max(own, default=place.ledger_end)
    if more:
        return verdict, Place(entries[-1].fire_at, check.covered, ledger_end)
    check.up_to(min(stored.mark, limit))
    _check_mark(stored, ledger_end, verdict, frame)
    if stored.deleted_at is None:
        _check_next(stored, versions[-1], verdict, frame)
    return verdict, None


def _rows_at_once(versions: Sequence[Version]) -> int:
    return max(min(ROWS_AT_ONCE, _RUNS_AT_ONCE // max(len(version.members) for version in versions)), 1)


def _stored(look: Look, schedule_id: str) -> Stored | None:
    rows = look.rows(
        "SELECT key(id), name, version, spec, enabled, micros(next_at), micros(last_at), micros(effective_at), "
        "micros(deleted_at) FROM schedules WHERE id = :id",
        id=schedule_id,
    )
    return Stored(*rows[0]) if rows else None


def _versions(look: Look, stored: Stored, verdict: Verdict) -> list[Version] | None:
    """Return the kept versions in order, or None when they cannot be used; says what is wrong with them."""
    rows = look.rows(
        "SELECT version, spec, enabled, micros(effective_at) FROM schedule_versions WHERE schedule_id = :id "
        "ORDER BY version",
        id=stored.id,
    )
    numbers = [row[0] for row in rows]
    if numbers != list(range(1, stored.version + 1)):
        verdict.error(
            "version_missing", stored.subject, f"is at version {stored.version}, but the versions kept are {numbers}"
        )
    if not rows:
        return None
    if (rows[-1][1], bool(rows[-1][2])) != (stored.spec, bool(stored.enabled)):
        verdict.error(
            "version_differs", stored.subject, f"its spec is not that of version {numbers[-1]}, the latest kept"
        )
    starts = [row[3] for row in rows]
    if starts != sorted(starts) or starts[-1] > stored.effective_at:
        verdict.error("version_order", stored.subject, "its versions do not take effect one after the other")
        return None
    try:
        return [read_version(number, spec, bool(enabled), start) for number, spec, enabled, start in rows]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        verdict.error("spec_unreadable", stored.subject, f"a kept spec cannot be read: {error!r}")
        return None


def _spans(look: Look, stored: Stored, versions: Sequence[Version], end: int) -> list[Span]:
    edges = [versions[0].effective_at]
    for version in versions[1:]:
        # A scheduler whose clock is ahead may have decided a little more by the old version before the edit.
        # What it decided last may be a stretch that began long before.
        rows = look.rows(
            "SELECT max(micros(until_at)) FROM occurrences WHERE schedule_id = :id AND until_at > :start "
            "AND until_at <= :end AND spec_version < :number AND fire_at >= coalesce((SELECT max(fire_at) "
            "FROM occurrences WHERE schedule_id = :id AND fire_at <= :start), :start) AND fire_at <= :end",
            id=stored.id, start=instant(version.effective_at), end=instant(version.effective_at + GRACE_US),
            number=version.number,
        )  # fmt: skip
        edges.append(max(version.effective_at, edges[-1], rows[0][0] or _BEGINNING))
    edges.append(end)
    return [Span(edges[i], edges[i + 1], version) for i, version in enumerate(versions)]


def _first_place(look: Look, stored: Stored, spans: Sequence[Span], frame: Frame) -> Place:
    beginning = spans[0].after
    if frame.since is None or frame.since <= beginning:
        return Place(_BEGINNING, beginning, None)
    # A stretch that reaches over `since` can only be counted from its beginning.
    rows = look.rows(
        "SELECT micros(fire_at), micros(until_at) FROM occurrences WHERE schedule_id = :id AND fire_at <= :since "
        "ORDER BY fire_at DESC LIMIT 1",
        id=stored.id, since=instant(frame.since),
    )  # fmt: skip
    start = rows[0][0] - 1 if rows and rows[0][1] > frame.since else frame.since
    return Place(start, start, rows[0][1] if rows else None)


def _entries(look: Look, stored: Stored, after: int, most: int) -> list[Entry]:
    rows = look.rows(
        "SELECT micros(fire_at), micros(until_at), n, spec_version, outcome, cause, micros(recorded_at), "
        "CASE WHEN reason = :early THEN 1 ELSE 0 END "
        "FROM occurrences WHERE schedule_id = :id AND fire_at > :after AND (fire_at <= :mark OR reason <> :early) "
        "ORDER BY fire_at LIMIT :most",
        id=stored.id, after=_bound(after), most=most, mark=_bound(stored.mark), early=_EARLY,
    )  # fmt: skip
    return [Entry._make((*row[:-1], bool(row[-1]))) for row in rows]


def _runs(look: Look, stored: Stored, after: int, until: int | None) -> list[ScheduledRun]:
    rows = look.rows(
        "SELECT micros(fire_at), member, task FROM runs WHERE kind = 'scheduled' AND schedule_id = :id "
        "AND fire_at > :after AND fire_at <= :until AND (fire_at <= :mark OR NOT EXISTS (SELECT 1 FROM occurrences o "
        "WHERE o.schedule_id = runs.schedule_id AND o.fire_at = runs.fire_at AND o.reason = :early)) "
        "ORDER BY fire_at, member",
        id=stored.id, after=_bound(after), until=_bound(_END if until is None else until), mark=_bound(stored.mark),
        early=_EARLY,
    )  # fmt: skip
    return [ScheduledRun._make(row) for row in rows]


def _bound(moment: int) -> datetime:
    # Both ends of time as far as both databases know it.
    if moment in (_BEGINNING, _END):
        return datetime(1, 1, 2, tzinfo=UTC) if moment == _BEGINNING else datetime(9999, 12, 30, tzinfo=UTC)
    return instant(moment)


def _pauses(look: Look, stored: Stored, versions: Sequence[Version]) -> Pauses:
    rows = look.rows(
        "SELECT micros(at), action, body FROM audit WHERE subject = :name AND at >= :since "
        "AND action IN ('schedule.pause', 'schedule.resume', 'schedule.delete') ORDER BY at, id",
        name=stored.name, since=instant(versions[0].effective_at),
    )  # fmt: skip
    own = [row for row in rows if stored.deleted_at is None or row[0] <= stored.deleted_at]
    return read_pauses(own, _END)


def _check_local_keys(look: Look, stored: Stored, verdict: Verdict) -> None:
    rows = look.rows(
        "SELECT local_key, count(*) FROM occurrences WHERE schedule_id = :id AND local_key IS NOT NULL "
        "GROUP BY local_key HAVING count(*) > 1 ORDER BY local_key LIMIT 10",
        id=stored.id,
    )
    for key, count in rows:
        verdict.error("local_key_doubled", stored.subject, f"the local time {key} fired {count} times")


def _check_mark(stored: Stored, ledger_end: int | None, verdict: Verdict, frame: Frame) -> None:
    if stored.mark > frame.now + GRACE_US:
        verdict.error("mark_in_future", stored.subject, f"its mark {show(stored.mark)} lies ahead of now")
    if stored.last_at != ledger_end:
        last = "nothing" if stored.last_at is None else show(stored.last_at)
        end = "is empty" if ledger_end is None else f"ends at {show(ledger_end)}"
        verdict.error("mark_differs", stored.subject, f"its mark says that {last} was decided last; the ledger {end}")


def _check_next(stored: Stored, version: Version, verdict: Verdict, frame: Frame) -> None:
    if version.rule is None:
        verdict.unjudged += 1
        return
    coming = next(version.fire_times(stored.mark, stored.mark + _LOOK_AHEAD_US), None)
    if stored.next_at is None:
        if coming is not None:
            verdict.error("next_wrong", stored.subject, f"has no next fire time, but the rule names {show(coming)}")
        return
    named = next(version.fire_times(stored.next_at - 1, stored.next_at), None)
    if named is None or (coming is not None and stored.next_at != coming):
        rule = "none within a year" if coming is None else show(coming)
        verdict.error(
            "next_wrong", stored.subject, f"its next fire time is {show(stored.next_at)}; by the rule it is {rule}"
        )
    pending = sum(1 for _ in version.fire_times(stored.mark, frame.now))
    verdict.pending += pending
    if pending and frame.scheduler_lives and coming is not None and frame.now - coming > GRACE_US:
        verdict.warn(
            "fire_time_late", stored.subject,
            f"{pending:,} pending since {show(coming)} although a scheduler lives",
        )  # fmt: skip
