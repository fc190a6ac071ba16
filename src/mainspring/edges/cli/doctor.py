"""Examine an installation and say what is wrong with it, each with the way out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mainspring.edges.cli.failures import Failed
from mainspring.edges.cli.opening import missing_file, open_bare
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.screen import Cell, print_facts, print_json, say
from mainspring.edges.cli.wording import many
from mainspring.errors import StoreUnavailable

if TYPE_CHECKING:
    from mainspring.app import Application
    from mainspring.services.doctor import Check

_SIGNS: Final = {"ok": ("✓", ""), "warning": ("!", "yellow"), "problem": ("✗", "bold red")}


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command("doctor")(doctor)


def doctor(
    context: typer.Context,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every page and verify the ledger; minutes on a large database.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Examine the database, the processes and the machine; exit code 1 where there is a problem."""
    checks = list(_checks(context, deep=deep))
    problems = sum(check.verdict == "problem" for check in checks)
    warnings = sum(check.verdict == "warning" for check in checks)
    if as_json:
        print_json({"ok": not problems, "problems": problems, "warnings": warnings, "checks": [
            {"name": check.name, "verdict": str(check.verdict), "sentence": check.sentence, "way_out": check.way_out}
            for check in checks
        ]})  # fmt: skip
    else:
        print_facts([(f"{_SIGNS[check.verdict][0]} {check.name}", _cell(check)) for check in checks])
        if warnings:
            say(f"\n{many(warnings, 'warning')}", "yellow")
        elif not problems:
            say("\nnothing is wrong", "green")
    if problems:
        raise Failed(many(problems, "problem") + " found")


def _checks(context: typer.Context, *, deep: bool) -> Iterator[Check]:
    from mainspring.services import doctor as services

    try:
        missing = missing_file(context)
        if missing is not None:
            raise StoreUnavailable(f"there is no database {missing} yet; `mainspring up` makes it")
        application = open_bare(context)
        yield from services.examine(application.database, application.clock, deep=deep)
        if deep:
            yield from services.guarded("ledger", lambda: [_ledger(application)])
    except StoreUnavailable as error:
        yield services.problem("database", str(error))
    yield from services.machine_checks()


def _ledger(application: Application) -> Check:
    from mainspring.services.doctor import fine, problem
    from mainspring.verify import verify

    verdict = verify(application.database, application.clock.now())
    if verdict.ok:
        return fine("ledger", f"{verdict.expected:,} fire times and {verdict.runs:,} runs are as brute force says")
    return problem("ledger", f"{many(verdict.errors, 'error')} found", "`mainspring db verify` names each")


def _cell(check: Check) -> Cell:
    text = f"{check.sentence}\n→ {check.way_out}" if check.way_out else check.sentence
    return Cell(text, _SIGNS[check.verdict][1])
