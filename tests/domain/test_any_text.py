"""One line of text, and which kind of trigger it says."""

from __future__ import annotations

import pytest

from mainspring.domain.triggers import trigger_from_text
from mainspring.domain.triggers.any_text import definition_of
from mainspring.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "definition"),
    [
        ("0 9 * * 1-5", {"cron": "0 9 * * 1-5"}),
        ("@daily", {"cron": "@daily"}),
        ("15m", {"every": "15m"}),
        ("every 1h 30m", {"every": "1h 30m"}),
        ("2 days", {"every": "2 days"}),
        ("hour=9-17 day_of_week=0-4", {"fields": {"hour": "9-17", "day_of_week": "0-4"}}),
        ("2026-12-01T09:00", {"at": "2026-12-01T09:00"}),
        ("2026-12-01", {"at": "2026-12-01"}),
        ("XNYS close - 15m", {"session": "XNYS close - 15m"}),
        ("b3: every 5m  while open", {"session": "b3: every 5m while open"}),
        ("XNYX close", {"session": "XNYX close"}),
    ],
)
def test_the_kind_is_seen_from_the_text(text: str, definition: dict[str, object]) -> None:
    assert definition_of(text) == definition


def test_what_it_says_is_made() -> None:
    assert trigger_from_text("hour=9 day_of_week=0-4").in_words() == "at 09:00, Monday to Friday"
    with pytest.raises(InvalidInput, match="unknown exchange 'XNYX'; did you mean 'XNYS'"):
        trigger_from_text("XNYX close")
    with pytest.raises(InvalidInput, match='cron "soon": has 1 field'):
        trigger_from_text("soon")
