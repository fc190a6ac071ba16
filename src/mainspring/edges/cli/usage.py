"""Say usage errors in our words, with the nearest valid name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from mainspring.errors import nearest

if TYPE_CHECKING:
    import typer

_MISSING: Final = re.compile(r"Missing (?:argument|option|parameter) '([^']+)'.*", re.DOTALL)
_NO_COMMAND: Final = re.compile(r"No such command '(.*?)'\.?(?: Did you mean .*)?", re.DOTALL)
_INVALID: Final = re.compile(r"Invalid value for '?(.+?)'?: (.*)", re.DOTALL)
_EXTRA: Final = re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)\.?", re.DOTALL)
_SAID: Final = (
    (re.compile(r"input should be a valid integer.*", re.DOTALL), "is not a whole number"),
    (re.compile(r"input should be (greater|less) than or equal to (\S+)"), r"must be \1 \2"),
)
_GLOBAL: Final = ("--config", "--database", "--debug")


def in_our_words(error: typer.TyperException, said: str) -> str:
    """Return the message of *error*, whose own text is *said*: what is wrong and the way out."""
    context: Any = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "mainspring"
    option = getattr(error, "option_name", None)
    if option is not None and said.startswith("No such option"):
        return f"unknown option {option}; " + _meant(option, _options(context), path)
    if found := _NO_COMMAND.fullmatch(said):
        return f"unknown command {found[1]!r}; " + _meant(found[1], _commands(context), path)
    if found := _MISSING.fullmatch(said):
        return f"{found[1]} is missing; see `{path} --help`"
    if found := _EXTRA.fullmatch(said):
        return f"too many arguments: {found[1]}; see `{path} --help`"
    if said == "Missing command.":
        return f"a command is missing; `{path} --help` lists them"
    if found := _INVALID.fullmatch(said):
        return f"{found[1]}{_invalid(found[2])}; see `{path} --help`"
    return f"{_lower(said)}; see `{path} --help`"


def _meant(name: str, known: list[str], path: str) -> str:
    guess = nearest(name, known)
    return f"did you mean {guess}?" if guess else f"`{path} --help` lists them"


def _options(context: Any) -> list[str]:
    own = [name for param in context.command.get_params(context) for name in param.opts if name.startswith("--")]
    return [*own, *_GLOBAL]


def _commands(context: Any) -> list[str]:
    return [name for name, command in context.command.commands.items() if not command.hidden]


def _invalid(said: str) -> str:
    text = _lower(said)
    for pattern, ours in _SAID:
        if found := pattern.fullmatch(text):
            return " " + found.expand(ours).replace("must be greater", "must be at least").replace(
                "must be less", "must be at most"
            )
    return f": {text}"


def _lower(text: str) -> str:
    text = text.rstrip(".")
    return text[:1].lower() + text[1:]
