"""Resolve `secret:NAME` references late, and keep secrets out of every text that is shown."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from mainspring.config.kinds import hide_password
from mainspring.config.layer import leaves
from mainspring.config.variables import Variables, sounds_secret
from mainspring.errors import InvalidInput

PREFIX: Final = "secret:"
HIDDEN: Final = "•••"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PASSWORD: Final = re.compile(r"://[^:/@\s]*:(.+)@")
_LONG_ENOUGH: Final = 8
"""A shorter secret is hidden only where it stands as a word of its own; else it would blot out half of a text."""


class SecretMissing(InvalidInput):
    """A `secret:NAME` reference names a secret that is not there; carries the name."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"secret {name!r} {why}")
        self.name = name


class SecretBook:
    """Knows the secrets of one configuration. Values are read when asked for, never kept in settings, never shown."""

    def __init__(self, variables: Mapping[str, str], root: Path = Path()) -> None:
        self._variables, self._root = variables, root
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def __repr__(self) -> str:
        return f"SecretBook({len(self._known)} known)"

    def resolve(self, value: str) -> str:
        """Return what *value* refers to: the variable NAME, or the content of the file that NAME_FILE names.

        A value that is no reference is returned as it is.

        Raises:
            SecretMissing: neither variable is set, or the file cannot be read.
        """
        if not value.startswith(PREFIX):
            return value
        name = reference(value)
        if name is None:
            raise SecretMissing(value.removeprefix(PREFIX), f"has no usable name; write {PREFIX}NAME")
        found = self._variables.get(name) or self._from_file(name)
        self.remember(found)
        return found

    def resolve_all(self, value: Any) -> Any:
        """Return a copy of *value*, mappings and lists included, with every reference resolved."""
        if isinstance(value, str):
            return self.resolve(value)
        if isinstance(value, Mapping):
            return {key: self.resolve_all(item) for key, item in value.items()}
        return [self.resolve_all(item) for item in value] if isinstance(value, (list, tuple)) else value

    def missing(self, value: Any) -> list[str]:
        """Return a sentence for each reference in *value* that cannot be resolved now."""
        said = []
        for _, leaf in leaves(value):
            try:
                self.resolve(leaf if isinstance(leaf, str) else "")
            except SecretMissing as error:
                said.append(str(error))
        return said

    def remember(self, *secrets: str) -> None:
        """Hide *secrets* from now on, also as they are written in addresses and messages."""
        forms = {form for secret in secrets if secret.strip() for form in _forms(secret)}
        with self._lock:
            if not forms <= self._known:
                self._known |= forms
                self._pattern = _pattern(self._known)

    def holds_secret(self, text: str) -> bool:
        """Return whether *text* contains a known secret."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def redact(self, text: str) -> str:
        """Return *text* with every known secret, and the password of every address, replaced."""
        if self._pattern is not None:
            text = self._pattern.sub(HIDDEN, text)
        return hide_password(text) if "://" in text else text

    def _from_file(self, name: str) -> str:
        file = self._variables.get(f"{name}_FILE")
        if not file:
            raise SecretMissing(name, f"is not set; set the variable {name}, or {name}_FILE to the file that holds it")
        try:
            return read_secret(self._root / file)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise SecretMissing(name, f"cannot be read from the file that {name}_FILE names: {why}") from None


def read_secret(path: Path) -> str:
    """Return the content of the file at *path* without its final line break.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not UTF-8, or larger than 64 KiB.
    """
    with path.open("rb") as file:
        data = file.read(65_537)
    if len(data) > 65_536:
        raise ValueError("it is larger than 64 KiB")
    return data.decode("utf-8").removesuffix("\n").removesuffix("\r")


def reference(value: str) -> str | None:
    """Return the NAME of a `secret:NAME` reference, or None when *value* is none."""
    name = value.removeprefix(PREFIX)
    return name if name != value and _NAME.fullmatch(name) else None


def secrets_in(body: Any, variables: Variables) -> Iterable[str]:
    """Yield what must not be shown of *body* and of the *variables* that were filled into it."""
    for name, value in variables.items():
        # What is short and filled in nowhere would blot out words of messages that it never was in.
        # And PWD is the folder in which a shell stands: hiding it would blot out every path.
        if name != "PWD" and sounds_secret(name) and (name in variables.filled or len(value) >= _LONG_ENOUGH):
            yield value
    for place, leaf in leaves(body):
        if not isinstance(leaf, str) or leaf.startswith(PREFIX):
            continue
        if any(isinstance(part, str) and sounds_secret(part) for part in place):
            yield str(leaf)
        if "://" in leaf:
            yield from _PASSWORD.findall(leaf)


def _forms(secret: str) -> set[str]:
    escaped = repr(secret)[1:-1]
    return {secret, secret.strip(), quote(secret, safe=""), unquote(secret), escaped}


def _pattern(secrets: set[str]) -> re.Pattern[str]:
    longest_first = sorted(secrets, key=lambda secret: (-len(secret), secret))
    return re.compile("|".join(_guarded(secret) for secret in longest_first if secret))


def _guarded(secret: str) -> str:
    escaped = re.escape(secret)
    if len(secret) >= _LONG_ENOUGH:
        return escaped
    before = r"(?<![^\W_])" if secret[0].isalnum() else ""
    after = r"(?![^\W_])" if secret[-1].isalnum() else ""
    return before + escaped + after
