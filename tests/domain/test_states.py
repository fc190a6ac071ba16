"""The table of a run's life is complete, and what has ended stays ended."""

from __future__ import annotations

import itertools

import pytest

from mainspring.domain.runs import CHARGED, STATE_AFTER, Ended
from mainspring.domain.states import FINAL, TRANSITIONS, UNFINISHED, Event, InvalidTransition, RunState, next_state
from mainspring.errors import Conflict

EVENT_OF = {
    Ended.SUCCEEDED: Event.SUCCEED,
    Ended.FAILED: Event.FAIL,
    Ended.RETRIED: Event.RETRY,
    Ended.SNOOZED: Event.SNOOZE,
    Ended.HELD: Event.HOLD,
    Ended.INTERRUPTED: Event.INTERRUPT,
    Ended.RETURNED: Event.SNOOZE,
    Ended.LOST: Event.LOSE,
    Ended.CANCELLED: Event.CANCEL,
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(RunState, Event)))
def test_every_event_either_leads_somewhere_or_is_refused_in_words(state: RunState, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
        return
    with pytest.raises(InvalidTransition) as caught:
        next_state(state, event)
    assert str(caught.value) == f"a run that is {state} cannot {event.replace('_', ' ')}"
    assert (caught.value.state, caught.value.event) == (state, event)
    assert isinstance(caught.value, Conflict)


def test_the_table_says_exactly_this() -> None:
    words = {(str(state), str(event)): str(after) for (state, event), after in TRANSITIONS.items()}
    assert words == {
        ("scheduled", "come_due"): "ready",
        ("scheduled", "hold"): "held",
        ("scheduled", "cancel"): "cancelled",
        ("waiting", "release"): "ready",
        ("waiting", "cancel"): "cancelled",
        ("held", "release"): "ready",
        ("held", "cancel"): "cancelled",
        ("held", "postpone"): "scheduled",
        ("ready", "claim"): "running",
        ("ready", "hold"): "held",
        ("ready", "cancel"): "cancelled",
        ("ready", "postpone"): "scheduled",
        ("running", "succeed"): "succeeded",
        ("running", "retry"): "scheduled",
        ("running", "snooze"): "scheduled",
        ("running", "hold"): "held",
        ("running", "interrupt"): "ready",
        ("running", "lose"): "ready",
        ("running", "fail"): "failed",
        ("running", "cancel"): "cancelled",
        ("failed", "reopen"): "ready",
        ("cancelled", "put_back"): "waiting",
    }


def test_what_has_ended_stays_ended_unless_a_failed_run_is_opened_again_with_what_it_stopped() -> None:
    assert {str(state) for state in FINAL} == {"succeeded", "failed", "cancelled"}
    leaving = [(state, event) for state, event in TRANSITIONS if state in FINAL]
    assert leaving == [(RunState.FAILED, Event.REOPEN), (RunState.CANCELLED, Event.PUT_BACK)]


def test_every_state_is_final_or_unfinished_and_every_event_is_used() -> None:
    assert set(RunState) == FINAL | UNFINISHED
    assert not FINAL & UNFINISHED
    assert {event for _, event in TRANSITIONS} == set(Event)
    reachable = {RunState.SCHEDULED, RunState.WAITING, RunState.READY} | set(TRANSITIONS.values())
    assert reachable == set(RunState)


def test_every_unfinished_state_can_be_cancelled_and_has_a_way_to_an_end() -> None:
    for state in UNFINISHED:
        assert next_state(state, Event.CANCEL) is RunState.CANCELLED


def test_only_a_claim_makes_a_run_running() -> None:
    assert [key for key, after in TRANSITIONS.items() if after is RunState.RUNNING] == [(RunState.READY, Event.CLAIM)]


@pytest.mark.parametrize("ended", list(Ended))
def test_the_end_of_an_attempt_leads_where_the_table_says(ended: Ended) -> None:
    assert STATE_AFTER[ended] is next_state(RunState.RUNNING, EVENT_OF[ended])


def test_only_successes_failures_and_retries_are_charged() -> None:
    assert {str(ended) for ended in CHARGED} == {"succeeded", "failed", "retried"}
