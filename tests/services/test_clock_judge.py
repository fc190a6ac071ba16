"""Whatever the clocks do, the wall clock is believed only when the rules say so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.services.clock_judge import (
    LEEWAY,
    MOST_HEALED,
    TICKS,
    Anchor,
    Knowledge,
    Sight,
    confirmed,
    judge,
    surely,
)
from tests.store.arrange import HOUR, NOON, SECOND

DAY = timedelta(days=1)
STEPS = (timedelta(0), 30 * SECOND, 61 * SECOND, HOUR, 23 * HOUR, 25 * HOUR, 365 * DAY)
steps = st.lists(
    st.tuples(st.sampled_from([*STEPS, *(-step for step in STEPS)]), st.sampled_from([0.2, 1.0, 3_600.0])), max_size=40
)


@dataclass(frozen=True)
class Look:
    """A look: how far the wall clock was off, and whether it was believed."""

    off: timedelta
    monotonic: float
    trusted: bool


def _looks(moves: list[tuple[timedelta, float]], *, server: bool) -> list[Look]:
    """Look after each move of the wall clock and of time; the server's clock, where there is one, is right."""
    known, off, monotonic = Knowledge(), timedelta(0), 100.0
    done = []
    for by, seconds in [(timedelta(0), 1.0), *moves]:
        off, monotonic = off + by, monotonic + seconds
        right = NOON + timedelta(seconds=monotonic)
        known = judge(known, Sight(right + off, monotonic, right if server else None))
        done.append(Look(off, monotonic, known.doubt is None))
    return done


@given(steps)
@settings(deadline=None)
def test_with_a_right_server_no_time_is_believed_that_is_a_minute_off(moves: list[tuple[timedelta, float]]) -> None:
    assert all(abs(look.off) <= LEEWAY for look in _looks(moves, server=True) if look.trusted)


@given(steps)
@settings(deadline=None)
def test_without_a_server_no_jump_of_more_than_a_day_is_ever_believed(moves: list[tuple[timedelta, float]]) -> None:
    furthest = timedelta(0)
    for look in _looks(moves, server=False):
        if look.trusted:
            assert look.off - furthest <= MOST_HEALED
            furthest = max(furthest, look.off)


@given(steps, st.booleans())
@settings(deadline=None)
def test_no_jump_ahead_is_believed_before_three_ticks_without_another(
    moves: list[tuple[timedelta, float]], server: bool
) -> None:
    looks = _looks(moves, server=server)
    for place in range(1, len(looks)):
        if looks[place].off - looks[place - 1].off <= LEEWAY:
            continue
        jumped_at = looks[place].monotonic
        soon = [look for look in looks[place:] if look.monotonic < jumped_at + TICKS - 1e-6]
        assert not any(look.trusted for look in soon)
        assert not any(look.trusted for look in looks[place : place + TICKS])


@given(steps)
@settings(deadline=None)
def test_what_has_surely_come_is_never_ahead_of_the_furthest_time_believed(
    moves: list[tuple[timedelta, float]],
) -> None:
    known, off, monotonic, furthest = Knowledge(), timedelta(0), 100.0, timedelta(0)
    for by, seconds in [(timedelta(0), 1.0), *moves]:
        off, monotonic = off + by, monotonic + seconds
        right = NOON + timedelta(seconds=monotonic)
        sight = Sight(right + off, monotonic)
        known = judge(known, sight)
        if known.doubt is None:
            furthest = max(furthest, off)
        assert surely(known, sight) <= right + furthest + LEEWAY


@given(steps)
@settings(deadline=None)
def test_a_person_s_word_ends_every_doubt_about_the_time_that_was_meant(moves: list[tuple[timedelta, float]]) -> None:
    known, off, monotonic = Knowledge(), timedelta(0), 100.0
    for by, seconds in [(timedelta(0), 1.0), *moves]:
        off, monotonic = off + by, monotonic + seconds
        known = judge(known, Sight(NOON + timedelta(seconds=monotonic) + off, monotonic))
    sight = Sight(NOON + timedelta(seconds=monotonic) + off, monotonic)
    anchor = Anchor(sight.booted_at, timedelta(0), sight.wall, "ann")
    assert confirmed(known, anchor, sight).doubt is None
    later = replace(sight, wall=sight.wall + 25 * HOUR)
    doubting = judge(confirmed(known, anchor, sight), later)
    assert doubting.doubt is not None
    assert confirmed(doubting, anchor, later).doubt is not None
