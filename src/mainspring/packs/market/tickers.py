"""Tell by its form where a ticker is traded."""

from __future__ import annotations

import re

_B3 = re.compile(r"[A-Z]{4}[0-9]{1,2}[A-Z]?|[A-Z][0-9][A-Z]{2}[0-9]{1,2}|\^BVSP", re.ASCII)


def symbol(ticker: str) -> str:
    """Return *ticker* as the services write it: upper case, without the .SA that some add to B3's."""
    return ticker.strip().upper().removesuffix(".SA")


def is_b3(ticker: str) -> bool:
    """Return whether *ticker* has the form of B3's (four characters and a number), such as PETR4 or BOVA11."""
    return _B3.fullmatch(symbol(ticker)) is not None
