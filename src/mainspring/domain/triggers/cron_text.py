"""Read cron text: check it field by field and rewrite it into the plain form that `cronsim` evaluates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

from mainspring.domain.triggers.trigger import TriggerInvalid
from mainspring.errors import nearest

ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
LONGEST: Final = 500
"""Characters that cron text may have."""


class CronInvalid(TriggerInvalid):
    """Cron text cannot be used."""


class Field(NamedTuple):
    """One field of cron text: its name, its range, the number of different values and the names it accepts."""

    name: str
    low: int
    high: int
    size: int
    names: dict[str, int]


FIELDS: Final = (
    Field("second", 0, 59, 60, {}),
    Field("minute", 0, 59, 60, {}),
    Field("hour", 0, 23, 24, {}),
    Field("day", 1, 31, 31, {}),
    Field("month", 1, 12, 12, {name: number for number, name in enumerate(MONTHS, 1)}),
    Field("weekday", 0, 7, 7, {name: number for number, name in enumerate(WEEKDAYS)}),
)
_HASHED: Final = re.compile(r"H(?:\((\w+)-(\w+)\))?(?:/(\w+))?")


@dataclass(frozen=True, slots=True)
class CronText:
    """Checked cron text: six plain fields, seconds first; whether the rule is at fixed times; whether `H` was used."""

    parts: tuple[str, str, str, str, str, str]
    fixed: bool
    hashed: bool


def read_cron(text: str, seed: str) -> CronText:
    """Return *text* checked, with names as numbers and every `H` replaced by a number hashed from *seed*.

    Raises:
        CronInvalid: the message names the text, the field, the value and the way out.
    """
    if not isinstance(text, str):
        raise CronInvalid(f"cron {text!r} is not text; write it in quotes")
    if len(text) > LONGEST:
        raise CronInvalid(f'cron "{text[:40]}…": has {len(text)} characters; at most {LONGEST} are read')
    try:
        return _Reader(seed).read(text)
    except _Problem as problem:
        raise CronInvalid(f'cron "{text}": {problem}') from None


class _Problem(Exception):
    """What is wrong with one text; `read_cron` adds the text."""


class _Reader:
    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._hashed = False

    def read(self, text: str) -> CronText:
        raw = _split(text)
        second, minute, hour, day, month, weekday = (
            self._field(field, part) for field, part in zip(FIELDS, raw, strict=True)
        )
        # `H/15` is `*/15` moved by some minutes, and follows real time as that does.
        fixed = not any(part.startswith(("*", "H/")) for part in raw[1:3])
        return CronText((second, minute, hour, day, month, weekday), fixed, self._hashed)

    def _field(self, field: Field, part: str) -> str:
        terms = part.split(",")
        if "" in terms:
            raise _Problem(f"{field.name} {part} has an empty member; write values with single commas, such as 1,15")
        return ",".join(self._term(field, term) for term in terms)

    def _term(self, field: Field, term: str) -> str:
        if term.startswith("H") and _HASHED.fullmatch(term):
            self._hashed = True
            return self._hash(field, term)
        base, slash, step_text = term.partition("/")
        step = _step(field, step_text, term) if slash else None
        if base == "*":
            return "*" if step is None else f"*/{step}"
        special = _special(field, base)
        if special is not None:
            if step is not None:
                raise _Problem(f"{field.name} {term}: {base} cannot have a step")
            return special
        if "-" in base:
            return _range(field, base, step)
        number = _number(field, base)
        return str(number) if step is None else _stepped(number, field.high, step)

    def _hash(self, field: Field, term: str) -> str:
        if not self._seed:
            raise _Problem("H spreads schedules by their names; give a seed, usually the schedule's name")
        match = _HASHED.fullmatch(term)
        assert match is not None
        low, high = field.low, {"day": 28, "weekday": 6}.get(field.name, field.high)
        if match[1] is not None:
            low, high = _number(field, match[1]), _number(field, match[2])
            if low > high:
                raise _Problem(f"{field.name} {term} runs backwards; write the smaller number first")
        draw = int.from_bytes(sha256(f"{self._seed}\0{field.name}".encode()).digest()[:8], "big")
        if match[3] is None:
            return str(low + draw % (high - low + 1))
        step = _step(field, match[3], term)
        return _stepped(low + draw % min(step, high - low + 1), high, step)


def _split(text: str) -> list[str]:
    folded = text.strip()
    if folded.startswith("@"):
        if folded.lower() not in ALIASES:
            raise _Problem(_unknown_alias(folded.lower()))
        folded = ALIASES[folded.lower()]
    parts = folded.upper().split()
    if len(parts) == 7:
        raise _Problem("has 7 fields; a year cannot be given in cron text, use start and end or `fields`")
    if len(parts) not in (5, 6):
        count = f"{len(parts)} field" + ("" if len(parts) == 1 else "s")
        raise _Problem(f"has {count}; write 5 (minute hour day month weekday) or 6 with seconds first")
    return parts if len(parts) == 6 else ["0", *parts]


def _unknown_alias(name: str) -> str:
    if name == "@reboot":
        return "a schedule has no reboot; use a time or an interval"
    guess = nearest(name, ALIASES)
    return f"{name} is not known; " + (f"did you mean {guess}?" if guess else "known: " + ", ".join(ALIASES))


def _number(field: Field, word: str) -> int:
    if word in field.names:
        return field.names[word]
    if not word.isascii() or not word.isdigit():
        raise _Problem(_not_a_value(field, word))
    number = int(word)
    if not field.low <= number <= field.high:
        raise _Problem(f"{field.name} {word} is outside {field.low}-{field.high}")
    return number


def _not_a_value(field: Field, word: str) -> str:
    if word == "?":
        return f"{field.name} ? is not used here; write *"
    if field.name == "day" and re.fullmatch(r"\d+W|L-\d+", word):
        return f"day {word} is not supported; L is the last day and LW the last weekday of the month"
    if field.name == "weekday" and word == "L":
        return "weekday L needs a weekday; write 5L for the last Friday of the month"
    guess = nearest(word, field.names) if len(word) > 1 else None
    if guess is None and len(word) > 3:
        guess = next((name for name in field.names if word.startswith(name)), None)
    if guess:
        return f"{field.name} {word} is not known; did you mean {guess}?"
    return f"{field.name} {word or '(nothing)'} is not a number; use {field.low}-{field.high}" + (
        f" or {next(iter(field.names))}-{list(field.names)[-1]}" if field.names else ""
    )


def _step(field: Field, word: str, term: str) -> int:
    if not (word.isascii() and word.isdigit()) or int(word) == 0:
        raise _Problem(f"{field.name} {term}: the step {word or '(nothing)'} is not a number from 1")
    if int(word) > field.size:
        raise _Problem(
            f"{field.name} {term}: the step {word} is longer than the field has values ({field.size}); "
            "use an interval (every)"
        )
    return int(word)


def _range(field: Field, base: str, step: int | None) -> str:
    first, _, last = base.partition("-")
    low, high = _number(field, first), _number(field, last)
    if field.name == "weekday" and high == 0 and low > 0:
        high = 7
    if low > high:
        raise _Problem(f"{field.name} {base} runs backwards; write {first}-{field.high},{field.low}-{last}")
    return f"{low}-{high}" if step is None else _stepped(low, high, step)


def _stepped(low: int, high: int, step: int) -> str:
    # Written out: cronsim reads 5-5/10 as 5/10, which is another rule.
    return ",".join(str(number) for number in range(low, high + 1, step))


def _special(field: Field, base: str) -> str | None:
    if field.name == "day" and base in ("L", "LW"):
        return base
    if field.name != "weekday":
        return None
    if "#" in base:
        day, _, nth = base.partition("#")
        if nth not in ("1", "2", "3", "4", "5"):
            raise _Problem(f"weekday {base}: a month has weekdays #1 to #5; write MON#1 for the first Monday")
        return f"{_number(field, day)}#{nth}"
    if base.endswith("L") and base != "L":
        return f"{_number(field, base[:-1])}L"
    return None
