"""What runs share is used as much as it may be, never more, and nothing waits for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.domain.rate import RateInvalid
from mainspring.domain.resource_limits import LimitsInvalid
from mainspring.domain.resources import (
    UNBOUNDED,
    Admission,
    BreakerRule,
    Rate,
    Report,
    ResourceLimits,
    ResourceState,
    Standing,
    admit,
    charged,
    look,
    next_at,
    releasable,
    report,
    trip,
)
from mainspring.errors import InvalidInput
from tests.domain.shared_service import START, Down, Sliding, simulate

SECOND = timedelta(seconds=1)
FRESH = ResourceState.fresh()
BREAKER = BreakerRule(failures=5, cool_down=5 * SECOND)
GUARDED = ResourceLimits(breaker=BREAKER, concurrency=10)
NOTHING = ResourceLimits()


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def told(limits: ResourceLimits, state: ResourceState, what: Report, seconds: float, **more: Any) -> ResourceState:
    return report("brapi", limits, state, what, at(seconds), **more)


def asked(limits: ResourceLimits, state: ResourceState, in_use: int, seconds: float) -> Admission:
    return admit("brapi", limits, state, in_use, at(seconds))


def failed(limits: ResourceLimits, times: int, seconds: float = 0) -> ResourceState:
    state = FRESH
    for _ in range(times):
        state = told(limits, state, Report.FAILED, seconds)
    return state


# --- Rates and limits as text


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("5/s", Rate(5, SECOND)),
        (" 100 / min ", Rate(100, 60 * SECOND)),
        ("1000/h", Rate(1000, 3600 * SECOND)),
        ("5/s burst 10", Rate(5, SECOND, 10)),
        ("3/10s", Rate(3, 10 * SECOND)),
        ("2 per day", Rate(2, timedelta(days=1))),
    ],
)
def test_a_rate_is_read_and_written(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate
    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5", "write a number and a period"),
        (5, "write a number and a period"),
        ("0/s", "at least one per period"),
        ("5/fortnight", "'fortnight' is no period"),
        ("5/s burst 0", "burst 0 must be at least 1"),
        ("5/40d", "not between 1ms and 31 days"),
        ("9999999/s", "more than a million per second"),
    ],
)
def test_what_is_no_rate_is_refused_with_the_way_out(text: object, said: str) -> None:
    with pytest.raises(RateInvalid, match=said):
        Rate.parse(text)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"concurency": 4}, "did you mean 'concurrency'"),
        ({"concurrency": 0}, "concurrency 0 is not a whole number from 1"),
        ({"concurrency": True}, "concurrency True is not a whole number"),
        ({"breaker": {"ratio": 1.5}}, "ratio 1.5 is no share"),
        ({"breaker": {"cool_down": "0s"}}, "cool_down 0s is not between 1s and 1d"),
        ({"breaker": {"cool_down": 30}}, "has no unit"),
        ({"breaker": 5}, "breaker 5 is no set of names"),
        ([], "is no set of names"),
    ],
)
def test_limits_that_cannot_be_used_are_refused(body: object, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        ResourceLimits.from_mapping(body)


def test_a_breaker_needs_a_cause() -> None:
    with pytest.raises(LimitsInvalid, match="say after how many failures"):
        BreakerRule(failures=None)


def test_a_ratio_alone_asks_for_no_failures_in_a_row() -> None:
    assert BreakerRule.from_mapping({"ratio": 0.5}).failures is None
    assert BreakerRule.from_mapping({"ratio": 0.5, "failures": 3}).failures == 3


# --- Concurrency and rate


def test_no_more_than_the_concurrency_is_in_use() -> None:
    limits = ResourceLimits(concurrency=4)
    assert asked(limits, FRESH, 3, 0).admitted
    refused = asked(limits, FRESH, 4, 0)
    assert not refused.admitted
    assert (refused.until, refused.reason) == (None, "held by brapi (4 of 4 in use)")
    assert releasable(limits, FRESH, 1, at(0)) == 3


def test_a_limit_of_concurrency_alone_keeps_no_state() -> None:
    limits = ResourceLimits(concurrency=4)
    assert asked(limits, FRESH, 0, 0).state is FRESH
    guarded = ResourceLimits(concurrency=4, rate=Rate(5, SECOND), breaker=BREAKER)
    assert told(guarded, FRESH, Report.SUCCEEDED, 0) is FRESH


def test_a_rate_lets_one_in_at_a_time_and_says_when_the_next() -> None:
    limits = ResourceLimits(rate=Rate(5, SECOND))
    first = asked(limits, FRESH, 0, 0)
    assert first.admitted
    second = asked(limits, first.state, 0, 0.1)
    assert not second.admitted
    assert second.until == at(0.185)
    assert second.reason == "held by brapi until 09:00:00 UTC (5/s)"
    assert not asked(limits, first.state, 0, 0.184999).admitted
    assert asked(limits, first.state, 0, 0.185).admitted


def test_a_burst_comes_at_once_and_is_earned_back() -> None:
    limits, state = ResourceLimits(rate=Rate(5, SECOND, burst=3)), FRESH
    assert releasable(limits, FRESH, 0, at(0)) == 3
    for _ in range(3):
        state = asked(limits, state, 0, 0).state
    assert releasable(limits, state, 0, at(0)) == 0
    assert releasable(limits, state, 0, at(0.2)) == 1
    assert releasable(limits, state, 0, at(60)) == 3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("stalls", [0.0, 0.05])
def test_five_per_second_never_puts_a_sixth_into_a_second_and_keeps_its_rate(stalls: float, seed: int) -> None:
    service = Sliding()
    seen = simulate(ResourceLimits(rate=Rate(5, SECOND)), service.ask, runs=500, seed=seed, stalls=stalls)
    assert len(seen.fine) == 500
    assert seen.refused == []
    assert 500 / seen.fine[-1] >= 0.9 * 5


@given(
    n=st.integers(1, 200),
    per=st.sampled_from([SECOND, 10 * SECOND, timedelta(minutes=1), timedelta(hours=1)]),
    burst=st.integers(1, 20),
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=80),
)
def test_no_stretch_of_the_period_holds_more_than_the_rate_and_its_burst(
    n: int, per: timedelta, burst: int, gaps: list[float]
) -> None:
    limits, state, now = ResourceLimits(rate=Rate(n, per, burst)), FRESH, START
    taken: list[datetime] = []
    for gap in gaps:
        now += gap * per / n
        while (decision := admit("r", limits, state, 0, now)).admitted:
            state = decision.state
            taken.append(now)
    for first in taken:
        assert sum(first <= one < first + per for one in taken) <= n + burst - 1


# --- The breaker


def test_the_breaker_opens_after_failures_in_a_row_and_says_so() -> None:
    state = failed(GUARDED, 4)
    assert asked(GUARDED, state, 0, 0).admitted
    state = told(GUARDED, state, Report.FAILED, 0)
    refused = asked(GUARDED, state, 0, 1)
    assert not refused.admitted
    assert refused.until == at(5)
    assert refused.reason == "held by brapi until 09:00:05 UTC (its breaker is open: 5 failures in a row)"


def test_a_success_in_between_starts_the_count_again() -> None:
    state = told(GUARDED, failed(GUARDED, 4), Report.SUCCEEDED, 0)
    for _ in range(4):
        state = told(GUARDED, state, Report.FAILED, 1)
    assert asked(GUARDED, state, 0, 1).admitted


def test_the_breaker_opens_at_a_share_of_failures_within_its_window_only() -> None:
    limits = ResourceLimits(concurrency=9, breaker=BreakerRule(None, 0.5, 10 * SECOND, 4, 5 * SECOND))
    state = FRESH
    for second, what in enumerate([Report.FAILED, Report.SUCCEEDED, Report.FAILED]):
        state = told(limits, state, what, second)
    assert asked(limits, state, 0, 3).admitted, "three are fewer than the minimum"
    aged = told(limits, state, Report.FAILED, 30)
    assert asked(limits, aged, 0, 30).admitted, "what is older than the window does not count"
    opened = told(limits, state, Report.FAILED, 3)
    assert asked(limits, opened, 0, 3).reason.endswith("(its breaker is open: 3 of the last 4 failed)")


def test_after_the_cool_down_exactly_one_probe_is_let_in() -> None:
    state = failed(GUARDED, 5)
    assert not asked(GUARDED, state, 0, 4.999).admitted
    probe = asked(GUARDED, state, 0, 5)
    assert probe.admitted
    refused = asked(GUARDED, probe.state, 1, 6)
    assert (refused.admitted, refused.reason) == (False, "held by brapi (its breaker waits for a probe)")


def test_attempts_from_before_do_not_take_the_place_of_the_probe() -> None:
    assert asked(GUARDED, failed(GUARDED, 5), 3, 5).admitted


def test_successes_let_one_two_four_eight_through_until_it_is_closed() -> None:
    state, seen = failed(GUARDED, 5), []
    for success in range(16):
        seen.append(releasable(GUARDED, state, 0, at(5)))
        state = asked(GUARDED, state, 0, 5).state
        state = told(GUARDED, state, Report.SUCCEEDED, 5 + success / 100, started_at=at(5))
    assert seen == [1, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8, 10]
    assert not state.tripped


def test_a_failed_probe_opens_it_again_and_is_not_charged() -> None:
    state = asked(GUARDED, failed(GUARDED, 5), 0, 5).state
    assert not charged(GUARDED, state, Report.FAILED, at(6), started_at=at(5))
    state = told(GUARDED, state, Report.FAILED, 6, started_at=at(5))
    assert asked(GUARDED, state, 0, 10.9).until == at(11)
    assert asked(GUARDED, state, 0, 11).admitted


def test_a_failure_on_the_ramp_opens_it_again() -> None:
    state = asked(GUARDED, failed(GUARDED, 5), 0, 5).state
    state = told(GUARDED, state, Report.SUCCEEDED, 6, started_at=at(5))
    state = asked(GUARDED, state, 0, 6).state
    state = told(GUARDED, state, Report.FAILED, 7, started_at=at(6))
    assert asked(GUARDED, state, 0, 7).until == at(12)


@pytest.mark.parametrize("vanished", [{"started_at": at(5)}, {}])
def test_a_probe_that_vanishes_frees_its_place(vanished: dict[str, Any]) -> None:
    state = asked(GUARDED, failed(GUARDED, 5), 0, 5).state
    state = told(GUARDED, state, Report.NEUTRAL, 6, **vanished)
    assert asked(GUARDED, state, 0, 6).admitted


def test_a_probe_of_which_nobody_told_frees_its_place_when_nothing_is_in_use() -> None:
    state = asked(GUARDED, failed(GUARDED, 5), 0, 5).state
    assert asked(GUARDED, state, 0, 6).admitted


def test_attempts_that_started_before_it_opened_change_nothing_and_are_not_charged() -> None:
    state = failed(GUARDED, 5, 10)
    for second in (11, 16):  # while it is open, and while it waits for a probe
        for what in (Report.FAILED, Report.NEUTRAL):
            assert told(GUARDED, state, what, second, started_at=at(9)) is state
        late = told(GUARDED, state, Report.SUCCEEDED, second, started_at=at(9))
        assert (late.open_until, late.ramp, late.tripped) == (state.open_until, 0, True)
        assert not charged(GUARDED, state, Report.FAILED, at(second), started_at=at(9))


def test_the_failure_that_opens_it_is_charged_and_other_ends_are_not_its_concern() -> None:
    assert charged(GUARDED, failed(GUARDED, 4), Report.FAILED, at(1), started_at=at(0))
    assert charged(GUARDED, failed(GUARDED, 5), Report.SUCCEEDED, at(1), started_at=at(0))
    assert charged(GUARDED, failed(GUARDED, 5), Report.NEUTRAL, at(1), started_at=at(0))
    assert not charged(NOTHING, FRESH, Report.REFUSED, at(1), started_at=at(0))


def test_a_breaker_opened_by_hand_stays_so_until_its_time_or_a_reset() -> None:
    forever = trip(FRESH, at(0), None, "their maintenance")
    refused = asked(GUARDED, forever, 0, 10**7)
    assert (refused.admitted, refused.until) == (False, None)
    assert refused.reason == "held by brapi (its breaker was opened by hand: their maintenance)"
    hour = trip(FRESH, at(0), at(3600), "their maintenance")
    assert asked(NOTHING, hour, 0, 3599).until == at(3600)
    resumed = asked(NOTHING, hour, 0, 3600)
    assert resumed.admitted
    assert not resumed.state.tripped


@pytest.mark.parametrize("seed", range(5))
def test_down_for_30_seconds_one_probe_a_cool_down_and_only_the_threshold_is_charged(seed: int) -> None:
    limits = ResourceLimits(breaker=BREAKER)
    seen = simulate(GUARDED, Down(0, 30).ask, runs=200, seed=seed)
    assert len(seen.fine) == 200
    assert len(seen.charged_at) == 5
    opened = max(seen.charged_at)
    probes = [when for when in seen.arrived if opened + 1 < when < 30]
    assert len(probes) == 5
    assert all(later - earlier >= 5 for earlier, later in pairwise(probes))
    assert seen.most_in_flight == 10
    assert len(simulate(limits, Down(0, 30).ask, runs=200, seed=seed).fine) == 200


# --- Refusals and learning


def test_a_pause_that_is_asked_for_is_kept_and_costs_no_try() -> None:
    state = told(NOTHING, FRESH, Report.REFUSED, 0, retry_after=300 * SECOND)
    refused = asked(NOTHING, state, 0, 1)
    assert (refused.admitted, refused.until) == (False, at(300))
    assert refused.reason == "held by brapi until 09:05:00 UTC (it asked for a pause)"
    assert asked(NOTHING, state, 0, 300).admitted


def test_a_refusal_without_a_pause_waits_longer_each_time_in_a_row_up_to_a_minute() -> None:
    limits, state, now, waits = ResourceLimits(rate=Rate(100, SECOND)), FRESH, 0.0, []
    for _ in range(8):
        state = told(limits, state, Report.REFUSED, now)
        until = asked(limits, state, 0, now).until
        assert until is not None
        waits.append((until - at(now)).total_seconds())
        now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    state = told(limits, told(limits, state, Report.SUCCEEDED, now), Report.REFUSED, now)
    assert asked(limits, state, 0, now).until == at(now + 1)


def test_a_pause_is_never_longer_than_a_day() -> None:
    state = told(NOTHING, FRESH, Report.REFUSED, 0, retry_after=timedelta(days=900))
    assert asked(NOTHING, state, 0, 0).until == at(86_400)


def test_of_what_nothing_is_known_one_at_a_time_until_twenty_successes_then_one_more_each() -> None:
    state = FRESH
    for _ in range(20):
        assert releasable(NOTHING, state, 0, at(0)) == 1
        state = told(NOTHING, state, Report.SUCCEEDED, 0.1, started_at=at(0))
    assert releasable(NOTHING, state, 0, at(0)) == 2
    state = told(NOTHING, state, Report.SUCCEEDED, 0.1, started_at=at(0))
    assert releasable(NOTHING, state, 0, at(0)) == 3
    for _ in range(1_100):
        state = told(NOTHING, state, Report.SUCCEEDED, 0.1, started_at=at(0))
    assert releasable(NOTHING, state, 0, at(0)) == UNBOUNDED


def test_long_work_proves_sooner_that_it_does_not_ask_too_often() -> None:
    state = told(NOTHING, FRESH, Report.SUCCEEDED, 60, started_at=at(0))
    assert releasable(NOTHING, state, 0, at(60)) == 2


def test_the_first_rate_is_what_got_through_over_all_the_time() -> None:
    state = FRESH
    for n in range(10):
        state = told(NOTHING, state, Report.SUCCEEDED, n / 10, started_at=at(n / 10))
    state = told(NOTHING, state, Report.REFUSED, 3, retry_after=7 * SECOND)
    assert state.pace == pytest.approx(1.0)


def test_refusals_of_attempts_under_way_teach_nothing_twice_but_may_lengthen_the_pause() -> None:
    first = told(NOTHING, FRESH, Report.REFUSED, 1, retry_after=7 * SECOND, started_at=at(0))
    second = told(NOTHING, first, Report.REFUSED, 2, retry_after=7 * SECOND, started_at=at(0.5))
    assert (second.pace, second.refusals) == (first.pace, 1)
    assert asked(NOTHING, second, 0, 3).until == at(9)


def test_a_pace_that_was_refused_steps_back_and_is_approached_slowly() -> None:
    state = replace(FRESH, at=at(0), pace=4.0, successes=10, grown_at=at(0), since=at(0))
    state = told(NOTHING, state, Report.REFUSED, 0, retry_after=SECOND)
    assert state.pace == pytest.approx(3.4)
    assert state.ceiling == 4.0
    now = 1.0
    for _ in range(20):
        now += 1 / 3.4
        state = told(NOTHING, state, Report.SUCCEEDED, now)
    assert state.pace == pytest.approx(3.434)


def test_a_pace_that_nobody_uses_does_not_grow() -> None:
    state = told(NOTHING, FRESH, Report.REFUSED, 0, retry_after=SECOND)
    for minute in range(1, 60):
        state = told(NOTHING, state, Report.SUCCEEDED, 60 * minute)
    assert state.pace == 1.0


@pytest.mark.parametrize("seed", range(12))
def test_undeclared_one_request_over_the_limit_per_pause_and_most_of_the_rate_after_a_minute(seed: int) -> None:
    seen = simulate(NOTHING, Sliding().ask, runs=10_000, seed=seed, seconds=180)
    assert seen.refused
    assert seen.charged_at == []
    assert all(later - earlier >= 7 for earlier, later in pairwise(seen.refused))
    assert seen.rate(60, 90) >= 0.6 * 5
    assert seen.rate(60, 180) >= 0.6 * 5


def test_a_declared_rate_learns_nothing() -> None:
    limits = ResourceLimits(rate=Rate(5, SECOND))
    state = told(limits, FRESH, Report.REFUSED, 0, retry_after=SECOND)
    assert state.pace is None


# --- Time that goes wrong, and states as text


def test_a_clock_set_back_does_not_hold_a_resource_for_the_time_it_lost() -> None:
    blocked = told(NOTHING, FRESH, Report.REFUSED, 0, retry_after=60 * SECOND)
    assert not asked(NOTHING, blocked, 0, -20).admitted, "clocks may differ a little"
    healed = asked(NOTHING, blocked, 0, -3600)
    assert healed.admitted
    limits = ResourceLimits(rate=Rate(1, timedelta(hours=1)))
    paced = asked(limits, FRESH, 0, 0).state
    again = asked(limits, paced, 0, -86_400)
    assert again.admitted
    assert asked(limits, again.state, 0, -86_399).until is not None
    open_ = failed(GUARDED, 5)
    probe = asked(GUARDED, open_, 0, -3600)
    assert probe.admitted
    closing = told(GUARDED, probe.state, Report.SUCCEEDED, -3590, started_at=at(-3600))
    assert releasable(GUARDED, closing, 0, at(-3590)) == 2


LIMITS = st.builds(
    ResourceLimits,
    concurrency=st.none() | st.integers(1, 8),
    rate=st.none() | st.builds(Rate, st.integers(1, 50), st.sampled_from([SECOND, 60 * SECOND]), st.integers(1, 5)),
    breaker=st.none()
    | st.builds(
        BreakerRule,
        failures=st.integers(1, 4),
        ratio=st.none() | st.floats(0.1, 1),
        minimum=st.integers(1, 5),
        cool_down=st.sampled_from([5 * SECOND, 30 * SECOND]),
    ),
)
STEPS = st.lists(
    st.tuples(st.sampled_from([None, *Report]), st.floats(0, 20), st.none() | st.floats(0, 600)), max_size=60
)


@settings(deadline=None)
@given(limits=LIMITS, steps=STEPS)
def test_whatever_happens_limits_hold_and_nothing_waits_for_ever(
    limits: ResourceLimits, steps: list[tuple[Report | None, float, float | None]]
) -> None:
    state, now = FRESH, START
    started: list[datetime] = []
    for what, gap, pause in steps:
        now += timedelta(seconds=gap)
        in_use = len(started)
        if what is None:
            decision = admit("r", limits, state, in_use, now)
            free = releasable(limits, state, in_use, now)
            assert decision.admitted == (free > 0)
            due = next_at(limits, state, in_use, now)
            assert (due == now) == decision.admitted or not decision.admitted
            if decision.admitted:
                assert limits.concurrency is None or in_use < limits.concurrency
                assert state.blocked_until is None or now >= state.blocked_until
                assert not state.tripped or state.open_until is None or now >= state.open_until
                started.append(now)
            else:
                assert decision.reason.startswith("held by r")
                assert decision.until is None or decision.until > now
            state = decision.state
        elif started:
            wait = None if pause is None else timedelta(seconds=pause)
            state = report("r", limits, state, what, now, retry_after=wait, started_at=started.pop(0))
        assert ResourceState.from_json(state.to_json()) == state
    # Everything in flight vanishes: time alone must now let one in, at the instant that was named.
    for one in started:
        state = report("r", limits, state, Report.NEUTRAL, now, started_at=one)
    for _ in range(4):
        due = next_at(limits, state, 0, now)
        assert due is not None, "with nothing in use it waits for nobody"
        assert due - now <= timedelta(days=2)
        now = due
        if admit("r", limits, state, 0, now).admitted:
            return
    raise AssertionError(f"still held at {now}: {state}")


@given(limits=LIMITS)
def test_limits_survive_being_text(limits: ResourceLimits) -> None:
    again = ResourceLimits.from_json(limits.to_json())
    assert again.to_json() == limits.to_json()
    assert (again.concurrency, again.rate) == (limits.concurrency, limits.rate)
    assert ResourceLimits.from_json("{}") == ResourceLimits.from_json(None) == NOTHING


def test_a_state_of_a_later_release_can_be_read() -> None:
    assert ResourceState.from_json('{"failures": 2, "mood": "fine"}') == ResourceState(failures=2)
    assert ResourceState.from_json("{}") == FRESH
    assert FRESH.to_json() == "{}"


def test_how_it_stands_is_one_word() -> None:
    limits = ResourceLimits(concurrency=1, rate=Rate(5, SECOND))
    assert look(limits, FRESH, 0, at(0)).standing is Standing.FREE
    assert look(limits, FRESH, 1, at(0)).standing is Standing.IN_USE
    assert look(limits, asked(limits, FRESH, 0, 0).state, 0, at(0)).standing is Standing.PACED
    assert look(GUARDED, failed(GUARDED, 5), 0, at(1)).standing is Standing.OPEN
    assert look(GUARDED, failed(GUARDED, 5), 0, at(6)).standing is Standing.RECOVERING
