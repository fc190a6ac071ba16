"""Put states, outcomes and policies into words and signs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from mainspring.edges.cli.screen import Cell

if TYPE_CHECKING:
    from mainspring.domain.spec import ScheduleSpec

_SIGNS: Final = {
    "scheduled": ("◷", "cyan"),
    "waiting": ("◌", "cyan"),
    "held": ("‖", "yellow"),
    "ready": ("○", "blue"),
    "running": ("▶", "bold blue"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "cancelled": ("⊘", "dim"),
    "fired": ("✓", "green"),
    "coalesced": ("≡", "cyan"),
    "skipped": ("–", "yellow"),
    "live": ("●", "green"),
    "stopped": ("○", "dim"),
    "dead": ("✗", "red"),
    "paused": ("‖", "yellow"),
    "disabled": ("–", "dim"),
    "on": ("●", "green"),
    "revoked": ("⊘", "dim"),
    "expired": ("○", "dim"),
    "ended": ("○", "dim"),
    "retried": ("↻", "yellow"),
    "lost": ("✗", "red"),
    "interrupted": ("↩", "yellow"),
    "returned": ("↩", "yellow"),
    "snoozed": ("◷", "cyan"),
    "free": ("●", "green"),
    "in use": ("▶", "bold blue"),
    "paced": ("◷", "cyan"),
    "blocked": ("‖", "yellow"),
    "open": ("✗", "bold red"),
    "recovering": ("↻", "yellow"),
}
_SHORT: Final = 12


def state_cell(state: str) -> Cell:
    """Return *state* with its sign, in its colour."""
    sign, style = _SIGNS.get(state, ("?", ""))
    return Cell(f"{sign} {state}", style)


def short_id(run_id: str) -> str:
    """Return the end of an id, which tells runs apart; commands take it as well as the whole."""
    return run_id[-_SHORT:]


def many(count: int, noun: str) -> str:
    """Return a count with its noun: `1 run`, `2,000 runs`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def schedule_policies(spec: ScheduleSpec) -> list[tuple[str, str]]:
    """Return what a schedule says besides its rule: names with values, those that say nothing left out."""
    from mainspring.domain.duration import duration_in_words
    from mainspring.domain.priority import priority_word
    from mainspring.encoding import encode

    facts = [
        ("start", _instant(spec.start_at, spec.zone)),
        ("end", _instant(spec.end_at, spec.zone)),
        ("only on", ", ".join(spec.calendars.include)),
        ("never on", ", ".join(spec.calendars.exclude)),
        ("jitter", f"up to {duration_in_words(spec.jitter)}" if spec.jitter else ""),
        ("misfire", misfire_in_words(spec)),
        ("overlap", _OVERLAP[spec.overlap]),
        ("parameters", encode(dict(spec.parameters)) if spec.parameters else ""),
        ("fan-out", _fan_out(spec)),
        ("queue", spec.queue or ""),
        ("priority", "" if spec.priority is None else priority_word(spec.priority)),
        ("tries", "" if spec.max_tries is None else str(spec.max_tries)),
        ("expires", "" if spec.expires is None else f"{duration_in_words(spec.expires)} after coming due"),
        ("labels", ", ".join(f"{name}={value}" for name, value in spec.labels.items())),
        ("pack", spec.pack or ""),
    ]
    return [(name, value) for name, value in facts if value]


_OVERLAP: Final = {
    "allow": "allow (runs of several fire times may run at once)",
    "skip": "skip (a fire time is left out while a run of the last one is unfinished)",
    "queue_one": "queue_one (one fire time waits for the last one; more are left out)",
    "cancel_running": "cancel_running (a new fire time cancels the unfinished runs of the last one)",
}


def zones_in_words(specs: Iterable[ScheduleSpec]) -> str:
    """Return in which zone the times of a list of schedules are."""
    zones = sorted({spec.zone for spec in specs})
    return f"times: {zones[0]}" if len(zones) == 1 else f"times: in the zone of each schedule ({', '.join(zones)})"


def misfire_in_words(spec: ScheduleSpec) -> str:
    """Return the misfire policy as a sentence part."""
    from mainspring.domain.duration import duration_in_words

    rule = spec.misfire
    said = {
        "skip": "skip (late fire times are left out)",
        "latest": "latest (of late fire times only the last one fires)",
        "all": f"all (late fire times fire, at most {rule.cap:,} of them)",
    }[rule.policy]
    said += f", late after {duration_in_words(rule.grace)}"
    return said + (f", never older than {duration_in_words(rule.max_age)}" if rule.max_age is not None else "")


def _fan_out(spec: ScheduleSpec) -> str:
    if spec.fan_out is None:
        return ""
    members = ", ".join(str(member) for member in spec.fan_out.over)
    return f"{many(len(spec.fan_out.over), 'run')}, one for each {spec.fan_out.parameter}: {members}"


def _instant(moment: Any, zone: str) -> str:
    from mainspring.domain.zones import zone as find
    from mainspring.edges.cli.times import weekday_stamp

    return "" if moment is None else f"{weekday_stamp(moment, find(zone))} ({zone})"


def took(started: Any, finished: Any) -> str:
    """Return how long something took, empty where it has not both begun and ended."""
    from mainspring.edges.cli.times import span

    if started is None or finished is None:
        return ""
    return span(max(finished - started, timedelta(0)))
