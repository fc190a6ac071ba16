"""Say what went wrong: one base class, small classes with attributes, messages that name the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class MainspringError(Exception):
    """Base of every error that Mainspring raises on purpose.

    Its text is meant for the user as it stands: it names the thing, the value and the way out.
    """


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name in *known* that *name* most likely meant, or None when nothing is close."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence for a *name* that is not among the *known* ones of its *kind*."""
    names = sorted(known)
    guess = nearest(name, names)
    if guess is not None:
        return f"unknown {kind} {name!r}; did you mean {guess!r}?"
    if not names:
        return f"unknown {kind} {name!r}; there is no {kind} yet"
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"unknown {kind} {name!r}; known: {shown}"


class InvalidInput(MainspringError):
    """A value from outside cannot be used; nothing was changed."""


class UnknownName(InvalidInput):
    """A name does not exist; carries the kind of thing and the name."""

    def __init__(self, kind: str, name: str, known: Iterable[str] = ()) -> None:
        super().__init__(unknown_name(kind, name, known))
        self.kind, self.name = kind, name


class NotFound(MainspringError):
    """A thing that was asked for by its id does not exist."""

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"there is no {kind} {key}")
        self.kind, self.key = kind, key


class Conflict(MainspringError):
    """The state of a thing forbids what was asked."""


class DuplicateRun(Conflict):
    """A run that must be alone exists already; carries its id and state."""

    def __init__(self, task: str, run_id: str, state: str) -> None:
        super().__init__(
            f"run {run_id} of task {task!r} has the same unique key and is {state}; nothing was enqueued. Wait for it, "
            "cancel it, or ask with on_conflict='existing' or 'replace'"
        )
        self.task, self.run_id, self.state = task, run_id, state


class BulkInterrupted(MainspringError):
    """Many runs were to be enqueued and not all were; `run_ids` are those that surely are, in the order given."""

    def __init__(self, run_ids: Sequence[str], why: str) -> None:
        super().__init__(f"the first {len(run_ids):,} runs are enqueued, what follows them is not: {why}")
        self.run_ids = tuple(run_ids)


class LockHeld(Conflict):
    """Somebody else holds a lock; carries its name and who holds it."""

    def __init__(self, name: str, holder: str) -> None:
        super().__init__(
            f"lock {name!r} is held by {holder}; wait longer, or free it with `mainspring locks release` if that one "
            "is gone for good"
        )
        self.name, self.holder = name, holder


class LockLost(MainspringError):
    """A lock ran out or was freed by an operator while its holder worked: another may hold it."""

    def __init__(self, name: str, fence: int) -> None:
        super().__init__(f"lock {name!r} with fence {fence} is no longer held; another may hold it")
        self.name, self.fence = name, fence


class VersionMismatch(Conflict):
    """A thing is no longer as whoever wants to change it has seen it; carries its version now."""

    def __init__(self, kind: str, name: str, version: int) -> None:
        super().__init__(
            f"{kind} {name!r} is at version {version} now: somebody has changed it since you looked; look again"
        )
        self.version = version


class ParametersInvalid(InvalidInput):
    """Parameters do not fit the task's function."""

    def __init__(self, task: str, problems: Iterable[str]) -> None:
        self.task, self.problems = task, tuple(problems)
        super().__init__(f"parameters of task {task!r} do not fit: " + "; ".join(self.problems))


class ArtifactRefused(InvalidInput):
    """An artifact was not kept: its name, its size, a full quota or the place where it goes; the run may go on."""


class LeaseLost(MainspringError):
    """The lease on an attempt expired or passed to another worker; its result was not recorded."""

    def __init__(self, run_id: str, attempt: int) -> None:
        super().__init__(f"attempt {attempt} of run {run_id} no longer holds its lease")
        self.run_id, self.attempt = run_id, attempt


class StoreUnavailable(MainspringError):
    """The database cannot be reached or used; the message says which and why."""


class StoreFull(StoreUnavailable):
    """The disk under the database has no room; nothing new is taken until it has, and nothing is lost."""


class ConfigurationInvalid(InvalidInput):
    """A configuration was refused whole; `problems` holds one sentence each, with file and line where known."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
