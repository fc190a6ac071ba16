"""Put the commands together, and answer every error the same way."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from mainspring.edges.cli import (
    accounts,
    artifacts,
    cache,
    clock,
    db,
    dead,
    doctor,
    enqueue,
    forecast,
    init,
    installation,
    locks,
    packs,
    processes,
    queues,
    resources,
    runs,
    schedules,
    status,
    validate,
    workers,
)
from mainspring.edges.cli.failures import ExitCode, complain, exit_code, report, report_bug, show_place
from mainspring.edges.cli.project import GlobalOptions, options_of, redact
from mainspring.edges.cli.usage import in_our_words
from mainspring.errors import MainspringError
from mainspring.version import VERSION

DEBUG: Final = "MAINSPRING_DEBUG"
_EPILOG: Final = "Packs that the configuration names add commands: `mainspring PACK --help`."
_ANYWHERE: Final = ("--config", "--database")
"""Global options with a value that may also stand after the command."""


class Root(TyperGroup):
    """The command `mainspring`: global options anywhere, packs' commands, one message for each error."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command in *args* and exit with the code that its end means."""
        words = global_options_first(sys.argv[1:] if args is None else args)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError):
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        try:
            code = super().main(words, prog_name or "mainspring", complete_var, standalone_mode=False, **extra)
        except typer.TyperException as error:
            _refuse(error)
        except typer.Abort:
            sys.exit(ExitCode.INTERRUPTED)
        except MainspringError as error:  # raised where the command closed what it had opened
            report(error, str)
            sys.exit(exit_code(error))
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _write_no_more()
        sys.exit(code if isinstance(code, int) else ExitCode.OK)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named; answer its errors."""
        try:
            return super().invoke(ctx)
        except (typer.TyperException, typer.Abort, typer.Exit):
            raise
        except BrokenPipeError:
            _write_no_more()
            raise typer.Exit(ExitCode.OK) from None
        except Exception as error:  # the edge of the program: nothing above it could answer
            raise typer.Exit(_answer(ctx, error)) from None

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of this name: one of ours, or that of a pack which the configuration names."""
        known = super().get_command(ctx, cmd_name)
        if known is not None or ctx.resilient_parsing or cmd_name.startswith("-"):
            return known
        _keep_options(ctx, **{name: ctx.params.get(name) for name in ("config", "database", "debug")})
        return packs.find_commands(ctx, cmd_name)


def global_options_first(words: Sequence[str]) -> list[str]:
    """Return *words* with the global options in front, wherever they stood before a `--`."""
    front: list[str] = []
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            return [*front, *rest, word, *left]
        if word in _ANYWHERE and left:
            front += [word, left.pop(0)]
        elif word == "--debug" or word.startswith(tuple(f"{name}=" for name in _ANYWHERE)):
            front.append(word)
        else:
            rest.append(word)
    return front + rest


def _write_no_more() -> None:
    """Let go of standard output: whoever read it has enough, and Python would complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _answer(context: typer.Context, error: Exception) -> ExitCode:
    """Say *error* in a line, or in one for each problem of a configuration; return the exit code it means."""
    hide = partial(redact, context)
    if options_of(context).debug or os.environ.get(DEBUG):
        show_place(error, hide)
    if isinstance(error, MainspringError):
        report(error, hide)
        return exit_code(error)
    report_bug(error, hide)
    return ExitCode.BUG


def _refuse(error: typer.TyperException) -> NoReturn:
    said = error.format_message()
    if said:
        complain(in_our_words(error, said))
    sys.exit(error.exit_code)


def _keep_options(
    context: typer.Context, config: Path | None = None, database: str | None = None, debug: bool = False
) -> None:
    context.obj = GlobalOptions(config, database, debug)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"mainspring {VERSION}")
        raise typer.Exit


app = typer.Typer(
    name="mainspring",
    cls=Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)


@app.callback()
def mainspring(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="PATH", help="The configuration; ./mainspring.yaml unless given.")
    ] = None,
    database: Annotated[
        str | None, typer.Option("--database", metavar="URL", help="The database, whatever the configuration says.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error arose.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run Python functions on time, in order of priority, and say why each ran or did not."""
    _keep_options(context, config, database, debug)


init.register(app)
processes.register(app)
validate.register(app)
enqueue.register(app)
runs.register(app)
dead.register(app)
schedules.register(app)
forecast.register(app)
queues.register(app)
resources.register(app)
workers.register(app)
locks.register(app)
artifacts.register(app)
cache.register(app)
status.register(app)
installation.register(app)
accounts.register(app)
clock.register(app)
db.register(app)
doctor.register(app)
