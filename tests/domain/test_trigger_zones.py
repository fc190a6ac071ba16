"""Zones come from the `tzdata` package alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mainspring.domain.zones import Shift, instant_of, local_wall, shifts_around, tzdata_version, zone, zone_names
from mainspring.errors import UnknownName


def test_a_zone_is_read_once():
    assert zone("Europe/Berlin") is zone("Europe/Berlin")
    assert zone("Europe/Berlin").key == "Europe/Berlin"


@pytest.mark.parametrize("name", ["", "Europe/Berlim", "../../etc/passwd", "/etc/localtime", "europe/berlin"])
def test_other_names_are_refused(name):
    with pytest.raises(UnknownName, match="unknown time zone"):
        zone(name)


def test_an_unknown_zone_is_answered_with_the_nearest_name():
    with pytest.raises(UnknownName, match="unknown time zone 'Europe/Berlim'; did you mean 'Europe/Berlin'"):
        zone("Europe/Berlim")


def test_every_zone_can_be_read():
    assert len(zone_names()) > 590
    assert {zone(name).key for name in zone_names()} == zone_names()


def test_the_version_is_that_of_the_data():
    assert tzdata_version()[:2] == "20"
    assert tzdata_version()[4:].isalpha()


def test_shifts_are_found_to_the_second():
    hour = timedelta(hours=1)
    assert shifts_around("Europe/Berlin", 2026) == (
        Shift(datetime(2026, 3, 29, 1), hour, 2 * hour),
        Shift(datetime(2026, 10, 25, 1), 2 * hour, hour),
    )
    assert shifts_around("UTC", 2026) == ()


def test_shifts_next_to_the_year_belong_to_both():
    # Samoa changed sides at the end of 2011.
    assert shifts_around("Pacific/Apia", 2011)[-1] == shifts_around("Pacific/Apia", 2012)[0]


def test_wall_times_become_instants_and_back():
    assert instant_of("Europe/Berlin", datetime(2026, 7, 1, 9)) == datetime(2026, 7, 1, 7, tzinfo=UTC)
    assert local_wall("Europe/Berlin", datetime(2026, 7, 1, 7, tzinfo=UTC)) == datetime(2026, 7, 1, 9)
