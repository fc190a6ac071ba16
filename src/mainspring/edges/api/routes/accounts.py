"""Users, API keys, and signing in."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import Field

from mainspring.domain.access import Forbidden, Reach, Right, Role, parse_role, reach
from mainspring.edges.api.models import At, Given, Told
from mainspring.edges.api.security import Asking, Caller, Gate, address_of, needs, public
from mainspring.errors import Conflict
from mainspring.services.accounts import LOGIN_LASTS, Accounts, KeyMade, StoredKey, User

router = APIRouter(tags=["accounts"])
_CREATED = HTTPStatus.CREATED
_NO_CONTENT = HTTPStatus.NO_CONTENT


def _accounts(request: Request) -> Accounts:
    gate: Gate = request.app.state.gate
    return gate.accounts


def _own_account(who: Caller) -> str:
    """Return the id of the account of whoever asks.

    Raises:
        Conflict: accounts are switched off, so there is none.
    """
    if not who.principal.user_id:
        raise Conflict("accounts are switched off here (--no-auth), so there are no keys and passwords of one's own")
    return who.principal.user_id


Keeping = Annotated[Accounts, Depends(_accounts)]
UserName = Annotated[str, Path(description="Name of an account.", examples=["ana"], max_length=100)]
KeyId = Annotated[str, Path(description="Id of a key.", examples=["3fZk09aB"], max_length=16)]


class UserTold(Told):
    """An account."""

    id: str
    name: str
    email: str | None
    role: Role
    disabled_at: At | None
    created_at: At


class SelfTold(Told):
    """Who asks, and what they may do."""

    name: str
    role: Role
    rights: dict[Right, str] = Field(description="For each right: `own` or `all`.")


class UserGiven(Given):
    """A new account."""

    name: str = Field(examples=["ana"])
    role: str = Field(description="viewer, user, operator or admin.", examples=["operator"])
    email: str | None = None
    password: str | None = Field(None, description="Without one the account signs in by a link.")


class UserChange(Given):
    """What is to change of an account; what is left out stays."""

    role: str | None = Field(None, examples=["viewer"])
    disabled: bool | None = None


class PasswordGiven(Given):
    """A new password."""

    password: str


class OwnPassword(Given):
    """A new password, and the old one as proof."""

    old: str
    new: str


class SignInGiven(Given):
    """Name and password."""

    name: str = Field(examples=["ana"])
    password: str


class LinkGiven(Given):
    """The secret part of a link that signs in once."""

    secret: str


class LinkTold(Told):
    """A link that signs in once, within a quarter of an hour; it is shown this once."""

    secret: str


class KeyGiven(Given):
    """A new API key."""

    name: str = Field(description="What it is for.", examples=["nightly export"])
    scopes: list[str] = Field(["*"], description="What it is good for.", examples=[["runs:read", "runs:write"]])
    expires_in_days: int | None = Field(None, ge=1, le=3650)


class KeyTold(Told):
    """An API key, without its secret."""

    id: str
    name: str
    user: str
    scopes: list[str]
    created_at: At
    expires_at: At | None
    used_at: At | None
    revoked_at: At | None


class KeyMadeTold(KeyTold):
    """A new API key; its secret is shown this once."""

    secret: str


@router.get("/self", summary="Who asks, and what they may do")
@needs(Right.SELF_READ)
def show_self(who: Asking) -> SelfTold:
    """Return the account of whoever asks."""
    words = {Reach.OWN: "own", Reach.ALL: "all"}
    rights = {r: words[found] for r in Right if (found := reach(who.principal, r)) is not Reach.NOTHING}
    return SelfTold(name=who.name, role=who.principal.role, rights=rights)


@router.put("/self/password", status_code=_NO_CONTENT, summary="Set one's own password anew")
@needs(Right.SELF_WRITE)
def set_own_password(who: Asking, accounts: Keeping, given: OwnPassword, response: Response) -> None:
    """Set the password of whoever asks; all their logins end."""
    accounts.change_password(_own_account(who), given.old, given.new, who.address)


@router.post("/sign-in", status_code=_NO_CONTENT, summary="Sign in with name and password")
@public
def sign_in(request: Request, accounts: Keeping, given: SignInGiven, response: Response) -> None:
    """Begin a login; the answer's cookie proves it."""
    _remember(request, response, accounts.sign_in(given.name, given.password, address_of(request)))


@router.post("/sign-in/link", status_code=_NO_CONTENT, summary="Sign in by a link")
@public
def sign_in_by_link(request: Request, accounts: Keeping, given: LinkGiven, response: Response) -> None:
    """Begin a login with the secret of a link, which is used up by that."""
    _remember(request, response, accounts.sign_in_by_link(given.secret, address_of(request)))


@router.post("/sign-out", status_code=_NO_CONTENT, summary="Sign out")
@needs(Right.SELF_WRITE)
def sign_out(request: Request, accounts: Keeping, who: Asking, response: Response) -> None:
    """End the login of the browser that asks."""
    gate: Gate = request.app.state.gate
    secret = request.cookies.get(gate.cookie)
    if secret:
        accounts.sign_out(secret)
    response.delete_cookie(gate.cookie, path="/", secure=gate.secure, httponly=True, samesite="lax")


@router.get("/users", summary="List the accounts")
@needs(Right.ACCOUNTS_READ)
def list_users(who: Asking, accounts: Keeping) -> list[UserTold]:
    """Return all accounts by name."""
    return [UserTold.model_validate(user) for user in accounts.all()]


@router.post("/users", status_code=_CREATED, summary="Make an account")
@needs(Right.ACCOUNTS_WRITE)
def create_user(who: Asking, accounts: Keeping, given: UserGiven) -> UserTold:
    """Make an account."""
    made = accounts.create(given.name, parse_role(given.role), who.name, email=given.email, password=given.password)
    return UserTold.model_validate(made)


@router.get("/users/{name}", summary="Show an account")
@needs(Right.ACCOUNTS_READ)
def show_user(who: Asking, accounts: Keeping, name: UserName) -> UserTold:
    """Return an account."""
    return UserTold.model_validate(accounts.require(name))


@router.patch("/users/{name}", summary="Change an account")
@needs(Right.ACCOUNTS_WRITE)
def change_user(who: Asking, accounts: Keeping, name: UserName, given: UserChange) -> UserTold:
    """Give an account another role, disable or enable it."""
    user: User = accounts.require(name)
    if given.role is not None and parse_role(given.role) is not user.role:
        user = accounts.set_role(name, parse_role(given.role), who.name)
    if given.disabled is not None and given.disabled != (user.disabled_at is not None):
        user = accounts.disable(name, who.name) if given.disabled else accounts.enable(name, who.name)
    return UserTold.model_validate(user)


@router.put("/users/{name}/password", status_code=_NO_CONTENT, summary="Set somebody's password")
@needs(Right.ACCOUNTS_WRITE)
def set_password(who: Asking, accounts: Keeping, name: UserName, given: PasswordGiven) -> None:
    """Set the password of an account anew; all its logins end."""
    accounts.set_password(name, given.password, who.name)


@router.post("/users/{name}/link", status_code=_CREATED, summary="Make a link that signs in once")
@needs(Right.ACCOUNTS_WRITE)
def make_link(who: Asking, accounts: Keeping, name: UserName) -> LinkTold:
    """Make a link with which the account signs in once; earlier ones are void."""
    return LinkTold(secret=accounts.make_link(name, who.name))


@router.get("/keys", summary="List API keys")
@needs(Right.SELF_READ)
def list_keys(who: Asking, accounts: Keeping, everybody: bool = False) -> list[KeyTold]:
    """Return one's own keys, or, for administrators, everybody's."""
    if everybody and reach(who.principal, Right.ACCOUNTS_READ) is not Reach.ALL:
        raise Forbidden(Right.ACCOUNTS_READ, "only administrators see everybody's keys")
    found = accounts.keys() if everybody else accounts.keys_of(_own_account(who))
    return [_told(key, owner) for key, owner in found]


@router.post("/keys", status_code=_CREATED, summary="Make an API key")
@needs(Right.SELF_WRITE)
def create_key(who: Asking, accounts: Keeping, given: KeyGiven) -> KeyMadeTold:
    """Make a key for whoever asks; its secret is in this answer and nowhere else."""
    _own_account(who)
    beyond = [s for s in given.scopes if not any(_within(s, have) for have in who.principal.scopes)]
    if beyond:
        raise Forbidden(Right.SELF_WRITE, f"a key cannot give what it has not itself: {', '.join(sorted(beyond))}")
    expires = None if given.expires_in_days is None else timedelta(days=given.expires_in_days)
    made: KeyMade = accounts.create_key(who.name, given.name, given.scopes, who.name, expires)
    return KeyMadeTold(**_told(made.key, who.name).model_dump(), secret=made.secret)


@router.delete("/keys/{key_id}", status_code=_NO_CONTENT, summary="Revoke an API key")
@needs(Right.SELF_WRITE)
def revoke_key(who: Asking, accounts: Keeping, key_id: KeyId) -> None:
    """Make a key void for ever: one's own, or, for administrators, anybody's."""
    key = accounts.require_key(key_id)
    if reach(who.principal, Right.ACCOUNTS_WRITE) is not Reach.ALL:
        who.sees(key.user_id, "key", key_id)
    accounts.revoke_key(key_id, who.name)


def _within(scope: str, have: str) -> bool:
    if have in ("*", scope):
        return True
    area, _, verb = scope.partition(":")
    return have == f"{area}:*" or (have == "*:read" and verb == "read" and area != "*")


def _told(key: StoredKey, owner: str) -> KeyTold:
    fields = ("id", "name", "created_at", "expires_at", "used_at", "revoked_at")
    return KeyTold(user=owner, scopes=sorted(key.scopes), **{name: getattr(key, name) for name in fields})


def _remember(request: Request, response: Response, secret: str) -> None:
    gate: Gate = request.app.state.gate
    seconds = int(LOGIN_LASTS.total_seconds())
    response.set_cookie(
        gate.cookie, secret, max_age=seconds, path="/", secure=gate.secure, httponly=True, samesite="lax"
    )
