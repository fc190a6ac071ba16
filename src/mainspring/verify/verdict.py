"""Say what a verification found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MOST_FINDINGS: Final = 1_000
"""Findings that are kept; more are only counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be, or, as a warning, one that will not be so for long."""

    kind: str
    """What is wrong, as a name that never changes, such as `fire_time_missing`."""
    subject: str
    """The schedule, run or session it is about."""
    sentence: str
    warning: bool = False

    def __str__(self) -> str:
        """Return the finding as one line."""
        return f"{'warning' if self.warning else 'error'} {self.kind}: {self.subject}: {self.sentence}"


@dataclass(slots=True)
class Verdict:
    """The figures and findings of a verification.

    Each expected fire time is counted once as fired, coalesced, skipped or missing; fire times whose runs are missing
    or doubled count as missing or doubled too.
    """

    schedules: int = 0
    unjudged: int = 0
    """Those of them by exchange sessions: which days an exchange trades only the scheduler's data says."""
    expected: int = 0
    """Fire times up to the marks of the schedules, by brute force."""
    fired: int = 0
    coalesced: int = 0
    skipped: int = 0
    missing: int = 0
    doubled: int = 0
    unexpected: int = 0
    """Fire times with an outcome that the rule does not name."""
    pending: int = 0
    """Fire times that have come and that no scheduler has decided yet."""
    runs: int = 0
    attempts: int = 0
    errors: int = 0
    warnings: int = 0
    findings: list[Finding] = field(default_factory=list)
    """The first 1,000; `errors` and `warnings` count all."""

    @property
    def ok(self) -> bool:
        """Return whether nothing is wrong; warnings are not wrong."""
        return self.errors == 0

    def error(self, kind: str, subject: str, sentence: str) -> None:
        """Note something that must not be."""
        self._note(Finding(kind, subject, sentence))

    def warn(self, kind: str, subject: str, sentence: str) -> None:
        """Note something that should pass by itself."""
        self._note(Finding(kind, subject, sentence, warning=True))

    def add(self, other: Verdict) -> None:
        """Add the figures and findings of a part."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.findings += other.findings[: MOST_FINDINGS - len(self.findings)]

    def lines(self) -> list[str]:
        """Return the verdict for people: first the figures of the ledger, at the end whether all is well."""
        counts = many(self.schedules, "schedule"), many(self.runs, "run"), many(self.attempts, "ended attempt")
        lines = [self._ledger_line(), "{}, {} and {} compared with each other".format(*counts)]
        if self.unjudged:
            lines.append(
                f"{many(self.unjudged, 'schedule')} by exchange sessions: fire times are taken as the ledger has them"
            )
        if self.pending:
            lines.append(f"{self.pending:,} pending: their time has come, no scheduler has decided them yet")
        lines += [str(finding) for finding in self.findings]
        left_out = self.errors + self.warnings - len(self.findings)
        if left_out:
            lines.append(f"… and {left_out:,} more")
        verdict = "consistent" if self.ok else many(self.errors, "error")
        lines.append(verdict + (f", {many(self.warnings, 'warning')}" if self.warnings else ""))
        return lines

    def _ledger_line(self) -> str:
        always = ("expected", "fired", "missing", "doubled")
        shown = ("expected", "fired", "coalesced", "skipped", "missing", "doubled", "unexpected")
        figures = [(name, getattr(self, name)) for name in shown]
        return ", ".join(f"{count:,} {name}" for name, count in figures if count or name in always)

    def _note(self, finding: Finding) -> None:
        if finding.warning:
            self.warnings += 1
        else:
            self.errors += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding)


_COUNTS: Final = (
    "schedules", "unjudged", "expected", "fired", "coalesced", "skipped", "missing", "doubled", "unexpected", "pending",
    "runs", "attempts", "errors", "warnings",
)  # fmt: skip


def many(count: int, noun: str) -> str:
    """Return a count with its noun: `1 run`, `2,000 runs`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
