"""Take guards away in a copy of the tree, and see whether their tests notice."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.guards.guards import Guard

ROOT: Final = Path(__file__).resolve().parents[2]
_COPIED: Final = ("src", "servers", "tests", "docs", "scripts")
_FILES: Final = ("pyproject.toml", "README.md", "Makefile", "constraints.txt", "CHANGELOG.md")
_FOREIGN: Final = (
    "PYTHONPATH", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST", "COVERAGE_PROCESS_START",
)  # fmt: skip
_PATIENCE: Final = 180
_FAILED: Final = 1


@dataclass(frozen=True, slots=True)
class Result:
    """What a test said without a guard."""

    guard: Guard
    caught: bool
    said: str


class Copy:
    """A copy of the tree, in which one guard at a time is missing."""

    def __init__(self, folder: Path) -> None:
        """Copy the tree to *folder*."""
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        for name in _COPIED:
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        for name in _FILES:
            shutil.copy(ROOT / name, folder / name)
        self._programs = self._make_environment()
        self._check()

    def _make_environment(self) -> Path:
        """Make an environment whose Python finds the copy first, whatever a test does to the variables of a child."""
        place = self.folder / "environment"
        venv.EnvBuilder(symlinks=True, with_pip=False).create(place)
        (packages,) = place.glob("lib/python*/site-packages")
        # What is named here is searched, but a link to the tree that lies there is not followed.
        others = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
        (packages / "copy.pth").write_text("\n".join([str(self.folder / "src"), *others]) + "\n", encoding="utf-8")
        return place / "bin"

    def _check(self) -> None:
        code = "import mainspring, tests.guards.guards as g; print(mainspring.__file__); print(g.__file__)"
        places = self._python("-c", code).stdout.split()
        if len(places) != 2 or not all(Path(place).is_relative_to(self.folder) for place in places):
            raise RuntimeError(f"not the copy is imported but {places}")

    def test(self, *names: str, patience: float = _PATIENCE) -> subprocess.CompletedProcess[str]:
        """Run tests of the copy, for *patience* seconds at most."""
        return self._python(
            "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", "--tb=line", *names, patience=patience
        )

    def without(self, guard: Guard) -> Result:
        """Return what the test of *guard* says when the guard is missing."""
        path = self.folder / "src/mainspring" / guard.file
        text = changed = path.read_text(encoding="utf-8")
        for find, put in guard.changes:
            if text.count(find) != 1:
                return Result(guard, caught=False, said=f"{find!r} is there {text.count(find)} times")
            changed = changed.replace(find, put)
        path.write_text(changed, encoding="utf-8")
        try:
            done = self.test(guard.test)
        except subprocess.TimeoutExpired:
            return Result(guard, caught=False, said=f"its test did not end within {_PATIENCE} s")
        finally:
            path.write_text(text, encoding="utf-8")
        # A failure, and not a test that could not be found or begun.
        caught = done.returncode == _FAILED and re.search(r"\b1 failed\b", done.stdout) is not None
        return Result(guard, caught, _last_line(done))

    def _python(self, *arguments: str, patience: float = _PATIENCE) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        for name in _FOREIGN:
            environment.pop(name, None)
        return subprocess.run(
            [str(self._programs / "python"), *arguments], cwd=self.folder, env=environment, capture_output=True,
            text=True, timeout=patience, check=False,
        )  # fmt: skip


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1] if lines else f"nothing (code {done.returncode})"


def whole(copy: Copy, guards: Sequence[Guard]) -> str | None:
    """Return None if the tests of *guards* pass while all guards are there, else what they say."""
    done = copy.test(*sorted({guard.test for guard in guards}), patience=_PATIENCE * len(guards))
    return None if done.returncode == 0 else done.stdout + done.stderr
