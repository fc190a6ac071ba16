"""The command line: parse, call one service, render."""

from __future__ import annotations


def main() -> None:
    """Run the command that stands on the command line, and exit with its code."""
    from mainspring.edges.cli.root import app

    app(prog_name="mainspring")
