"""Write the project of the demonstration into a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mainspring.errors import Conflict
from mainspring.packs.market.schedule_file import PROJECT_FILE, SHIPPED_FILE

_MARK: Final = "# Written by the demonstration of the market pack, and written anew each time it runs."
_SETTINGS: Final = f"""{_MARK}
packs: [market]
database: sqlite:///mainspring.db
zone: America/Sao_Paulo
"""


class DemoFolder:
    """Where the demonstration's project lies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = path / "mainspring.yaml"
        self.database = path / "mainspring.db"
        self.log = path / "up.log"
        self.requests = path / "requests.json"
        self.artifacts = path / ".mainspring" / "artifacts"

    def write(self, environment: Mapping[str, str], *, fresh: bool) -> None:
        """Write the project; with *fresh*, forget the database and everything else of the last time.

        Raises:
            Conflict: the folder holds something else.
        """
        self._check()
        if fresh and self.path.exists():
            shutil.rmtree(self.path)
        (self.path / PROJECT_FILE).parent.mkdir(parents=True, exist_ok=True)
        (self.path / ".gitignore").write_text("*\n", encoding="utf-8")
        self.settings.write_text(_SETTINGS, encoding="utf-8")
        shutil.copyfile(SHIPPED_FILE, self.path / PROJECT_FILE)
        lines = "".join(f"{name}='{value}'\n" for name, value in environment.items())
        (self.path / ".env").write_text(
            f"# Leads all requests to the services on this machine.\n{lines}", encoding="utf-8"
        )

    def _check(self) -> None:
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return
        if not self.settings.is_file() or not self.settings.read_text(encoding="utf-8").startswith(_MARK):
            raise Conflict(f"{self.path.absolute()} exists and is not the demonstration's; run it in another folder")
