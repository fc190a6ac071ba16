"""What processes write to their own log."""

from __future__ import annotations

import logging

from mainspring.edges.cli.processes import RedactingFormatter


def test_a_secret_is_hidden_in_the_log_of_a_process_its_traceback_included() -> None:
    formatter = RedactingFormatter(lambda text: text.replace("hunter2", "•••"))
    logger, error = logging.getLogger("task.t"), ValueError("https://me:hunter2@host.example/")
    record = logger.makeRecord(
        "task.t", logging.ERROR, __file__, 1, "password %s", ("hunter2",), (ValueError, error, None)
    )
    said = formatter.format(record)
    assert "hunter2" not in said
    assert "password •••" in said
    assert "ValueError: https://me:•••@host.example/" in said
