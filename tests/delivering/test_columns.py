"""Columns of areas, factors, names and codes."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from cropland.delivering.columns import arranged, factors, measured, pairs
from cropland.errors import InputError, LabelError
from cropland.geo.area import ellipsoidal_area_m2
from delivering.small_coverage import square


def parcels(**columns: object) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(columns, geometry=[square(0, 0, 100, 100), square(100, 0, 150, 100)], crs=32650)


def test_net_is_gross_less_the_deduction_in_every_unit():
    """TBDLMJ = TBMJ - KCMJ and KCMJ = TBMJ x KCXS; 15 mu to the hectare."""
    found = measured(parcels(deduction=[0.0652, 0.0]))
    gross = ellipsoidal_area_m2(found.geometry)
    assert found["area_m2"].tolist() == gross.tolist() and gross == pytest.approx([1e4, 5e3], rel=1e-3)
    assert found["deducted_m2"].tolist() == (gross * [0.0652, 0]).tolist()
    assert found["net_m2"].to_numpy() == pytest.approx(gross * [0.9348, 1], rel=1e-12)
    for kind in ("area", "net"):
        assert (found[f"{kind}_ha"] * 1e4).to_numpy() == pytest.approx(found[f"{kind}_m2"].to_numpy(), rel=1e-12)
        assert (found[f"{kind}_ha"] * 15).to_numpy() == pytest.approx(found[f"{kind}_mu"].to_numpy(), rel=1e-12)


def test_without_a_factor_there_is_no_net():
    assert {"net_m2", "deducted_m2", "deduction"}.isdisjoint(measured(parcels()).columns)


def test_factors_are_read_from_numbers_and_texts():
    assert factors(pd.Series([0, 0.5, 1]), name="KCXS", file="p").tolist() == [0, 0.5, 1]
    found = factors(pd.Series(["0.0652", None], dtype=object), name="KCXS", file="p")
    assert found[0] == 0.0652 and np.isnan(found[1])


def test_factors_that_are_none_are_named():
    given = pd.Series([0.1, 6.5, -0.2, "none", 6.5], dtype=object)
    with pytest.raises(LabelError, match=r"KCXS of p\.gpkg has values .* 1: 6\.5, -0\.2, none; write 6\.5 % as 0\.065"):
        factors(given, name="KCXS", file="p.gpkg")


def test_pairs_come_as_texts_or_as_a_mapping():
    assert pairs(["DLBM=0103", "NOTE=a=b", "EMPTY="], option="--code") == {"DLBM": "0103", "NOTE": "a=b", "EMPTY": ""}
    assert pairs({"QSDW": 7}, option="--code") == {"QSDW": "7"} and pairs(None, option="--code") == {}
    for wrong in (["DLBM"], ["=0103"], ["A=1", "A=2"]):
        with pytest.raises(InputError, match="code= wants NAME=VALUE"):
            pairs(wrong, option="--code")


def test_the_office_gets_its_names_and_codes():
    found = arranged(
        parcels(id=["1", "2"], area_mu=[15.0, 7.5], a=[1, 2]),
        drop=["a"],
        code={"DLBM": "0103"},
        rename={"area_mu": "MJ_MU"},
    )
    assert list(found.columns) == ["id", "MJ_MU", "DLBM", "geometry"] and found["DLBM"].tolist() == ["0103", "0103"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"rename": {"area": "MJ"}}, "rename='area': there is no such column; there are id, area_mu"),
        ({"drop": ["area"]}, "drop='area': there is no such column"),
        ({"rename": {"area_mu": "ID"}}, "two columns would be called id"),
        ({"code": {"Area_Mu": "1"}}, "two columns would be called area_mu"),
        ({"code": {"geometry": "1"}}, "two columns would be called geometry"),
    ],
)
def test_columns_that_are_not_there_or_twice_are_refused(how: dict[str, object], message: str):
    with pytest.raises(InputError, match=message):
        arranged(parcels(id=["1", "2"], area_mu=[15.0, 7.5]), **{"drop": (), "code": {}, "rename": {}, **how})
