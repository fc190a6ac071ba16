"""Keep accounts: who there is, how they prove it, and what every change and every refusal leaves in the audit.

Passwords are hashed with argon2id, at most two at a time (64 MB each). Keys are 256 random bits, so that a plain
SHA-256 of them is enough; they are looked up by an id of their own and compared in constant time. A password that is
set anew, or an account that is disabled, kills every login made before.
"""

from __future__ import annotations

import hmac
import re
import secrets
import string
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from mainspring.clock import Clock
from mainspring.domain.access import EVERYTHING, Principal, Role, check_scopes
from mainspring.errors import Conflict, InvalidInput, MainspringError, NotFound, UnknownName
from mainspring.ids import uuid7
from mainspring.store import accounts as stored
from mainspring.store.accounts import StoredKey, User
from mainspring.store.database import Database, Tx
from mainspring.store.schedules import write_audit

if TYPE_CHECKING:
    from argon2 import PasswordHasher

__all__ = ["Accounts", "KeyMade", "SignInRefused", "StoredKey", "TooManyTries", "User"]

LOGIN_LASTS: Final = timedelta(days=7)
"""How long a login lives on after it was used last."""
LINK_LASTS: Final = timedelta(minutes=15)
SHORTEST_PASSWORD: Final = 10
_LONGEST_PASSWORD: Final = 1_000
_SEEN_EVERY: Final = timedelta(minutes=1)
_FIRST_DELAY: Final = timedelta(seconds=1)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,99}")
_KEY: Final = re.compile(r"ms_([0-9A-Za-z]{8})_([0-9A-Za-z]{40,50})")
_BASE62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_COMMON: Final = frozenset({"password", "passwort", "mainspring", "administrator", "1234567890", "qwertyuiop"})


class SignInRefused(MainspringError):
    """Name and password do not belong together, or a link or key is not valid; says no more than that."""


class TooManyTries(MainspringError):
    """Signing in failed too often; the next try is possible at `until`."""

    def __init__(self, wait: timedelta) -> None:
        seconds = max(1, round(wait.total_seconds()))
        super().__init__(f"signing in failed too often; try again in {seconds} s")
        self.retry_after = timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class KeyMade:
    """A new key with its secret, which is shown this once."""

    key: StoredKey
    secret: str


@dataclass(frozen=True, slots=True)
class _Throttle:
    """Something whose failures in a row are counted: the first *free* cost nothing, then the wait doubles."""

    subject: str
    free: int
    longest: timedelta

    def wait(self, failures: int) -> timedelta:
        beyond = failures - self.free
        return timedelta(0) if beyond <= 0 else min(_FIRST_DELAY * 2 ** min(beyond - 1, 20), self.longest)


def _throttles(name: str, address: str) -> list[_Throttle]:
    # Whoever does not know the password can make its owner wait for seconds, never longer: no lockout by strangers.
    account = name.lower()[:200]
    return [
        _Throttle(f"account:{account}", 20, timedelta(seconds=5)),
        _Throttle(f"account:{account}@{address}", 3, timedelta(minutes=5)),
        _Throttle(f"address:{address}", 30, timedelta(minutes=5)),
    ]


class Accounts:
    """Keeps accounts; everything that changes one is audited with who did it."""

    def __init__(self, database: Database, clock: Clock, hasher: PasswordHasher | None = None) -> None:
        """Keep the accounts of *database*; *hasher* is for tests that sign in often."""
        self._database, self._clock = database, clock
        self._hashing = _Hashing(hasher)

    # -- accounts

    def all(self) -> list[User]:
        """Return all accounts by name."""
        return self._database.read(stored.list_users)

    def any(self) -> bool:
        """Return whether there is an account at all."""
        return bool(self.all())

    def require_any(self, host: str) -> None:
        """Refuse to be served on *host*, which other machines can reach, while nobody has an account.

        Raises:
            InvalidInput: nobody has.
        """
        if not self.any():
            raise InvalidInput(
                f"nobody has an account yet, and {host} can be reached from other machines; make one with "
                "`mainspring users add NAME --role admin` first, or start on 127.0.0.1"
            )

    def require(self, name: str) -> User:
        """Return the account of this name, or raise `UnknownName` with the nearest one."""
        found = self._database.read(lambda tx: stored.find_user(tx, name))
        if found is None:
            raise UnknownName("user", name, [user.name for user in self.all()])
        return found

    def require_id(self, user_id: str) -> User:
        """Return the account of this id, or raise `NotFound`."""
        found = self._database.read(lambda tx: stored.get_user(tx, user_id))
        if found is None:
            raise NotFound("user", user_id)
        return found

    def create(
        self, name: str, role: Role, actor: str, *, email: str | None = None, password: str | None = None
    ) -> User:
        """Make an account; without a password it signs in by a link.

        Raises:
            InvalidInput: the name or the password cannot be used.
            Conflict: the name is taken.
        """
        if _NAME.fullmatch(name) is None:
            raise InvalidInput(
                f"user name {name!r} is not usable; write 1 to 100 letters, digits, '_', '.', '@', '+', '-'"
            )
        if email is not None and not (3 <= len(email) <= 320 and "@" in email and email.isprintable()):
            raise InvalidInput(f"e-mail address {email!r} is not usable")
        now = self._clock.now()
        hashed = None if password is None else self._hashing.hash(_checked_password(password, name))
        user = User(uuid7(), name, email, role, hashed, 0, None, now)

        def work(tx: Tx) -> bool:
            made = stored.add_user(tx, user)
            if made:
                write_audit(tx, now, actor, "user.create", name, {"role": role.value, "id": user.id})
            return made

        if not self._database.write(work):
            raise Conflict(f"user {name!r} exists already")
        return user

    def set_role(self, name: str, role: Role, actor: str) -> User:
        """Give an account another role.

        Raises:
            Conflict: it is the last administrator.
        """
        return self._change(name, actor, "user.role", {"role": role.value}, {"role": role.value})

    def set_password(self, name: str, password: str, actor: str) -> User:
        """Set a password anew; all logins of the account end."""
        hashed = self._hashing.hash(_checked_password(password, name))
        return self._change(name, actor, "user.password", {"password_hash": hashed}, {}, ends_logins=True)

    def change_password(self, user_id: str, old: str, new: str, address: str) -> User:
        """Set one's own password anew, with the old one as proof; all logins of the account end.

        Raises:
            SignInRefused: the old one is wrong.
            TooManyTries: it was wrong too often.
        """
        user, now = self.require_id(user_id), self._clock.now()
        throttles = _throttles(user.name, address)
        self._refuse_early(throttles, now)
        if not self._hashing.matches(user.password_hash, old):
            self._failed(throttles, user.name, address, now)
            raise SignInRefused("the old password is wrong")
        return self.set_password(user.name, new, user.name)

    def disable(self, name: str, actor: str) -> User:
        """Keep an account from signing in, and end its logins; its keys are void as long as it is disabled.

        Raises:
            Conflict: it is the last administrator.
        """
        values = {"disabled_at": self._clock.now()}
        return self._change(name, actor, "user.disable", values, {}, ends_logins=True)

    def enable(self, name: str, actor: str) -> User:
        """Let an account sign in again."""
        return self._change(name, actor, "user.enable", {"disabled_at": None}, {})

    def _change(
        self,
        name: str,
        actor: str,
        action: str,
        values: dict[str, Any],
        told: dict[str, Any],
        *,
        ends_logins: bool = False,
    ) -> User:
        now = self._clock.now()

        def work(tx: Tx) -> User:
            old = stored.find_user(tx, name)
            if old is None:
                raise UnknownName("user", name, [user.name for user in stored.list_users(tx)])
            loses = values.get("role", old.role) != Role.ADMIN or values.get("disabled_at") is not None
            able = old.role is Role.ADMIN and old.disabled_at is None
            if able and loses and action in ("user.role", "user.disable") and stored.count_admins(tx) <= 1:
                raise Conflict(f"{old.name} is the last administrator; make somebody else one first")
            new = {**values, "epoch": old.epoch + 1} if ends_logins else values
            if not stored.change_user(tx, old, new):
                raise Conflict(f"user {old.name!r} was changed by somebody else at this moment; look again")
            if ends_logins:
                stored.end_logins(tx, old.id)
            write_audit(tx, now, actor, action, old.name, told)
            return replace(old, **{**new, "role": Role(new.get("role", old.role))})

        return self._database.write(work)

    # -- signing in

    def sign_in(self, name: str, password: str, address: str) -> str:
        """Return the secret of a new login.

        Raises:
            SignInRefused: name and password do not belong together.
            TooManyTries: this account or this address failed too often a moment ago; the password was not looked at.
        """
        now, throttles = self._clock.now(), _throttles(name, address)
        self._refuse_early(throttles, now)
        user = self._database.read(lambda tx: stored.find_user(tx, name))
        known = user is not None and user.password_hash is not None and user.disabled_at is None
        # An unknown name takes as long as a wrong password.
        right = self._hashing.matches(user.password_hash if known and user is not None else None, password)
        if not right or user is None:
            self._failed(throttles, name, address, now)
            raise SignInRefused("name and password do not belong together")
        return self._login(user, now, throttles, {"address": address})

    def make_link(self, name: str, actor: str) -> str:
        """Return the secret of a link that signs the account in once, within a quarter of an hour."""
        user, now, secret = self.require(name), self._clock.now(), secrets.token_urlsafe(32)
        if user.disabled_at is not None:
            raise Conflict(f"user {user.name!r} is disabled; enable it first")

        def work(tx: Tx) -> None:
            stored.add_link(tx, _digest(secret), user.id, now + LINK_LASTS)
            write_audit(tx, now, actor, "user.link", user.name, {})

        self._database.write(work)
        return secret

    def sign_in_by_link(self, secret: str, address: str) -> str:
        """Use a link up and return the secret of a new login.

        Raises:
            SignInRefused: it was used, is too old, or never existed.
        """
        now, throttles = self._clock.now(), _throttles("", address)[-1:]
        self._refuse_early(throttles, now)
        user = self._database.write(lambda tx: stored.take_link(tx, _digest(secret), now))
        if user is None:
            self._failed(throttles, "(a link)", address, now)
            raise SignInRefused("this link was used already, is too old, or never existed; ask for a new one")
        return self._login(user, now, throttles, {"address": address, "by": "link"})

    def sign_out(self, secret: str) -> None:
        """End a login."""
        self._database.write(lambda tx: stored.end_login(tx, _digest(secret)))

    def by_login(self, secret: str) -> Principal | None:
        """Return whose login this is, None when it is not valid (any more)."""
        now, digest = self._clock.now(), _digest(secret)
        found = self._database.read(lambda tx: stored.login_user(tx, digest, now))
        if found is None:
            return None
        user, seen_at = found
        if now - seen_at >= _SEEN_EVERY:
            self._database.write(lambda tx: stored.see_login(tx, digest, now, now + LOGIN_LASTS))
        return Principal(user.id, user.name, user.role)

    def _refuse_early(self, throttles: Sequence[_Throttle], now: datetime) -> None:
        blocked = self._database.read(lambda tx: stored.blocked_until(tx, [t.subject for t in throttles], now))
        if blocked is not None:
            raise TooManyTries(blocked - now)

    def _login(self, user: User, now: datetime, throttles: Sequence[_Throttle], told: dict[str, Any]) -> str:
        secret = secrets.token_urlsafe(32)

        def work(tx: Tx) -> None:
            stored.add_login(tx, _digest(secret), user, now, now + LOGIN_LASTS)
            stored.forget_failures(tx, [t.subject for t in throttles if not t.subject.startswith("address:")])
            write_audit(tx, now, user.name, "user.sign_in", user.name, told)

        self._database.write(work)
        return secret

    def _failed(self, throttles: Sequence[_Throttle], name: str, address: str, now: datetime) -> None:
        def work(tx: Tx) -> None:
            for throttle in sorted(throttles, key=lambda t: t.subject):
                failures = stored.failures_of(tx, throttle.subject) + 1
                stored.put_failures(tx, throttle.subject, failures, now + throttle.wait(failures))
            write_audit(tx, now, "(nobody)", "user.sign_in_refused", name[:200], {"address": address})

        self._database.write(work)

    # -- keys

    def create_key(
        self, owner: str, name: str, scopes: Iterable[str], actor: str, expires: timedelta | None = None
    ) -> KeyMade:
        """Make an API key for an account; its secret is in the answer and nowhere else.

        Raises:
            InvalidInput: a scope is unknown, the name is empty, or it would have expired already.
        """
        user, now = self.require(owner), self._clock.now()
        if not 0 < len(name) <= 200 or not name.isprintable():
            raise InvalidInput(f"key name {name!r} is not usable; write what the key is for, at most 200 characters")
        if expires is not None and expires <= timedelta(0):
            raise InvalidInput("a key cannot expire in the past")
        key_id, secret = _random(8), _random(43)
        text = f"ms_{key_id}_{secret}"
        until = None if expires is None else now + expires
        key = StoredKey(key_id, user.id, name, _digest(text), check_scopes(scopes), now, until, None, None)

        def work(tx: Tx) -> None:
            stored.add_key(tx, key)
            told = {"id": key_id, "user": user.name, "scopes": sorted(key.scopes), "expires_at": until}
            write_audit(tx, now, actor, "key.create", name, told)

        self._database.write(work)
        return KeyMade(key, text)

    def keys(self, owner: str | None = None) -> list[tuple[StoredKey, str]]:
        """Return the keys of an account or of all, each with its account's name, newest first."""
        user_id = None if owner is None else self.require(owner).id
        names = {user.id: user.name for user in self.all()}
        found = self._database.read(lambda tx: stored.list_keys(tx, user_id))
        return [(key, names.get(key.user_id, "")) for key in found]

    def keys_of(self, user_id: str) -> list[tuple[StoredKey, str]]:
        """Return the keys of the account of this id, each with its name, newest first."""
        user = self.require_id(user_id)
        return [(key, user.name) for key in self._database.read(lambda tx: stored.list_keys(tx, user.id))]

    def require_key(self, key_id: str) -> StoredKey:
        """Return the key of this id, or raise `NotFound`."""
        found = self._database.read(lambda tx: stored.find_key(tx, key_id))
        if found is None:
            raise NotFound("key", key_id)
        return found

    def revoke_key(self, key_id: str, actor: str) -> None:
        """Make a key void for ever.

        Raises:
            Conflict: it is already.
        """
        key, now = self.require_key(key_id), self._clock.now()

        def work(tx: Tx) -> bool:
            done = stored.revoke_key(tx, key_id, now)
            if done:
                write_audit(tx, now, actor, "key.revoke", key.name, {"id": key_id})
            return done or tx.repeated

        if not self._database.write(work):
            raise Conflict(f"key {key_id} is revoked already")

    def by_key(self, text: str) -> Principal | None:
        """Return whose key this is, None when it is not valid (any more)."""
        parts = _KEY.fullmatch(text)
        if parts is None:
            return None
        now = self._clock.now()

        def look(tx: Tx) -> tuple[StoredKey | None, User | None]:
            key = stored.find_key(tx, parts[1])
            return key, None if key is None else stored.get_user(tx, key.user_id)

        key, user = self._database.read(look)
        # Compared even where there is none, so that an unknown id takes as long as a wrong secret.
        right = hmac.compare_digest(key.secret_hash if key else _digest(""), _digest(text))
        if key is None or user is None or not right or key.revoked_at is not None or user.disabled_at is not None:
            return None
        if key.expires_at is not None and key.expires_at <= now:
            return None
        if key.used_at is None or now - key.used_at >= _SEEN_EVERY:
            self._database.write(lambda tx: stored.note_use(tx, key.id, now, now - _SEEN_EVERY))
        return Principal(user.id, user.name, user.role, key.scopes, key.id)

    # -- the first start, refusals, housekeeping

    def first_admin(self, actor: str) -> str | None:
        """Make an administrator where there is no account yet; return the secret of a link that signs in once."""
        if self.any():
            return None
        try:
            self.create("admin", Role.ADMIN, actor)
        except Conflict:
            return None
        return self.make_link("admin", actor)

    def refused(self, actor: str, operation: str, subject: str, why: str, address: str) -> None:
        """Record that somebody was refused something."""
        now = self._clock.now()
        told = {"operation": operation, "why": why, "address": address}
        self._database.write(lambda tx: write_audit(tx, now, actor, "refused", subject[:200], told))


def local_principal(name: str) -> Principal:
    """Return who asks where accounts are switched off: this machine's user, who may do everything."""
    return Principal("", name, Role.ADMIN, frozenset({EVERYTHING}))


def _checked_password(password: str, name: str) -> str:
    if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
        raise InvalidInput(
            f"a password has {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters; this one has {len(password)}"
        )
    folded = password.lower()
    if folded in _COMMON or folded == name.lower() or len(set(password)) < 4:
        raise InvalidInput("this password is one of the first that anybody would try; take a longer, stranger one")
    return password


class _Hashing:
    """Hashes passwords, at most two at a time in this process: each takes 64 MiB and a tenth of a second."""

    _turn = threading.Semaphore(2)

    def __init__(self, hasher: PasswordHasher | None) -> None:
        self._given = hasher

    def hash(self, password: str) -> str:
        with self._turn:
            return self._hasher.hash(password)

    def matches(self, hashed: str | None, password: str) -> bool:
        """Return whether *password* is the one that was *hashed*; without a hash it takes as long, and is not."""
        from argon2.exceptions import InvalidHashError, VerificationError

        with self._turn:
            try:
                self._hasher.verify(hashed or self._nobodys, password[:_LONGEST_PASSWORD])
            except (VerificationError, InvalidHashError):
                return False
        return hashed is not None

    @cached_property
    def _hasher(self) -> PasswordHasher:
        # RFC 9106's second recommended setting: 64 MiB, three passes, four lanes.
        from argon2 import PasswordHasher

        return self._given or PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)

    @cached_property
    def _nobodys(self) -> str:
        return self._hasher.hash(secrets.token_urlsafe(16))


def _digest(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _random(characters: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(characters))
