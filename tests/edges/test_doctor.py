"""The doctor looks at everything that can keep work from being done or make it be lost, and says the way out."""

from __future__ import annotations

import dataclasses
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pysqlite3 import dbapi2 as driver

from mainspring.app import Application, open_database
from mainspring.clock import SystemClock, boot_id
from mainspring.services import doctor
from mainspring.services.doctor import Check, Verdict, examine, machine_checks
from mainspring.store.postgres.database import PostgresDatabase
from mainspring.store.sqlite import database as sqlite_module
from tests.edges.conftest import Answer, Cli
from tests.servers import PostgresCluster, postgres_cluster
from tests.store import disk_full
from tests.store.arrange import add, every, open_session, put_some

NAMES = [
    "sqlite", "durability", "write-ahead log", "file system", "disk", "owner", "other libraries", "integrity", "schema",
    "new work", "time zones", "clock", "firing", "processes", "open files", "memory", "event loop", "isolation",
]  # fmt: skip
POSTGRES_NAMES = ["postgresql", "durability", "pooler", "wake-up", "connections", "snapshots", "vacuum", *NAMES[8:]]


@pytest.fixture
def application(project: Path, cli: Cli) -> Iterator[Application]:
    """The services on the project's database, which exists and is in order."""
    assert cli("db", "upgrade").code == 0
    application = Application(open_database(f"sqlite:///{project / 'mainspring.db'}"))
    yield application
    application.close()


@pytest.fixture
def server(shared_postgres: PostgresCluster, cli: Cli) -> Iterator[PostgresDatabase]:
    """A migrated PostgreSQL database."""
    name = shared_postgres.create_database()
    database = PostgresDatabase(shared_postgres.url(name), retry_for=0)
    assert cli("--database", shared_postgres.url(name), "db", "upgrade").code == 0
    yield database
    database.close()
    shared_postgres.drop_database(name)


def _checks(answer: Answer) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in answer.json["checks"]}


def _found(database: Any, name: str) -> Check:
    found = [check for check in examine(database, SystemClock()) if check.name == name]
    assert len(found) == 1
    return found[0]


# The command


def test_a_sound_installation_has_nothing_wrong(application: Application, cli: Cli) -> None:
    answer = cli("doctor")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert [re.match(r"✓ (.+?)  ", line)[1] for line in lines[:-2]] == NAMES  # type: ignore[index]
    assert lines[-2:] == ["", "nothing is wrong"]
    assert lines[1].endswith("synchronous=FULL: what is acknowledged survives a loss of power")


def test_every_check_has_a_verdict_a_sentence_and_a_way_out_as_json(application: Application, cli: Cli) -> None:
    answer = cli("doctor", "--json")
    assert answer.code == 0
    body = answer.json
    assert (body["ok"], body["problems"], body["warnings"]) == (True, 0, 0)
    assert [check["name"] for check in body["checks"]] == NAMES
    for check in body["checks"]:
        assert check.keys() == {"name", "verdict", "sentence", "way_out"}
        assert check["verdict"] == "ok"
        assert check["sentence"]


def test_a_deep_look_verifies_the_ledger_too(application: Application, cli: Cli) -> None:
    answer = cli("doctor", "--deep", "--json")
    checks = _checks(answer)
    assert checks["integrity"]["sentence"] == "every page is whole"
    assert checks["ledger"]["sentence"] == "0 fire times and 0 runs are as brute force says"
    put_some(application.database, 1)
    application.database.write(lambda tx: tx.raw().execute("DELETE FROM ready"))  # type: ignore[attr-defined]
    answer = cli("doctor", "--deep", "--json")
    assert answer.code == 1
    assert _checks(answer)["ledger"] == {
        "name": "ledger", "verdict": "problem", "sentence": "1 error found",
        "way_out": "`mainspring db verify` names each",
    }  # fmt: skip


def test_a_problem_gives_exit_code_1_and_a_warning_0(
    application: Application, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 4096))
    answer = cli("doctor")
    assert answer.code == 0
    assert "! open files       a process may open 256 files only" in answer.out
    assert "                   → raise the limit (ulimit -n 4096)" in answer.out
    assert answer.out.endswith("\n1 warning\n")
    monkeypatch.undo()
    os.chdir(application.database.path.parent)  # type: ignore[attr-defined]
    application.database.write(
        lambda tx: tx.raw().execute("UPDATE meta SET value = '99.0.0' WHERE key = 'min_app_version'")
    )  # type: ignore[attr-defined]
    answer = cli("doctor")
    assert answer.code == 1
    assert "of a newer release, which works with Mainspring 99.0.0 and later" in answer.out
    assert answer.err == "error: 1 problem found\n"


def test_a_database_that_does_not_exist_is_a_problem_and_is_not_made(project: Path, cli: Cli) -> None:
    answer = cli("doctor")
    assert answer.code == 1
    first, *rest = answer.out.splitlines()
    assert first == f"✗ database    there is no database {project / 'mainspring.db'} yet; `mainspring up` makes it"
    assert [line.split()[1] for line in rest] == ["open", "memory", "event", "isolation"]
    assert not (project / "mainspring.db").exists()


def test_a_file_that_is_no_database_is_one_problem_with_what_surrounds_it(project: Path, cli: Cli) -> None:
    (project / "mainspring.db").write_text("notes" * 1_000)
    answer = cli("doctor", "--json")
    assert answer.code == 1
    checks = _checks(answer)
    assert list(checks)[:4] == ["database", "file system", "disk", "owner"]
    assert "file is not a database" in checks["database"]["sentence"]


def test_a_server_that_does_not_answer_is_one_problem(cli: Cli, folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answer = cli("--database", f"postgresql://ann:secret@127.0.0.1:{port}/db", "doctor", "--json")
    assert answer.code == 1
    (problem,) = [check for check in answer.json["checks"] if check["verdict"] == "problem"]
    assert problem["sentence"].startswith(f"cannot connect to postgresql://ann@127.0.0.1:{port}/db")
    assert "secret" not in answer.out + answer.err


# SQLite


def test_an_unsafe_sqlite_is_a_warning(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "sqlite_version_info", (3, 45, 1))
    other = open_database(f"sqlite:///{application.database.path}")  # type: ignore[attr-defined]
    check = _found(other, "sqlite")
    other.close()
    assert check.verdict is Verdict.WARNING
    assert check.sentence.startswith("SQLite 3.45.1 can corrupt a database in WAL mode")
    assert check.way_out == "install pysqlite3 0.6.1 or newer"


def test_commits_that_are_not_flushed_are_a_problem(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    pragmas = tuple(text.replace("FULL", "NORMAL") for text in sqlite_module._PRAGMAS)
    monkeypatch.setattr(sqlite_module, "_PRAGMAS", pragmas)
    check = _found(application.database, "durability")
    assert (check.verdict, check.sentence) == (
        Verdict.PROBLEM,
        "synchronous is not FULL: a loss of power takes back what was acknowledged",
    )


def test_a_folder_of_the_host_is_a_warning(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.store.sqlite.mounts._mounts", lambda: "host / virtiofs rw 0 0\n")
    check = _found(application.database, "file system")
    assert check.verdict is Verdict.WARNING
    assert check.way_out == "open it from this side only, or put it on a disk of this machine"


def test_a_long_log_is_a_warning(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.services.doctor_sqlite.LONGEST_LOG", 1_000)
    put_some(application.database, 1)
    check = _found(application.database, "write-ahead log")
    assert check.verdict is Verdict.WARNING
    assert re.fullmatch(r"the write-ahead log has .* kB: somebody has been reading for a long time", check.sentence)
    assert check.way_out.startswith("end long reads of the file")


def test_a_full_disk_is_a_problem_and_one_without_a_reserve_a_warning(tmp_path: Path) -> None:
    template = disk_full.make_template(tmp_path)
    try:
        with disk_full.small_disk(tmp_path / "disk", 8 * 1024 * 1024) as disk:
            database = open_database(f"sqlite:///{shutil.copy(template, disk / 'm.db')}")
            check = _found(database, "disk")
            assert check.verdict is Verdict.OK
            assert check.sentence.endswith("; the reserve of 512 kB is made when a process runs")
            filler = disk_full.fill(disk, leave=100_000)
            check = _found(database, "disk")
            assert (check.verdict, check.way_out) == (Verdict.WARNING, "make room there")
            assert check.sentence.endswith("with no reserve to record ends when it is full")
            filler.unlink()
            database.tidy()
            assert _found(database, "disk").sentence.endswith("and a reserve of 512 kB to record ends when it is full")
            disk_full.fill(disk)
            with pytest.raises(disk_full.StoreFull):
                put_some(database, 300, parameters=disk_full._text(1, 6_000))
            check = _found(database, "disk")
            assert check.verdict is Verdict.PROBLEM
            assert check.sentence.startswith("the disk was full, the reserve is in use, and ")
            assert check.way_out == "make room there until 1.0 MB are free: work goes on by itself"
            refused = _found(database, "new work")
            assert refused.verdict is Verdict.PROBLEM
            assert "nothing new is accepted and nothing is lost" in refused.sentence
            database.close()
    except PermissionError as error:
        pytest.skip(f"this user may not mount a small disk: {error}")


def test_files_of_several_users_are_a_warning(application: Application) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    put_some(application.database, 1)
    path = application.database.path  # type: ignore[attr-defined]
    os.chown(f"{path}-lock", 65534, 65534)
    check = _found(application.database, "owner")
    assert check.verdict is Verdict.WARNING
    assert check.sentence == (
        "the database's files belong to several users: mainspring.db to root, mainspring.db-lock to nobody"
    )


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are seen in /proc")
def test_a_worker_that_opens_the_file_with_a_second_library_is_a_problem(application: Application) -> None:
    database = application.database
    path = database.path  # type: ignore[attr-defined]
    script = """
import sqlite3, sys
from pathlib import Path
from mainspring.store.sqlite.database import SqliteDatabase
database = SqliteDatabase(Path(sys.argv[1]))
database.table_names()
print("ours", flush=True)
sys.stdin.readline()
stranger = sqlite3.connect(sys.argv[1])
stranger.execute("SELECT count(*) FROM runs").fetchone()
print("both", flush=True)
sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ours\n"
        open_session(database, SystemClock().now(), pid=process.pid, host=socket.gethostname(), boot_id=boot_id())
        assert _found(database, "other libraries").verdict is Verdict.OK
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "both\n"
        check = _found(database, "other libraries")
        process.communicate("\n", timeout=10)
    assert check.verdict is Verdict.PROBLEM
    assert check.sentence == f"process {process.pid} has {path} open through two SQLite libraries"
    assert check.way_out.startswith("two SQLite libraries in one process drop each other's locks")


def test_a_damaged_file_is_a_problem(application: Application) -> None:
    database = application.database
    put_some(database, 200)
    database.tidy()
    path = database.path  # type: ignore[attr-defined]
    root = database.read(
        lambda tx: tx.raw().execute("SELECT rootpage FROM sqlite_master WHERE name = 'runs'").fetchone()[0]
    )  # type: ignore[attr-defined]
    with open(path, "r+b") as file:
        file.seek((root - 1) * 4_096)
        file.write(b"\xff" * 50)
    fresh = open_database(f"sqlite:///{path}")
    check = _found(fresh, "integrity")
    fresh.close()
    assert check.verdict is Verdict.PROBLEM
    assert check.sentence.startswith("the file is damaged: ")
    assert "restore a backup" in check.way_out


# Both databases


def test_newer_time_zone_data_elsewhere_is_a_problem(application: Application) -> None:
    database = application.database
    now = SystemClock().now()
    add(database, every(timedelta(minutes=1)), now)
    assert _found(database, "time zones").verdict is Verdict.OK
    database.write(
        lambda tx: tx.raw().execute("UPDATE schedules SET computed_with = 'holidays=1 tzdata=2199z'")  # type: ignore[attr-defined]
    )
    check = _found(database, "time zones")
    assert check.verdict is Verdict.PROBLEM
    assert check.sentence.startswith("schedule 's1' was computed with newer time zone data than this host has (")
    assert check.way_out == "update the package tzdata on this host"


def test_a_late_heartbeat_and_several_releases_are_warnings(application: Application) -> None:
    database = application.database
    now = SystemClock().now()
    assert _found(database, "processes").sentence == "none runs; `mainspring up` starts a scheduler and a worker"
    open_session(database, now, kind="scheduler")
    open_session(database, now)
    assert _found(database, "processes").sentence == "1 scheduler and 1 worker alive"
    open_session(database, now - timedelta(seconds=11), name="slow", version="0.0.9")
    check = _found(database, "processes")
    assert check.verdict is Verdict.WARNING
    assert re.fullmatch(r"heartbeat late: slow \(1[1-9] s ago\) last seen", check.sentence)
    assert _found(database, "versions").sentence == "processes of several releases run: 0.0.9, 0.1.0"


def test_a_copy_is_a_problem_in_the_words_of_the_refusal(application: Application, cli: Cli, folder: Path) -> None:
    assert cli("status").code == 0
    application.database.tidy()
    shutil.copy("mainspring.db", "copy.db")
    answer = cli("--database", "sqlite:///copy.db", "doctor", "--json")
    assert answer.code == 1
    sentence = _checks(answer)["new work"]["sentence"]
    refused = cli("--database", "sqlite:///copy.db", "enqueue", "work.add", "--param", "a=1")
    assert refused.code == 5
    assert refused.err == f"error: {sentence}\n"
    assert f"! {sentence}" in cli("--database", "sqlite:///copy.db", "status").out


# PostgreSQL


def test_the_words_on_postgres(server: PostgresDatabase, shared_postgres: PostgresCluster) -> None:
    checks = list(examine(server, SystemClock()))
    assert [check.name for check in [*checks, *machine_checks()]] == POSTGRES_NAMES
    found = {check.name: check for check in checks}
    # The tests' server is told not to flush: nothing in it is to survive.
    assert found.pop("durability") == Check(
        "durability", Verdict.PROBLEM, "fsync is off: a crash of the machine can destroy the database", "set fsync = on"
    )
    assert {check.verdict for check in found.values()} == {Verdict.OK}
    assert found["wake-up"].sentence == "LISTEN and NOTIFY work"


def test_a_server_that_takes_commits_back_is_a_problem() -> None:
    with postgres_cluster(fsync="on", full_page_writes="on") as cluster:
        name = cluster.create_database()
        for setting, sentence in (
            ("on", "synchronous_commit=on, fsync=on: what is acknowledged survives a crash"),
            ("off", "synchronous_commit is off: a crash takes back what was acknowledged"),
            ("local", "synchronous_commit is local: a failover takes back what was acknowledged"),
        ):
            with cluster.connect() as admin:
                admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = {setting}".encode())
            database = PostgresDatabase(cluster.url(name))
            check = _found(database, "durability")
            database.close()
            assert check.sentence == sentence
            assert check.verdict is (Verdict.OK if setting == "on" else Verdict.PROBLEM)


def test_an_old_transaction_is_a_warning(server: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.services.doctor_postgres._OLD_SNAPSHOT", -1)
    with server.connect_raw() as other:
        other.execute("SET application_name = 'report'")
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1")
        check = _found(server, "snapshots")
    assert check.verdict is Verdict.WARNING
    assert re.match(r"a transaction of report \(pid \d+\) has been open for 0 min", check.sentence)


def test_many_dead_rows_are_a_warning(server: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.services.doctor_postgres._DEAD_ENOUGH", 5)
    with server.connect_raw() as admin:
        admin.execute("ALTER TABLE mainspring.outbox SET (autovacuum_enabled = off)")
        columns = "id, topic, body, created_at"
        admin.execute(
            f"INSERT INTO mainspring.outbox ({columns}) SELECT gen_random_uuid(), 't', '{{}}', now() "
            "FROM generate_series(1, 50)".encode()
        )
        admin.execute("DELETE FROM mainspring.outbox")
        admin.execute("SELECT pg_stat_force_next_flush()")
    check = _found(server, "vacuum")
    assert check.verdict is Verdict.WARNING
    assert check.sentence == "table outbox has 50 dead rows beside 0 live ones"


def test_few_connections_left_are_a_warning(server: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.services.doctor_postgres._CONNECTIONS_SHARE", 0.0)
    check = _found(server, "connections")
    assert check.verdict is Verdict.WARNING
    assert re.fullmatch(r"\d+ of 197 connections are in use", check.sentence)


def test_clocks_that_differ_are_a_warning_and_far_apart_a_problem(
    server: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Off(SystemClock):
        by = timedelta(0)

        def now(self) -> Any:
            return super().now() + self.by

    clock = Off()
    for seconds, verdict in ((0, Verdict.OK), (5, Verdict.WARNING), (-5, Verdict.WARNING), (3_600, Verdict.PROBLEM)):
        clock.by = timedelta(seconds=seconds)
        (check,) = [check for check in examine(server, clock) if check.name == "clock"]
        assert check.verdict is verdict
    assert check.sentence == "the clocks of this host and of the server are 3600 s apart; schedules fire by the host's"
    (firing,) = [check for check in examine(server, clock) if check.name == "firing"]
    assert firing.verdict is Verdict.PROBLEM
    assert "mainspring clock confirm" in firing.way_out


# The machine


def test_little_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_available_memory", lambda: 8_000_000_000)
    monkeypatch.setattr(doctor, "_left_in_group", lambda: 100_000_000)
    found = {check.name: check for check in machine_checks()}
    assert found["memory"] == Check(
        "memory", Verdict.WARNING, "100 MB of memory are free", "give the machine more, or workers fewer slots"
    )


def test_a_system_that_cannot_hold_isolated_tasks_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sys, "platform", "darwin")
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    found = {check.name: check for check in machine_checks()}
    assert found["isolation"].verdict is Verdict.WARNING
    assert found["isolation"].sentence.startswith("this system has no subreaper, no memfd, no pidfd: ")


def test_a_check_that_cannot_be_made_is_a_problem_and_the_others_are_made(application: Application) -> None:
    application.database.write(lambda tx: tx.raw().execute("DROP TABLE schedules"))  # type: ignore[attr-defined]
    found = {check.name: check for check in examine(application.database, SystemClock())}
    assert found["time zones"].verdict is Verdict.PROBLEM
    assert "could not be looked at" in found["time zones"].sentence
    assert found["processes"].verdict is Verdict.OK
    assert dataclasses.asdict(found["clock"])["verdict"] == "ok"


# Adopting a copy


@pytest.fixture
def copy(application: Application, cli: Cli) -> tuple[str, str]:
    """The options that name a copy of the project's database, in which ten minutes have been missed."""
    assert cli("status").code == 0
    database = application.database
    add(database, every(timedelta(minutes=1), "minutely"), SystemClock().now() - timedelta(minutes=10))
    put_some(database, 2, SystemClock().now())
    database.tidy()
    shutil.copy("mainspring.db", "copy.db")
    return "--database", "sqlite:///copy.db"


def test_whoever_adopts_a_copy_must_say_how(copy: tuple[str, str], cli: Cli) -> None:
    answer = cli(*copy, "db", "adopt")
    assert answer.code == 2
    assert answer.err == (
        "error: say how to adopt the copy: --continue goes on where it stood, --skip leaves out what was due\n"
    )
    assert cli(*copy, "doctor").code == 1


def test_a_copy_that_is_adopted_to_continue_works_and_has_lost_nothing(copy: tuple[str, str], cli: Cli) -> None:
    answer = cli(*copy, "db", "adopt", "--continue")
    assert answer.code == 0
    assert re.fullmatch(r"sqlite:///.*/copy\.db is adopted and works from now on\n", answer.out)
    assert cli(*copy, "doctor").code == 0
    assert cli(*copy, "status", "--json").json["runs"] == {"ready": 2}
    assert cli(*copy, "enqueue", "work.add", "--param", "a=1").code == 0


def test_a_copy_that_is_adopted_to_skip_starts_nothing_of_what_was_due(copy: tuple[str, str], cli: Cli) -> None:
    answer = cli(*copy, "db", "adopt", "--skip", "--json")
    assert answer.code == 0
    assert answer.json["how"] == "skip"
    assert answer.json["skipped"] in (9, 10, 11)
    assert answer.json["cancelled"] == 2
    assert cli(*copy, "status", "--json").json["runs"] == {"cancelled": 2}
    assert cli(*copy, "db", "verify").code == 0
    assert cli(*copy, "doctor").code == 0
    again = cli(*copy, "db", "adopt", "--skip")
    assert again.code == 4
    assert again.err.endswith("copy.db is no copy; there is nothing to adopt\n")


def test_the_original_cannot_be_adopted(application: Application, cli: Cli) -> None:
    answer = cli("db", "adopt", "--continue")
    assert answer.code == 4
    assert answer.err.endswith("mainspring.db is no copy; there is nothing to adopt\n")


def test_a_person_is_asked_and_may_leave_it(copy: tuple[str, str], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.edges.cli.adopt.is_terminal", lambda: True)
    answers = iter(["", "skip"])
    monkeypatch.setattr("typer.prompt", lambda *_, default, **__: next(answers) or default)
    left = cli(*copy, "db", "adopt")
    assert left.code == 130
    assert "Make sure that the original no longer runs" in left.out
    assert re.match(r"sqlite:///.*/copy\.db is a copy of .*/mainspring\.db on host ", left.out)
    assert cli(*copy, "doctor").code == 1
    assert "is adopted and works from now on" in cli(*copy, "db", "adopt").out
    assert cli(*copy, "doctor").code == 0
