"""Say which failures are the same: by task, error, place in the user's code, and a message without what varies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from mainspring.domain.states import FailureKind

_INPUT_LIMIT: Final = 20_000
_MESSAGE_LIMIT: Final = 300
_FIXED: Final = {
    FailureKind.LOST: "its worker was lost, and what may have happened is not repeated",
    FailureKind.POISON: "it killed the process that ran it, again and again",
}
"""Failures without an error of the task: one group for each task."""

_URL: Final = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.\-]*://)([^\s'\"<>]+)")
_QUERY_VALUE: Final = re.compile(r"([?&;][^=&;#]*=)[^&;#]*")
_EMAIL: Final = re.compile(r"(?<![\w.+\-])[\w.+\-]+@[\w\-]+(?:\.[\w\-]+)+")
_QUOTED: Final = re.compile(r"(?<!\w)(?:'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`)(?!\w)")
_ID: Final = re.compile(
    r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    r"|\b0[xX][0-9a-fA-F]+"
    r"|\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+\-]\d\d:?\d\d)?"
)
_PATH: Final = re.compile(r"(?<![\w./\\])(?:[A-Za-z]:)?(?:[/\\][\w.\-~+@]+){2,}[/\\]?")
_DIGITS: Final = re.compile(r"\d+")
_WORD: Final = re.compile(r"[\w#]+")
_LIST: Final = re.compile(r"(?:(?<![\w#])[\-+])?#(?:[\-:./,+]+#)*")
_HEX: Final = frozenset("0123456789abcdefABCDEF#")

_FRAME: Final = re.compile(r'^[ |]*File "(?P<path>[^"\n]+)", line \d+, in (?P<function>.+)$', re.MULTILINE)
_BEGIN: Final = "Traceback (most recent call last)"
_INSTALLED: Final = re.compile(r"[/\\](?:site|dist)-packages[/\\]([^/\\.]+)")
_STANDARD: Final = re.compile(r"[/\\]lib(?:64)?[/\\]python\d[^/\\]*[/\\]|python\d+\.zip|[/\\]Lib[/\\]|^<")
_OURS: Final = re.compile(
    r"[/\\]mainspring[/\\](?:(?:domain|pack|runtime|services|store|testing)[/\\]|(?:app|client)\.py)"
)
_STANDARD_HOME: Final = "<standard>"


@dataclass(frozen=True, slots=True)
class Symptom:
    """What failures of one group have in common."""

    task: str
    error_type: str
    message: str
    """With `#` for numbers, ids, addresses and times, and without quoted texts, paths and values in addresses."""
    place: str
    """The innermost function of the user's code: `file.py:function`; empty where none is known."""

    @property
    def signature(self) -> str:
        """Return 16 hexadecimal digits that are the same in every process and on every release of Python."""
        text = "\n".join((self.task, self.error_type, self.place, self.message))
        return sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def symptom_of(
    task: str, kind: FailureKind, error_type: str | None, message: str | None, traceback: str | None
) -> Symptom:
    """Return what a failure has in common with those of its group."""
    fixed = _FIXED.get(kind)
    if fixed is not None:
        return Symptom(task, kind.value, fixed, "")
    return Symptom(task, error_type or kind.value, normalised(message or ""), place_of(traceback or ""))


def normalised(message: str) -> str:
    """Return *message* without what differs from one failure to the next: any number may be exchanged for another."""
    text = message[:_INPUT_LIMIT]
    text = _URL.sub(lambda found: found[1] + _QUERY_VALUE.sub(r"\1…", found[2].rpartition("@")[2]), text)
    text = _EMAIL.sub("<email>", text)
    text = _QUOTED.sub("'…'", text)
    text = _PATH.sub("<path>", _ID.sub("#", text))
    text = _WORD.sub(_plain_word, _DIGITS.sub("#", text))
    return " ".join(_LIST.sub("#", text).split())[:_MESSAGE_LIMIT]


def _plain_word(found: re.Match[str]) -> str:
    # What mixes digits and letters more than once, or looks like hexadecimal, is an id, however long its numbers are.
    word = found[0]
    count = word.count("#")
    return "#" if count > 1 or (count and _HEX.issuperset(word)) else word


def place_of(traceback: str) -> str:
    """Return the innermost function of the user's code in a printed *traceback*: `file.py:function`, or nothing.

    The first frame is the task's own function: frames of the package that it lives in are the user's even where that
    package is installed beside others.
    """
    frames = _frames(traceback[traceback.rfind(_BEGIN) :] if _BEGIN in traceback else traceback)
    if not frames:
        return ""
    own = next((home for path, _ in frames if (home := _home(path)) is not None), "")
    users = [frame for frame in frames if _home(frame[0]) in ("", own)] or frames
    path, function = users[-1]
    name = re.split(r"[/\\]", path)[-1]
    return f"{name}:{function}"


def _frames(text: str) -> list[tuple[str, str]]:
    return [(found["path"], found["function"].strip()) for found in _FRAME.finditer(text)]


def _home(path: str) -> str | None:
    """Return the installed package that *path* lies in, "" for a file outside of all, None for Mainspring itself."""
    if _OURS.search(path):
        return None
    if (found := _INSTALLED.search(path)) is not None:
        return found[1]
    return _STANDARD_HOME if _STANDARD.search(path) else ""
