"""Carry a request out once, however often it is sent: the same key and body get the answer of the first time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from mainspring.clock import Clock
from mainspring.errors import Conflict, InvalidInput
from mainspring.store import idempotency as stored
from mainspring.store.database import Database
from mainspring.store.idempotency import Kept

LONGEST_KEY: Final = 200
_UNDER_WAY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Keeps keys, each for one account, with the answers to the requests that they came with."""

    database: Database
    clock: Clock

    def begin(self, account: str, key: str, fingerprint: str) -> Kept | None:
        """Return the answer to the same request of before; None where this is the first, which is to be carried out.

        Raises:
            InvalidInput: the key is not usable, or came with another request before.
            Conflict: the first request has not been answered (yet), so nobody knows what became of it.
        """
        if not 0 < len(key) <= LONGEST_KEY or not key.isprintable() or not key.isascii():
            raise InvalidInput(f"an Idempotency-Key has 1 to {LONGEST_KEY} printable ASCII characters")
        now = self.clock.now()
        found = self.database.write(lambda tx: stored.begin(tx, account, key, fingerprint, now, now - stored.LASTS))
        if found is None:
            return None
        if found.fingerprint != fingerprint:
            raise InvalidInput(
                f"the Idempotency-Key {key!r} came with another request less than 24 hours ago; take a new key for "
                "each request"
            )
        if found.status is None:
            if now - found.created_at < _UNDER_WAY:
                raise Conflict("the first request with this Idempotency-Key is under way; ask again in a moment")
            raise Conflict(
                "the server ended while it carried out the first request with this Idempotency-Key; look whether it "
                "was done, and take a new key if it was not"
            )
        return found

    def end(self, account: str, key: str, status: int, headers: dict[str, str], body: str) -> None:
        """Keep the answer for 24 hours."""
        self.database.write(lambda tx: stored.end(tx, account, key, status, headers, body))

    def forget(self, account: str, key: str) -> None:
        """Give the key of a request back that was refused."""
        self.database.write(lambda tx: stored.forget(tx, account, key))
