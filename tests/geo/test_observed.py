"""Times as files write them."""

from datetime import UTC, datetime

import pytest

from cropland.geo.observed import observed_in, parse_time

MOMENT = datetime(2024, 5, 1, 10, 20, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["2024-05-01T10:20:30Z", "2024:05:01 10:20:30", "2024-05-01 10:20:30", "2024-05-01T18:20:30+08:00"]
)
def test_a_time_is_utc(text):
    assert parse_time(text) == MOMENT


@pytest.mark.parametrize("text", [None, "", "soon", "0000:00:00 00:00:00", "2024:05"])
def test_anything_else_is_none(text):
    assert parse_time(text) is None


def test_a_day_is_its_beginning():
    assert parse_time("2024-05-01") == datetime(2024, 5, 1, tzinfo=UTC)


def test_the_acquisition_comes_before_the_file():
    tags = {"TIFFTAG_DATETIME": "2025:01:01 00:00:00", "ACQUISITIONDATETIME": "2024-05-01 10:20:30"}
    assert observed_in(tags) == MOMENT
    assert observed_in({"TIFFTAG_DATETIME": "2024:05:01 10:20:30"}) == MOMENT
    assert observed_in({}) is None
