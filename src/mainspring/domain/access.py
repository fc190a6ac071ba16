"""Say who may do what: one table of rights, and the one function that REST, gRPC and pages ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final

from mainspring.errors import InvalidInput, MainspringError, unknown_name


class Role(StrEnum):
    """What an account is for."""

    VIEWER = "viewer"
    """Looks at everything, changes nothing."""
    USER = "user"
    """Has schedules and runs of their own, and sees no others."""
    OPERATOR = "operator"
    """Steers everything."""
    ADMIN = "admin"
    """Steers everything, and keeps the accounts."""


class Right(StrEnum):
    """A kind of operation; a key's scopes are named like this as well."""

    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    LOGS_READ = "logs:read"
    SCHEDULES_READ = "schedules:read"
    SCHEDULES_WRITE = "schedules:write"
    TASKS_READ = "tasks:read"
    QUEUES_READ = "queues:read"
    QUEUES_WRITE = "queues:write"
    RESOURCES_READ = "resources:read"
    RESOURCES_WRITE = "resources:write"
    WORKERS_READ = "workers:read"
    WORKERS_WRITE = "workers:write"
    STATISTICS_READ = "statistics:read"
    PLANNING_READ = "planning:read"
    """Preview and simulation."""
    AUDIT_READ = "audit:read"
    SELF_READ = "self:read"
    SELF_WRITE = "self:write"
    """One's own password, logins and keys."""
    ACCOUNTS_READ = "accounts:read"
    ACCOUNTS_WRITE = "accounts:write"
    SYSTEM_READ = "system:read"
    SYSTEM_WRITE = "system:write"
    """Maintenance mode and other switches of the whole installation."""


class Reach(IntEnum):
    """How far a right goes."""

    NOTHING = 0
    OWN = 1
    """Things that the account owns."""
    ALL = 2


_NO, _OWN, _ALL = Reach.NOTHING, Reach.OWN, Reach.ALL
_R = Right

_BY_ROLE: Final[Mapping[Right, tuple[Reach, Reach, Reach, Reach]]] = MappingProxyType({
    # right               viewer user  operator admin
    _R.RUNS_READ:        (_ALL, _OWN, _ALL, _ALL),
    _R.RUNS_WRITE:       (_NO,  _OWN, _ALL, _ALL),
    _R.LOGS_READ:        (_ALL, _OWN, _ALL, _ALL),
    _R.SCHEDULES_READ:   (_ALL, _OWN, _ALL, _ALL),
    _R.SCHEDULES_WRITE:  (_NO,  _OWN, _ALL, _ALL),
    _R.TASKS_READ:       (_ALL, _ALL, _ALL, _ALL),
    _R.QUEUES_READ:      (_ALL, _ALL, _ALL, _ALL),
    _R.QUEUES_WRITE:     (_NO,  _NO,  _ALL, _ALL),
    _R.RESOURCES_READ:   (_ALL, _ALL, _ALL, _ALL),
    _R.RESOURCES_WRITE:  (_NO,  _NO,  _ALL, _ALL),
    _R.WORKERS_READ:     (_ALL, _NO,  _ALL, _ALL),
    _R.WORKERS_WRITE:    (_NO,  _NO,  _ALL, _ALL),
    _R.STATISTICS_READ:  (_ALL, _OWN, _ALL, _ALL),
    _R.PLANNING_READ:    (_ALL, _OWN, _ALL, _ALL),
    _R.AUDIT_READ:       (_NO,  _NO,  _ALL, _ALL),
    _R.SELF_READ:        (_OWN, _OWN, _OWN, _OWN),
    _R.SELF_WRITE:       (_OWN, _OWN, _OWN, _OWN),
    _R.ACCOUNTS_READ:    (_NO,  _NO,  _NO,  _ALL),
    _R.ACCOUNTS_WRITE:   (_NO,  _NO,  _NO,  _ALL),
    _R.SYSTEM_READ:      (_ALL, _NO,  _ALL, _ALL),
    _R.SYSTEM_WRITE:     (_NO,  _NO,  _NO,  _ALL),
})  # fmt: skip

RIGHTS: Final[Mapping[Role, Mapping[Right, Reach]]] = MappingProxyType({
    role: MappingProxyType({right: reaches[column] for right, reaches in _BY_ROLE.items()})
    for column, role in enumerate((Role.VIEWER, Role.USER, Role.OPERATOR, Role.ADMIN))
})  # fmt: skip
"""What each role may do, and how far."""

EVERYTHING: Final = "*"
READING: Final = "*:read"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: an account, by a key or a login, or this machine's user where accounts are switched off."""

    user_id: str
    """Empty for the user of this machine; such a principal owns what nobody owns."""
    name: str
    role: Role
    scopes: frozenset[str] = frozenset({EVERYTHING})
    """What its key is good for; a login is good for everything that the role allows."""
    key_id: str | None = None


class NotSignedIn(MainspringError):
    """Nobody is known who asks: there is no key or login, or it is not valid (any more)."""


class Forbidden(MainspringError):
    """Whoever asks is known, and may not do this."""

    def __init__(self, right: Right, why: str) -> None:
        super().__init__(why)
        self.right = right


def reach(principal: Principal, right: Right) -> Reach:
    """Return how far *right* goes in the hands of *principal*: its role's, where the scopes of its key let it."""
    if not any(covers(scope, right) for scope in principal.scopes):
        return Reach.NOTHING
    return RIGHTS[principal.role][right]


def require(principal: Principal | None, right: Right) -> Reach:
    """Return how far *right* goes.

    Raises:
        NotSignedIn: nobody is known who asks.
        Forbidden: it goes nowhere; says whether role or scopes are in the way.
    """
    if principal is None:
        raise NotSignedIn("sign in, or send an API key as 'Authorization: Bearer ms_…'")
    found = reach(principal, right)
    if found is not Reach.NOTHING:
        return found
    if RIGHTS[principal.role][right] is Reach.NOTHING:
        needed = next((role for role in Role if RIGHTS[role][right] is not Reach.NOTHING), Role.ADMIN)
        raise Forbidden(right, f"{right.value} needs the role {needed} or more; {principal.name} is {principal.role}")
    raise Forbidden(right, f"this key has no scope for {right.value}; it has: {', '.join(sorted(principal.scopes))}")


def owner_filter(principal: Principal, right: Right) -> str | None:
    """Return whose things *principal* sees by *right*: None means everybody's. Lists are filtered by it in SQL."""
    return None if require(principal, right) is Reach.ALL else principal.user_id


def may_touch(principal: Principal, right: Right, owner_id: str) -> bool:
    """Return whether *right* lets *principal* at a thing of this owner; to others it does not exist."""
    found = require(principal, right)
    return found is Reach.ALL or owner_id == principal.user_id


def covers(scope: str, right: Right) -> bool:
    """Return whether *scope* includes *right*."""
    if scope == EVERYTHING or scope == right.value:
        return True
    area, _, verb = right.value.partition(":")
    return scope == f"{area}:*" or (scope == READING and verb == "read")


def check_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """Return *scopes* as a set.

    Raises:
        InvalidInput: one is unknown, or there is none.
    """
    found = frozenset(scopes)
    areas = {right.value.partition(":")[0] for right in Right}
    known = {EVERYTHING, READING, *(right.value for right in Right), *(f"{area}:*" for area in areas)}
    for scope in sorted(found):
        if scope not in known:
            raise InvalidInput(unknown_name("scope", scope, known))
    if not found:
        raise InvalidInput("a key without scopes is good for nothing; name some, such as 'runs:read' or '*'")
    return found


def parse_role(text: str) -> Role:
    """Return the role of this name.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return Role(text)
    except ValueError:
        raise InvalidInput(unknown_name("role", text, [role.value for role in Role])) from None
