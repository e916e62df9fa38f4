"""Maps by blocks: who is counted where, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from cropland.data.labels import LabelOptions, read_labels
from cropland.errors import LabelError, SceneError
from cropland.evaluation import map_on_labels as module
from cropland.evaluation.counts import Counts
from cropland.evaluation.map_on_labels import blocks, on_subject, read_regions
from cropland.evaluation.score import Part, add_up
from cropland.evaluation.subject import SubjectOptions, open_subjects
from evaluation.small_evaluation import field, write_mask, write_polygons

METRES = (10.0, 30.0)


def judged(mask: Path, options: LabelOptions, *, by: str | None = None) -> list[Part]:
    (subject,) = open_subjects(mask, SubjectOptions(), labels=options)
    regions = read_regions(options, by) if by else None
    return list(on_subject(subject, read_labels(options).on(subject.ground), tolerances_m=METRES, regions=regions))


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    values = np.zeros((100, 120), np.uint8)
    values[20:60, 20:60] = 1
    values[90:] = 255
    return write_mask(tmp_path / "mask.tif", values, nodata=255)


@pytest.fixture
def polygons(tmp_path: Path) -> Path:
    """Rice that was found for one half, wheat that was not found."""
    return write_polygons(
        tmp_path / "fields.gpkg", crop=["rice", "wheat"], geometry=[field(20, 20, 80, 40), field(0, 70, 10, 30)]
    )


def test_background_known_or_unknown(mask: Path, polygons: Path):
    known = add_up(part.total for part in judged(mask, LabelOptions(labels=polygons, background="known")))
    assert known.counts == Counts(tp=1600, fn=1600 + 200, tn=90 * 120 - 3400)
    unknown = add_up(part.total for part in judged(mask, LabelOptions(labels=polygons, background="unknown")))
    assert unknown.counts == Counts(tp=1600, fn=1800)
    with pytest.raises(LabelError, match="background='known'"):
        judged(mask, LabelOptions(labels=polygons))


def test_by_kind_of_cropland_says_what_is_found_of_each(mask: Path, polygons: Path):
    (part,) = judged(mask, LabelOptions(labels=polygons, background="known"), by="crop")
    assert {name: its.counts.recall for name, its in part.groups.items()} == {"rice": 0.5, "wheat": 0.0}


def test_by_region_of_the_area_that_was_looked_at(mask: Path, polygons: Path, tmp_path: Path):
    area = write_polygons(
        tmp_path / "area.gpkg", state=["west", "east"], geometry=[field(0, 0, 60, 100), field(60, 0, 30, 100)]
    )
    (part,) = judged(mask, LabelOptions(labels=polygons, background="known", inside=area), by="state")
    assert part.groups["west"].counts == Counts(tp=1600, fn=200, tn=90 * 60 - 1800)
    assert part.groups["east"].counts == Counts(fn=1200, tn=90 * 30 - 1200)
    assert part.total.counts == part.groups["west"].counts + part.groups["east"].counts


def test_against_a_raster(mask: Path, tmp_path: Path):
    classes = np.zeros((100, 120), np.uint8)
    classes[:, 40:] = 50
    labels = write_mask(tmp_path / "labels.tif", classes)
    (part,) = judged(mask, LabelOptions(labels=labels, classes="50=1,*=0"))
    assert part.total.counts == Counts(tp=800, fp=800, fn=90 * 80 - 800, tn=90 * 40 - 800)


def test_the_same_figures_for_any_block(mask: Path, polygons: Path, monkeypatch: pytest.MonkeyPatch):
    options = LabelOptions(labels=polygons, background="known")
    (whole,) = judged(mask, options)
    monkeypatch.setattr(module, "BLOCK", 37)
    parts = judged(mask, options)
    (subject,) = open_subjects(mask, SubjectOptions(), labels=options)
    assert len(parts) > 6 and blocks(subject.ground) == 12
    cut = add_up(part.total for part in parts)
    assert cut.counts == whole.total.counts and (cut.edges == whole.total.edges).all()
    assert cut.edges.any()


def test_foreign_values_and_columns_are_refused(mask: Path, polygons: Path, tmp_path: Path):
    other = write_mask(tmp_path / "other.tif", np.full((20, 20), 40, np.uint8))
    with pytest.raises(SceneError, match="holds the values 40; a mask is 1 cropland"):
        judged(other, LabelOptions(labels=polygons, background="known"))
    with pytest.raises(LabelError, match="no column 'state'; it has crop"):
        judged(mask, LabelOptions(labels=polygons, background="known"), by="state")
    with pytest.raises(LabelError, match="inside="):
        judged(mask, LabelOptions(whole="other"), by="state")


def test_other_land_counts_even_if_the_file_calls_0_no_data(tmp_path: Path):
    values = np.zeros((20, 20), np.uint8)
    values[5:10] = 1
    (part,) = judged(write_mask(tmp_path / "mask.tif", values, nodata=0), LabelOptions(whole="other"))
    assert part.total.counts == Counts(fp=100, tn=300)


def test_a_geographic_pixel_is_narrower_than_high(tmp_path: Path):
    path = write_mask(
        tmp_path / "mask.tif", np.ones((10, 10), np.uint8), crs="EPSG:4326", transform=Affine(1e-4, 0, 20, 0, -1e-4, 60)
    )
    (subject,) = open_subjects(path, SubjectOptions(), labels=LabelOptions(whole="other"))
    height, width = subject.ground.pixel_sides_m
    assert width / height == pytest.approx(0.5, abs=0.01) and height == pytest.approx(11.1, abs=0.1)
