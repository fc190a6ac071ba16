"""Judge one row of a ledger by itself: its version, its outcome, the policies and the runs it made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from mainspring.verify.look import show
from mainspring.verify.pauses import Pauses
from mainspring.verify.spec import Version

OUTCOMES: Final = ("fired", "coalesced", "skipped")
_CAUSES: Final = ("overlap", "calendar", "paused", "missed")

Problem = tuple[str, str]
"""The kind of an error and its sentence."""


@dataclass(frozen=True, slots=True)
class Span:
    """The time (after, until] in which one version decides."""

    after: int
    until: int
    version: Version


class Entry(NamedTuple):
    """A row of the ledger; instants in microseconds."""

    fire_at: int
    until_at: int
    n: int
    spec_version: int
    outcome: str
    cause: str | None
    recorded_at: int
    early: bool = False
    """Whether a clock that was ahead has fired it, before its time; the schedule was rewound since."""

    def __str__(self) -> str:
        """Return the row in words."""
        when = show(self.fire_at) if self.n == 1 else f"{show(self.fire_at)} to {show(self.until_at)} ({self.n:,})"
        return f"{when} {self.outcome}" + (f" ({self.cause})" if self.cause else "")


class ScheduledRun(NamedTuple):
    """A run that a fire time made."""

    fire_at: int
    member: str
    task: str


def problems_of(entry: Entry, span: Span | None, pauses: Pauses) -> Iterator[Problem]:
    """Yield what is wrong with *entry* apart from its fire times; *span* is that of its first one."""
    if not _is_sound(entry):
        yield "outcome_unsound", f"{entry}: outcome, cause and count do not go together"
    if entry.recorded_at < entry.fire_at:
        yield "recorded_early", f"{entry} was recorded at {show(entry.recorded_at)}, before its time"
    if span is None:
        return
    version = span.version
    if version.number != entry.spec_version:
        held = f"at that time version {version.number} held"
        yield "wrong_version", f"{entry} was decided by version {entry.spec_version}; {held}"
    elif entry.until_at > span.until:
        yield "wrong_version", f"{entry} reaches beyond version {version.number}, in which it began"
    if why := _against_policy(entry, version) or _against_pauses(entry, pauses):
        yield "outcome_against_policy", f"{entry}, but {why}"


def _is_sound(entry: Entry) -> bool:
    return (
        entry.outcome in OUTCOMES
        and (entry.cause in _CAUSES if entry.outcome == "skipped" else entry.cause is None)
        and entry.n >= 1
        and entry.until_at >= entry.fire_at
        and (entry.n == 1) == (entry.until_at == entry.fire_at)
        and (entry.n == 1 or entry.outcome != "fired")
    )


def _against_policy(entry: Entry, version: Version) -> str:
    if entry.outcome == "coalesced" and version.misfire != "latest":
        return f"the misfire policy is {version.misfire}"
    if entry.cause == "overlap" and version.overlap == "allow":
        return "overlap is allowed"
    if entry.cause == "calendar" and not version.has_calendars:
        return "the schedule keeps to no calendar"
    return ""


def _against_pauses(entry: Entry, pauses: Pauses) -> str:
    if entry.cause != "paused" and not pauses.times:
        return ""
    ends = (entry.fire_at, entry.until_at)
    if entry.cause == "paused" and not all(pauses.may_cover(moment) for moment in ends):
        return "the schedule was not paused then"
    if entry.cause != "paused" and any(pauses.must_cover(moment) for moment in ends):
        return "the schedule was paused then"
    return ""


def problems_of_runs(at: int, version: Version, runs: Sequence[ScheduledRun]) -> Iterator[Problem]:
    """Yield how *runs* differ from one run for each member of the set of *version*."""
    found = sorted([run.member for run in runs])
    if tuple(found) != version.members:
        if gone := sorted(set(version.members) - set(found)):
            yield "run_missing", f"{show(at)} fired, but has no run{_of(gone)}"
        if too_many := sorted(set(found) - set(version.members)):
            yield "run_unexpected", f"{show(at)} has runs that its set does not name{_of(too_many)}"
        if twice := sorted({member for member in found if found.count(member) > 1}):
            yield "run_doubled", f"{show(at)} has more than one run{_of(twice)}"
    if any(run.task != version.task for run in runs):
        yield "run_of_other_task", f"a run of {show(at)} is not of {version.task}"


def _of(members: Sequence[str]) -> str:
    if list(members) == [""]:
        return ""
    more = f" and {len(members) - 3} more" if len(members) > 3 else ""
    return " for " + ", ".join(repr(member) for member in members[:3]) + more
