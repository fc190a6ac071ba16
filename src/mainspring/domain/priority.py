"""Order runs by priority: 9 first, 0 last; the words high, normal and low name three of them."""

from __future__ import annotations

from typing import Final

from mainspring.errors import InvalidInput

HIGH: Final = 8
NORMAL: Final = 5
LOW: Final = 2
_WORDS: Final = {"high": HIGH, "normal": NORMAL, "low": LOW}


def parse_priority(value: object) -> int:
    """Return the priority that a word or a number from 0 to 9 names.

    Raises:
        InvalidInput: for anything else.
    """
    if isinstance(value, str):
        folded = value.strip().lower()
        if folded in _WORDS:
            return _WORDS[folded]
        if folded.isdigit():
            value = int(folded)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 9:
        return value
    raise InvalidInput(
        f"priority {value!r} is not known; write high, normal, low or a number from 0 (last) to 9 (first)"
    )


def priority_word(priority: int) -> str:
    """Return the word for *priority* where it has one, else its digits."""
    return next((word for word, number in _WORDS.items() if number == priority), str(priority))


def rank_of(priority: int) -> int:
    """Return the sort key of *priority* in a queue: smaller is claimed first."""
    return 9 - priority
