"""The least area."""

from cropland.mapping.least_area import default_min_area_m2


def test_the_least_area_is_400_m2_or_ten_pixels() -> None:
    assert default_min_area_m2(1.0) == 400
    assert default_min_area_m2(10.0) == 1000
