"""Say which names artifacts may have."""

from __future__ import annotations

import unicodedata
from typing import Any, Final

from mainspring.errors import ArtifactRefused

_NAME_LIMIT: Final = 200


def usable_name(name: Any) -> str:
    """Return *name* in the one form in which names are kept.

    Raises:
        ArtifactRefused: it is not usable.
    """
    found = unicodedata.normalize("NFC", name) if isinstance(name, str) else ""
    usable = 0 < len(found) <= _NAME_LIMIT and found.isprintable() and not set(found) & {"/", "\\"}
    if not usable or found in (".", ".."):
        raise ArtifactRefused(
            f"artifact name {name!r} is not usable; write 1 to {_NAME_LIMIT} printable characters, no '/' and no '\\'"
        )
    return found
