"""Hold the variables of the environment and of `.env`, and fill them into text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from mainspring.errors import InvalidInput, nearest

_REFERENCE: Final = re.compile(r"\$?\$\{([^}]*)\}?")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_NAME: Final = re.compile(
    r"PASS(?:WORD|WD|PHRASE)?(?:_|$)|(?:^|_)PWD(?:_|$)|SECRET|TOKEN|(?:^|_)(?:API_?)?KEY(?:_|$)|APIKEY|CREDENTIAL|(?:^|_)DSN(?:_|$)"
)


class VariableMissing(InvalidInput):
    """A text asks for a variable that is not set, or asks in a form that is not known."""


class VariableText(str):
    """Text that came from a variable: the setting that receives it decides what it stands for.

    `plain` says that it stood without quotes, so that in free-form settings 20 is a number.
    """

    __slots__ = ("plain",)
    plain: bool

    def __new__(cls, text: str, plain: bool = True) -> VariableText:
        """Return *text*, marked."""
        made = super().__new__(cls, text)
        made.plain = plain
        return made


class Variables(Mapping[str, str]):
    """The environment over the variables of `.env`; remembers which names were asked for."""

    def __init__(self, environ: Mapping[str, str], dotenv: Mapping[str, str] | None = None) -> None:
        self._environ, self._dotenv = environ, dict(dotenv or {})
        self.used: set[str] = set()
        self.filled: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        return self._environ[name] if name in self._environ else self._dotenv[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._dotenv, **self._environ})

    def __len__(self) -> int:
        return len({**self._dotenv, **self._environ})

    def __repr__(self) -> str:
        return f"Variables({len(self)} names)"

    def fill(self, text: str) -> str | None:
        """Return *text* with ``${NAME}`` and ``${NAME:-default}`` filled in, or None when it asks for nothing.

        Raises:
            VariableMissing: for a name that is not set and has no default.
        """
        asked = False

        def one(found: re.Match[str]) -> str:
            nonlocal asked
            whole = found.group()
            if whole.startswith("$$"):
                return whole[1:]
            asked = True
            if not whole.endswith("}"):
                raise VariableMissing("'${' is not closed with '}'; write '$${' for the text itself")
            return self._value(found.group(1))

        filled = _REFERENCE.sub(one, text)
        return filled if asked else None

    def secrets_filled(self) -> Iterator[str]:
        """Yield the values that were filled in for names that sound secret, defaults included."""
        return (value for name, value in self.filled.items() if sounds_secret(name))

    def _value(self, inside: str) -> str:
        name, separator, default = inside.partition(":-")
        if _NAME.fullmatch(name) is None:
            raise VariableMissing(f"'${{{inside}}}' is no variable; write '${{NAME}}' or '${{NAME:-default}}'")
        self.used.add(name)
        found = self.get(name)
        if not found and separator:
            found = default
        if found is None:
            guess = nearest(name, [known for known in self if not known.startswith("MAINSPRING_")])
            meant = f"; did you mean {guess!r}?" if guess else ""
            raise VariableMissing(
                f"variable {name!r} is not set{meant or f'; set it, or give a default: ${{{name}:-default}}'}"
            )
        self.filled[name] = found
        return found


def sounds_secret(name: str) -> bool:
    """Return whether a variable or key of this *name* usually holds something that must not be shown."""
    return _SECRET_NAME.search(re.sub(r"[^A-Z0-9]", "_", name.upper())) is not None
