"""Make the runs of a schedule: one for each member of its set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from mainspring.domain.dependencies import Need
from mainspring.domain.runs import NewRun, RunKind
from mainspring.domain.spec import ScheduleSpec
from mainspring.encoding import canonical, encode
from mainspring.ids import RunId, ScheduleId, new_run_id, uuid7
from mainspring.services.directory import Directory
from mainspring.services.enqueue import snapshot


def runs_of(
    directory: Directory,
    spec: ScheduleSpec,
    schedule_id: ScheduleId,
    version: int,
    kind: RunKind,
    due_at: datetime,
    reason: str,
    fire_at: datetime | None = None,
    needs: tuple[RunId, ...] = (),
    owner_id: str = "",
) -> list[NewRun]:
    """Return the runs of one fire time, or of one start by hand; *reason* is kept in their snapshot."""
    decided = directory.decide(
        spec.task,
        queue=spec.queue,
        priority=spec.priority,
        max_tries=spec.max_tries,
        expires=spec.expires,
        by=f"schedule {spec.name!r}",
    )
    origin = (schedule_id, spec.name, version)
    body = snapshot(spec.task, directory.code_version(spec.task), decided, origin, {"reason": reason})
    labels = encode(dict(spec.labels))
    made = []
    for member in spec.members():
        parameters = _given(spec, member)
        wanted = directory.needs(spec.task, parameters)
        made.append(
            NewRun(
                id=new_run_id(),
                task=spec.task,
                queue=decided.queue,
                priority=decided.priority,
                max_tries=decided.max_tries,
                at_most_once=decided.at_most_once,
                parameters=encode(parameters),
                due_at=due_at,
                expires_at=None if decided.expires is None else due_at + decided.expires,
                kind=kind,
                schedule_id=schedule_id,
                fire_at=fire_at,
                member=member_text(member),
                labels=labels,
                owner_id=owner_id,
                snapshot=body,
                needs=tuple(Need(run_id) for run_id in needs),
                key=directory.key_of(spec.task, parameters, fire_at or due_at, owner_id),
                uses=wanted.uses,
                turn_key=wanted.key,
            )
        )
    return made


def _given(spec: ScheduleSpec, member: Any) -> dict[str, Any]:
    given = dict(spec.parameters)
    if spec.fan_out is not None:
        given[spec.fan_out.parameter] = member
    return given


def member_text(member: Any) -> str:
    """Return the text that names a member of a fan-out: itself if it is text, else its JSON; nothing without one."""
    if member is None:
        return ""
    return member if isinstance(member, str) else canonical(member)


def pack_message(spec: ScheduleSpec, fire_at: datetime, runs: Sequence[NewRun], now: datetime) -> tuple[str, str, str]:
    """Return the message (id, topic, body) that tells the schedule's pack which runs it became."""
    body = {
        "event": "occurrence_fired",
        "schedule": spec.name,
        "fire_at": fire_at,
        "recorded_at": now,
        "runs": [{"id": run.id, "member": run.member, "parameters": json.loads(run.parameters)} for run in runs],
        "labels": dict(spec.labels),
    }
    return uuid7(), f"pack:{spec.pack}", encode(body)
