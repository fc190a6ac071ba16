"""Mount the commands of packs: `mainspring PACK …`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from mainspring.edges.cli.opening import open_existing, project_of
from mainspring.edges.cli.project import options_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mainspring.pack.interface import PackContext, PackDatabase

T = TypeVar("T")


def find_commands(context: typer.Context, name: str) -> Any:
    """Return the commands of the pack called *name*, or None where the configuration names no such pack.

    Raises:
        ConfigurationInvalid: the configuration that may name it is refused.
    """
    if not _has_configuration(context):
        return None
    packs = project_of(context).packs
    found = packs[name].pack.commands(lambda: _pack_context(context, name)) if name in packs else None
    if found is None:
        return None
    around = typer.Typer(add_completion=False)
    around.add_typer(found, name=name)
    group: Any = typer.main.get_command(around)
    return group.commands[name]


def _has_configuration(context: typer.Context) -> bool:
    from mainspring.config import find_file
    from mainspring.errors import ConfigurationInvalid

    try:
        find_file(options_of(context).config, os.environ)
    except ConfigurationInvalid:
        return False
    return True


def _pack_context(context: typer.Context, name: str) -> PackContext:
    from mainspring.pack.interface import PackContext

    kept: dict[str, PackContext] = context.meta.setdefault("mainspring.pack_contexts", {})
    if name not in kept:
        project = project_of(context)
        kept[name] = PackContext(
            pack=name,
            settings=project.packs[name].settings,
            database=_LateDatabase(context, name),
            clock=project.clock,
            log=logging.getLogger(f"pack.{name}"),
            folder=project.loaded.root,
        )
    return kept[name]


class _LateDatabase:
    """The pack's door to the database, opened when a command first goes through it: not every command needs one."""

    def __init__(self, context: typer.Context, name: str) -> None:
        self._context, self._name = context, name
        self._opened: PackDatabase | None = None

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run *work* in one durable transaction."""
        return self._door().write(work)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run *work* on a connection for reading."""
        return self._door().read(work)

    async def awrite(self, work: Callable[[Connection], T]) -> T:
        """`write`, on a thread."""
        return await self._door().awrite(work)

    async def aread(self, work: Callable[[Connection], T]) -> T:
        """`read`, on a thread."""
        return await self._door().aread(work)

    def _door(self) -> PackDatabase:
        from mainspring.services.packs import PackDoor, make_tables

        if self._opened is None:
            database = open_existing(self._context).database
            make_tables(database, project_of(self._context).packs[self._name].pack)
            self._opened = PackDoor(database)
        return self._opened
