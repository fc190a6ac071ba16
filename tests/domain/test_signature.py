"""Failures are the same up to what varies from one to the next, in every process; what differs in kind stays apart."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.signature import normalised, place_of, symptom_of
from mainspring.domain.states import FailureKind

TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/prices.py", line 12, in fetch
    return get(url)
  File "/srv/shop/.venv/lib/python3.11/site-packages/httpx/_client.py", line 900, in get
    raise ConnectError(message)
httpx.ConnectError: no answer

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/shop/prices.py", line {line}, in fetch
    return parse(body)
  File "/srv/shop/parsing.py", line 40, in {function}
    return json.loads(body)
  File "/usr/lib/python3.11/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
ValueError: no JSON
"""
WORDS = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz ('):/"), max_size=12).map(lambda text: f" {text} ")


def sign(message: str = "no JSON", line: int = 30, function: str = "parse", task: str = "shop.fetch") -> str:
    traceback = TRACEBACK.format(line=line, function=function)
    return symptom_of(task, FailureKind.ERROR, "ValueError", message, traceback).signature


@given(st.lists(st.tuples(WORDS, st.integers(0, 10**12), st.integers(0, 10**12)), max_size=6))
def test_messages_that_are_equal_up_to_numbers_have_one_signature(parts: list[tuple[str, int, int]]) -> None:
    one, other = ("".join(word + str(pair[which]) for word, *pair in parts) for which in (0, 1))
    assert sign(one) == sign(other)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_the_number_of_a_line_does_not_matter(one: int, other: int) -> None:
    assert sign(line=one) == sign(line=other)


@given(st.from_regex(r"[a-z_]{1,20}", fullmatch=True), st.from_regex(r"[a-z_]{1,20}", fullmatch=True))
def test_another_place_or_task_is_another_failure(one: str, other: str) -> None:
    assert (sign(function=one) == sign(function=other)) == (one == other)
    assert (sign(task=one) == sign(task=other)) == (one == other)


@given(st.text(max_size=400))
def test_no_digit_of_any_text_is_left(text: str) -> None:
    found = normalised(text)
    assert len(found) <= 300
    assert not any(sign.isdecimal() for sign in found)


@pytest.mark.parametrize(("message", "wanted"), [
    ("no answer after 30.5 s (try 3 of 4)", "no answer after # s (try # of #)"),
    ("run 01a21c05-7b6c-7000-8320-5fcdbf35615e of <Job at 0x7f51068f14b0>", "run # of <Job at #>"),
    ("commit deadbeef12 is not cafe0001", "commit # is not #"),
    ("key 'PETR4' and \"VALE3\" cannot be read, don't ask", "key '…' and '…' cannot be read, don't ask"),
    ("mail to ann.lee+x@example.com failed", "mail to <email> failed"),
    ("GET https://ann:pw@api.example/v1/items?id=abc&page=2 gave 503",
     "GET https://api.example/v#/items?id=…&page=… gave #"),
    ("no such file: /var/lib/data/2026-03-02/x.csv", "no such file: <path>"),
    (r"cannot open C:\data\today\x.csv", "cannot open <path>"),
    ("at 2026-03-02T12:00:00.5+01:00, 12:30:45 and 02/03/2026", "at #, # and #"),
    ("10.0.0.17:5432 refused", "# refused"),
    ("request req_8fKz2 timed out", "request # timed out"),
    ("two\n  lines", "two lines"),
])  # fmt: skip
def test_what_varies_is_taken_out(message: str, wanted: str) -> None:
    assert normalised(message) == wanted


def test_the_place_is_the_innermost_function_of_the_users_code() -> None:
    assert place_of(TRACEBACK.format(line=1, function="parse")) == "parsing.py:parse"
    assert place_of("") == ""
    assert place_of("ValueError: no frames") == ""


def test_code_of_the_user_may_be_installed_like_a_library() -> None:
    site = "/srv/app/lib/python3.12/site-packages"
    text = "Traceback (most recent call last):\n" + "".join(
        f'  File "{site}/{path}", line 1, in {function}\n    pass\n'
        for path, function in (("shop/jobs.py", "nightly"), ("shop/sums.py", "add"), ("numpy/core.py", "dot"))
    )
    assert place_of(text) == "sums.py:add"


def test_a_folder_of_the_user_may_have_our_name() -> None:
    text = 'Traceback (most recent call last):\n  File "/srv/mainspring/work.py", line 3, in add\n    pass\n'
    helper = '  File "/srv/lib/python3.11/site-packages/mainspring/pack/http.py", line 9, in get\n    pass\n'
    assert place_of(text + helper) == "work.py:add"


@pytest.mark.parametrize("kind", [FailureKind.LOST, FailureKind.POISON])
def test_the_lost_and_the_poisonous_of_a_task_are_one_group_each(kind: FailureKind) -> None:
    one = symptom_of("a", kind, "ProcessDied", "its process died: signal 9", None)
    other = symptom_of("a", kind, None, "the worker of attempt 3 died", "")
    assert one == other
    assert one.signature != symptom_of("b", kind, None, None, None).signature
    assert one.signature != symptom_of("a", FailureKind.ERROR, None, None, None).signature


def test_a_signature_is_the_same_in_another_process() -> None:
    code = (
        "from mainspring.domain.signature import symptom_of; from mainspring.domain.states import FailureKind; "
        "print(symptom_of('a', FailureKind.ERROR, 'ValueError', 'no 5', None).signature)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    # Written down: what is stored must be found by later releases.
    assert found == "08c7bb229e20b32e"


def test_long_messages_are_read_quickly_however_they_look() -> None:
    # Each would take minutes if any pattern looked back over the whole text again and again.
    for text in ("a" * 20_000, "a.b" * 7_000, "/" * 20_000, "'" * 20_000, "#-" * 10_000, "1" * 20_000, "/a" * 10_000):
        assert len(normalised(text)) <= 300
