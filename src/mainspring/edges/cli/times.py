"""Say instants as people do: in their zone, and how long ago or ahead."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_LOCALTIME: Final = Path("/etc/localtime")


def local_zone() -> tuple[tzinfo | None, str]:
    """Return the zone of whoever reads (None: the system's own rule) and its name."""
    from mainspring.domain.zones import zone, zone_names

    name = os.environ.get("TZ", "").removeprefix(":")
    if not name and _LOCALTIME.is_symlink():
        name = str(_LOCALTIME.resolve()).rpartition("zoneinfo/")[2]
    if name in zone_names():
        return zone(name), "UTC" if name in ("Etc/UTC", "UCT", "Zulu", "Universal") else name
    if not name and not _LOCALTIME.exists():
        return UTC, "UTC"
    return None, "local time"


def iso(moment: datetime) -> str:
    """Return *moment* in UTC as ISO text with a Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def stamp(moment: datetime, where: tzinfo | None) -> str:
    """Return *moment* as date and time of day, to the second."""
    return moment.astimezone(where).strftime("%Y-%m-%d %H:%M:%S")


def from_now(moment: datetime, now: datetime) -> str:
    """Return how far *moment* is from *now*, such as `3 min ago` or `in 2 h 5 min`."""
    seconds = round((moment - now).total_seconds())
    if abs(seconds) < 1:
        return "now"
    said = span(timedelta(seconds=abs(seconds)))
    return f"in {said}" if seconds > 0 else f"{said} ago"


def span(duration: timedelta) -> str:
    """Return *duration* in its largest units, such as `1 d 4 h` or `12 d`; below ten seconds to the millisecond."""
    seconds = duration.total_seconds()
    if 0 < seconds < 0.001:
        return "<1 ms"
    if seconds < 10:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + " s"
    parts: list[str] = []
    rest = round(seconds)
    for name, length in _UNITS:
        count, rest = divmod(rest, length)
        if count or parts:
            parts.append(f"{count} {name}" if count else "")
        if len(parts) == 2 or count >= 10:
            break
    return " ".join(part for part in parts if part)


def weekday_stamp(moment: datetime, where: tzinfo | None) -> str:
    """Return *moment* with its weekday, such as `Monday 2026-03-02 09:00`; seconds only where they are not 0."""
    local = moment.astimezone(where)
    seconds = "" if local.second == 0 else f":{local.second:02d}"
    return f"{local:%A %Y-%m-%d %H:%M}{seconds}"


def short_weekday_stamp(moment: datetime, where: tzinfo | None) -> str:
    """Return *moment* with its weekday in three letters, such as `Mon 2026-03-02 09:00`."""
    return weekday_stamp(moment, where)[:3] + " " + weekday_stamp(moment, where).partition(" ")[2]


def offset_of(moment: datetime, where: tzinfo | None) -> str:
    """Return the distance from UTC of clocks there and then, such as `UTC-03:00`."""
    offset = moment.astimezone(where).utcoffset() or timedelta(0)
    if not offset:
        return "UTC"
    sign = "-" if offset < timedelta(0) else "+"
    minutes = abs(offset) // timedelta(minutes=1)
    return f"UTC{sign}{minutes // 60:02d}:{minutes % 60:02d}"


def read_moment(text: str, option: str, now: datetime, *, ago: bool = False) -> datetime:
    """Return the instant that *text* says: ISO text, in the reader's zone unless it says another, or a duration.

    A duration counts from *now* on, or back from it where times lie in the past (*ago*).

    Raises:
        InvalidInput: it is neither; names *option*.
    """
    from mainspring.domain.duration import parse_duration
    from mainspring.errors import InvalidInput

    written = text.strip()
    if written[:4].isdigit() and written[4:5] == "-":
        try:
            moment = datetime.fromisoformat(written)
        except ValueError:
            raise InvalidInput(f"{option} {text!r} is not a date and time; write it as 2026-12-01T09:00") from None
        if moment.tzinfo is None and (zone := local_zone()[0]) is not None:
            moment = moment.replace(tzinfo=zone)
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            raise InvalidInput(f"{option} {text!r} lies outside the years that can be used") from None
    try:
        span = parse_duration(written.removesuffix(" ago") if ago else written)
        return now - span if ago else now + span
    except InvalidInput as error:
        raise InvalidInput(f"{option}: {error}; or a date and time, such as 2026-12-01T09:00") from None
    except OverflowError:
        raise InvalidInput(f"{option} {text!r} lies outside the years that can be used") from None
