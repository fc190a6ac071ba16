"""Explore one share of a long form, in a process of its own."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import AbstractContextManager

from tests.model.machine import Exploration, Found, explore
from tests.model.store import Store, postgres_store, sqlite_store


def store_of(database: str) -> AbstractContextManager[Store]:
    """Return a store of its own on a database of this kind."""
    return sqlite_store() if database == "sqlite" else postgres_store()


def share(database: str, examples: int, steps: int, seed: int) -> tuple[Counter[str], str]:
    """Return what was seen, and what was found, empty if nothing was."""
    logging.disable(logging.CRITICAL)
    with store_of(database) as store:
        seen = Exploration()
        try:
            explore(store, examples, steps, seed, seen)
        except Found as found:
            return seen.counts, f"seed {seed}: {found}"
    return seen.counts, ""
