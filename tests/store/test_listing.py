"""Runs are found by what people know of them, page by page, while others go on writing."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from mainspring.domain.progress import Progress
from mainspring.domain.routes import Route
from mainspring.domain.runs import Ended
from mainspring.domain.states import RunState
from mainspring.encoding import encode
from mainspring.ids import RunId, uuid7
from mainspring.store.artifacts import add_artifact, find_artifact, list_artifacts
from mainspring.store.database import Database
from mainspring.store.runs import (
    RunFilter,
    count_by_state,
    find_by_ending,
    find_by_prefix,
    find_run,
    labels_text,
    list_runs,
    progress_of,
    save_progress,
    snapshot_of,
    still_running,
)
from mainspring.store.schema import snapshots
from mainspring.store.tables import (
    StoredTask,
    list_queues,
    list_routes,
    list_tasks,
    put_queues,
    put_routes,
    put_tasks,
    set_queue_paused,
)
from tests.store.arrange import (
    MINUTE,
    NOON,
    add,
    claim,
    every,
    finish,
    fire_all,
    look,
    new_run,
    open_session,
    outcome,
    plan_due,
    put,
    put_some,
)


def _ids(database: Database, wanted: RunFilter, most: int = 50, before: RunId | None = None) -> list[RunId]:
    return [run.id for run in database.read(lambda tx: list_runs(tx, wanted, most, before))]


def test_runs_are_listed_newest_first(database: Database) -> None:
    ids = put_some(database, 5)
    assert _ids(database, RunFilter()) == ids[::-1]


def test_paging_while_rows_arrive_shows_each_old_run_once(database: Database) -> None:
    ids = put_some(database, 25)
    seen: list[RunId] = []
    before: RunId | None = None
    while page := _ids(database, RunFilter(), 10, before):
        seen += page
        before = page[-1]
        put_some(database, 7)
    assert seen == ids[::-1]


def test_runs_are_filtered_by_state_task_queue_and_schedule(database: Database) -> None:
    put_some(database, 2, task="a", queue="q1")
    (other,) = put_some(database, 1, task="b", queue="q2", due_at=NOON + MINUTE)
    add(database, every(MINUTE, name='it\'s "odd" \\ ☂'))
    fire_all(database, plan_due(database, NOON + MINUTE), NOON + MINUTE)
    assert _ids(database, RunFilter(task="b")) == _ids(database, RunFilter(queue="q2")) == [other]
    assert _ids(database, RunFilter(states=[RunState.SCHEDULED, RunState.RUNNING])) == [other]
    (fired,) = database.read(lambda tx: list_runs(tx, RunFilter(schedule='it\'s "odd" \\ ☂')))
    assert (fired.schedule, fired.fire_at) == ('it\'s "odd" \\ ☂', NOON + MINUTE)
    assert _ids(database, RunFilter(schedule="it's")) == []
    assert _ids(database, RunFilter(task="b", queue="q1")) == []


LABELS = [
    {"team": "data"},
    {"team": "Data"},
    {"team": "data", "percent": "100%_\\"},
    {'x"team': "data"},
    {"team": 'data","percent":"100%_\\'},
    {"text": '{"team":"data"}'},
    {"": ""},
    {"größe": "\N{GRINNING FACE} ‮עברית"},
    {"team": "database"},
    {"steam": "data"},
]


@pytest.mark.parametrize("wanted", LABELS)
def test_a_label_finds_exactly_the_runs_that_carry_it(database: Database, wanted: dict[str, str]) -> None:
    ids = put(database, *(new_run(labels=labels_text(labels)) for labels in LABELS))
    expected = [
        run_id
        for run_id, labels in zip(ids, LABELS, strict=True)
        if all(labels.get(name) == value for name, value in wanted.items())
    ]
    assert _ids(database, RunFilter(labels=wanted)) == expected[::-1]


def test_runs_are_counted_by_state(database: Database) -> None:
    put_some(database, 3)
    put_some(database, 2, due_at=NOON + MINUTE)
    session = open_session(database)
    one, two = claim(database, session, 2)
    finish(database, session, outcome(one), outcome(two, Ended.FAILED))
    assert database.read(count_by_state) == {
        RunState.READY: 1, RunState.SCHEDULED: 2, RunState.SUCCEEDED: 1, RunState.FAILED: 1,
    }  # fmt: skip
    assert database.read(lambda tx: count_by_state(tx, RunFilter(states=[RunState.FAILED]))) == {RunState.FAILED: 1}


def test_a_run_is_found_by_the_start_of_its_id(database: Database) -> None:
    one, two = put(
        database,
        new_run(id=RunId("01900000-aaaa-7000-8000-000000000001")),
        new_run(id=RunId("01900000-abbb-7000-8000-000000000002")),
    )
    assert database.read(lambda tx: find_by_prefix(tx, "01900000-aa")) == [one]
    assert database.read(lambda tx: find_by_prefix(tx, "01900000-AB")) == [two]
    assert database.read(lambda tx: find_by_prefix(tx, "01900000-a")) == [one, two]
    assert database.read(lambda tx: find_by_prefix(tx, "0", 1)) == [one]
    assert database.read(lambda tx: find_by_prefix(tx, one)) == [one]


@pytest.mark.parametrize("prefix", ["%", "_", "\\", "'", "zz", "0190 ", "0" * 50, "01900000aaaa", "☂"])
def test_text_that_begins_no_id_finds_nothing(database: Database, prefix: str) -> None:
    put(database, new_run(id=RunId("01900000-aaaa-7000-8000-000000000001")))
    assert database.read(lambda tx: find_by_prefix(tx, prefix)) == []
    assert database.read(lambda tx: find_run(tx, RunId(prefix))) is None


def test_a_run_is_found_by_the_end_of_its_id_among_the_newest(database: Database) -> None:
    one, two = put(
        database,
        new_run(id=RunId("01900000-aaaa-7000-8000-0000000000ab")),
        new_run(id=RunId("01900000-bbbb-7000-8000-0000000001ab")),
    )
    assert database.read(lambda tx: find_by_ending(tx, "1AB")) == [two]
    assert database.read(lambda tx: find_by_ending(tx, "ab")) == [two, one]
    assert database.read(lambda tx: find_by_ending(tx, "ab", 1)) == [two]
    assert database.read(lambda tx: find_by_ending(tx, "0ab", within=1)) == []
    assert database.read(lambda tx: find_by_ending(tx, "%")) == []


def test_attempts_that_still_run_are_told_from_those_that_ended(database: Database) -> None:
    put_some(database, 2)
    session = open_session(database)
    running, ended = claim(database, session, 2)
    finish(database, session, outcome(ended))
    keys = [(running.id, 1), (running.id, 2), (ended.id, 1)]
    assert database.read(lambda tx: still_running(tx, keys)) == {(running.id, 1)}


def test_artifacts_are_listed_newest_first_by_run(database: Database) -> None:
    one, two = put_some(database, 2)
    made = []
    for run_id, name in ((one, "a.csv"), (two, "b ☂.csv"), (one, "c.csv")):
        made.append(uuid7())
        values = {
            "id": made[-1], "run_id": run_id, "attempt": 1, "name": name, "media_type": "text/csv",
            "size": 5_000_000_000, "sha256": "0" * 64, "location": "x", "created_at": NOON,
        }  # fmt: skip
        database.write(lambda tx, values=values: add_artifact(tx, values))  # type: ignore[misc]
    assert [row.name for row in database.read(list_artifacts)] == ["c.csv", "b ☂.csv", "a.csv"]
    assert [row.id for row in database.read(lambda tx: list_artifacts(tx, one))] == [made[2], made[0]]
    found = database.read(lambda tx: find_artifact(tx, made[1]))
    assert found is not None
    assert (found.name, found.size) == ("b ☂.csv", 5_000_000_000)
    assert database.read(lambda tx: find_artifact(tx, "no id")) is None
    assert database.read(lambda tx: find_artifact(tx, uuid7())) is None


def test_routes_are_kept_in_their_order_and_told_only_when_they_change(database: Database) -> None:
    routes = [Route("market.*", "scraping", 8), Route("*", None, 2)]
    assert database.read(list_routes) == ()
    assert database.write(lambda tx: put_routes(tx, routes)) is True
    assert database.write(lambda tx: put_routes(tx, routes)) is False
    assert database.read(list_routes) == tuple(routes)
    assert database.write(lambda tx: put_routes(tx, [])) is True
    assert database.read(list_routes) == ()


def test_progress_keeps_the_latest_of_each_run(database: Database) -> None:
    one, two = put_some(database, 2)
    database.write(
        lambda tx: save_progress(
            tx, [(one, 1, Progress(1.0, 10.0, "begun")), (two, 1, Progress(5.0, None, "a\x00b"))], NOON
        )
    )
    database.write(lambda tx: save_progress(tx, [(one, 1, Progress(2.0, 10.0, "on"))], NOON + MINUTE))
    found = database.read(lambda tx: progress_of(tx, [one, two]))
    assert (found[one].done, found[one].total, found[one].note, found[one].updated_at) == (2, 10, "on", NOON + MINUTE)
    assert (found[two].total, found[two].note) == (None, "a␀b")


def test_equal_snapshots_share_a_row(database: Database) -> None:
    body = encode({"why": "due"})
    ids = put_some(database, 3, snapshot=body)
    put_some(database, 1, snapshot=encode({"why": "by hand"}))
    assert database.read(lambda tx: tx.core(select(func.count()).select_from(snapshots)).scalar()) == 2
    assert database.read(lambda tx: snapshot_of(tx, look(database, ids[2]))) == body


def test_the_latest_description_of_a_task_stands(database: Database) -> None:
    def described(text: str) -> StoredTask:
        return StoredTask("demo.task", text, {"type": "object"}, {"queue": "default"}, {}, "v1")

    database.write(lambda tx: put_tasks(tx, [described("old"), described("old")], NOON))
    database.write(lambda tx: put_tasks(tx, [described("new")], NOON + MINUTE))
    assert database.read(list_tasks) == {"demo.task": described("new")}


def test_queues_show_what_waits_by_priority_and_what_runs(database: Database) -> None:
    database.write(lambda tx: put_queues(tx, {"default": "the usual", "empty": ""}))
    put_some(database, 3, priority=8)
    put_some(database, 2, priority=2)
    put_some(database, 1, queue="undescribed")
    claim(database, open_session(database), 1)
    database.write(lambda tx: set_queue_paused(tx, "empty", True, "repairs", NOON, "ann"))
    default, empty, undescribed = database.read(list_queues)
    assert (default.name, default.description, default.ready_by_priority, default.ready, default.running) == (
        "default", "the usual", {8: 2, 2: 2}, 4, 1,
    )  # fmt: skip
    assert (empty.name, empty.paused_at, empty.paused_by, empty.pause_reason) == ("empty", NOON, "ann", "repairs")
    assert (undescribed.name, undescribed.ready) == ("undescribed", 1)
