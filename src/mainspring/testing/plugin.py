"""Fixtures for pytest; it finds them by itself where Mainspring is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mainspring.testing.installation import TestApp


@pytest.fixture
def mainspring_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., TestApp]]:
    """A function that opens an installation for this test; it takes what `open_test_app` takes but the folder."""
    # Imported here: most tests of most projects never ask for it.
    from mainspring.testing.installation import open_test_app

    opened: list[TestApp] = []

    def open_one(*arguments: Any, **options: Any) -> TestApp:
        folder: Path = tmp_path_factory.mktemp("mainspring")
        opened.append(open_test_app(folder, *arguments, **options))
        return opened[-1]

    yield open_one
    for app in opened:
        app.close()
