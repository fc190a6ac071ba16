"""Run the whole service on one database while faults strike, and judge what is left."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psutil

from mainspring.app import open_database
from mainspring.store.database import Database
from mainspring.store.migrate import upgrade
from mainspring.verify.look import Look, look
from tests.chaos import members
from tests.chaos.disk import can_mount
from tests.chaos.judging import Facts, Judgement, judge, read_sessions
from tests.chaos.members import Crew, Member, SteppedClock, faketime_library
from tests.chaos.places import CLOCK, NEVER, Place, PostgresPlace, SqlitePlace, open_place
from tests.chaos.plan import Kind, Plan, make_plan
from tests.chaos.project import expected, write_project
from tests.chaos.strikes import EffectTail, Striker
from tests.promises.checker import Violation
from tests.promises.evidence import begin_history, gather

_TICK: Final = 0.05
_LEAD: Final = 8.0
"""Seconds from the start of the processes to the first fire time and the first fault."""
_QUIET_WITHIN: Final = 60.0
_DRAIN: Final = 25.0
_RATE: Final = 22.0
"""Runs a second that the client enqueues; schedules add about ten."""
_MOST_MEMORY: Final = 400 * 1024 * 1024
_MOST_FILES: Final = 200
_MOST_WAL: Final = 96 * 1024 * 1024
_MOST_LOG_PER_RUN: Final = 4096


def write(text: str) -> None:
    """Tell whoever waits."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@dataclass
class Show:
    """One run on one database."""

    plan: Plan
    folder: Path
    place: Place
    crew: Crew
    token: str
    problems: list[Violation] = field(default_factory=list)
    most_wal: int = 0

    def run(self) -> Judgement:
        """Do everything and return the judgement."""
        for name in ("effects", "accepted"):
            (self.folder / name).touch()
        clock = self._clock()
        database = open_database(self.place.own_url)
        try:
            upgrade(database)
            begin_history(database)
            start, end = self._prepare()
            boot_to_wall = CLOCK.now().timestamp() - CLOCK.monotonic()
            tail = EffectTail(self.folder / "effects")
            striker = Striker(self.plan, self.place, self.crew, tail, clock)
            self._start(clock)
            self._pass_time((start - CLOCK.now()).total_seconds(), lambda: None)
            striker.begin()
            self._under_fire(striker, tail)
            striker.heal()
            (self.folder / "strikes.log").write_text("\n".join(striker.log) + "\n", encoding="utf-8")
            quiet = self._become_quiet(database)
            self._settle(striker)
            return self._judge(database, striker, boot_to_wall, (start, end), quiet)
        finally:
            database.close()

    def _prepare(self) -> tuple[datetime, datetime]:
        """Write the project and apply its schedules before their first fire time; return the first and last one."""
        # The first time only measures: on a busy machine a command takes long, and what is due before it ends is lost.
        took = self._apply(CLOCK.now().replace(microsecond=0) + timedelta(hours=1))[2]
        lead = timedelta(seconds=max(_LEAD, round(3 * took) + 4))
        start, end, _ = self._apply(CLOCK.now().replace(microsecond=0) + lead)
        assert CLOCK.now() < start - timedelta(seconds=1), f"schedules were not applied within {lead}"
        return start, end

    def _apply(self, start: datetime) -> tuple[datetime, datetime, float]:
        """Write the project with this first fire time and apply it; return the first, the last, and what it took."""
        end = start + timedelta(seconds=int(self.plan.seconds))
        write_project(self.folder, self.folder / "data", start, end)
        began = CLOCK.monotonic()
        applied = self._run("apply")
        assert applied.returncode == 0, f"apply: {applied.stdout}{applied.stderr}"
        return start, end, CLOCK.monotonic() - began

    def _clock(self) -> SteppedClock | None:
        library = faketime_library()
        return None if library is None else SteppedClock(self.folder / "clock", library)

    def _start(self, clock: SteppedClock | None) -> None:
        commands = {
            "up": members.mainspring(self.folder, "up"),
            **{f"worker-{n}": members.mainspring(self.folder, "worker", "--name", f"worker-{n}") for n in (1, 2, 3, 4)},
            "scheduler-1": members.mainspring(self.folder, "scheduler"),
            "client": members.client(
                self.folder, self.folder / "accepted", _RATE, CLOCK.monotonic() + 1.0, self.plan.seed
            ),
        }
        logs = self.folder / "logs"
        logs.mkdir()
        for name, command in commands.items():
            env = members.environment(self.crew.mark, self.place.url(name), self.folder / "effects", self.token)
            if clock is not None and name == "scheduler-1":
                env |= clock.env()
            self.crew.add(Member(name, command, self.folder, logs / f"{name}.log", env))

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        env = members.environment(self.crew.mark, self.place.own_url, self.folder / "effects", self.token)
        command = members.mainspring(self.folder, *words)
        done = subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, check=False, timeout=600
        )
        with (self.folder / "commands.log").open("a", encoding="utf-8") as log:
            log.write(f"$ mainspring {' '.join(words)} -> {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def _under_fire(self, striker: Striker, tail: EffectTail) -> None:
        told = 0
        while striker.elapsed < self.plan.seconds or striker.busy:
            striker.work()
            self._tend()
            if striker.elapsed >= (told + 1) * 10:
                told += 1
                done = " ".join(f"{kind}={n}" for kind, n in sorted(striker.counts.items()))
                write(f"  {striker.elapsed:5.0f} s  {tail.started} attempts, {len(tail.open)} under way; {done}")
            CLOCK.wait(NEVER, _TICK)

    def _tend(self) -> None:
        now = CLOCK.monotonic()
        away = any(o.until is None or o.until > now - 10 for o in self.place.outages)
        self.crew.tend(away or self._cut_off())
        if isinstance(self.place, SqlitePlace):
            self.place.collect()
            self.most_wal = max(self.most_wal, self.place.wal_bytes())

    def _cut_off(self) -> bool:
        return any(member.frozen for member in self.crew.members.values())

    def _pass_time(self, seconds: float, also: Callable[[], Any]) -> None:
        until = CLOCK.monotonic() + seconds
        while CLOCK.monotonic() < until:
            self._tend()
            also()
            CLOCK.wait(NEVER, 0.2)

    def _become_quiet(self, database: Database) -> bool:
        """Stop the client, then wait until nothing is left to do; tell whether that came in time."""
        client = self.crew.members["client"]
        until = CLOCK.monotonic() + _QUIET_WITHIN
        # A kill at the very end: it starts once more, so that it can be stopped like everybody else.
        while not client.alive and CLOCK.monotonic() < until:
            self._pass_time(0.5, lambda: None)
        client.running.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = client.running.wait(40.0)  # type: ignore[union-attr]
            self._problem(code not in (0, -signal.SIGTERM), "I8", "client", f"stopped with exit code {code}")
        client.running = None
        query = "SELECT count(*) FROM runs WHERE state NOT IN ('succeeded', 'failed', 'cancelled')"
        while CLOCK.monotonic() < until:
            if not look(database, lambda seen: seen.rows(query)[0][0]):
                return True
            self._pass_time(0.5, lambda: None)
        return False

    def _settle(self, striker: Striker) -> None:
        """Measure who has lived long, stop everybody in good order, and see that nobody is left."""
        self._measure()
        for sentence in self.crew.stop(_DRAIN + 10):
            self._problem(True, "I8", "stop", sentence)
        left = self.crew.left()
        _, alive = psutil.wait_procs(left, timeout=_DRAIN)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                words = " ".join(process.cmdline())[-120:]
                self._problem(True, "I11", f"process {process.pid}", f"is left over: {words}")
        for sentence in self.crew.exits:
            self._problem(True, "I8", "process", sentence)
        for sentence in striker.orphans:
            self._problem(True, "I11", "orphan", sentence)
        if isinstance(self.place, SqlitePlace):
            self.place.check("the end")
            self.place.collect(wait=True)
            for sentence in self.place.damage:
                self._problem(True, "I9", "file", sentence)
        self._problem(self.most_wal > _MOST_WAL, "I11", "write-ahead log", f"grew to {self.most_wal} bytes")

    def _measure(self) -> None:
        for member in self.crew.members.values():
            for process in member.tree() if member.running is not None else []:
                with contextlib.suppress(psutil.Error):
                    if process.status() == psutil.STATUS_ZOMBIE:
                        self._problem(True, "I11", member.name, f"left the zombie {process.pid}")
                        continue
                    memory, files = process.memory_info().rss, process.num_fds()
                    name = f"{member.name} ({process.pid})"
                    self._problem(memory > _MOST_MEMORY, "I11", name, f"takes {memory // 2**20} MB")
                    self._problem(files > _MOST_FILES, "I11", name, f"has {files} files open")

    def _problem(self, is_one: bool, invariant: str, subject: str, sentence: str) -> None:
        if is_one:
            self.problems.append(Violation(invariant, subject, sentence))

    def _judge(
        self, database: Database, striker: Striker, boot_to_wall: float, times: tuple[Any, Any], quiet: bool
    ) -> Judgement:
        verified = self._run("db", "verify")
        findings = [line for line in verified.stdout.splitlines() if line.strip()][-20:] if verified.returncode else []
        ids: dict[str, str] = dict(look(database, lambda seen: seen.rows("SELECT name, key(id) FROM schedules")))
        accepted = (self.folder / "accepted").read_text(encoding="ascii").split("\n")[:-1]
        evidence = gather(
            database, self.folder / "effects", accepted=frozenset(accepted), expected=expected(*times, ids),
            quiet=quiet, findings=findings, leaks=list(self._leaks()),
        )  # fmt: skip
        if not quiet:
            self._problem(True, "I8", "queue", f"was not empty {_QUIET_WITHIN:.0f} s after the faults had ended")
        sessions = look(database, lambda seen: read_sessions(seen, boot_to_wall))
        tickets = look(database, _tickets)
        logged = sum(path.stat().st_size for path in (self.folder / "logs").iterdir())
        too_much = logged > _MOST_LOG_PER_RUN * max(len(evidence.runs), 1000)
        self._problem(too_much, "I11", "logs", f"have {logged} bytes for {len(evidence.runs)} runs")
        facts = Facts(
            self.plan, striker.strikes, self.place.outages, sessions, tickets, boot_to_wall, tuple(self.problems)
        )
        found = judge(evidence, facts)
        extra: dict[str, Any] = {
            "accepted": len(accepted),
            "failed_starts": self.crew.failed_starts,
            "log_bytes": logged,
            "disk_full_noticed": self._noticed("full", "No space left"),
            "outage_seconds": round(sum((o.until or o.since) - o.since for o in self.place.outages), 1),
        }
        if isinstance(self.place, SqlitePlace):
            extra["frozen_while_writing"] = striker.counts["stop while writing"]
            extra |= {"integrity_checks": self.place.checked, "most_wal_bytes": self.most_wal}
        else:
            lost = sum(self.place.proxy.lost_replies(name) for name in self.place.proxy.links)
            extra |= {"lost_commit_replies": lost, "restarts_tried_again": len(self.place.restart_failures)}
            cuts = sum(1 for s in striker.strikes if s.fault.what == "cut after commit")
            if lost < cuts:
                found.violations.append(Violation("I0", "cut after commit", f"hit {lost} commits of {cuts}"))
        if self.plan.count("full") and not extra["disk_full_noticed"]:
            found.violations.append(Violation("I0", "full", "nobody noticed that the disk was full"))
        found.extra.update(extra)
        return found

    def _noticed(self, *words: str) -> int:
        texts = [path.read_text(errors="replace") for path in (self.folder / "logs").iterdir()]
        return sum(any(w in line for w in words) for text in texts for line in text.splitlines())

    def _leaks(self) -> Iterator[str]:
        """I10: look for the secrets in all logs, in all that commands printed, and in every byte of the database."""
        for secret in (self.token, *self.place.secrets):
            forms = (secret, secret.encode().hex())
            paths = [*self.folder.glob("*.log"), *(self.folder / "logs").iterdir(), *self.folder.glob("data/**/*")]
            if isinstance(self.place, SqlitePlace):
                paths += [self.place.path, Path(f"{self.place.path}-wal")]
            for path in paths:
                if path.is_file() and any(form.encode() in path.read_bytes() for form in forms):
                    yield f"{'the token' if secret == self.token else 'the password'} is in {path.name}"
            if isinstance(self.place, PostgresPlace):
                dump = self.place.dump() + self.place.cluster.log
                if any(form in dump for form in forms):
                    yield f"{'the token' if secret == self.token else 'the password'} is in the database or its log"


def _tickets(seen: Look) -> list[tuple[str, str]]:
    if seen.postgres:
        query = "SELECT key(run_id), parameters::json ->> 'ticket' FROM run_payloads WHERE parameters LIKE '%ticket%'"
    else:
        query = (
            "SELECT key(run_id), json_extract(parameters, '$.ticket') FROM run_payloads "
            "WHERE parameters LIKE '%ticket%'"
        )
    return [
        (run_id, ticket) for run_id, ticket in seen.rows(query.replace("%", "%%" if seen.postgres else "%")) if ticket
    ]


def missing_faults() -> dict[str, str]:
    """Return the kinds of faults that cannot be had on this machine, and why."""
    missing = {}
    if faketime_library() is None:
        missing["clock"] = "libfaketime is not installed (apt-get install faketime)"
    if not can_mount():
        missing["full"] = "only root can mount a small disk (or run under unshare -rm)"
    return missing


def show(kind: Kind, seed: int, minutes: float, *, keep: bool = False) -> tuple[Judgement, Path | None]:
    """Run the show on a new database; return the judgement, and the folder that was kept because of a violation."""
    plan = make_plan(kind, seed, minutes, without=frozenset(missing_faults()))
    folder = Path(tempfile.mkdtemp(prefix=f"mainspring-chaos-{kind}-"))
    mark = secrets.token_hex(8)
    crew = Crew(mark)
    place = None
    judgement = None
    try:
        place = open_place(kind, folder)
        judgement = Show(plan, folder, place, crew, f"canary{secrets.token_hex(12)}").run()
    finally:
        crew.kill_all()
        members.forget_clocks(pid for member in crew.members.values() for pid in member.pids)
        # A run that failed halfway is worth a look as well.
        kept = keep or judgement is None or bool(judgement.violations)
        if place is not None:
            if kept and isinstance(place, SqlitePlace):
                place.keep(folder)
            if kept and isinstance(place, PostgresPlace):
                with contextlib.suppress(Exception):
                    (folder / "server.log").write_text(place.cluster.log, encoding="utf-8")
                    (folder / "dump.txt").write_text(place.dump(), encoding="utf-8")
            place.close()
        if kept:
            write(f"  everything is kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    assert judgement is not None
    return judgement, folder if kept else None
