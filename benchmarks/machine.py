"""Describe the machine and the versions that figures belong to."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import psycopg
from psycopg import pq
from pysqlite3 import dbapi2 as sqlite

from benchmarks.ground import Ground, PostgresGround
from benchmarks.trace import now
from mainspring.version import VERSION

_SYNC_SECONDS = 1.0
_SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers")


def facts(folder: Path, grounds: list[Ground]) -> dict[str, str]:
    """Return what must be known to compare figures with those of another run."""
    found = {
        "Mainspring": VERSION,
        "machine": f"{os.cpu_count()} cores, {_processor()}, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "file system": _file_system(folder),
        "fdatasync of 4 KiB": f"{_syncs(folder):,.0f} a second",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "SQLite": f"{sqlite.sqlite_version}, journal in WAL mode, synchronous=FULL",
        "event loop": f"uvloop {_version('uvloop')}" if _version("uvloop") else "asyncio",
    }
    for ground in grounds:
        if isinstance(ground, PostgresGround):
            found["PostgreSQL"] = _server(ground)
    return found


def _server(ground: PostgresGround) -> str:
    with ground.cluster.connect() as connection:
        said = [f"{name}={connection.execute(f'SHOW {name}').fetchone()[0]}" for name in _SETTINGS]  # type: ignore[index]
        number = connection.info.server_version
    return f"{number // 10000}.{number % 10000}, {', '.join(said)}; psycopg {psycopg.__version__} ({pq.__impl__})"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    for line in (
        Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if os.path.exists("/proc/cpuinfo") else ()
    ):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    done = subprocess.run(["df", "--output=fstype", str(folder)], capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or ["unknown"])[-1]


def _syncs(folder: Path) -> float:
    """Return how often a second a small write reaches the disk, one after the other."""
    path, block, count = folder / "sync", bytes(4096), 0
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        began = now()
        while now() - began < _SYNC_SECONDS:
            os.pwrite(file, block, (count % 64) * 4096)
            getattr(os, "fdatasync", os.fsync)(file)
            count += 1
        return count / (now() - began)
    finally:
        os.close(file)
        path.unlink()
