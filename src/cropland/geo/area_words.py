"""An area as a person says it: in hectares, and in Chinese in mu as well."""

from cropland.language import _, language

__all__ = ["MU_PER_HA", "area_words"]

MU_PER_HA = 15


def area_words(area_ha: float, *, digits: int) -> str:
    """Hectares with so many digits after the point, in Chinese followed by mu (1 mu is 1/15 ha)."""
    area = f"{area_ha:,.{digits}f}"
    if language() != "zh":
        return _("{area} ha", area=area)
    mu = area_ha * MU_PER_HA
    return _("{area} ha ({mu} mu)", area=area, mu=f"{mu:,.0f}" if mu >= 100 else f"{mu:,.1f}")
