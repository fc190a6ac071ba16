"""Answer errors: one clear message on standard error, and an exit code that means something."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Final

from mainspring.errors import (
    ConfigurationInvalid,
    Conflict,
    InvalidInput,
    MainspringError,
    NotFound,
    StoreUnavailable,
    UnknownName,
)


class ExitCode(IntEnum):
    """What a command's exit code says."""

    OK = 0
    FAILED = 1
    INVALID = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNAVAILABLE = 5
    BUG = 70
    INTERRUPTED = 130


MEANINGS: Final[Mapping[ExitCode, str]] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "what was asked for failed: a run that was waited for, a verification that found problems",
    ExitCode.INVALID: "bad input: an unknown option, a value that cannot be used, a configuration that is refused",
    ExitCode.NOT_FOUND: "a run, schedule, task, queue, resource, pack or artifact that was named does not exist",
    ExitCode.CONFLICT: "the state of a thing forbids what was asked, such as retrying a run that succeeded",
    ExitCode.UNAVAILABLE: "the database cannot be reached, does not exist yet, or has another schema",
    ExitCode.BUG: "an unexpected error; `--debug` shows where",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
}
_THINGS: Final = frozenset(
    {"schedule", "task", "queue", "run", "artifact", "scraper", "pack", "resource", "user", "key"}
)
"""What can be missing; other names, such as time zones, are values that cannot be used."""


class Failed(MainspringError):
    """What was asked for was done and failed; nothing is wrong with the question."""


def exit_code(error: MainspringError) -> ExitCode:
    """Return the exit code for *error*."""
    if isinstance(error, UnknownName):
        return ExitCode.NOT_FOUND if error.kind in _THINGS else ExitCode.INVALID
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return ExitCode.FAILED


_CODES: Final = (
    (InvalidInput, ExitCode.INVALID),
    (NotFound, ExitCode.NOT_FOUND),
    (Conflict, ExitCode.CONFLICT),
    (StoreUnavailable, ExitCode.UNAVAILABLE),
)


def report(error: MainspringError, redact: Callable[[str], str]) -> None:
    """Say *error*: one line, or one for each problem of a configuration."""
    problems = error.problems if isinstance(error, ConfigurationInvalid) else (str(error),)
    for problem in problems:
        complain(redact(problem))


def report_bug(error: Exception, redact: Callable[[str], str]) -> None:
    """Say that an error was not foreseen, and how to see where it arose."""
    said = str(error).strip().partition("\n")[0]
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    complain(f"unexpected {redact(what)}; --debug shows where")


def show_place(error: Exception, redact: Callable[[str], str]) -> None:
    """Show where *error* arose."""
    sys.stderr.write(redact("".join(traceback.format_exception(error))))


def complain(text: str) -> None:
    """Write *text* as an error on standard error."""
    sys.stdout.flush()
    print(f"error: {printable(text)}", file=sys.stderr)


def printable(text: str) -> str:
    """Return *text* without signs that could steer a terminal; line breaks and tabs stay."""
    return "".join(sign if sign in "\n\t" or sign.isprintable() else _visible(sign) for sign in text)


def _visible(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")
