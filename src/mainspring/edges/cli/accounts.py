"""Users and API keys."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.edges.cli.opening import open_existing, open_new
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.screen import Cell, Column, print_json, print_table, say
from mainspring.edges.cli.times import from_now
from mainspring.edges.cli.wording import state_cell

if TYPE_CHECKING:
    from mainspring.services.accounts import Accounts, StoredKey, User

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the account.")]
RoleOption = Annotated[
    str,
    typer.Option("--role", help="viewer (looks), user (has things of their own), operator (steers) or admin (all)."),
]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read a password from standard input; else a link signs in.")
]
_USERS = (Column("user"), Column("role"), Column("state"), Column("made"), Column("e-mail", drop=1, flexible=True))
_KEYS = (
    Column("id"),
    Column("user"),
    Column("for", flexible=True),
    Column("scopes"),
    Column("state"),
    Column("used", drop=1),
)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    users = typer.Typer(no_args_is_help=True, help="Make and change accounts of people and programs.")
    users.command("list")(list_users)
    users.command("add")(add)
    users.command("role")(role)
    users.command("password")(password)
    users.command("link")(link)
    users.command("disable")(disable)
    users.command("enable")(enable)
    keys = typer.Typer(no_args_is_help=True, help="Make and revoke API keys.")
    keys.command("list")(list_keys)
    keys.command("add")(add_key)
    keys.command("revoke")(revoke)
    app.add_typer(users, name="users")
    app.add_typer(keys, name="keys")


def list_users(context: typer.Context, as_json: AsJson = False) -> None:
    """List accounts."""
    application = open_existing(context)
    found, now = _accounts(context).all(), application.clock.now()
    if as_json:
        print_json({"users": [_user_json(user) for user in found]})
    elif not found:
        say(
            "no accounts yet; `mainspring users add NAME --role admin` makes one, and so does the first `mainspring up`"
        )
    else:
        print_table(_USERS, [_user_row(user, now) for user in found])


def add(
    context: typer.Context,
    name: NameArgument,
    role: RoleOption = "user",
    email: Annotated[str | None, typer.Option("--email", help="Address for messages.")] = None,
    password_stdin: FromStdin = False,
    as_json: AsJson = False,
) -> None:
    """Make an account."""
    from mainspring.domain.access import parse_role

    open_new(context)
    accounts = _accounts(context)
    user = accounts.create(name, parse_role(role), actor(), email=email, password=_password(password_stdin))
    if as_json:
        print_json(_user_json(user))
    else:
        say(f"user {user.name!r} is made as {user.role}")
        if not password_stdin:
            say(f"it has no password; `mainspring users link {user.name}` makes a link that signs in once")


def role(
    context: typer.Context,
    name: NameArgument,
    to: Annotated[str, typer.Argument(metavar="ROLE", help="viewer, user, operator or admin.")],
    as_json: AsJson = False,
) -> None:
    """Give an account another role."""
    from mainspring.domain.access import parse_role

    user = _accounts(context).set_role(name, parse_role(to), actor())
    _told(user, as_json, f"user {user.name!r} is {user.role} now")


def password(context: typer.Context, name: NameArgument, as_json: AsJson = False) -> None:
    """Set a password, read from standard input; all logins of the account end."""
    user = _accounts(context).set_password(name, _read_password(), actor())
    _told(user, as_json, f"the password of user {user.name!r} is set; logins made before have ended")


def link(context: typer.Context, name: NameArgument, as_json: AsJson = False) -> None:
    """Make a link that signs the account in once, within a quarter of an hour."""
    from mainspring.edges.cli.opening import project_of
    from mainspring.edges.listening import listening_of

    accounts = _accounts(context)
    listening = listening_of(project_of(context).loaded.settings, True)
    made = f"{listening.address(listening.port)}/sign-in#{accounts.make_link(name, actor())}"
    print_json({"link": made}) if as_json else say(made)


def disable(context: typer.Context, name: NameArgument, as_json: AsJson = False) -> None:
    """Keep an account out: its logins end, its keys are void until it is enabled again."""
    user = _accounts(context).disable(name, actor())
    _told(user, as_json, f"user {user.name!r} is disabled; `mainspring users enable {user.name}` lets it in again")


def enable(context: typer.Context, name: NameArgument, as_json: AsJson = False) -> None:
    """Let a disabled account in again."""
    user = _accounts(context).enable(name, actor())
    _told(user, as_json, f"user {user.name!r} is enabled")


def _told(user: User, as_json: bool, said: str) -> None:
    print_json(_user_json(user)) if as_json else say(said)


def list_keys(
    context: typer.Context,
    user: Annotated[str | None, typer.Option("--user", help="Only those of this account.")] = None,
    as_json: AsJson = False,
) -> None:
    """List API keys; their secrets are shown when they are made, and never again."""
    application = open_existing(context)
    found, now = _accounts(context).keys(user), application.clock.now()
    if as_json:
        print_json({"keys": [_key_json(key, owner) for key, owner in found]})
    elif not found:
        say("no keys yet; `mainspring keys add NAME --user USER` makes one")
    else:
        print_table(_KEYS, [_key_row(key, owner, now) for key, owner in found])


def add_key(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.")],
    user: Annotated[str, typer.Option("--user", help="The account that it acts for.")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="What it is good for, such as 'runs:read'; all unless given.")
    ] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, max=3650, help="Days after which it ends.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key and show its secret, this once."""
    expires = None if days is None else timedelta(days=days)
    made = _accounts(context).create_key(user, name, scope or ["*"], actor(), expires)
    if as_json:
        print_json({**_key_json(made.key, user), "secret": made.secret})
    else:
        typer.echo(made.secret)
        typer.echo("Send it as 'Authorization: Bearer …'. It is not shown again.", err=True)


def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key.")],
    as_json: AsJson = False,
) -> None:
    """Make a key void for ever."""
    _accounts(context).revoke_key(key_id, actor())
    print_json({"revoked": key_id}) if as_json else say(f"key {key_id} is revoked")


def _accounts(context: typer.Context) -> Accounts:
    from mainspring.services.accounts import Accounts

    application = open_existing(context)
    return Accounts(application.database, application.clock)


def _password(wanted: bool) -> str | None:
    return _read_password() if wanted else None


def _read_password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")


def _user_json(user: User) -> dict[str, Any]:
    return {name: getattr(user, name) for name in ("id", "name", "email", "role", "disabled_at", "created_at")}


def _key_json(key: StoredKey, owner: str) -> dict[str, Any]:
    names = ("id", "name", "created_at", "expires_at", "used_at", "revoked_at")
    return {"user": owner, "scopes": sorted(key.scopes), **{name: getattr(key, name) for name in names}}


def _user_row(user: User, now: datetime) -> tuple[str | Cell, ...]:
    state = state_cell("on" if user.disabled_at is None else "disabled")
    return user.name, user.role.value, state, from_now(user.created_at, now), user.email or ""


def _key_row(key: StoredKey, owner: str, now: datetime) -> tuple[str | Cell, ...]:
    state = "on"
    if key.revoked_at is not None:
        state = "revoked"
    elif key.expires_at is not None and key.expires_at <= now:
        state = "expired"
    used = "never" if key.used_at is None else from_now(key.used_at, now)
    return key.id, owner, key.name, ", ".join(sorted(key.scopes)), state_cell(state), used
