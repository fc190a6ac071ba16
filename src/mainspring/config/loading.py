"""Load the configuration: command line over environment over `.env` over overlay over file over defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mainspring.config.checking import Checker, in_file_order
from mainspring.config.document import read_document
from mainspring.config.environment import CONFIG, OVERLAY, lay_text, lay_variables, read_dotenv
from mainspring.config.layer import Layer, leaves
from mainspring.config.place import Place, in_words
from mainspring.config.schedule import ScheduleConfig
from mainspring.config.secrets import SecretBook, reference, secrets_in
from mainspring.config.settings import Settings
from mainspring.config.shape import Shape, shape_of
from mainspring.config.variables import Variables
from mainspring.errors import ConfigurationInvalid, nearest

FILE_NAME: Final = "mainspring.yaml"
DEFAULT: Final = "default"
COMMAND_LINE: Final = "command line"
_OVERLAY_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_RELATIVE_SQLITE: Final = re.compile(r"sqlite:///(?!/|:memory:|file:)(.+)")


@dataclass(frozen=True, repr=False)
class Loaded:
    """A configuration that was loaded whole, with where each value came from."""

    settings: Settings
    path: Path
    sources: Mapping[str, str]
    """Setting, such as `worker.slots`, to origin: `default`, `mainspring.yaml:12`, `.env:3`, `command line` …"""
    secrets: SecretBook
    watch_paths: tuple[Path, ...]
    """Files whose change means that the configuration should be loaded again; some may not exist."""
    variables: Variables
    """The environment over `.env`."""
    digest: str = field(compare=False)
    environ: Mapping[str, str] = field(compare=False)
    overrides: Mapping[str, object] = field(compare=False)

    def __repr__(self) -> str:
        return f"Loaded({str(self.path)!r}, {len(self.settings.schedules)} schedules)"

    @property
    def root(self) -> Path:
        """Return the folder of the file: relative paths in it start here."""
        return self.path.parent

    @property
    def data_dir(self) -> Path:
        """Return the data folder as an absolute path."""
        return (self.root / Path(self.settings.data_dir).expanduser()).absolute()

    def database_address(self) -> str:
        """Return the address of the database with a secret resolved and a relative SQLite file made absolute.

        Raises:
            SecretMissing: the address is a reference to a secret that is not there.
        """
        address = self.secrets.resolve(str(self.settings.database))
        self.secrets.remember(*secrets_in({"database": address}, Variables({})))
        relative = _RELATIVE_SQLITE.fullmatch(address)
        if relative is None:
            return address
        name, mark, query = relative[1].partition("?")
        return f"sqlite:///{(self.root / name).absolute()}{mark}{query}"

    def hints_address(self) -> str | None:
        """Return the address for listening with a secret resolved, or None.

        Raises:
            SecretMissing: the address is a reference to a secret that is not there.
        """
        if self.settings.hints_database is None:
            return None
        address = self.secrets.resolve(str(self.settings.hints_database))
        self.secrets.remember(*secrets_in({"database": address}, Variables({})))
        return address

    def source_of(self, setting: str) -> str:
        """Return where the value of *setting*, such as `worker.slots`, came from."""
        return self.sources.get(setting, DEFAULT)

    def pack_settings(self, pack: str) -> dict[str, Any]:
        """Return the settings of *pack* with secrets resolved.

        Raises:
            SecretMissing: one is not there.
        """
        resolved: dict[str, Any] = self.secrets.resolve_all(self.settings.pack_settings.get(pack, {}))
        return resolved


def load(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Loaded:
    """Return the configuration in the file at *path*, or in the one that *environ* names, or in ./mainspring.yaml.

    *overrides* come from the command line: settings such as `worker.slots` with values; None means not given.
    *environ* is kept, not copied: secrets are looked up in it when they are needed.

    Raises:
        ConfigurationInvalid: with everything that is wrong; nothing of the configuration is used then.
    """
    return _Loading(find_file(path, environ), environ, dict(overrides or {})).run()


def find_file(path: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the file to load; it may turn out not to be readable.

    Raises:
        ConfigurationInvalid: there is none; the message says how to get one.
    """
    if path is not None:
        return _required(path, "")
    if named := environ.get(CONFIG):
        return _required(Path(named), f", which {CONFIG} names")
    here = Path(FILE_NAME)
    if here.exists():
        return here
    misnamed = next((name for name in ("mainspring.yml", "mainspring.json") if Path(name).exists()), None)
    way_out = f"rename {misnamed} to it" if misnamed else "run 'mainspring init' to write one"
    raise ConfigurationInvalid([f"there is no {FILE_NAME} in this folder; {way_out}, or name a file with {CONFIG}"])


def _required(path: Path, named_by: str) -> Path:
    if path.is_dir():
        raise ConfigurationInvalid([f"{path}{named_by} is a folder; name the file in it, such as {path / FILE_NAME}"])
    if not path.exists():
        raise ConfigurationInvalid([f"there is no file {path}{named_by}; run 'mainspring init' to write a {FILE_NAME}"])
    return path


class _Loading:
    """One load; reads every file once, so that what is checked is what was hashed."""

    def __init__(self, path: Path, environ: Mapping[str, str], overrides: dict[str, object]) -> None:
        self._path, self._environ, self._overrides = path, environ, overrides
        self._shape = shape_of(Settings)
        self._layer = Layer()
        self._read: dict[Path, bytes | None] = {}
        self._problems: list[str] = []

    def run(self) -> Loaded:
        """Return what was loaded, or raise `ConfigurationInvalid`."""
        dotenv, origins = self._dotenv()
        variables = Variables(self._environ, dotenv)
        self._lay_files(variables)
        self._lay_settings(variables, dotenv, origins)
        self._lay_overrides()
        secrets = SecretBook(variables, self._path.parent)
        secrets.remember(*secrets_in(self._layer.body, variables), *variables.secrets_filled())
        settings = self._checked(secrets)
        return Loaded(
            settings=settings,
            path=self._path,
            sources=MappingProxyType(dict(_sources(self._layer, self._shape))),
            secrets=secrets,
            watch_paths=tuple(self._read),
            variables=variables,
            digest=digest_of(self._read),
            environ=self._environ,
            overrides=MappingProxyType(self._overrides),
        )

    def _checked(self, secrets: SecretBook) -> Settings:
        checker = Checker(self._layer, secrets, self._path.name)
        settings = checker.settings()
        problems = [secrets.redact(problem) for problem in self._problems] + checker.problems
        if settings is None or problems:
            raise ConfigurationInvalid(in_file_order(problems))
        return settings

    def _dotenv(self) -> tuple[dict[str, str], dict[str, str]]:
        path = self._path.parent / ".env"
        data = self._bytes(path)
        if data is None:
            return {}, {}
        variables, lines, problems = read_dotenv(data, path.name)
        self._problems += problems
        return variables, {name: f"{path.name}:{line}" for name, line in lines.items()}

    def _lay_files(self, variables: Variables) -> None:
        self._lay_file(self._path, variables)
        overlay = variables.get(OVERLAY)
        if not overlay:
            return
        name = f"{self._path.stem}.{overlay}{self._path.suffix}"
        path = self._path.parent / name
        if _OVERLAY_NAME.fullmatch(overlay) is None:
            self._problems.append(f"{OVERLAY}: {overlay!r} is no name of an overlay; use letters, digits, '_' and '-'")
        elif not path.is_file():
            self._read[path] = None
            meant = self._overlay_meant(overlay)
            self._problems.append(f"{OVERLAY}: there is no {name} beside {self._path.name}{meant}")
        else:
            self._lay_file(path, variables)

    def _overlay_meant(self, overlay: str) -> str:
        stem, suffix = f"{self._path.stem}.", self._path.suffix
        found = [one.name[len(stem) : -len(suffix)] for one in self._path.parent.glob(f"{stem}*{suffix}")]
        guess = nearest(overlay, found)
        return f"; did you mean {guess!r}?" if guess else f"; write it, or leave {OVERLAY} empty"

    def _lay_file(self, path: Path, variables: Variables) -> None:
        data = self._bytes(path)
        if data is None:
            # Either a problem is noted, or the file went away since it was found.
            raise ConfigurationInvalid(self._problems or [f"there is no file {path}"])
        document = read_document(data, path.name, variables)
        self._problems += document.problems
        if not document.readable:
            # What an unreadable file would have said is unknown: judging the rest without it would only mislead.
            raise ConfigurationInvalid(in_file_order(self._problems))
        self._layer.lay(Layer.of(document))

    def _lay_settings(self, variables: Variables, dotenv: Mapping[str, str], origins: Mapping[str, str]) -> None:
        ours = {*variables.used, *_referenced(self._layer)}
        root = self._path.parent
        for found, where in (
            (dotenv, origins),
            (self._environ, {name: f"environment {name}" for name in self._environ}),
        ):
            self._problems += lay_variables(self._layer, self._shape, found, where, ours, root)

    def _lay_overrides(self) -> None:
        for setting, value in self._overrides.items():
            if value is None:
                continue
            place: Place = tuple(setting.split("."))
            shape: Shape | None = self._shape
            for part in place:
                shape = shape.step(part) if shape is not None else None
            if shape is None:
                guess = nearest(setting, [in_words(known) for known, _ in _settings(self._shape)])
                meant = f"; did you mean {guess!r}?" if guess else ""
                self._problems.append(f"{COMMAND_LINE}: unknown setting {setting!r}{meant}")
            elif isinstance(value, str):
                self._problems += lay_text(self._layer, self._shape, place, value, COMMAND_LINE)
            else:
                self._layer.put(place, list(value) if isinstance(value, tuple) else value, COMMAND_LINE)

    def _bytes(self, path: Path) -> bytes | None:
        data, problem = read_bytes(path)
        self._read[path] = data
        if problem is not None:
            self._problems.append(f"{path.name}: cannot be read: {problem}")
        return data


def read_bytes(path: Path) -> tuple[bytes | None, str | None]:
    """Return the content of the file at *path* (None when there is none), and why it cannot be read."""
    try:
        return path.read_bytes(), None
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, error.strerror or type(error).__name__


def digest_of(read: Mapping[Path, bytes | None]) -> str:
    """Return a hash of files by their content; a file that does not exist counts too."""
    digest = sha256()
    for path, data in read.items():
        digest.update(f"{path}\0{'-' if data is None else sha256(data).hexdigest()}\0".encode())
    return digest.hexdigest()


def read_schedules(data: bytes, name: str) -> dict[str, ScheduleConfig]:
    """Return the schedules in the YAML file *name*, as packs bring them.

    Raises:
        ConfigurationInvalid: with everything that is wrong.
    """
    document = read_document(data, name)
    layer = Layer.of(document)
    problems = list(document.problems)
    for key in layer.body:
        if key not in ("schedules", "calendars", "zone") and not key.startswith("x-"):
            where = f"{layer.origin((key,))}: {in_words((key,))}"
            problems.append(f"{where}: only schedules, calendars and zone may stand here")
    checker = Checker(layer, SecretBook({}), name)
    settings = checker.settings() if document.readable else None
    if settings is None or problems:
        raise ConfigurationInvalid(in_file_order(problems + checker.problems))
    return dict(settings.schedules)


def _referenced(layer: Layer) -> Iterator[str]:
    for _, leaf in leaves(layer.body):
        name = reference(leaf) if isinstance(leaf, str) else None
        if name is not None:
            yield from (name, f"{name}_FILE")


def _settings(shape: Shape, place: Place = ()) -> Iterator[tuple[Place, Shape]]:
    for key, below in shape.keys().items():
        here = (*place, key)
        yield from _settings(below, here) if below.kind == "section" else iter([(here, below)])


def _sources(layer: Layer, shape: Shape) -> Iterator[tuple[str, str]]:
    for place, _ in _settings(shape):
        yield in_words(place), layer.origins.get(place, DEFAULT)
    for place, _ in leaves(layer.body):
        named = all(isinstance(part, str) for part in place)
        if named and place in layer.origins and not str(place[0]).startswith("x-"):
            yield in_words(place), layer.origins[place]
