"""The tasks of this project: functions that Mainspring runs."""

import asyncio
import csv
import io
from datetime import timedelta

from mainspring import Backoff, Context, task


@task
async def greet(name: str, ctx: Context) -> str:
    """Greet somebody; an `async def` task shares the worker's event loop with others."""
    ctx.log.info("about to greet %s", name)
    await asyncio.sleep(0.1)
    return f"Hello, {name}!"


@task(max_retries=3, backoff=Backoff(base=timedelta(seconds=2)))
def report(ctx: Context, rows: int = 50, fail_first: bool = False) -> dict[str, object]:
    """Write a table of squares; a `def` task runs on a thread of its own.

    With `fail_first` the first attempt fails, so that you can watch a retry: it comes two seconds later.
    """
    if fail_first and ctx.attempt == 1:
        raise ConnectionError("the first attempt fails because it was asked to")
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["number", "square"])
    for number in range(1, rows + 1):
        writer.writerow([number, number * number])
        ctx.progress(number, rows, "writing")
    ctx.artifact("squares.csv", table.getvalue(), "text/csv")
    print(f"wrote {rows} rows")  # what a task prints is in its log: mainspring runs logs RUN
    return {"rows": rows, "largest": rows * rows}
