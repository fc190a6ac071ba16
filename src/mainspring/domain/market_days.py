"""Ask the library `holidays` for the special days of an exchange."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from importlib.metadata import version
from typing import Literal


@lru_cache(maxsize=4096)
def market_days(code: str, year: int, kind: Literal["public", "half_day"] = "public") -> Mapping[date, str]:
    """Return the days of *year* on which the exchange *code* is closed, or open for half the day, with their names."""
    import holidays  # takes 70 ms: only for those who use its calendars

    language = language_of(code, financial=True)
    return dict(holidays.financial_holidays(code, years=year, language=language, categories=(kind,)))


@lru_cache(maxsize=1)
def holidays_version() -> str:
    """Return the version of the library."""
    return version("holidays")


@lru_cache(maxsize=512)
def language_of(code: str, *, financial: bool) -> str | None:
    """Return English where the calendar speaks it; else None, its own language."""
    import holidays  # takes 70 ms: only for those who use its calendars

    days = holidays.financial_holidays(code) if financial else holidays.country_holidays(code)
    return next((language for language in ("en_US", "en_GB", "en") if language in days.supported_languages), None)
