"""Know the exchanges: which days they trade, from when to when, half-days and late openings included."""

from mainspring.domain.exchanges.calendar import SessionCalendar
from mainspring.domain.exchanges.days import LAST_YEAR, ExchangeUnknown, exchange_names, require_exchange, zone_of
from mainspring.domain.exchanges.session import Session, say_day

__all__ = [
    "LAST_YEAR",
    "ExchangeUnknown",
    "Session",
    "SessionCalendar",
    "exchange_names",
    "require_exchange",
    "say_day",
    "zone_of",
]
