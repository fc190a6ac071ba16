"""Resources on the command line: declared, edited, opened, reset, and what validate says of undeclared ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainspring.edges.cli.project import actor
from tests.edges.conftest import Cli

RESOURCES = """
resources:
  brapi: {concurrency: 4, rate: 5/s, breaker: {failures: 5, cool_down: 30s}}
"""
LIMITS = "4 at a time; 5/s; breaker opens after 5 failures in a row, for 30s"


@pytest.fixture
def declared(project: Path, cli: Cli) -> Path:
    """A project that declares a resource, applied."""
    path = project / "mainspring.yaml"
    path.write_text(path.read_text() + RESOURCES)
    assert "  + resource brapi\n" in cli("apply").out
    return project


def test_a_declared_resource_is_listed_and_shown(declared: Path, cli: Cli) -> None:
    title, row = cli("resources", "list").out.splitlines()
    assert title.split() == ["resource", "state", "in", "use", "held", "limits", "about"]
    assert row.split() == ["brapi", "●", "free", "0", "0", *LIMITS.split()]
    shown = cli("resources", "show", "brapi").out.splitlines()
    assert shown[:5] == [
        "resource  brapi", "state     free", "in use    0", "held      0", f"limits    {LIMITS}",
    ]  # fmt: skip
    assert shown[5].startswith("set by    the configuration (")
    assert cli("resources", "list", "--json").json["resources"][0]["limits"] == {
        "concurrency": 4, "rate": "5/s", "breaker": {"failures": 5, "cool_down": "30s"},
    }  # fmt: skip


def test_without_any_the_way_to_one_is_told(project: Path, cli: Cli) -> None:
    cli("apply")
    assert cli("resources", "list").out == (
        "no resources yet; declare some under 'resources' in mainspring.yaml, or let a task use one\n"
    )


def test_what_is_set_by_hand_holds_and_apply_says_that_it_differs(declared: Path, cli: Cli) -> None:
    assert cli("resources", "set", "brapi", "--rate", "10/s burst 3", "--cool-down", "5m").out == (
        "resource 'brapi': 4 at a time; 10/s burst 3; breaker opens after 5 failures in a row, for 5m\n"
    )
    applied = cli("apply").out
    assert f"  ! resource 'brapi' was edited by {actor()} on " in applied
    assert f"the file '{LIMITS}'; `mainspring apply --reset-resources` takes the file's" in applied
    assert "  ~ resource brapi\n" in cli("apply", "--reset-resources").out
    assert cli("resources", "show", "brapi", "--json").json["edited_by"] is None


def test_single_limits_are_lifted_with_none(declared: Path, cli: Cli) -> None:
    cli("resources", "set", "brapi", "--concurrency", "none", "--no-breaker")
    assert cli("resources", "show", "brapi", "--json").json["limits"] == {"rate": "5/s"}
    assert cli("resources", "set", "brapi", "--ratio", "0.5", "--minimum", "20").code == 0
    assert cli("resources", "show", "brapi", "--json").json["limits"]["breaker"] == {
        "ratio": 0.5, "window": "1m", "minimum": 20, "cool_down": "30s",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("set", "brapi"), 2, "nothing to set for resource 'brapi'; give --concurrency, --rate, --failures or others"),
        (("set", "brapi", "--concurrency", "0"), 2, "concurrency 0 is not a whole number from 1 to 100000"),
        (("set", "brapi", "--rate", "5"), 2, "rate '5' cannot be read; write a number and a period, such as"),
        (("set", "brapi", "--failures", "many"), 2, "breaker: failures 'many' is not a whole number from 1 to 100000"),
        (("set", "brapi", "--ratio", "2"), 2, "breaker: ratio 2.0 is no share above 0 and up to 1, such as 0.5"),
        (("set", "brapi", "--cool-down", "30"), 2, "duration '30' has no unit"),
        (("set", "brapi", "--failures", "none"), 2, "--failures none leaves the breaker nothing to open for"),
        (("set", "brapi", "--no-breaker", "--ratio", "0.5"), 2, "leave the options of the breaker out"),
        (("set", "a b", "--rate", "5/s"), 2, "'a b' is no resource name"),
        (("show", "barpi"), 3, "unknown resource 'barpi'; did you mean 'brapi'?"),
        (("reset", "barpi"), 3, "unknown resource 'barpi'; did you mean 'brapi'?"),
        (("trip", "brapi", "--until", "2020-01-01T00:00"), 2, "has passed; name a time ahead"),
        (("trip", "brapi", "--until", "soon"), 2, "--until"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(
    declared: Path, cli: Cli, words: tuple[str, ...], code: int, said: str
) -> None:
    answer = cli("resources", *words)
    assert answer.code == code
    assert said in answer.err


def test_a_breaker_is_opened_and_reset_by_hand(declared: Path, cli: Cli) -> None:
    assert cli("resources", "trip", "brapi", "--reason", "their maintenance").out == (
        "resource 'brapi' is open until `mainspring resources reset brapi`\n"
    )
    assert f"open: its breaker was opened by hand: their maintenance (by {actor()})" in (
        cli("resources", "show", "brapi").out
    )
    assert "is open until 20" in cli("resources", "trip", "brapi", "--until", "2h").out
    assert cli("resources", "reset", "brapi").out == "resource 'brapi' is reset; free\n"


def test_validate_mentions_resources_that_nobody_declares(project: Path, cli: Cli) -> None:
    config, work = project / "mainspring.yaml", project / "work.py"
    config.write_text(config.read_text() + RESOURCES)
    uses = "@task(uses=['barpi', 'host:{name}'])\ndef one(name: str) -> None: ...\n"
    other = "@task(uses=['warehouse', 'brapi'])\ndef other() -> None: ...\n"
    work.write_text(work.read_text() + uses + other)
    said = cli("validate").out
    assert (
        "task 'work.one' uses resource 'barpi', which 'resources' does not declare; did you mean 'brapi'? It is used "
        "by one run at a time until its limits are known\n"
    ) in said
    assert "task 'work.other' uses resource 'warehouse', which 'resources' does not declare. It is used" in said
    assert cli("validate", "--json").json["undeclared_resources"] == {"barpi": "work.one", "warehouse": "work.other"}
