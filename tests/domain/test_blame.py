"""What an error says about the resources that its run used."""

from __future__ import annotations

import urllib.error
from datetime import UTC, datetime, timedelta
from email.message import Message
from types import SimpleNamespace

import pytest

from mainspring.domain.blame import blames, refusal_of
from mainspring.domain.control import (
    Fail,
    MemoryLimitExceeded,
    ResourceFailed,
    ResourceRefused,
    RetryLater,
    Snooze,
    SoftTimeLimit,
)
from mainspring.domain.resources import Report
from mainspring.errors import ParametersInvalid
from mainspring.pack.http_errors import (
    HttpAnswerInvalid,
    HttpConnectionFailed,
    HttpStatusError,
    HttpTimeout,
    ResponseTooLarge,
)

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SEVEN = timedelta(seconds=7)
URL = "https://brapi.dev/api"


class Foreign(Exception):
    """An error as HTTP libraries raise it, with the answer in it."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.response = SimpleNamespace(status_code=status, headers=headers or {})


class Hostile(Exception):
    """An error whose attributes fail when they are read."""

    @property
    def status(self) -> int:
        raise ValueError("no")

    response = retry_after = resource_at_fault = status


def wrapped(error: Exception, outer: Exception) -> Exception:
    outer.__cause__ = error
    return outer


def urllib_error(status: int, retry_after: str) -> Exception:
    headers = Message()
    headers["Retry-After"] = retry_after
    return urllib.error.HTTPError(URL, status, "slow down", headers, None)


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (ResourceRefused("brapi", 7), ("brapi", SEVEN)),
        (ResourceRefused(), (None, None)),
        (ResourceRefused(retry_after=SEVEN), (None, SEVEN)),
        (HttpStatusError(URL, 429, SEVEN), (None, SEVEN)),
        (HttpStatusError(URL, 429), (None, None)),
        (HttpStatusError(URL, 503, SEVEN), (None, SEVEN)),
        (Foreign(429, {"retry-after": "7"}), (None, SEVEN)),
        (Foreign(503, {"Retry-After": "Mon, 02 Mar 2026 09:00:07 GMT"}), (None, SEVEN)),
        (urllib_error(429, "7"), (None, SEVEN)),
        (wrapped(HttpStatusError(URL, 429, SEVEN), RuntimeError("no quote")), (None, SEVEN)),
    ],
)
def test_refusals_and_the_pause_they_ask_for(error: Exception, refusal: tuple[str | None, timedelta | None]) -> None:
    assert refusal_of(error, NOW) == refusal


@pytest.mark.parametrize(
    "error",
    [
        HttpStatusError(URL, 503),
        HttpStatusError(URL, 500, SEVEN),
        HttpTimeout(URL, "no answer"),
        Foreign(503, {"Retry-After": "soon"}),
        ValueError("429"),
        Hostile(),
        wrapped(HttpStatusError(URL, 429, SEVEN), Fail("the key is no longer valid")),
        wrapped(HttpStatusError(URL, 429, SEVEN), Snooze(5)),
    ],
)
def test_what_is_no_refusal(error: Exception) -> None:
    assert refusal_of(error, NOW) is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (HttpTimeout(URL, "no answer"), (Report.FAILED, None)),
        (HttpConnectionFailed(URL, "refused"), (Report.FAILED, None)),
        (HttpAnswerInvalid(URL, "no JSON"), (Report.FAILED, None)),
        (HttpStatusError(URL, 502), (Report.FAILED, None)),
        (HttpStatusError(URL, 408), (Report.FAILED, None)),
        (HttpStatusError(URL, 404), (Report.NEUTRAL, None)),
        (HttpStatusError(URL, 401), (Report.NEUTRAL, None)),
        (ResponseTooLarge(URL, 5), (Report.NEUTRAL, None)),
        (Foreign(500), (Report.FAILED, None)),
        (Foreign(404), (Report.NEUTRAL, None)),
        (wrapped(HttpStatusError(URL, 404), RuntimeError("no quote")), (Report.NEUTRAL, None)),
        (ValueError("a bug"), (Report.FAILED, None)),
        (Hostile(), (Report.FAILED, None)),
        (SoftTimeLimit("60 s"), (Report.FAILED, None)),
        (ResourceFailed("brapi", "its answer makes no sense"), (Report.FAILED, "brapi")),
        (wrapped(ResourceFailed("brapi"), RuntimeError("no quote")), (Report.FAILED, "brapi")),
        (Fail("never again"), (Report.NEUTRAL, None)),
        (Snooze(5), (Report.NEUTRAL, None)),
        (RetryLater(5), (Report.NEUTRAL, None)),
        (MemoryLimitExceeded("1 GB"), (Report.NEUTRAL, None)),
        (ParametersInvalid("quotes", ["no"]), (Report.NEUTRAL, None)),
        (KeyboardInterrupt(), (Report.NEUTRAL, None)),
    ],
)
def test_what_counts_as_a_failure_of_resources(error: BaseException, said: tuple[Report, str | None]) -> None:
    assert blames(error) == said


def test_an_error_can_say_that_resources_are_not_at_fault() -> None:
    error = ValueError("a bug of ours")
    error.resource_at_fault = False  # type: ignore[attr-defined]
    assert blames(error) == (Report.NEUTRAL, None)


def test_errors_that_cause_each_other_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert refusal_of(one, NOW) is None
    assert blames(one) == (Report.FAILED, None)


def test_a_refusal_says_what_it_knows() -> None:
    assert str(ResourceRefused("brapi")) == "resource 'brapi' refused"
    assert str(ResourceRefused("brapi", reason="out of credits")) == "out of credits"
    assert str(ResourceRefused()) == "a resource refused"
    assert str(ResourceFailed("brapi")) == "resource 'brapi' failed"
