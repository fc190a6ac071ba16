"""Options that many commands share."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document; times are ISO 8601 in UTC.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; shown to others and kept in the audit.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end; exit code 1 unless it succeeds.")]
Timeout = Annotated[str | None, typer.Option("--timeout", help="With --wait: stop waiting after this long (90s, 5m).")]
_RUN = typer.Argument(metavar="RUN", help="Id of a run, or its first or last characters: at least 6, as in lists.")
RunIdArgument = Annotated[str, _RUN]
RunOrNone = Annotated[str | None, _RUN]
