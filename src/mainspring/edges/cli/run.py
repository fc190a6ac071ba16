"""Show one run: everything about it, its logs, its end."""

from __future__ import annotations

import sys
import threading
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.edges.cli.opening import open_existing
from mainspring.edges.cli.options import AsJson, RunIdArgument
from mainspring.edges.cli.runs import run_json, run_note, step_in_words, step_json
from mainspring.edges.cli.screen import Cell, is_terminal, print_facts, print_json, say
from mainspring.edges.cli.times import from_now, local_zone, span, stamp
from mainspring.edges.cli.wording import many, state_cell, took

if TYPE_CHECKING:
    from mainspring.app import Application
    from mainspring.services.reading import AttemptView, Checkpoint, HoldView, RunView, StoredRun

_LOOK_EVERY = 0.5
_LONGEST_CHECKPOINT = 80


def show(context: typer.Context, run: RunIdArgument, as_json: AsJson = False) -> None:
    """Show a run: parameters, what decided it, attempts with tracebacks, result, progress, artifacts."""
    application = open_existing(context)
    view = application.reading.run(application.steering.require(run).id)
    if as_json:
        print_json(view_json(view))
    else:
        print_view(view, application.clock.now())


def logs(
    context: typer.Context,
    run: RunIdArgument,
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=1, help="Which attempt; the latest unless given.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing until the run has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what an attempt of a run logged and printed."""
    from mainspring.errors import InvalidInput, NotFound

    application = open_existing(context)
    found = application.steering.require(run)
    if as_json and follow:
        raise InvalidInput("--follow and --json exclude each other; leave one out")
    if attempt is not None and attempt > found.attempt:
        raise NotFound("attempt", f"{attempt} of run {found.id}; it has had {found.attempt}")
    chosen = attempt or found.attempt
    if as_json:
        log = application.reading.log(found.id, chosen) if chosen else ""
        print_json({"id": found.id, "attempt": chosen, "log": log})
    elif follow:
        _follow(application, found, attempt)
    elif chosen == 0:
        say(f"run {found.id} has not started; it is {found.state}")
    else:
        text = application.reading.log(found.id, chosen)
        _print_log(text, found, chosen)


def view_json(view: RunView) -> dict[str, Any]:
    """Return everything about a run as JSON values."""
    names = (
        "attempt", "outcome", "charged", "started_at", "finished_at", "reason", "error_type", "error_message",
        "traceback",
    )  # fmt: skip
    shown = ("id", "attempt", "name", "media_type", "size", "sha256", "location", "created_at", "expires_at")
    return {
        **run_json(view.run),
        "parameters": view.parameters,
        "result": view.result,
        "has_result": view.has_result,
        "snapshot": view.snapshot,
        "progress": step_json(view.step),
        "checkpoint": None if view.checkpoint is None else checkpoint_json(view.checkpoint),
        "snoozes": view.snoozes,
        "hold": None if view.hold is None else _hold_json(view.hold),
        "attempts": [{name: getattr(attempt, name) for name in names} for attempt in view.attempts],
        "replays": list(view.replays),
        "artifacts": [{name: artifact[name] for name in shown} for artifact in view.artifacts],
        "needs": [
            {"id": need.id, "task": need.task, "state": need.state, "policy": need.policy, "gives": need.gives}
            for need in view.needs
        ],
        "needs_count": view.needs_count,
        "needs_left": view.needs_left,
    }


def _hold_json(hold: HoldView) -> dict[str, Any]:
    return {name: getattr(hold, name) for name in ("by", "reason", "until", "place", "count")}


def print_view(view: RunView, now: datetime) -> None:
    """Print everything about a run."""
    run, (where, zone) = view.run, local_zone()
    print_facts(_facts(view, now, where))
    _print_needs(view)
    for attempt in view.attempts:
        _print_attempt(attempt, where)
    if run.failure_message and not (view.attempts and view.attempts[-1].traceback):
        say(f"\n{run.failure_kind}: {run.failure_message}", "red")
    if view.has_result:
        _print_value("result", view.result)
    for artifact in view.artifacts:
        say(f"artifact  {artifact['name']}  {artifact['size']:,} bytes  {artifact['media_type']}  {artifact['id']}")
    say(f"times: {zone}", "dim")


def _facts(view: RunView, now: datetime, where: tzinfo | None) -> list[tuple[str, str | Cell]]:
    from mainspring.domain.priority import priority_word
    from mainspring.encoding import encode

    run = view.run

    def at(moment: datetime | None) -> str:
        return "" if moment is None else f"{stamp(moment, where)} ({from_now(moment, now)})"

    why = (view.snapshot or {}).get("decided_by", {})
    said = ", ".join(f"{name}: {source}" for name, source in why.items() if source != "default")
    schedule = run.schedule or ""
    if schedule and run.fire_at is not None:
        schedule += f", fire time {stamp(run.fire_at, where)}"
    return [
        ("run", run.id),
        ("task", run.task),
        ("state", state_cell(run.state)),
        ("decided", "" if run.decided_at is None else f"{run.state_reason or 'yes'}, {at(run.decided_at)}"),
        ("replayed by", ", ".join(view.replays)),
        ("replays", run.replay_of or ""),
        ("signature", run.failure_signature or ""),
        ("note", _note(view, now)),
        ("kind", run.kind),
        ("schedule", schedule),
        ("member", run.member),
        ("parameters", encode(view.parameters)),
        ("queue", run.queue),
        ("priority", priority_word(run.priority)),
        ("decided by", said),
        ("tries", f"{run.tries} of {run.max_tries}" + (", at most once" if run.at_most_once else "")),
        ("snoozed", f"{view.snoozes} times" if view.snoozes > 1 else "once" if view.snoozes else ""),
        ("graph", run.root_id or ""),
        ("labels", ", ".join(f"{name}={value}" for name, value in run.labels.items())),
        ("created", at(run.created_at)),
        ("due", at(run.due_at)),
        ("expires", at(run.expires_at)),
        ("started", at(run.started_at)),
        ("finished", at(run.finished_at)),
        ("took", took(run.started_at, run.finished_at)),
        ("progress", "" if view.step is None else step_in_words(view.step)),
        ("checkpoint", _checkpoint_in_words(view, now)),
    ]


def _note(view: RunView, now: datetime) -> str:
    if view.run.failure_message:
        return ""
    return run_note(view.run, now) if view.hold is None else view.hold.in_words()


def _print_needs(view: RunView) -> None:
    """Say what the run waits for, or waited for."""
    if not view.needs:
        return
    say()
    if view.run.state == "waiting":
        say(f"waits for {view.needs_left:,} of {many(view.needs_count, 'run')}:")
    else:
        say(f"needed {many(view.needs_count, 'run')}:")
    for need in view.needs:
        cell = Cell("gone") if need.state is None else state_cell(need.state)
        given = f", its result fills {', '.join(need.gives)}" if need.gives else ""
        policy = "" if need.policy == "stop" else f" ({need.policy})"
        say(f"  {cell.text}  {need.id}  {need.task or ''}{policy}{given}", cell.style)
    more = view.needs_count - len(view.needs)
    if more > 0:
        say(f"  and {more:,} more", "dim")


def _checkpoint_in_words(view: RunView, now: datetime) -> str:
    from mainspring.encoding import encode

    kept = view.checkpoint
    if kept is None:
        return ""
    text = encode(kept.value)
    text = text if len(text) <= _LONGEST_CHECKPOINT else f"{text[:_LONGEST_CHECKPOINT]}…"
    by = f"saved by attempt {kept.attempt}" if kept.attempt else "left by the run that it repeats"
    return f"{text}, {by} {from_now(kept.saved_at, now)}"


def checkpoint_json(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint as JSON values."""
    return {"value": checkpoint.value, "attempt": checkpoint.attempt, "saved_at": checkpoint.saved_at}


def _print_attempt(attempt: AttemptView, where: tzinfo | None) -> None:
    cell = state_cell(attempt.outcome)
    took_ = span(attempt.finished_at - attempt.started_at)
    free = "" if attempt.charged else ", no try charged"
    reason = f": {attempt.reason}" if attempt.reason else ""
    say()
    began = stamp(attempt.started_at, where)
    say(f"attempt {attempt.attempt}  {cell.text}{free}  {began}, {took_}{reason}", cell.style)
    if attempt.traceback:
        say(attempt.traceback.rstrip())
    elif attempt.error_message:
        say(f"{attempt.error_type}: {attempt.error_message}" if attempt.error_type else attempt.error_message)


def _print_value(name: str, value: Any) -> None:
    import json

    text = json.dumps(value, ensure_ascii=False, indent=2)
    say()
    say(f"{name}  {text}" if len(text) < 60 and "\n" not in text else f"{name}\n{text}")


def _print_log(text: str, run: StoredRun, attempt: int) -> None:
    from mainspring.domain.states import FINAL

    if text:
        _write(text)
    else:
        say(f"attempt {attempt} of run {run.id} logged nothing" + ("" if run.state in FINAL else " so far"))


def _follow(application: Application, run: StoredRun, attempt: int | None) -> None:
    from mainspring.domain.states import FINAL

    printed: dict[int, str] = {}
    never = threading.Event()
    first = attempt or max(run.attempt, 1)
    while True:
        now = application.steering.require(run.id)
        last = attempt or now.attempt
        for number in range(first, last + 1):
            _print_new(application.reading.log(run.id, number), printed, number, several=attempt is None)
        ended = attempt is not None and now.attempt > attempt
        if now.state in FINAL or ended:
            say(f"run {now.id} {now.state}" if not ended else f"attempt {attempt} has ended", "dim")
            return
        application.clock.wait(never, _LOOK_EVERY)


def _print_new(text: str, printed: dict[int, str], number: int, *, several: bool) -> None:
    before = printed.get(number)
    if before is None:
        printed[number] = before = ""
        if several and number > 1:
            say(f"--- attempt {number}", "dim")
    # The middle of a very long log is left out once it has grown too long: then all of it is printed anew.
    _write(text.removeprefix(before) if text.startswith(before) else text)
    printed[number] = text


def _write(text: str) -> None:
    from mainspring.edges.cli.failures import printable

    sys.stdout.write(printable(text) if is_terminal() else text)
    sys.stdout.flush()
