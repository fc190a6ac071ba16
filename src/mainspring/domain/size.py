"""Read and write sizes in bytes, such as `200MB` and `1GiB`."""

from __future__ import annotations

import re
from typing import Final

from mainspring.errors import InvalidInput

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_UNITS: Final = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


class Size(int):
    """A number of bytes that shows itself as people write it."""

    def __str__(self) -> str:
        return size_in_words(self).replace(" ", "")


def parse_size(value: object) -> int:
    """Return the bytes that a number or a text such as `256MB` or `1GiB` says.

    Raises:
        InvalidInput: it says none.
    """
    size = value
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.strip())
        if found is None or (found[3] and not found[2]):
            raise InvalidInput(f"{value!r} is no size; write bytes, '200MB' or '1GiB'")
        size = int(float(found[1]) * (1024 if found[3] else 1000) ** " kmgt".index(found[2].lower() or " "))
    if not isinstance(size, int) or isinstance(size, bool):
        raise InvalidInput(f"{value!r} is no size; write bytes, '200MB' or '1GiB'")
    return size


def size_in_words(size: int) -> str:
    """Return *size* as people say it, such as `256 MB`."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{size} bytes"
