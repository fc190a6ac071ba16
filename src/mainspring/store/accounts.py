"""Keep accounts: users, their API keys and logins, and how often signing in failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, delete, func, insert, or_, select, update
from sqlalchemy.engine import Row

from mainspring.domain.access import Role
from mainspring.encoding import decode, encode
from mainspring.store.database import Tx
from mainspring.store.schema import api_keys, logins, sign_in_failures, sign_in_links, users
from mainspring.store.tables import insert_ignoring


@dataclass(frozen=True, slots=True)
class User:
    """An account."""

    id: str
    name: str
    email: str | None
    role: Role
    password_hash: str | None
    epoch: int
    """Grows when the password is set or the account is disabled: logins made before are dead."""
    disabled_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key; its secret is not kept."""

    id: str
    user_id: str
    name: str
    secret_hash: str
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None


def add_user(tx: Tx, user: User) -> bool:
    """Add an account; return False where the name is taken."""
    taken = tx.core(select(users.c.id).where(func.lower(users.c.name) == user.name.lower())).scalar()
    if taken is not None:
        return bool(taken == user.id)
    values = {name: getattr(user, name) for name in User.__slots__}
    tx.core(insert(users).values(**{**values, "role": user.role.value}))
    return True


def find_user(tx: Tx, name: str) -> User | None:
    """Return the account of this name, upper and lower case being the same."""
    return _user(tx.core(select(users).where(func.lower(users.c.name) == name.lower())).one_or_none())


def get_user(tx: Tx, user_id: str) -> User | None:
    """Return the account of this id."""
    return _user(tx.core(select(users).where(users.c.id == user_id)).one_or_none())


def list_users(tx: Tx) -> list[User]:
    """Return all accounts by name."""
    return [user for row in tx.core(select(users).order_by(users.c.name)) if (user := _user(row)) is not None]


def count_admins(tx: Tx) -> int:
    """Return how many administrators there are who can sign in; their rows are locked until the end of *tx*."""
    able = and_(users.c.role == Role.ADMIN.value, users.c.disabled_at.is_(None))
    return len(tx.core(select(users.c.id).where(able).order_by(users.c.id).with_for_update()).all())


def change_user(tx: Tx, old: User, values: dict[str, Any]) -> bool:
    """Change an account that still is as *old* was read; False when somebody else has changed it meanwhile."""
    same = and_(users.c.id == old.id, users.c.epoch == old.epoch, users.c.role == old.role.value)
    return tx.core(update(users).where(same).values(**values)).rowcount == 1


def _user(row: Row[Any] | None) -> User | None:
    return None if row is None else User(**{**dict(row._mapping), "role": Role(row.role)})


def add_key(tx: Tx, key: StoredKey) -> None:
    """Add an API key."""
    if tx.repeated and find_key(tx, key.id) is not None:
        return
    values = {name: getattr(key, name) for name in StoredKey.__slots__}
    tx.core(insert(api_keys).values(**{**values, "scopes": encode(sorted(key.scopes))}))


def find_key(tx: Tx, key_id: str) -> StoredKey | None:
    """Return the key of this id."""
    row = tx.core(select(api_keys).where(api_keys.c.id == key_id)).one_or_none()
    return None if row is None else _key(row)


def list_keys(tx: Tx, user_id: str | None = None) -> list[StoredKey]:
    """Return the keys of an account or of all, newest first, revoked ones too."""
    query = select(api_keys).order_by(api_keys.c.created_at.desc(), api_keys.c.id)
    return [_key(row) for row in tx.core(query if user_id is None else query.where(api_keys.c.user_id == user_id))]


def revoke_key(tx: Tx, key_id: str, now: datetime) -> bool:
    """Revoke a key; False when it is already."""
    valid = and_(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
    return tx.core(update(api_keys).where(valid).values(revoked_at=now)).rowcount == 1


def note_use(tx: Tx, key_id: str, now: datetime, before: datetime) -> None:
    """Note that a key was used, unless that was noted after *before*."""
    stale = or_(api_keys.c.used_at.is_(None), api_keys.c.used_at < before)
    tx.core(update(api_keys).where(api_keys.c.id == key_id, stale).values(used_at=now))


def _key(row: Row[Any]) -> StoredKey:
    return StoredKey(**{**dict(row._mapping), "scopes": frozenset(decode(row.scopes))})


def add_login(tx: Tx, id_hash: str, user: User, now: datetime, expires_at: datetime) -> None:
    """Begin a person's signed-in web session."""
    values = {"user_id": user.id, "epoch": user.epoch, "created_at": now, "seen_at": now, "expires_at": expires_at}
    known = tx.repeated and tx.core(select(logins.c.id_hash).where(logins.c.id_hash == id_hash)).scalar()
    if not known:
        tx.core(insert(logins).values(id_hash=id_hash, **values))


def login_user(tx: Tx, id_hash: str, now: datetime) -> tuple[User, datetime] | None:
    """Return whose login this is and when it was seen last; None when it has ended, or a reset has killed it."""
    query: Select[Any] = (
        select(users, logins.c.seen_at)
        .join(logins, logins.c.user_id == users.c.id)
        .where(logins.c.id_hash == id_hash, logins.c.expires_at > now, logins.c.epoch == users.c.epoch)
        .where(users.c.disabled_at.is_(None))
    )
    row = tx.core(query).one_or_none()
    if row is None:
        return None
    values = {name: getattr(row, name) for name in User.__slots__}
    return User(**{**values, "role": Role(row.role)}), row.seen_at


def see_login(tx: Tx, id_hash: str, now: datetime, expires_at: datetime) -> None:
    """Note that a login is in use, and let it live on."""
    tx.core(update(logins).where(logins.c.id_hash == id_hash).values(seen_at=now, expires_at=expires_at))


def end_login(tx: Tx, id_hash: str) -> None:
    """End a login."""
    tx.core(delete(logins).where(logins.c.id_hash == id_hash))


def end_logins(tx: Tx, user_id: str) -> int:
    """End all logins of an account; return how many there were."""
    return tx.core(delete(logins).where(logins.c.user_id == user_id)).rowcount


def add_link(tx: Tx, secret_hash: str, user_id: str, expires_at: datetime) -> None:
    """Make a link that signs in once; those made before for the account are void."""
    tx.core(delete(sign_in_links).where(sign_in_links.c.user_id == user_id))
    tx.core(insert(sign_in_links).values(secret_hash=secret_hash, user_id=user_id, expires_at=expires_at))


def take_link(tx: Tx, secret_hash: str, now: datetime) -> User | None:
    """Use a link up; return whose it was, None when it is unknown, used or too old."""
    query = select(sign_in_links).where(sign_in_links.c.secret_hash == secret_hash).with_for_update()
    row = tx.core(query).one_or_none()
    if row is None or tx.core(delete(sign_in_links).where(sign_in_links.c.secret_hash == secret_hash)).rowcount != 1:
        return None
    user = get_user(tx, row.user_id) if row.expires_at > now else None
    return None if user is None or user.disabled_at is not None else user


def blocked_until(tx: Tx, subjects: Sequence[str], now: datetime) -> datetime | None:
    """Return until when signing in is refused for any of *subjects*; None when it is not."""
    query = select(func.max(sign_in_failures.c.until_at)).where(sign_in_failures.c.subject.in_(subjects))
    found: datetime | None = tx.core(query.where(sign_in_failures.c.until_at > now)).scalar()
    return found


def failures_of(tx: Tx, subject: str) -> int:
    """Return how often signing in failed in a row for *subject*; its row is locked until the end of *tx*."""
    query = select(sign_in_failures.c.failures).where(sign_in_failures.c.subject == subject).with_for_update()
    return tx.core(query).scalar() or 0


def put_failures(tx: Tx, subject: str, failures: int, until_at: datetime) -> None:
    """Keep how often signing in failed in a row for *subject*, and until when it is refused."""
    values = {"failures": failures, "until_at": until_at}
    if tx.core(update(sign_in_failures).where(sign_in_failures.c.subject == subject).values(**values)).rowcount == 0:
        tx.core(insert_ignoring(tx, sign_in_failures).values(subject=subject, **values))


def forget_failures(tx: Tx, subjects: Sequence[str]) -> None:
    """Forget the failures of *subjects*: signing in has succeeded."""
    tx.core(delete(sign_in_failures).where(sign_in_failures.c.subject.in_(subjects)))


def has_old(tx: Tx, now: datetime, failures_before: datetime) -> bool:
    """Return whether `forget_old` would delete anything."""
    old = (
        select(logins.c.id_hash).where(logins.c.expires_at <= now),
        select(sign_in_links.c.user_id).where(sign_in_links.c.expires_at <= now),
        select(sign_in_failures.c.subject).where(sign_in_failures.c.until_at <= failures_before),
    )
    return any(tx.core(query.limit(1)).first() is not None for query in old)


def forget_old(tx: Tx, now: datetime, failures_before: datetime) -> int:
    """Delete logins and links that have ended, and failures of long ago; return how many rows that were."""
    gone = tx.core(delete(logins).where(logins.c.expires_at <= now)).rowcount
    gone += tx.core(delete(sign_in_links).where(sign_in_links.c.expires_at <= now)).rowcount
    return gone + tx.core(delete(sign_in_failures).where(sign_in_failures.c.until_at <= failures_before)).rowcount
