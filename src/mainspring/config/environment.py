"""Read settings from variables such as MAINSPRING_WORKER__SLOTS, from the environment or from `.env`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mainspring.config.layer import Layer
from mainspring.config.place import Place
from mainspring.config.secrets import read_secret
from mainspring.config.shape import Shape, loosened
from mainspring.config.variables import VariableText
from mainspring.errors import nearest

PREFIX: Final = "MAINSPRING_"
CONFIG: Final = "MAINSPRING_CONFIG"
OVERLAY: Final = "MAINSPRING_ENV"
DEBUG: Final = "MAINSPRING_DEBUG"
OTHER_NAMES: Final = frozenset({CONFIG, OVERLAY, DEBUG})
"""Names that are no settings and stand in the environment all the same."""
TESTS_PREFIX: Final = "MAINSPRING_TEST_"
"""Names that belong to a project's tests."""
_FILE: Final = "_FILE"


def read_dotenv(data: bytes, name: str) -> tuple[dict[str, str], dict[str, int], list[str]]:
    """Return the variables in a `.env` file, their lines, and the problems found; values are taken literally."""
    import io

    from dotenv.parser import parse_stream

    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return {}, {}, [f"{name}:{line}: is not UTF-8; save the file as UTF-8"]
    variables: dict[str, str] = {}
    lines: dict[str, int] = {}
    problems = []
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            problems.append(f"{name}:{binding.original.line}: cannot be read; write NAME=value")
        elif binding.key is not None and binding.value is not None:
            variables[binding.key], lines[binding.key] = binding.value, binding.original.line
    return variables, lines, problems


def lay_variables(
    layer: Layer,
    shape: Shape,
    variables: Mapping[str, str],
    origins: Mapping[str, str],
    ours: Iterable[str],
    root: Path,
) -> Iterator[str]:
    """Lay the settings in *variables* over *layer*; yield what is wrong with their names and files.

    Empty variables count as not set. ``…_FILE`` variables name a file, relative to *root*, that holds the value.
    Names in *ours* are in use for something else, as in ``${MAINSPRING_HOST}``.
    """
    known = {*OTHER_NAMES, *ours}
    for name in sorted(variables):
        value = variables[name]
        if not name.startswith(PREFIX) or name.startswith(TESTS_PREFIX) or name in known or not value:
            continue
        origin = origins[name]
        place = _place(name, shape, layer.body) if name.isascii() else None
        if place is None and name.endswith(_FILE):
            setting = name.removesuffix(_FILE)
            place = _place(setting, shape, layer.body)
            if place is not None:
                if variables.get(setting):
                    yield f"{origin}: {setting} is set too; keep one of the two"
                    continue
                try:
                    value = read_secret(root / value)
                except (OSError, ValueError) as error:
                    why = getattr(error, "strerror", None) or "it is no short UTF-8 text"
                    yield f"{origin}: the file cannot be read: {why}"
                    continue
        if place is None:
            yield f"{origin.removesuffix(name).rstrip()}: {_unknown(name, shape, layer.body)}"
            continue
        yield from lay_text(layer, shape, place, value, origin)


def lay_text(layer: Layer, shape: Shape, place: Place, value: str, origin: str) -> Iterator[str]:
    """Lay the text *value* over *layer* at *place*; yield what is wrong with it."""
    below: Shape | None = shape
    for part in place:
        below = below.step(part) if below is not None else None
    assert below is not None
    try:
        found: Any = loosened(VariableText(value), below)
    except ValueError as error:
        yield f"{origin}: {error}"
        return
    layer.put(place, found, origin)


def _place(name: str, shape: Shape, body: Mapping[str, Any]) -> Place | None:
    place: list[str] = []
    here: Any = body
    step: Shape | None = shape
    for part in name.removeprefix(PREFIX).split("__"):
        if step is None or not part:
            return None
        key = _key(part, step, here)
        if key is None:
            return None
        place.append(key)
        step = step.step(key)
        here = here.get(key) if isinstance(here, Mapping) else None
    return tuple(place) if step is not None else None


def _key(part: str, shape: Shape, here: Any) -> str | None:
    if shape.kind == "section":
        return next((key for key in shape.keys() if _folded(key) == part), None)
    if shape.kind not in ("names", "free"):
        return None
    existing = here if isinstance(here, Mapping) else {}
    found = next((key for key in existing if _folded(key) == part), None)
    return found or (None if shape.has_required_keys else part.lower())


def _folded(key: str) -> str:
    return "".join(sign if sign.isalnum() else "_" for sign in key).upper()


def _unknown(name: str, shape: Shape, body: Mapping[str, Any]) -> str:
    guess = nearest(name.removeprefix(PREFIX), _names(shape, body))
    meant = f"did you mean {PREFIX}{guess}?" if guess else "see the reference of settings"
    return f"unknown setting {name}; {meant}"


def _names(shape: Shape, body: Any) -> Iterator[str]:
    below = body if isinstance(body, Mapping) else {}
    keys = shape.keys() if shape.kind == "section" else {key: shape.step(key) for key in below}
    for key, step in keys.items():
        yield _folded(key)
        if step is not None and step.kind in ("section", "names"):
            for rest in _names(step, below.get(key)):
                yield f"{_folded(key)}__{rest}"
