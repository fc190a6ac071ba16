"""Ids sort by the time they were made and never repeat."""

from __future__ import annotations

import threading
import uuid

import pytest

from mainspring.ids import is_id, uuid7


def test_an_id_is_a_uuid_of_version_7_in_its_usual_form() -> None:
    for _ in range(1_000):
        text = uuid7()
        value = uuid.UUID(text)
        assert (str(value), value.version, value.variant) == (text, 7, uuid.RFC_4122)


def test_the_first_48_bits_are_milliseconds_since_1970(monkeypatch: pytest.MonkeyPatch) -> None:
    import mainspring.ids as ids

    monkeypatch.setattr(ids, "_last", 0)
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_772_452_800_123_456_789)
    assert uuid.UUID(uuid7()).int >> 80 == 1_772_452_800_123


def test_ids_of_one_process_strictly_increase() -> None:
    made = [uuid7() for _ in range(20_000)]
    assert made == sorted(set(made))


def test_ids_go_on_increasing_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import mainspring.ids as ids

    before = uuid7()
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1)
    assert uuid7() > before
    assert uuid7() > before


def test_threads_never_make_the_same_id() -> None:
    made: list[list[str]] = [[] for _ in range(8)]

    def work(mine: list[str]) -> None:
        mine += [uuid7() for _ in range(2_000)]

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == sorted(mine) for mine in made)
    assert len({text for mine in made for text in mine}) == 16_000


ID = "01a20297-26a3-7000-b02f-b18d31a4547a"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ID, True),
        (ID.upper(), True),
        ("", False),
        ("01900000", False),
        ("{" + ID + "}", False),
        ("urn:uuid:" + ID, False),
        (ID.replace("-", ""), False),
        (ID + " ", False),
        ("☂" * 36, False),
        ("'; DROP TABLE runs; --", False),
    ],
)
def test_only_the_usual_form_is_taken_for_an_id(text: str, expected: bool) -> None:
    assert is_id(text) is expected
