"""Put rules into English: times of day, days, months and the zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

WEEKDAY_NAMES: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTH_NAMES: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_NTH: Final = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", 0: "last"}
_TIMES_LISTED: Final = 6


@dataclass(frozen=True, slots=True)
class DayWords:
    """What a rule says about days, in words; a part is empty where it says nothing.

    `of_month`: places in the month (`1st and 15th`). `of_week`: weekdays (`on Sunday`, `Monday to Friday`).
    `placed`: weekdays at a place in the month (`first Monday`). `both` says whether a day must be in the month part
    and in the week part or in one of them. `months` is empty for all; `rest` (weeks, years) ends the sentence.
    """

    of_month: str = ""
    of_week: str = ""
    placed: tuple[str, ...] = ()
    both: bool = True
    months: tuple[int, ...] = ()
    rest: str = ""


def say(seconds: Sequence[int], minutes: Sequence[int], hours: Sequence[int], days: DayWords, zone: str) -> str:
    """Return the rule in words, such as `every 15 minutes, from 09:00 to 17:45, Monday to Friday (Europe/Berlin)`."""
    listed, time = _time(tuple(seconds), tuple(minutes), tuple(hours))
    day = _day(days)
    if not day:
        day = "every day" if listed else ""
    close = listed and day.startswith(("on ", "every day"))
    return time + (f"{' ' if close else ', '}{day}" if day else "") + in_zone(zone)


def in_zone(zone: str) -> str:
    """Return the zone in brackets, or nothing for UTC."""
    return "" if zone == "UTC" else f" ({zone})"


def say_instant(local: datetime, zone: str) -> str:
    """Return a local date and time in words, such as `Tuesday 1 December 2026 at 09:00 (Europe/Berlin)`."""
    day = f"{WEEKDAY_NAMES[local.weekday()]} {local.day} {MONTH_NAMES[local.month - 1]} {local.year}"
    suffix = " (UTC)" if zone == "UTC" else in_zone(zone)
    return f"{day} at {say_clock(local.hour, local.minute, local.second, local.microsecond)}{suffix}"


def say_clock(hour: int, minute: int, second: int = 0, microsecond: int = 0) -> str:
    """Return a time of day; seconds only where they are not 0."""
    text = f"{hour:02d}:{minute:02d}"
    if second or microsecond:
        text += f":{second:02d}"
    return text + (f".{microsecond:06d}".rstrip("0") if microsecond else "")


def join(words: Sequence[str], last: str = "and") -> str:
    """Return *words* as a list in a sentence: `a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def ordinal(number: int) -> str:
    """Return `1st`, `2nd`, `3rd`, `4th` and so on."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def nth_weekday(nth: int, weekday: int) -> str:
    """Return `first Monday`, `last Friday`; *nth* 0 is the last, weekday 0 is Monday."""
    return f"{_NTH[nth]} {WEEKDAY_NAMES[weekday]}"


def weekdays_in_words(weekdays: Sequence[int]) -> str:
    """Return `on Sunday`, `on Monday and Wednesday`, `Monday to Friday`; 0 is Monday."""
    days = sorted(set(weekdays))
    if len(days) > 2 and _step(days) == 1:
        return f"{WEEKDAY_NAMES[days[0]]} to {WEEKDAY_NAMES[days[-1]]}"
    return "on " + join([WEEKDAY_NAMES[day] for day in days])


def month_days_in_words(days: Sequence[int], others: Sequence[str] = ()) -> str:
    """Return `1st and 15th`, `1st to 7th`, `last day`: without a leading article."""
    ordered = sorted(set(days))
    step = _step(ordered)
    if len(ordered) > 2 and step == 1:
        parts = [f"{ordinal(ordered[0])} to {ordinal(ordered[-1])}"]
    elif len(ordered) > 3 and step is not None:
        parts = [f"{ordinal(ordered[0])} and every {ordinal(step)} day after it up to the {ordinal(ordered[-1])}"]
    else:
        parts = [ordinal(day) for day in ordered]
    return join([*parts, *others])


def months_in_words(months: Sequence[int]) -> str:
    """Return `January and July` or `June to August`."""
    ordered = sorted(set(months))
    if len(ordered) > 2 and _step(ordered) == 1:
        return f"{MONTH_NAMES[ordered[0] - 1]} to {MONTH_NAMES[ordered[-1] - 1]}"
    return join([MONTH_NAMES[month - 1] for month in ordered])


def numbers_in_words(numbers: Sequence[int]) -> str:
    """Return `5`, `5 and 10`, `9 to 17`."""
    ordered = sorted(set(numbers))
    if len(ordered) > 2 and _step(ordered) == 1:
        return f"{ordered[0]} to {ordered[-1]}"
    return join([str(number) for number in ordered])


def _day(days: DayWords) -> str:
    season, place = _season(days.months)
    of_month = f"on the {days.of_month} {place}" if days.of_month else ""
    week = [f"{days.of_week}{season}"] if days.of_week else []
    if days.placed:
        week.append(f"on {join([f'the {name}' for name in days.placed])} {place}")
    of_week = " and ".join(week)
    if of_month and of_week and days.both:
        text = f"{of_week}, if it is the {days.of_month} of the month"
    elif of_month and of_week:
        text = f"{of_month} and also {of_week}"
    else:
        text = of_month or of_week
    if not text and (season or days.rest):
        text = f"every day{season.removeprefix(',')}"
    return f"{text} {days.rest}".strip()


def _season(months: Sequence[int]) -> tuple[str, str]:
    """Return how to say months after weekdays and after a place in the month."""
    if not months:
        return "", "of every month"
    if len(months) > 2 and _step(sorted(months)) == 1:
        span = f"from {months_in_words(months)}"
        return f", {span}", f"of every month {span}"
    return f" in {months_in_words(months)}", f"of {months_in_words(months)}"


def _time(seconds: tuple[int, ...], minutes: tuple[int, ...], hours: tuple[int, ...]) -> tuple[bool, str]:
    """Return the times of day in words, and whether they are a list of times."""
    if len(seconds) > 1:
        return False, _many_seconds(seconds, minutes, hours)
    second = seconds[0]
    regular = _regular(second, minutes, hours)
    if regular:
        return False, regular
    if len(minutes) * len(hours) <= _TIMES_LISTED:
        return True, "at " + join([say_clock(hour, minute, second) for hour in hours for minute in minutes])
    at_second = f", second {second}" if second else ""
    return False, f"at {_minutes(minutes)}{at_second} of {_hours(hours)}"


def _regular(second: int, minutes: tuple[int, ...], hours: tuple[int, ...]) -> str:
    """Return words for times at even distances, or nothing."""
    step = _step(hours)
    if len(minutes) == 1 and len(hours) > 2 and step is not None:
        return _every_hours(step, second, minutes[0], hours)
    if len(minutes) == 1:
        return ""
    span = _span(second, minutes, hours)
    around = _around(minutes, 60)
    if around is None:
        contiguous = _step(minutes) == 1 and len(minutes) > 2 and len(hours) == 1
        return f"every minute, {span}" if contiguous else ""
    every = "every minute" if around == 1 else f"every {around} minutes"
    if len(hours) == 24:
        at_second = f" at second {second}" if second else ""
        return every + (f", from minute {minutes[0]} of each hour" if minutes[0] else "") + at_second
    if _step(hours) == 1 or (len(hours) == 1 and len(minutes) > 2):
        return f"{every}, {span}"
    if len(minutes) * len(hours) <= _TIMES_LISTED:
        return ""
    at_second = f" at second {second}" if second else ""
    return f"{every}{at_second} during {_hours(hours)}"


def _every_hours(step: int, second: int, minute: int, hours: tuple[int, ...]) -> str:
    every = "every hour" if step == 1 else f"every {step} hours"
    whole_day = _around(hours, 24) is not None and hours[0] == 0
    if whole_day and not minute and not second:
        return every
    if whole_day and step == 1:
        return f"every hour at minute {minute}" + (f", second {second}" if second else "")
    return f"{every}, {_span(second, (minute,), hours)}"


def _many_seconds(seconds: tuple[int, ...], minutes: tuple[int, ...], hours: tuple[int, ...]) -> str:
    around = _around(seconds, 60)
    if around is None:
        every = f"at seconds {numbers_in_words(seconds)}"
    else:
        every = "every second" if around == 1 else f"every {around} seconds"
        every += f" from second {seconds[0]}" if seconds[0] else ""
    if len(minutes) == 60 and len(hours) == 24:
        return every if around is not None else f"{every} of every minute"
    if around is not None and len(minutes) == 60 and (_step(hours) == 1 or len(hours) == 1):
        return f"{every}, {_span(0, minutes, hours)}"
    if around is not None and len(minutes) == 1 and len(hours) == 1:
        first, last = (f"{hours[0]:02d}:{minutes[0]:02d}:{second:02d}" for second in (seconds[0], seconds[-1]))
        return f"{every}, from {first} to {last}"
    inside = "every minute" if len(minutes) == 60 else _minutes(minutes)
    return f"{every} {'of' if around is None else 'during'} {inside} of {_hours(hours)}"


def _span(second: int, minutes: tuple[int, ...], hours: tuple[int, ...]) -> str:
    return f"from {say_clock(hours[0], minutes[0], second)} to {say_clock(hours[-1], minutes[-1], second)}"


def _minutes(minutes: tuple[int, ...]) -> str:
    around = _around(minutes, 60)
    if around is not None and len(minutes) > _TIMES_LISTED:
        return f"every {ordinal(around)} minute" if around > 1 else "every minute"
    return f"minute {minutes[0]}" if len(minutes) == 1 else f"minutes {numbers_in_words(minutes)}"


def _hours(hours: tuple[int, ...]) -> str:
    if len(hours) == 24:
        return "every hour"
    return f"hour {hours[0]}" if len(hours) == 1 else f"the hours {numbers_in_words(hours)}"


def _step(values: Sequence[int]) -> int | None:
    """Return the distance between neighbours when it is the same for all of two or more values."""
    steps = {later - earlier for earlier, later in pairwise(values)}
    return steps.pop() if len(steps) == 1 else None


def _around(values: Sequence[int], size: int) -> int | None:
    """Return the distance when *values* divide the whole circle of *size* evenly."""
    step = _step(values)
    return step if step is not None and step * len(values) == size else None
