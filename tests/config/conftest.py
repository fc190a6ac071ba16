"""A folder with a configuration that tests write file by file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mainspring.config import Loaded, load


class Project:
    """A folder with a mainspring.yaml; `load` never sees the machine's own environment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "mainspring.yaml"

    def write(self, text: str, name: str = "mainspring.yaml") -> Project:
        (self.root / name).write_text(text, encoding="utf-8")
        return self

    def load(self, environ: Mapping[str, str] | None = None, overrides: Mapping[str, object] | None = None) -> Loaded:
        return load(self.path, {} if environ is None else environ, overrides)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path).write("")
