"""Keep the faults that the model has found in the product, each as the shortest list of steps that shows it."""

from __future__ import annotations

from typing import Any, Final

Steps = list[tuple[str, dict[str, Any]]]

MARK: Final = "the mark of a schedule goes back with the wall clock"
END: Final = "a schedule is deleted before the last fire time that it has decided"
DELETE: Final = "a schedule whose deletion was confirmed late is said to be unknown"
RETRY: Final = "a run whose retry by hand was confirmed late is said not to have failed"
QUEUE: Final = "a queue whose pause was confirmed late is said to be paused already"
REASON: Final = "a run that was retried by hand remembers who asked to cancel it before"

FOUND: Final[dict[str, Steps]] = {
    MARK: [
        ("put_schedule", {"name": 0, "rule": 0}),
        ("step_wall", {"by": 1}),
        ("put_schedule", {"name": 0, "rule": 1}),
    ],
    END: [
        ("put_schedule", {"name": 0, "rule": 0}),
        ("step_wall", {"by": 1}),
        ("delete_schedule", {"name": 0}),
    ],
    DELETE: [
        ("put_schedule", {"name": 0, "rule": 0}),
        ("delete_schedule", {"name": 0, "lost": True}),
    ],
    RETRY: [
        ("submit", {}),
        ("claim", {"session": 0}),
        ("finish", {"session": 0, "ends": [(0, 1)]}),
        ("retry", {"run": 0, "lost": True}),
    ],
    REASON: [
        ("submit", {}),
        ("claim", {"session": 0}),
        ("cancel", {"run": 0}),
        ("finish", {"session": 0, "ends": [(0, 1)]}),
        ("retry", {"run": 0}),
        ("claim", {"session": 0}),
        ("cancel", {"run": 0, "who": 1}),
        ("finish", {"session": 0, "ends": [(0, 4)]}),
    ],
    QUEUE: [("pause_queue", {"queue": 0, "lost": True})],
}

OPEN: Final[frozenset[str]] = frozenset()
"""Those that are not mended yet: the machine keeps out of their way, and a test fails as soon as one is mended."""
