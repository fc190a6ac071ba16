"""Give the files of a new project that uses the market pack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mainspring.packs.market.schedule_file import PROJECT_FILE, SHIPPED_FILE

_HERE = Path(__file__).parent


def starter_files() -> Mapping[str, str]:
    """Return the files by their path below the project's folder."""
    return {
        "mainspring.yaml": (_HERE / "mainspring.yaml").read_text(encoding="utf-8"),
        PROJECT_FILE.as_posix(): SHIPPED_FILE.read_text(encoding="utf-8"),
        ".env.example": (_HERE / "env.example").read_text(encoding="utf-8"),
    }
