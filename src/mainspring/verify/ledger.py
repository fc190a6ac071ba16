"""Walk through a schedule's ledger beside the fire times that brute force finds, and beside the runs."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain

from mainspring.verify.look import show
from mainspring.verify.outcomes import OUTCOMES, Entry, ScheduledRun, Span, problems_of, problems_of_runs
from mainspring.verify.pauses import Pauses
from mainspring.verify.verdict import Verdict, many


class LedgerCheck:
    """Compares the rows of one schedule, in order, with its expected fire times.

    *covered* is the instant up to which earlier rows have been compared, *limit* the one past which no fire time is
    computed, whatever the rows say.
    """

    def __init__(
        self, verdict: Verdict, subject: str, spans: Sequence[Span], pauses: Pauses, covered: int, limit: int
    ) -> None:
        self._verdict, self._subject, self._spans, self._pauses = verdict, subject, spans, pauses
        self._ends = [span.until for span in spans]
        self.covered = covered
        self._limit = limit
        self._expected = self._fire_times(covered, limit)
        self._ahead = next(self._expected, None)

    def rows(self, entries: Sequence[Entry], runs: Sequence[ScheduledRun]) -> None:
        """Compare the next rows, and *runs*: all those of the time of these rows."""
        by_time: dict[int, list[ScheduledRun]] = defaultdict(list)
        for run in runs:
            by_time[run.fire_at].append(run)
        for entry in entries:
            span = self._span_of(entry.fire_at)
            if entry.early and (span is None or span.version.number != entry.spec_version):
                self._of_another_rule(entry)
                by_time.pop(entry.fire_at, None)
                continue
            self._times(entry, span)
            for kind, sentence in problems_of(entry, span, self._pauses):
                self._error(kind, sentence)
            if entry.outcome == "fired":
                self._runs(entry, span, by_time.pop(entry.fire_at, []))
        for fire_at, left in sorted(by_time.items()):
            count = many(len(left), "scheduled run")
            self._error(
                "run_without_occurrence", f"{count} of {show(fire_at)}, which the ledger does not record as fired"
            )

    def up_to(self, mark: int) -> None:
        """Compare the time after the last row, up to *mark*: no fire time may lie there."""
        self._missing_before(mark + 1)

    def _error(self, kind: str, sentence: str) -> None:
        self._verdict.error(kind, self._subject, sentence)

    def _fire_times(self, after: int, until: int) -> Iterator[int]:
        parts = [(max(span.after, after), min(span.until, until), span.version) for span in self._spans]
        return chain.from_iterable(version.fire_times(low, high) for low, high, version in parts if low < high)

    def _span_of(self, moment: int) -> Span | None:
        place = bisect_left(self._ends, moment)
        return self._spans[place] if place < len(self._spans) and self._spans[place].after < moment else None

    def _times(self, entry: Entry, span: Span | None) -> None:
        """Compare the fire times that *entry* stands for with the expected ones, and count them."""
        if span is not None and span.version.rule is None:
            self._as_recorded(entry)
            return
        doubled = self._doubled(entry) if entry.fire_at <= self.covered else 0
        self._missing_before(entry.fire_at)
        barred = None if span is None or entry.cause == "paused" else span.version.barred
        first = last = self._ahead
        named = on_barred_days = 0
        while self._ahead is not None and self._ahead <= entry.until_at:
            last = self._ahead
            named += 1
            if barred is not None:
                on_barred_days += barred(last)
            self._ahead = next(self._expected, None)
        self.covered = max(self.covered, entry.until_at)
        self._count(entry, named)
        if not doubled:
            self._compare(entry, named, first, last)
        if barred is not None and on_barred_days != (named if entry.cause == "calendar" else 0):
            says = "no calendar bars" if entry.cause == "calendar" else "a calendar bars"
            self._error("calendar_differs", f"{entry}, but {says} that day")

    def _as_recorded(self, entry: Entry) -> None:
        """Take in a row of a rule that nobody can judge here: it may only not stand for what an earlier one does."""
        if entry.fire_at <= self.covered:
            self._verdict.doubled += 1
            before = f"the row before, which ends at {show(self.covered)}"
            self._error("fire_time_doubled", f"{entry} overlaps {before}")
        self._missing_before(entry.fire_at)
        self.covered = max(self.covered, entry.until_at)
        self._count(entry, entry.n)

    def _of_another_rule(self, entry: Entry) -> None:
        """Take in a fire time that came before its time: the version that then held may name it or not."""
        self._missing_before(entry.fire_at)
        if self._ahead == entry.fire_at:
            self._count(entry, 1)
            self._ahead = next(self._expected, None)
        self.covered = max(self.covered, entry.until_at)

    def _doubled(self, entry: Entry) -> int:
        """Return how many of the fire times of *entry* earlier rows stand for already."""
        again = self._fire_times(entry.fire_at - 1, min(entry.until_at, self.covered, self._limit))
        doubled = sum(1 for _ in again)
        self._verdict.doubled += doubled
        before = f"the row before, which ends at {show(self.covered)}"
        self._error("fire_time_doubled", f"{entry} overlaps {before}; {many(doubled, 'fire time')} with two outcomes")
        return doubled

    def _missing_before(self, end: int) -> None:
        first = last = self._ahead
        gone = 0
        while self._ahead is not None and self._ahead < end:
            last = self._ahead
            gone += 1
            self._ahead = next(self._expected, None)
        if gone and first is not None and last is not None:
            self._verdict.expected += gone
            self._verdict.missing += gone
            where = f"{show(first)}, has" if gone == 1 else f"{show(first)} to {show(last)}, have"
            self._error("fire_time_missing", f"{many(gone, 'fire time')}, {where} no outcome")

    def _count(self, entry: Entry, named: int) -> None:
        self._verdict.expected += named
        if entry.outcome in OUTCOMES:
            setattr(self._verdict, entry.outcome, getattr(self._verdict, entry.outcome) + named)

    def _compare(self, entry: Entry, named: int, first: int | None, last: int | None) -> None:
        if named == 0:
            self._verdict.unexpected += entry.n
            self._error("fire_time_unexpected", f"{entry} is recorded, but the rule names no such fire time")
            return
        if first != entry.fire_at or last != entry.until_at:
            self._verdict.unexpected += 1
            self._error("stretch_ends", f"{entry} begins or ends at an instant that is no fire time of the rule")
        if named != entry.n:
            self._verdict.unexpected += max(entry.n - named, 0)
            self._error("stretch_count", f"{entry} counts {entry.n:,}, the rule names {named:,} fire times")

    def _runs(self, entry: Entry, span: Span | None, runs: Sequence[ScheduledRun]) -> None:
        if span is None:
            return
        for kind, sentence in problems_of_runs(entry.fire_at, span.version, runs):
            self._verdict.missing += kind == "run_missing"
            self._verdict.doubled += kind == "run_doubled"
            self._error(kind, sentence)
