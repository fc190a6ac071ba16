"""The project's own files keep their promises: commands exist, versions are pinned, nothing of a machine is in them."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

OF_A_MACHINE = {
    "a path in somebody's home": r"(?<![\w.$}{/-])/(?:root|home/(?!user\b|you\b|me\b|app\b)\w+|Users/\w+)/",
    "a path of a workplace": r"(?<![\w.$}{/-])/(?:work|workspace|builds|opt/(?!homebrew\b)\w+|scratch)/\w",
    "a package index": r"(?i)(?:index-url|find-links|trusted-host|registry)\s*[=:]?\s*['\"]?(?:https?|file)://",
    "the address of a package index": r"(?i)https?://[^\s\"'/]*/(?:[\w-]+/)*(?:simple|artifactory|api/pypi)(?:/|\b)",
    "a password in an address": r"(?i)https?://[^\s/\"'{}$<>]+:[^\s/\"'{}$<>]+@(?![\w.-]*\.example\b)",
}


def project_files() -> list[Path]:
    """Every text file that is or would be committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git work tree")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_every_make_command_of_the_documents_exists() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        (command, document.name)
        for document in documents
        for command in re.findall(
            r"(?:^|`)\s*(?:\$ )?make ([a-z-]+)", document.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert {command for command, _ in named} >= {"demo", "up", "test", "check"}
    assert {pair for pair in named if pair[0] not in TARGETS} == set()


def test_every_target_is_explained_and_never_mistaken_for_a_file() -> None:
    explained = set(re.findall(r"^([a-z-]+):.*## \S.+\.$", MAKEFILE, re.MULTILINE))
    phony = {name for line in re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE) for name in line.split()}
    assert explained == phony == TARGETS


def test_constraints_are_names_and_exact_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines[1:] if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.!+-]*", line)] == []
    assert lines[0].startswith("# ")


def test_every_direct_dependency_is_pinned_to_a_version_that_it_allows() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    pinned = {_normal(name): version for name, version in (line.split("==") for line in lines)}
    asked = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(pinned[_normal(requirement.name)]), requirement


def test_every_dependency_has_a_lower_bound() -> None:
    asked = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    assert [r for r in asked if ">=" not in r] == []


def test_the_installed_version_is_the_one_of_the_project_file() -> None:
    assert importlib.metadata.version("mainspring") == PROJECT["version"]


@pytest.mark.parametrize("what", OF_A_MACHINE)
def test_no_file_holds_anything_of_one_machine(what: str) -> None:
    pattern = re.compile(OF_A_MACHINE[what])
    found = []
    for path in project_files():
        if path == Path(__file__):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {hit.group()}" for hit in pattern.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a path in somebody's home", "see /home/jane/notes.txt"),
        ("a path in somebody's home", "see /root/x"),
        ("a path of a workplace", "cd /workspace/main"),
        ("a package index", "--index-url https://example.org/x"),
        ("the address of a package index", "https://example.org/team/simple/"),
        ("a password in an address", "https://user:secret@example.org"),
    ],
)
def test_the_search_for_traces_of_a_machine_finds_them(what: str, text: str) -> None:
    assert re.search(OF_A_MACHINE[what], text)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
