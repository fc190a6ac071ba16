"""Record what a program does to the files of a database, in order, with strace.

strace sees the very calls of the library that users run, needs no compiler and nothing inside the program; a VFS would
need another SQLite library, and a preloaded library a compiler. The shared memory file is not recorded: it is made
anew from the log.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ENDINGS = ("", "-wal", "-journal")
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+)(?: .*)?$", re.DOTALL)
_BEGUN = re.compile(r"^(\d+) +(\w+\(.*) <unfinished \.\.\.>$", re.DOTALL)
_GOES_ON = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$", re.DOTALL)
_CALLS = (
    "pwrite64,pwritev,pwritev2,write,writev,fsync,fdatasync,ftruncate,fallocate,unlink,unlinkat,rename,copy_file_range"
)


class StraceMissing(Exception):
    """strace is not installed, or may not trace here."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened: to a file of the database (by its ending), or an acknowledgement."""

    kind: Literal["write", "truncate", "sync", "unlink", "ack"]
    file: str = ""
    offset: int = 0
    data: bytes = b""
    size: int = 0
    ack: dict[str, Any] | None = None


def record(folder: Path, commits: int, synchronous: str = "FULL", journal: str = "wal") -> list[Event]:
    """Let the program work on a new file in *folder*; return what it did to the file, in order.

    Raises:
        StraceMissing: it cannot be recorded here.
    """
    program = shutil.which("strace")
    if program is None:
        raise StraceMissing("strace is not installed; run scripts/install-servers.sh, or install it yourself")
    path, log = folder / "m.db", folder / "trace"
    watched = [str(path) + ending for ending in ENDINGS] + [str(folder / "acks")]
    words = [word for name in watched for word in ("-P", name)]
    words = [program, "-f", "-y", "-qq", "-xx", "-s", "10000000", "-e", "signal=none", "-e", f"trace={_CALLS}", *words]
    work = [sys.executable, "-m", "tests.power_loss.work", str(path), str(commits), synchronous, journal]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([*words, "-o", str(log), *work], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        if "ptrace" in done.stderr:
            raise StraceMissing(f"strace may not trace here: {done.stderr.strip()}")
        raise RuntimeError(f"the recorded program failed: {done.stderr}")
    events = list(_events(log, str(path)))
    log.unlink()
    return events


def _events(log: Path, path: str) -> list[Event]:
    found: list[Event] = []
    for line in _whole_lines(log):
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"strace said what is not understood: {line[:200]}")
        _, call, words, result = match.groups()
        if int(result) >= 0:
            found += _event(call, words, int(result), path)
    return found


def _whole_lines(log: Path) -> list[str]:
    """Return the calls, each in one line: one that another thread interrupted stands where it ended."""
    begun: dict[str, str] = {}
    lines = []
    with open(log, encoding="ascii") as file:
        for raw in file:
            line = raw.rstrip("\n")
            if match := _BEGUN.match(line):
                begun[match[1]] = match[2]
            elif match := _GOES_ON.match(line):
                lines.append(f"{match[1]} {begun.pop(match[1])}{match[2]}")
            else:
                lines.append(line)
    return lines


def _event(call: str, words: str, result: int, path: str) -> list[Event]:
    name = _text(re.search(r'[<"]([^>"]*)[>"]', words)[1])  # type: ignore[index]
    ending = name.removeprefix(path) if name.startswith(path) else None
    if call == "write" and ending is None:
        return [Event("ack", ack=json.loads(line)) for line in _text(_data(words)).splitlines()]
    if ending is None:
        return []
    if call in ("fsync", "fdatasync"):
        return [Event("sync", ending)]
    if call == "ftruncate":
        return [Event("truncate", ending, size=int(words.rpartition(", ")[2]))]
    if call == "pwrite64":
        data = bytes.fromhex(_data(words).replace("\\x", ""))
        assert len(data) == result
        return [Event("write", ending, offset=int(words.rpartition(", ")[2]), data=data)]
    if call == "unlink":
        return [Event("unlink", ending)]
    raise ValueError(f"{call} on {name}: the model of a disk does not know that")


def _data(words: str) -> str:
    return re.search(r'"([^"]*)"', words)[1]  # type: ignore[index]


def _text(escaped: str) -> str:
    return bytes.fromhex(escaped.replace("\\x", "")).decode()
