"""The least area of a field, or of a gap in one, that is mapped."""

__all__ = ["MU_M2", "default_min_area_m2"]

MU_M2 = 10_000 / 15


def default_min_area_m2(pixel_m: float) -> float:
    """The least area that is mapped: 400 m2, or ten pixels where these are more.

    400 m2 is the least area of agricultural land in China's third land survey. Source: TD/T 1055-2019.
    """
    return max(400.0, 10 * pixel_m**2)
