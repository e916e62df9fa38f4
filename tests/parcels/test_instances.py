"""Fields that touch come apart at boundaries: whole, without gap or overlap, whatever the order of cells."""

from functools import partial
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import rasterize
from rasterio.transform import from_origin
from scipy import ndimage

from cropland.errors import GridError, InputError, SceneError
from cropland.parcels.instances import FieldRule, find_fields
from cropland.parcels.parcels import CELL, command, find_parcels, parcels
from cropland.probability import BOUNDARY_DESCRIPTION
from rasters import write_raster
from shuffled import shuffled

write_mask = partial(write_raster, nodata=255)
write_in_pixels = partial(write_mask, transform=from_origin(0, 0, 1, 1))  # coordinates are (column, -row)

RASTERS = st.tuples(st.integers(1, 16), st.integers(1, 16)).flatmap(
    lambda shape: st.tuples(
        arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 1, 1, 255])),
        arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 0, 10, 100, 200, 254, 255])),
    )
)
CELLS = st.sampled_from([4, 7, CELL])
TOLERANCES = st.sampled_from([0.0, 0.75, 1.0, 2.0, 5.0])
GAPS = st.sampled_from([0.0, 2.0, 4.0])
LEAST = st.sampled_from([0.0, 3.0, 10.0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("instances")


def find(mask: Path, boundary: Path | None, *, gap_m: float = 0.0, **how: object) -> geopandas.GeoDataFrame:
    how = {"min_area_m2": 0.0, **how}
    with find_parcels(mask, boundary=boundary, unit_m=1, gap_m=gap_m, **how) as found:
        return pd.concat(found.chunks(), ignore_index=True)


def numbers(folder: Path, mask: np.ndarray, boundary: np.ndarray, *, rule: FieldRule, cell: int = CELL) -> np.ndarray:
    one, other = write_in_pixels(folder / "m.tif", mask), write_in_pixels(folder / "b.tif", boundary)
    find_fields(one, other, folder / "f.tif", rule=rule, unit_m=1, cell=cell, spread=map)
    with rasterio.open(folder / "f.tif") as fields:
        return fields.read(1)


def partition(labels: np.ndarray) -> np.ndarray:
    """Labels numbered by their first pixels, 0 first."""
    values, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(np.where(values == 0, -1, first)))
    return rank[inverse].reshape(labels.shape) + (0 not in values)


@settings(max_examples=25, deadline=None)
@given(rasters=RASTERS, cell=CELLS, gap=GAPS, least=LEAST)
def test_fields_share_out_the_mask_and_each_is_connected(
    folder: Path, rasters: tuple[np.ndarray, np.ndarray], cell: int, gap: float, least: float
) -> None:
    mask, boundary = rasters
    rule = FieldRule(level=90, erosion=int(gap / 2), min_area_m2=least)
    found = numbers(folder, mask, boundary, rule=rule, cell=cell)
    np.testing.assert_array_equal(found > 0, mask == 1)
    regions, count = ndimage.label(mask == 1)
    for number in np.unique(found[found > 0]):
        assert ndimage.label(found == number)[1] == 1
    # Smaller than the least area is only what has no neighbour.
    for region in range(1, count + 1):
        fields, sizes = np.unique(found[regions == region], return_counts=True)
        assert len(fields) == 1 or (sizes >= least).all()


@settings(max_examples=25, deadline=None)
@given(rasters=RASTERS, cell=CELLS, tolerance=TOLERANCES, gap=GAPS)
def test_neighbours_share_their_edges_exactly(
    folder: Path, rasters: tuple[np.ndarray, np.ndarray], cell: int, tolerance: float, gap: float
) -> None:
    mask, boundary = (
        write_in_pixels(folder / f"{name}.tif", values) for name, values in zip("mb", rasters, strict=True)
    )
    how = {"simplify_m": tolerance, "cell": cell, "gap_m": gap}
    polygons = find(mask, boundary, **how).geometry.to_numpy()
    assert shapely.is_valid(polygons).all() and not shapely.is_empty(polygons).any()
    assert set(shapely.get_type_id(polygons)) <= {shapely.GeometryType.POLYGON}
    assert shapely.coverage_is_valid(polygons)
    whole = shapely.union_all(find(mask, None, simplify_m=tolerance, cell=cell).geometry.to_numpy())
    apart = shapely.area(shapely.symmetric_difference(shapely.union_all(polygons), whole))
    inside = np.pad(rasters[0] == 1, 1)
    one, other, third, last = inside[:-1, :-1], inside[:-1, 1:], inside[1:, :-1], inside[1:, 1:]
    corners = ((one == last) & (other == third) & (one != other)).sum()  # where cropland meets at a corner alone
    outline = (inside[1:] != inside[:-1]).sum() + (inside[:, 1:] != inside[:, :-1]).sum()
    assert apart <= 0.5 * corners + tolerance * outline


@settings(max_examples=15, deadline=None)
@given(rasters=RASTERS, cell=CELLS, gap=GAPS, level=st.sampled_from([0, 5, 255]))
def test_a_boundary_without_lines_gives_the_regions_of_the_mask(
    folder: Path, rasters: tuple[np.ndarray, np.ndarray], cell: int, gap: float, level: int
) -> None:
    mask, boundary = rasters[0], np.full_like(rasters[1], level)
    rule = FieldRule(level=90, erosion=int(gap / 2), min_area_m2=5)
    found = numbers(folder, mask, boundary, rule=rule, cell=cell)
    np.testing.assert_array_equal(partition(found), partition(ndimage.label(mask == 1)[0]))


@settings(max_examples=10, deadline=None)
@given(rasters=RASTERS, cell=CELLS, gap=GAPS, seed=st.integers(0, 9))
def test_the_same_table_in_any_order_of_cells_and_of_any_layout(
    folder: Path, rasters: tuple[np.ndarray, np.ndarray], cell: int, gap: float, seed: int
) -> None:
    how = {"cell": cell, "gap_m": gap, "min_area_m2": 4.0}
    one = find(*(write_in_pixels(folder / f"{n}.tif", v) for n, v in zip("mb", rasters, strict=True)), **how)
    tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    files = [write_in_pixels(folder / f"{n}2.tif", v, **tiled) for n, v in zip("mb", rasters, strict=True)]
    other = find(*files, spread=shuffled(seed), **how)
    pd.testing.assert_frame_equal(pd.DataFrame(one), pd.DataFrame(other), check_exact=True)
    assert shapely.to_wkb(one.geometry).tolist() == shapely.to_wkb(other.geometry).tolist()


def plain(shape: tuple[int, int] = (120, 200)) -> tuple[np.ndarray, np.ndarray]:
    """Cropland with a line of three pixels down its middle."""
    mask, boundary = np.ones(shape, np.uint8), np.zeros(shape, np.uint8)
    boundary[:, shape[1] // 2 - 1 : shape[1] // 2 + 2] = 200
    return mask, boundary


@pytest.mark.parametrize("cell", [37, 64, CELL])
@pytest.mark.parametrize(("gap", "fields"), [(0, 2), (8, 2), (10, 1)])
def test_a_gap_up_to_the_rule_unites_no_fields(tmp_path: Path, cell: int, gap: int, fields: int) -> None:
    mask, boundary = plain()
    boundary[50 : 50 + gap] = 0
    found = numbers(tmp_path, mask, boundary, rule=FieldRule(level=64, erosion=4, min_area_m2=50), cell=cell)
    assert len(np.unique(found)) == fields
    if fields == 2:  # each line of three pixels is shared out: half of the cropland, to two pixels
        left = (found == found[0, 0]).sum(axis=1)
        assert np.abs(left - 100).max() <= 5 and np.abs(np.delete(left, slice(40, 70)) - 100).max() <= 2


def test_a_ridge_within_a_field_does_not_cut_it(tmp_path: Path) -> None:
    mask, boundary = plain()
    boundary[10:100, 40:43] = boundary[60, 120:180] = 250
    found = numbers(tmp_path, mask, boundary, rule=FieldRule(level=64, erosion=4, min_area_m2=50))
    assert len(np.unique(found)) == 2


def test_fields_too_narrow_to_keep_a_core_are_fields(tmp_path: Path) -> None:
    mask, boundary = np.ones((40, 300), np.uint8), np.zeros((40, 300), np.uint8)
    boundary[8::8], boundary[9::8] = 200, 200  # strips of six pixels, which an erosion by four takes away
    for cell in (50, CELL):
        found = numbers(tmp_path, mask, boundary, rule=FieldRule(level=64, erosion=4, min_area_m2=50), cell=cell)
        assert len(np.unique(found)) == 5
        assert (np.diff(found[:, ::7], axis=1) == 0).all()


def test_what_the_lines_cut_off_joins_the_neighbour_along_the_most_open_line(tmp_path: Path) -> None:
    mask, boundary = plain((60, 90))
    boundary[20:30, 46:48], boundary[20:22, 44:58], boundary[28:30, 44:58], boundary[20:30, 56:58] = 250, 250, 250, 100
    rule = FieldRule(level=64, erosion=0, min_area_m2=200)
    found = numbers(tmp_path, mask, boundary, rule=rule)
    assert len(np.unique(found)) == 2 and found[25, 51] == found[25, 80]
    assert len(np.unique(numbers(tmp_path, mask, boundary, rule=rule._replace(min_area_m2=10)))) == 3


def test_lines_of_any_width_are_shared_out_whole(tmp_path: Path) -> None:
    mask, boundary = np.ones((64, 128), np.uint8), np.full((64, 128), 254, np.uint8)
    boundary[:, :30], boundary[:, 100:] = 0, 0
    for cell in (16, CELL):
        found = numbers(tmp_path, mask, boundary, rule=FieldRule(level=64, erosion=0, min_area_m2=1), cell=cell)
        assert [len(np.unique(found[0, part])) for part in (np.s_[:32], np.s_[36:94], np.s_[98:])] == [1, 1, 1]
        assert len(np.unique(found)) == 3


def test_fields_of_polygons_come_back(tmp_path: Path) -> None:
    """Voronoi cells with rims of four pixels, of which gaps of five were cut."""
    random_ = np.random.default_rng(0)
    points = shapely.multipoints(random_.uniform(0, 400, (40, 2)))
    square = shapely.box(0, 0, 400, 400)
    truth = shapely.intersection(shapely.get_parts(shapely.voronoi_polygons(points, extend_to=square)), square)
    lines = shapely.union_all(shapely.boundary(truth))
    gaps = shapely.union_all([lines.interpolate(place).buffer(2.5) for place in random_.uniform(0, lines.length, 30)])
    rims = rasterize([(lines.buffer(2).difference(gaps), 254)], (400, 400)).astype(np.uint8)
    mask, boundary = write_in_pixels(tmp_path / "m.tif", np.ones((400, 400), np.uint8)), tmp_path / "b.tif"
    write_in_pixels(boundary, np.rint(ndimage.gaussian_filter(rims.astype(float), 1)).astype(np.uint8))
    for cell in (100, CELL):
        found = find(mask, boundary, gap_m=8, cell=cell, min_area_m2=100, boundary_threshold=0.2).geometry.to_numpy()
        mine = shapely.transform(truth, lambda places: places * [1, -1])
        pairs = shapely.STRtree(found).query(mine, predicate="intersects")
        shared = shapely.area(shapely.intersection(mine[pairs[0]], found[pairs[1]]))
        iou = shared / (shapely.area(mine[pairs[0]]) + shapely.area(found[pairs[1]]) - shared)
        best = np.zeros(len(mine))
        np.maximum.at(best, pairs[0], iou)
        assert len(found) <= 45 and (best > 0.8).mean() >= 0.85


def test_cells_decide_only_who_gets_the_pixels_of_a_line(tmp_path: Path) -> None:
    """Cells that are larger than their halo and smaller than the raster, beside one cell."""
    noise = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal((260, 260)), 9)
    boundary = (254 * np.exp(-((noise / noise.std() / 0.08) ** 2))).astype(np.uint8)
    mask, rule = np.ones((260, 260), np.uint8), FieldRule(level=64, erosion=2, min_area_m2=60)
    one, other = (numbers(tmp_path, mask, boundary, rule=rule, cell=cell) for cell in (CELL, 90))
    assert len(np.unique(one)) > 5
    off_lines = boundary < 64
    np.testing.assert_array_equal(partition(one[off_lines]), partition(other[off_lines]))


def test_the_boundary_of_a_map_without_any_is_taken(tmp_path: Path) -> None:
    """Its probability may round to 0 and 1 of 254 throughout, which looks like a mask."""
    values, levels = plain()
    mask, boundary = write_mask(tmp_path / "m.tif", values), write_mask(tmp_path / "b.tif", np.minimum(levels, 1))
    with rasterio.open(boundary, "r+") as file:
        file.descriptions = (BOUNDARY_DESCRIPTION,)
    assert len(parcels(mask, boundary=boundary)) == 1


def test_a_threshold_and_a_gap_that_are_none_are_refused(tmp_path: Path) -> None:
    mask, boundary = (write_mask(tmp_path / name, values) for name, values in zip("mb", plain(), strict=True))
    with pytest.raises(InputError, match="boundary_threshold is 5, expected a probability of 0 to 1"):
        parcels(mask, boundary=boundary, boundary_threshold=5)
    with pytest.raises(InputError, match="gap_m is -6, expected 0 or more"):
        parcels(mask, boundary=boundary, gap_m=-6)
    with rasterio.open(boundary, "r+") as file:
        file.update_tags(boundary_threshold="high")
    with pytest.raises(InputError, match="boundary_threshold is high, expected"):
        parcels(mask, boundary=boundary)


def test_command_parts_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values, levels = plain()
    mask, boundary = write_mask(tmp_path / "m.tif", values), write_mask(tmp_path / "b.tif", levels)
    command(mask, boundary=boundary)
    assert "2 parcels" in capsys.readouterr().out
    command(mask, boundary=boundary, boundary_threshold=0.9)
    assert "1 parcel" in capsys.readouterr().out
    assert len(parcels(mask, boundary=boundary)) == 2


def test_a_boundary_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    values, levels = plain()
    mask, out = write_mask(tmp_path / "m.tif", values), tmp_path / "p.parquet"
    other = write_mask(tmp_path / "b.tif", levels[:, 1:])
    with pytest.raises(GridError, match=r"b\.tif is not on the grid of m\.tif; give the boundary\.tif of the same map"):
        command(mask, boundary=other, out=out)
    with pytest.raises(SceneError, match=r"f\.tif has 1 bands of float32, expected one band of uint8"):
        command(mask, boundary=write_raster(tmp_path / "f.tif", levels.astype(np.float32)), out=out)
    with pytest.raises(SceneError, match=r"c\.tif has the values 0 and 1 only"):
        command(mask, boundary=write_mask(tmp_path / "c.tif", (levels > 0).astype(np.uint8)), out=out)
    with pytest.raises(SceneError, match=r"none\.tif cannot be read"):
        command(mask, boundary=tmp_path / "none.tif", out=out)
    assert not out.exists()
