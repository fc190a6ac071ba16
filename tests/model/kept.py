"""Keep, for each planted fault, steps that find it: so that each is found in moments, whatever is explored."""

from __future__ import annotations

from typing import Final

from tests.model.found import Steps

_SUCCEEDED, _FAILED, _RETRIED, _SNOOZED, _INTERRUPTED, _AGAIN = 0, 1, 2, 3, 4, 8
_MINUTE, _BEYOND_THE_LEASE = 6, 5
_BEN, _PUT = 1, 2

_CLAIMED: Final[Steps] = [("submit", {}), ("claim", {"session": 0})]
_LOST: Final[Steps] = [*_CLAIMED, ("pass_time", {"amount": _BEYOND_THE_LEASE}), ("rescue", {})]


def _end(how: int, *, late: bool = False) -> tuple[str, dict[str, object]]:
    return "finish", {"session": 0, "ends": [(0, how)], "late": late}


KEPT: Final[dict[str, Steps]] = {
    "an end is not fenced by its attempt": [
        *_CLAIMED, _end(_INTERRUPTED), ("claim", {"session": 0}), _end(_SUCCEEDED, late=True)],
    "an interrupted run loses its place": [*_CLAIMED, _end(_INTERRUPTED)],
    "a claim looks at the order of arrival alone": [
        ("submit", {"priority": 2}), ("submit", {"priority": 1}), ("claim", {"session": 0})],
    "a claim takes the newest first": [("submit", {"n": 2}), ("claim", {"session": 0})],
    "a claim does not ask for the lease": [
        ("submit", {}), ("pass_time", {"amount": 4}), ("claim", {"session": 1})],
    "a claim does not count": [*_CLAIMED, _end(_INTERRUPTED), ("claim", {"session": 0})],
    "a paused queue is claimed from": [("pause_queue", {"queue": 0}), *_CLAIMED],
    "a loss is charged as a try": _LOST,
    "a run that expired is started": [
        ("submit", {"expires": 1}), ("pass_time", {"amount": _MINUTE}), ("maintain", {})],
    "a run between its tries expires": [
        ("submit", {"expires": 2, "tries": 2}), ("claim", {"session": 0}), _end(_RETRIED),
        ("pass_time", {"amount": _MINUTE}), ("maintain", {})],
    "a renewal brings a dead lease back": [("pass_time", {"amount": _BEYOND_THE_LEASE}), ("heartbeat", {"session": 1})],
    "a rescue takes runs from the living": [*_CLAIMED, ("rescue", {})],
    "a rescue counts a session that stopped": [*_CLAIMED, ("stop", {"session": 0}), ("rescue", {})],
    "a loss beside others condemns": _LOST,
    "a run that kills whatever runs it is never given up": [
        ("submit", {}), *4 * [("open_session", {}), *_LOST[1:]]],
    "a run that may not be repeated is": [("submit", {"once": True}), *_LOST[1:]],
    "a cancel does not reach a run under way": [*_CLAIMED, ("cancel", {"run": 0})],
    "a cancel forgets who asked first": [
        *_CLAIMED, ("cancel", {"run": 0}), ("cancel", {"run": 0, "who": _BEN}), _end(_INTERRUPTED)],
    "a cancelled run stays in its queue": [("submit", {"priority": 1}), ("cancel", {"run": 0})],
    "an interruption is charged": [*_CLAIMED, _end(_INTERRUPTED)],
    "what was asked to cancel goes on": [*_CLAIMED, ("cancel", {"run": 0}), _end(_INTERRUPTED)],
    "a run waits for one of two": [
        ("submit", {"n": 2}), ("submit_after", {"needed": [0, 1]}), ("claim", {"session": 0}), _end(_SUCCEEDED),
        ("maintain", {})],
    "what comes due is staged in the order of its making": [
        ("submit", {"due": 3}), ("submit", {"due": 2}), ("pass_time", {"amount": _MINUTE}), ("maintain", {})],
    "a staged run keeps its old place": [
        ("submit", {"n": 2}), ("claim", {"session": 0}), _end(_SNOOZED), ("pass_time", {"amount": _MINUTE}),
        ("maintain", {})],
    "a claim whose reply was lost is lost": [("submit", {}), ("claim", {"session": 0, "lost": True})],
    "an end that was said twice is fenced": [*_CLAIMED, _end(_SUCCEEDED), _end(_AGAIN, late=True)],
    "a retry by hand gives no more tries": [*_CLAIMED, _end(_FAILED), ("retry", {"run": 0})],
    "a stale plan is written over an edit": [
        ("put_schedule", {"name": 0, "rule": 0}), ("pass_time", {"amount": 8}),
        ("fire", {"overtaken": _PUT, "name": 0, "rule": 2})],
    "a stretch begins anew with each look": [
        ("put_schedule", {"name": 0, "rule": 1}), ("pass_time", {"amount": _MINUTE}), ("fire", {}),
        ("pass_time", {"amount": _MINUTE}), ("fire", {})],
    "a pause does not hold": [
        ("put_schedule", {"name": 0, "rule": 0}), ("pause_schedule", {"name": 0}), ("pass_time", {"amount": 8}),
        ("fire", {})],
    "all of a backlog fires": [
        ("put_schedule", {"name": 0, "rule": 0}), ("pass_time", {"amount": 10}), ("fire", {})],
}  # fmt: skip
