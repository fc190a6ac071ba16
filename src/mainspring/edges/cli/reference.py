"""Make the reference of all commands from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer

from mainspring.edges.cli.failures import MEANINGS
from mainspring.edges.cli.root import app

REFERENCE_FILE: Final = "docs/reference/cli.md"
_INTRODUCTION: Final = """\
# Commands

Every command of `mainspring`. The global options may stand before or after the command.

- A command reads `./mainspring.yaml`, the file that `MAINSPRING_CONFIG` names, or `--config PATH`. With
  `--database URL` and no file at all, commands that need nothing but the database work too.
- `--json` prints one JSON document with keys that stay; instants are ISO 8601 in UTC, durations are seconds.
- On a terminal tables fit its width, and ids of runs are shown by their last 12 characters; into a pipe everything is
  printed whole, without colours. Commands take a whole id, or its first or last characters where only one run has them
  (at least 6; ends are looked for among the newest 100,000 runs). Runs made at one moment have ids that begin alike.
- Times are in the zone of whoever reads (`TZ`, else that of the machine), fire times in the zone of their schedule.
- An error is one line on standard error that begins with `error:`, or one for each problem of a configuration.
  `--debug` or `MAINSPRING_DEBUG=1` adds where it arose.
- Every command that changes something writes who did it (the user of the machine) into the audit.
- `mainspring --install-completion` completes commands, options, tasks and schedules in bash, zsh, fish and PowerShell.
- A pack that the configuration names may add commands: `mainspring PACK --help` lists them.
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with its path, such as `runs list`, in the order of the help."""
    root: Any = typer.main.get_command(app)
    yield from _below(root, "")


def reference() -> str:
    """Return the reference in Markdown."""
    root: Any = typer.main.get_command(app)
    parts = [_INTRODUCTION, "## Exit codes\n", "| code | meaning |", "|---|---|"]
    parts += [f"| {int(code)} | {_cell(meaning)} |" for code, meaning in MEANINGS.items()]
    parts += ["\n## Global options\n", *_table(root)]
    for path, command in commands():
        parts += [f"\n## `mainspring {path}`\n", inspect.cleandoc(command.help or ""), "", *_usage(path, command)]
        parts += _table(command)
    return "\n".join(parts).rstrip() + "\n"


def _below(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        here = f"{path} {name}".strip()
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield here, command
            yield from _below(command, here)
        else:
            yield here, command


def _usage(path: str, command: Any) -> Iterator[str]:
    arguments = [_name(param) for param in command.params if param.param_type_name == "argument"]
    options = ["[OPTIONS]"] if any(param.param_type_name == "option" for param in command.params) else []
    yield f"```sh\n{' '.join(['mainspring', path, *options, *arguments])}\n```\n"


def _table(command: Any) -> Iterator[str]:
    shown = [param for param in command.params if not getattr(param, "hidden", False)]
    if not shown:
        return
    yield "| argument or option | default | meaning |"
    yield "|---|---|---|"
    for param in shown:
        yield f"| {_written(param)} | {_default(param)} | {_cell(param.help or '')} |"


def _written(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{_name(param)}`"
    names = ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
    takes = "" if param.is_flag else f" {param.metavar or param.name.upper()}"
    return names + takes + (" (may be repeated)" if param.multiple else "")


def _name(param: Any) -> str:
    return str(param.metavar or param.name.upper())


def _default(param: Any) -> str:
    if param.required:
        return "required"
    value = param.default
    if value is None or value is False or value == "" or callable(value) or param.param_type_name == "argument":
        return ""
    return f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def publish(root: Path) -> None:
    """Write the reference into the documentation of the project at *root*."""
    page = root / REFERENCE_FILE
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    publish(Path.cwd())
