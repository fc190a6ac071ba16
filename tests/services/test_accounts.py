"""Accounts: passwords, links, keys and logins prove who asks; the last administrator stays; everything is audited."""

from __future__ import annotations

from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from mainspring.domain.access import Reach, Right, Role, reach
from mainspring.errors import Conflict, InvalidInput, UnknownName
from mainspring.services.accounts import Accounts, SignInRefused, TooManyTries
from mainspring.services.idempotency import Idempotency
from mainspring.services.maintenance import Tidier
from mainspring.store.schema import api_keys, audit, idempotency_keys, logins, sign_in_links, users
from tests.services.arrange import Installation

GOOD = "correct horse battery"


@pytest.fixture
def accounts(installation: Installation) -> Accounts:
    return Accounts(installation.database, installation.clock, PasswordHasher(1, 8, 1))


def actions(installation: Installation) -> list[str]:
    query = select(audit.c.action).order_by(audit.c.id)
    return [row.action for row in installation.database.read(lambda tx: tx.core(query).all())]


def test_name_and_password_sign_in_and_the_login_says_who_it_is(accounts: Accounts, installation: Installation) -> None:
    user = accounts.create("Ana", Role.OPERATOR, "test", password=GOOD)
    secret = accounts.sign_in("ana", GOOD, "127.0.0.1")
    found = accounts.by_login(secret)
    assert found is not None
    assert (found.user_id, found.name, found.role) == (user.id, "Ana", Role.OPERATOR)
    accounts.sign_out(secret)
    assert accounts.by_login(secret) is None
    assert actions(installation) == ["user.create", "user.sign_in"]


@pytest.mark.parametrize("name", ["ana", "nobody", "disabled", "no-password"])
def test_whatever_is_wrong_the_answer_is_the_same(accounts: Accounts, name: str) -> None:
    accounts.create("ana", Role.USER, "test", password=GOOD)
    accounts.create("disabled", Role.USER, "test", password=GOOD)
    accounts.disable("disabled", "test")
    accounts.create("no-password", Role.USER, "test")
    with pytest.raises(SignInRefused, match=r"^name and password do not belong together$"):
        accounts.sign_in(name, GOOD if name == "disabled" else "wrong password!", "127.0.0.1")


def test_a_guesser_waits_longer_and_longer_and_nobody_else_does(accounts: Accounts, installation: Installation) -> None:
    accounts.create("ana", Role.USER, "test", password=GOOD)
    waits = []
    for _ in range(18):
        with pytest.raises((SignInRefused, TooManyTries)) as caught:
            accounts.sign_in("ana", "wrong password!", "10.0.0.9")
        if isinstance(caught.value, TooManyTries):
            waits.append(caught.value.retry_after.total_seconds())
            installation.clock.advance(caught.value.retry_after)
    assert waits == [1, 2, 4, 8, 16, 32, 64]
    assert accounts.by_login(accounts.sign_in("ana", GOOD, "10.0.0.10")) is not None


def test_one_address_cannot_try_all_accounts(accounts: Accounts) -> None:
    for n in range(31):
        with pytest.raises(SignInRefused):
            accounts.sign_in(f"user{n}", "wrong password!", "10.0.0.9")
    with pytest.raises(TooManyTries, match=r"try again in 1 s"):
        accounts.sign_in("another", "wrong password!", "10.0.0.9")


def test_a_new_password_and_a_disabled_account_end_every_login(accounts: Accounts, installation: Installation) -> None:
    accounts.create("ana", Role.USER, "test", password=GOOD)
    for end in (lambda: accounts.set_password("ana", GOOD + "!", "root"), lambda: accounts.disable("ana", "root")):
        password = GOOD if "user.password" not in actions(installation) else GOOD + "!"
        secrets = [accounts.sign_in("ana", password, "127.0.0.1") for _ in range(2)]
        assert all(accounts.by_login(secret) for secret in secrets)
        end()
        assert not any(accounts.by_login(secret) for secret in secrets)


def test_a_login_lives_on_while_it_is_used_and_ends_when_it_is_not(
    accounts: Accounts, installation: Installation
) -> None:
    accounts.create("ana", Role.USER, "test", password=GOOD)
    secret = accounts.sign_in("ana", GOOD, "127.0.0.1")
    for _ in range(3):
        installation.clock.advance(timedelta(days=6))
        assert accounts.by_login(secret) is not None
    installation.clock.advance(timedelta(days=7))
    assert accounts.by_login(secret) is None
    Tidier(installation.database, installation.clock).run_once()
    assert not installation.database.read(lambda tx: tx.core(select(logins)).all())


def test_a_link_signs_in_once_and_for_a_quarter_of_an_hour(accounts: Accounts, installation: Installation) -> None:
    accounts.create("ana", Role.USER, "test")
    first, second = accounts.make_link("ana", "root"), accounts.make_link("ana", "root")
    with pytest.raises(SignInRefused, match="used already, is too old, or never existed"):
        accounts.sign_in_by_link(first, "127.0.0.1")
    assert accounts.by_login(accounts.sign_in_by_link(second, "127.0.0.1")) is not None
    with pytest.raises(SignInRefused):
        accounts.sign_in_by_link(second, "127.0.0.1")
    third = accounts.make_link("ana", "root")
    installation.clock.advance(timedelta(minutes=15))
    with pytest.raises(SignInRefused):
        accounts.sign_in_by_link(third, "127.0.0.1")


def test_the_first_start_makes_an_administrator_once(accounts: Accounts) -> None:
    secret = accounts.first_admin("first start")
    assert secret is not None
    found = accounts.by_login(accounts.sign_in_by_link(secret, "127.0.0.1"))
    assert found is not None
    assert (found.name, found.role) == ("admin", Role.ADMIN)
    assert accounts.first_admin("second start") is None


@pytest.mark.parametrize("lose", ["role", "disable"])
def test_the_last_administrator_stays(accounts: Accounts, lose: str) -> None:
    accounts.create("root", Role.ADMIN, "test")

    def give_up(name: str) -> None:
        accounts.set_role(name, Role.VIEWER, "test") if lose == "role" else accounts.disable(name, "test")

    with pytest.raises(Conflict, match="root is the last administrator; make somebody else one first"):
        give_up("root")
    accounts.create("other", Role.ADMIN, "test")
    give_up("root")
    with pytest.raises(Conflict, match="other is the last administrator"):
        give_up("other")


def test_a_key_is_its_accounts_within_its_scopes_until_it_ends(accounts: Accounts, installation: Installation) -> None:
    accounts.create("ana", Role.OPERATOR, "test")
    made = accounts.create_key("ana", "dashboard", ["runs:read"], "ana", timedelta(hours=1))
    found = accounts.by_key(made.secret)
    assert found is not None
    assert (reach(found, Right.RUNS_READ), reach(found, Right.RUNS_WRITE)) == (Reach.ALL, Reach.NOTHING)
    assert accounts.by_key(made.secret[:-1] + ("a" if made.secret[-1] != "a" else "b")) is None
    assert accounts.by_key("ms_" + "0" * 8 + made.secret[11:]) is None
    accounts.disable("ana", "root")
    assert accounts.by_key(made.secret) is None
    accounts.enable("ana", "root")
    assert accounts.by_key(made.secret) is not None
    installation.clock.advance(timedelta(hours=1))
    assert accounts.by_key(made.secret) is None


def test_a_revoked_key_is_void(accounts: Accounts) -> None:
    accounts.create("ana", Role.USER, "test")
    made = accounts.create_key("ana", "script", ["*"], "ana")
    accounts.revoke_key(made.key.id, "ana")
    assert accounts.by_key(made.secret) is None
    with pytest.raises(Conflict, match="revoked already"):
        accounts.revoke_key(made.key.id, "ana")
    ((key, owner),) = accounts.keys("ana")
    assert (key.name, owner, key.revoked_at is not None) == ("script", "ana", True)


def test_no_secret_is_in_the_database(accounts: Accounts, installation: Installation) -> None:
    accounts.create("ana", Role.USER, "test", password=GOOD)
    secrets = [
        accounts.create_key("ana", "script", ["*"], "ana").secret,
        accounts.sign_in("ana", GOOD, "127.0.0.1"),
        accounts.make_link("ana", "root"),
        GOOD,
    ]
    for table in (users, api_keys, logins, sign_in_links, audit):
        text = repr(installation.database.read(lambda tx, table=table: tx.core(select(table)).all()))  # type: ignore[misc]
        assert not [secret for secret in secrets if secret in text]


@pytest.mark.parametrize(
    ("password", "said"),
    [("short", "has 10 to 1000 characters; this one has 5"), ("aaaaaaaaaaaa", "one of the first"),
     ("1234567890", "one of the first"), ("ana.example", "one of the first")],
)  # fmt: skip
def test_a_weak_password_is_refused(accounts: Accounts, password: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        accounts.create("ana.example", Role.USER, "test", password=password)
    assert not accounts.any()


def test_names_are_checked_and_belong_to_one(accounts: Accounts) -> None:
    accounts.create("ana", Role.USER, "test")
    with pytest.raises(Conflict, match="user 'ANA' exists already"):
        accounts.create("ANA", Role.USER, "test")
    with pytest.raises(InvalidInput, match="user name 'a b' is not usable"):
        accounts.create("a b", Role.USER, "test")
    with pytest.raises(UnknownName, match=r"unknown user 'anna'; did you mean 'ana'\?"):
        accounts.require("anna")
    with pytest.raises(InvalidInput, match=r"unknown scope 'runs:reed'; did you mean 'runs:read'\?"):
        accounts.create_key("ana", "x", ["runs:reed"], "ana")


def test_answers_to_requests_are_kept_for_a_day(installation: Installation) -> None:
    keeper, tidier = (kind(installation.database, installation.clock) for kind in (Idempotency, Tidier))
    assert keeper.begin("ana", "k", "0" * 64) is None
    keeper.end("ana", "k", 201, {"etag": '"1"'}, "{}")
    installation.clock.advance(timedelta(hours=24) - timedelta(microseconds=1))
    tidier.run_once()
    kept = keeper.begin("ana", "k", "0" * 64)
    assert kept is not None
    assert (kept.status, kept.headers, kept.body) == (201, {"etag": '"1"'}, "{}")
    installation.clock.advance(timedelta(microseconds=1))
    tidier.run_once()
    assert not installation.database.read(lambda tx: tx.core(select(idempotency_keys)).all())
