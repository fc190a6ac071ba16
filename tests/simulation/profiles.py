"""What a seed decides: how much goes wrong, of which kind, and at what time of the world it happens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from tests.simulation.world import Faults

CLOCKS_CHANGE: Final = (
    datetime(2026, 3, 29, 0, 58, tzinfo=UTC),  # Berlin and London, forward at 01:00 UTC
    datetime(2026, 10, 25, 0, 58, tzinfo=UTC),  # and back
    datetime(2026, 4, 4, 14, 58, tzinfo=UTC),  # Lord Howe, back by half an hour at 15:00 UTC
)
NOON: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Profile:
    """How a world is treated while its faults last; what has a mean happens about that many seconds apart."""

    faults: Faults
    kill_every: float = 0.0
    restart_every: float = 0.0
    """A polite stop, with drain, and a new process."""
    freeze_every: float = 0.0
    """A process stands still, sometimes beyond its lease, and goes on."""
    outage_every: float = 0.0
    step_every: float = 0.0
    """A wall clock is set, forward or back."""
    reboot_every: float = 0.0
    edits: bool = True
    """People edit, pause and resume schedules; not together with clocks that differ much, which nobody could judge."""
    judge_recovery: bool = False
    """Nothing but death delays what the dead left: the time of recovery is judged."""


_TALK: Final = {"hint_lost": 0.1, "hint_doubled": 0.1, "hint_late": 0.1}

PROFILES: Final[dict[str, Profile]] = {
    "calm": Profile(Faults(switch=0.05)),
    "crashes": Profile(Faults(crash=0.0015), kill_every=25, judge_recovery=True),
    "errors": Profile(Faults(error=0.01, lost_reply=0.04, repeat=0.04)),
    "frozen": Profile(Faults(switch=0.05, slow=0.0005, freeze=0.03), freeze_every=20),
    "messages": Profile(Faults(crash=0.0005, hint_lost=0.6, hint_doubled=0.3, hint_late=0.5), restart_every=20),
    "clocks": Profile(Faults(crash=0.0005, **_TALK), step_every=10, edits=False),
    "outages": Profile(
        Faults(error=0.002, lost_reply=0.01, slow=0.001), outage_every=30, kill_every=40, reboot_every=90
    ),
    "everything": Profile(
        Faults(crash=0.001, error=0.004, lost_reply=0.02, repeat=0.02, slow=0.0005, freeze=0.002, **_TALK),
        kill_every=40, restart_every=40, freeze_every=25, outage_every=60, reboot_every=150,
    ),
}  # fmt: skip


def profile_of(seed: int) -> tuple[str, Profile]:
    """Return the profile that *seed* chooses: eight seeds in a row try them all."""
    name = list(PROFILES)[seed % len(PROFILES)]
    return name, PROFILES[name]
