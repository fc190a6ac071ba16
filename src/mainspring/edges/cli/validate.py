"""Check the project, apply it to the database, and print the schema of its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.edges.cli.opening import open_new, project_of
from mainspring.edges.cli.options import AsJson
from mainspring.edges.cli.project import actor
from mainspring.edges.cli.screen import Column, print_json, print_table, say
from mainspring.edges.cli.times import from_now, short_weekday_stamp
from mainspring.edges.cli.wording import many, zones_in_words

if TYPE_CHECKING:
    from mainspring.app import Project
    from mainspring.domain.spec import ScheduleSpec
    from mainspring.services.resources import AppliedResources
    from mainspring.services.schedules import Applied

_COLUMNS = (
    Column("schedule"),
    Column("rule", flexible=True),
    Column("next"),
    Column("", drop=1),
    Column("task", drop=2),
)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("validate")(validate)
    app.command("apply")(apply)
    app.command("schema")(schema)


def validate(context: typer.Context, as_json: AsJson = False) -> None:
    """Load the configuration with all code that it names, and check everything; nothing is written."""
    from mainspring.errors import ConfigurationInvalid

    project = project_of(context)
    project.check()
    problems = _missing_secrets(project)
    if problems:
        raise ConfigurationInvalid(problems)
    summary = _summary(project)
    if as_json:
        print_json(summary)
        return
    loaded = project.loaded
    packs = f", {many(len(project.packs), 'pack')} ({', '.join(project.packs)})" if project.packs else ""
    say(f"{loaded.path} is valid: {many(len(summary['tasks']), 'task')}, {many(len(project.specs), 'schedule')}{packs}")
    for name, task in project.undeclared_resources.items():
        say(_undeclared(project, name, task), "yellow")
    if project.specs:
        say()
        print_table(_COLUMNS, [_row(project, spec) for spec in project.specs])
        say(zones_in_words(project.specs), "dim")


def apply(
    context: typer.Context,
    reset_resources: Annotated[
        bool, typer.Option("--reset-resources", help="Take the file's limits of resources edited by hand, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make schedules, queues, routes and resources in the database equal to the project's; all is checked before."""
    from mainspring.app import apply as apply_project

    project = project_of(context)
    project.check()
    applied = apply_project(open_new(context), project, actor(), reset_resources=reset_resources)
    done, shared = applied.schedules, applied.resources
    if as_json:
        found = {kind: list(getattr(done, kind)) for kind in ("added", "edited", "removed", "unchanged")}
        found_shared = {kind: list(getattr(shared, kind)) for kind in ("added", "edited", "removed", "kept")}
        print_json({**found, "resources": found_shared})
        return
    say(f"applied {project.loaded.path}: {done.in_words()}")
    for sign, what, names in _changes(done, shared):
        for name in names:
            say(f"  {sign} {what}{name}")
    for sentence in shared.kept:
        say(f"  ! {sentence}", "yellow")


def _changes(done: Applied, shared: AppliedResources) -> list[tuple[str, str, tuple[str, ...]]]:
    signs = (("+", "added"), ("~", "edited"), ("-", "removed"))
    return [(sign, what, getattr(of, kind)) for what, of in (("", done), ("resource ", shared)) for sign, kind in signs]


def schema() -> None:
    """Print the JSON schema of mainspring.yaml, for editors."""
    from mainspring.config import json_schema

    print_json(json_schema())


def _undeclared(project: Project, name: str, task: str) -> str:
    from mainspring.errors import nearest

    guess = nearest(name, project.resources)
    meant = f"; did you mean {guess!r}?" if guess else "."
    return (
        f"task {task!r} uses resource {name!r}, which 'resources' does not declare{meant} "
        "It is used by one run at a time until its limits are known"
    )


def _missing_secrets(project: Project) -> list[str]:
    settings, secrets = project.loaded.settings, project.loaded.secrets
    wanted = {"database": str(settings.database)}
    wanted_by_schedule = {f"schedules.{spec.name}.parameters": dict(spec.parameters) for spec in project.specs}
    return [
        f"{project.loaded.path.name}: {place}: {said}"
        for place, value in (wanted | wanted_by_schedule).items()
        for said in secrets.missing(value)
    ]


def _summary(project: Project) -> dict[str, Any]:
    now = project.clock.now()
    return {
        "path": str(project.loaded.path.absolute()),
        "tasks": [
            {"name": task.name, "description": task.description, "parameters": task.json_schema()}
            for task in project.catalog
        ],
        "packs": list(project.packs),
        "queues": dict(project.queues),
        "resources": {name: limits.to_mapping() for name, limits in project.resources.items()},
        "undeclared_resources": dict(project.undeclared_resources),
        "schedules": [
            {
                "name": spec.name,
                "task": spec.task,
                "rule": spec.trigger.in_words(),
                "zone": spec.zone,
                "enabled": spec.enabled,
                "next_at": spec.next_after(now) if spec.enabled else None,
            }
            for spec in project.specs
        ],
    }


def _row(project: Project, spec: ScheduleSpec) -> tuple[str, ...]:
    from mainspring.domain.zones import zone

    now = project.clock.now()
    following = spec.next_after(now) if spec.enabled else None
    shown = ("never again" if spec.enabled else "disabled"), ""
    if following is not None:
        shown = short_weekday_stamp(following, zone(spec.zone)), from_now(following, now)
    return spec.name, spec.trigger.in_words(), *shown, spec.task
