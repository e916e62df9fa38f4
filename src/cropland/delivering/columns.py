"""The columns that an office wants: areas gross and net, names of its own, and codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from geopandas import GeoDataFrame

from cropland.errors import InputError, LabelError, Option
from cropland.geo.area import MU_M2, ellipsoidal_area_m2

__all__ = ["FIBOA", "M2", "MEASURES", "arranged", "factors", "measured", "pairs"]

# Of the program's own columns, which are measured again: of a piece they are others.
MEASURES = ("area_m2", "area_ha", "area_mu", "deduction", "deducted_m2", "net_m2", "net_ha", "net_mu")
FIBOA = ("metrics:", "determination:")  # how columns begin that say how a map was made, and are no office's
SHOWN = 5  # offending values that an error lists
M2 = {"m2": 1.0, "ha": 1e4, "mu": MU_M2}  # of each unit of area


def measured(parcels: GeoDataFrame) -> GeoDataFrame:
    """The parcels with their area on the ellipsoid in m2, ha and mu and, after a deduction, what is left of it.

    With a factor f (0..1) in `deduction`, deducted_m2 = f x area_m2 and net_m2 = area_m2 - deducted_m2, as KCMJ and
    TBDLMJ follow from KCXS and TBMJ. Source: TD/T 1055-2019.
    """
    area = ellipsoidal_area_m2(parcels.geometry)
    columns = {f"area_{unit}": area / size for unit, size in M2.items()}
    if "deduction" in parcels:
        deducted = parcels["deduction"].to_numpy(np.float64) * area
        columns |= {"deduction": parcels["deduction"], "deducted_m2": deducted}
        columns |= {f"net_{unit}": (area - deducted) / size for unit, size in M2.items()}
    return parcels.assign(**columns)


def factors(values: pd.Series, *, name: str, file: str) -> np.ndarray:
    """A column of deduction factors as numbers of 0 to 1, not a number where there is none.

    Raises `LabelError` for other values, with the first of them.
    """
    numbers: np.ndarray = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    wrong = values.notna().to_numpy() & ~((numbers >= 0) & (numbers <= 1))
    if wrong.any():
        shown = ", ".join(map(str, pd.unique(values[wrong])[:SHOWN]))
        raise LabelError(
            "{name} of {file} has values that are no factor of deduction, 0 to 1: {values}; write 6.5 % as 0.065",
            name=name,
            file=file,
            values=shown,
        )
    return numbers


def pairs(given: Sequence[str] | Mapping[str, Any] | None, *, option: str) -> dict[str, str]:
    """`A=B` of the command line, or a mapping, as a mapping.

    Raises `InputError` for a text without `=` or a name that comes twice.
    """
    if isinstance(given, Mapping):
        return {str(name): str(value) for name, value in given.items()}
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name and equals) or name in found:
            raise InputError(
                "{option} wants NAME=VALUE, each name once, and got '{text}'", option=Option(option), text=text
            )
        found[name] = value
    return found


def arranged(
    parcels: GeoDataFrame, *, drop: Sequence[str], code: Mapping[str, str], rename: Mapping[str, str]
) -> GeoDataFrame:
    """The table as the office wants it: columns left out, constant codes added, names changed.

    Raises `InputError` for a column that is not there, and where two would have one name, whatever its case: databases
    and shapefiles know no difference.
    """
    known = [str(name) for name in parcels.columns if name != "geometry"]
    for option, names in (("--drop", drop), ("--rename", rename)):
        if missing := [name for name in names if name not in known]:
            raise InputError(
                "{option} {missing}: there is no such column; there are {columns}",
                option=Option(option),
                missing=missing[0],
                columns=", ".join(known),
            )
    kept = [name for name in known if name not in drop]
    final = [*(rename.get(name, name) for name in kept), *code]
    folded = [name.upper() for name in final]
    if twice := [name for name in final if folded.count(name.upper()) > 1 or name.upper() == "GEOMETRY"]:
        raise InputError(
            "two columns would be called {name}; give another name with --rename, or leave one out with --drop",
            name=twice[0],
        )
    table = parcels[[*kept, "geometry"]].rename(columns=rename).assign(**code)
    return table[[*final, "geometry"]]
