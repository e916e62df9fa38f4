"""From a mask and answers to an area: what is told, what is written, and what is refused."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from cropland import cli
from cropland.errors import InputError, LabelError, OutputError
from cropland.language import speaking
from cropland.sampling.design import design_sample
from cropland.sampling.estimate import estimate_area, figures, page
from cropland.sampling.estimator import StratifiedSample
from rasters import write_raster
from sampling.small_sample import design_of, look_at, mask_of, truth, write_answers, write_mask

CENTRE = shapely.Point(500_750, 3_999_400)


def answers_of(sample: Path) -> dict[int, str]:
    """What is true at each point, as the sheet saves it."""
    return {number: str(truth()[row, col]) for number, (row, col, _) in enumerate(design_of(sample)["pixels"], 1)}


def towns(path: Path, *boxes: shapely.Geometry) -> Path:
    names = [f"town {number}" for number in range(len(boxes))]
    gpd.GeoDataFrame({"name": names}, geometry=list(boxes), crs=32650).to_crs(4326).to_file(path)
    return path


def test_the_area_of_a_sample_and_its_interval(looked_at):
    mask, sample = looked_at
    found = estimate_area(mask, sample=sample)
    values, true = mask_of(truth()), truth()
    low, high = found.interval_ha
    assert low < true[values != 255].sum() * 0.01 < high and found.area_ha == pytest.approx((low + high) / 2)
    assert found["area_mu"]["value"] == pytest.approx(15 * found.area_ha)
    assert found["mapped"]["cropland_ha"] == pytest.approx((values == 1).sum() * 0.01, rel=1e-3)
    assert found["mapped"]["difference_ha"] == pytest.approx(found["mapped"]["cropland_ha"] - found.area_ha)
    assert found["mapped"]["unmapped_ha"] == pytest.approx(6, rel=1e-3)
    assert "6.0 ha of the raster have no data" in found["notes"][-1]
    assert found["mask"]["sha256"] == design_of(sample)["mask"]["sha256"]
    assert found["sample"]["answered"] == found["sample"]["points"] == 200


def test_the_figures_are_those_of_the_strata_by_hand(looked_at):
    mask, sample = looked_at
    found = estimate_area(mask, sample=sample)
    rows, cols, strata = np.array(design_of(sample)["pixels"]).T
    weights = np.array([each["weight"] for each in found["strata"]])
    shares = np.array([truth()[rows, cols][strata == h].mean() for h in (0, 1)])
    assert found["share"]["value"] == pytest.approx(weights @ shares)
    assert found["user"]["value"] == pytest.approx(shares[1])
    assert found["producer"]["value"] == pytest.approx(weights[1] * shares[1] / (weights @ shares))
    matrix = [
        [weights[0] * (1 - shares[0]), weights[0] * shares[0]],
        [weights[1] * (1 - shares[1]), weights[1] * shares[1]],
    ]
    assert [[cell["value"] for cell in row] for row in found["matrix"]] == [pytest.approx(row) for row in matrix]


@pytest.mark.parametrize("strata", ["edge", "probability"])
def test_strata_that_are_not_map_classes(strata, tmp_path: Path):
    mask = write_mask(tmp_path / "mask.tif")
    rng = np.random.default_rng(0)
    levels = np.clip(254 * truth() + rng.integers(-90, 90, truth().shape), 0, 254).astype(np.uint8)
    write_raster(tmp_path / "probability.tif", levels)
    design_sample(mask, tmp_path / "sample", n=300, strata=strata)
    look_at(tmp_path / "sample" / "sample.gpkg", truth())
    found = estimate_area(mask, sample=tmp_path / "sample" / "sample.gpkg")
    low, high = found.interval_ha
    values = mask_of(truth())
    assert low < truth()[values != 255].sum() * 0.01 < high and len(found["strata"]) > 2
    overall = (values == truth())[values != 255].mean()
    assert found["overall"]["low"] < overall < found["overall"]["high"]


def test_another_probability_is_noticed(tmp_path: Path):
    mask, levels = write_mask(tmp_path / "mask.tif"), np.where(truth(), 200, 20).astype(np.uint8)
    write_raster(tmp_path / "probability.tif", levels)
    design_sample(mask, tmp_path / "sample", n=50, strata="probability")
    look_at(tmp_path / "sample" / "sample.gpkg", truth())
    write_raster(tmp_path / "probability.tif", 254 - levels)
    with pytest.raises(InputError, match="the probability is another one"):
        estimate_area(mask, sample=tmp_path / "sample" / "sample.gpkg")


def test_a_stratum_of_one_answer_is_warned_of_and_has_an_interval(tmp_path: Path):
    mask = write_mask(tmp_path / "mask.tif")
    design_sample(mask, tmp_path / "sample", n=60)
    look_at(tmp_path / "sample" / "sample.gpkg", mask_of(truth()))  # the mask is right everywhere
    found = estimate_area(mask, sample=tmp_path / "sample" / "sample.gpkg")
    low, high = found.interval_ha
    assert low < found.area_ha < high and found["user"]["low"] < 1 == found["user"]["value"]
    assert len(found["warnings"]) == 2 and "answers in the stratum not cropland are the same" in found["warnings"][0]


def test_a_stratum_with_few_answers_has_no_error(looked_at):
    mask, sample = looked_at
    strata = np.array(design_of(sample)["pixels"])[:, 2]
    frame = gpd.read_file(sample)
    in_cropland = strata[frame["id"] - 1] == 1
    frame.loc[in_cropland & (in_cropland.cumsum() > 1), "reference"] = None
    frame.to_file(sample, layer="sample")
    found = estimate_area(mask, sample=sample)
    assert found.area_ha is not None and found.se_ha is None and found.interval_ha is None
    assert "The stratum cropland has 1 answered points" in found["warnings"][-1]
    frame.loc[in_cropland, "reference"] = None
    frame.to_file(sample, layer="sample")
    assert estimate_area(mask, sample=sample).area_ha is None


def test_unknown_points_are_left_out_and_bounds_are_given(looked_at):
    mask, sample = looked_at
    before = estimate_area(mask, sample=sample)
    frame = gpd.read_file(sample)
    frame.loc[frame["id"] <= 15, "reference"] = 255
    frame.loc[frame["id"].between(16, 20), "reference"] = None
    frame.to_file(sample, layer="sample")
    found = estimate_area(mask, sample=sample)
    assert [found["sample"][name] for name in ("unknown", "unanswered", "answered")] == [15, 5, 180]
    assert found["sample"]["share_unknown"] == pytest.approx(0.1)
    low, high = found["bounds_ha"]
    assert low < found.area_ha < high and low <= before.area_ha <= high
    assert "15 points are unknown and 5 not answered" in found["notes"][0]


def test_two_interpreters_and_what_became_of_their_differences(drawn, tmp_path: Path):
    mask, sample = drawn
    true, name = answers_of(sample), design_of(sample)["sample"]
    flipped = true | {number: str(1 - int(true[number])) for number in range(1, 11)}
    li = write_answers(tmp_path / "li.csv", name, true)
    wang = write_answers(tmp_path / "wang.csv", name, flipped, interpreter="wang")
    decided = write_answers(tmp_path / "both.csv", name, {number: true[number] for number in range(1, 8)})
    found = estimate_area(mask, sample=sample, answers=[li, wang], resolved=decided)
    (pair,) = found["answers"]["agreement"]
    assert pair["interpreters"] == ("li", "wang") and (pair["both"], pair["same"]) == (200, 190)
    assert "li and wang agree on 190 of 200 points (95 %, kappa 0." in found["notes"][0]
    assert "They differ on 10 points: 7 are decided by resolved=" in str(InputError(found["notes"][1]))
    assert found["sample"]["unknown"] == 3 and found["answers"]["differences"]["open"] == 3


def test_an_interpreter_does_not_agree_with_himself(drawn, tmp_path: Path):
    mask, sample = drawn
    true, name = answers_of(sample), design_of(sample)["sample"]
    tables = [write_answers(tmp_path / each, name, true) for each in ("li.csv", "li_again.csv")]
    with pytest.raises(InputError, match=r"li\.csv and .*li_again\.csv are both by li"):
        estimate_area(mask, sample=sample, answers=tables)


def test_interpreters_who_shared_the_work(drawn, tmp_path: Path):
    mask, sample = drawn
    true, name = answers_of(sample), design_of(sample)["sample"]
    halves = [{number: answer for number, answer in true.items() if number % 2 == rest} for rest in (0, 1)]
    tables = [
        write_answers(tmp_path / f"{who}.csv", name, half, interpreter=who)
        for who, half in zip("ab", halves, strict=True)
    ]
    found = estimate_area(mask, sample=sample, answers=tables)
    assert found["sample"]["answered"] == 200
    assert str(InputError(found["notes"][0])) == "a and b answered no point in common."


def test_any_points_are_a_random_sample(tmp_path: Path):
    mask, rng = write_mask(tmp_path / "mask.tif"), np.random.default_rng(0)
    rows, cols = rng.integers(0, 120, 300), rng.integers(0, 150, 300)
    places = gpd.points_from_xy(500_005 + 10 * cols, 3_999_995 - 10 * rows)
    frame = gpd.GeoDataFrame({"reference": truth()[rows, cols]}, geometry=places, crs=32650)
    frame.to_crs(4326).to_file(tmp_path / "points.gpkg")
    found = estimate_area(mask, sample=tmp_path / "points.gpkg")
    values = mask_of(truth())
    low, high = found.interval_ha
    assert low < truth()[values != 255].sum() * 0.01 < high
    assert "simple random sample, poststratified" in found["notes"][0] and found["sample"]["kind"] == "simple random"
    assert found["sample"]["without_data"] == (values[rows, cols] == 255).sum() > 0
    # poststratified by hand
    known = values[rows, cols] != 255
    classes, answers = values[rows, cols][known], truth()[rows, cols][known]
    shares = np.array([answers[classes == kind].mean() for kind in (0, 1)])
    weights = np.array([(values == kind).sum() for kind in (0, 1)]) / (values != 255).sum()
    assert found["share"]["value"] == pytest.approx(weights @ shares, rel=1e-6)


def test_regions_have_estimates_of_their_own(looked_at, tmp_path: Path):
    mask, sample = looked_at
    west = shapely.box(499_800, 3_998_900, 500_752, 4_000_100)  # reaches beyond the mask
    layer = towns(tmp_path / "towns.gpkg", west, shapely.box(500_752, 3_998_800, 501_500, 4_000_000), CENTRE.buffer(25))
    found = estimate_area(mask, sample=sample, by=layer, out=tmp_path / "out")
    table = found.regions.set_index("region")
    assert table["enough_points"].tolist() == [True, True, False]
    values = mask_of(truth())
    first = values[:110, :75]
    assert table.loc["town 0", "mapped_ha"] == pytest.approx((first != 255).sum() * 0.01, rel=5e-3)
    assert table.loc["town 0", "ground_ha"] == pytest.approx(west.area / 1e4, rel=2e-3)
    assert table.loc["town 0", "unmapped_ha"] == pytest.approx(
        table.loc["town 0", "ground_ha"] - table.loc["town 0", "mapped_ha"]
    )
    inside = truth()[:110, :75][first != 255].sum() * 0.01
    assert table.loc["town 0", "cropland_ha_low"] < inside < table.loc["town 0", "cropland_ha_high"]
    assert np.isnan(table.loc["town 2", "cropland_ha"]) and table.loc["town 2", "mapped_ha"] == pytest.approx(
        np.pi * 25**2 / 1e4, rel=0.01
    )
    parquet, text = (
        gpd.read_parquet(tmp_path / "out" / "regions.parquet"),
        pd.read_csv(tmp_path / "out" / "regions.csv"),
    )
    assert parquet.crs.to_epsg() == 32650 and [*text.columns] == [*parquet.columns.drop("geometry")]
    assert text["cropland_ha"].to_numpy() == pytest.approx(table["cropland_ha"].to_numpy(), nan_ok=True)


def test_a_name_is_of_regions(looked_at):
    mask, sample = looked_at
    with pytest.raises(InputError, match="name= is the column that names regions; give their polygons with by="):
        estimate_area(mask, sample=sample, name="town")


def test_regions_that_cover_nothing(looked_at, tmp_path: Path):
    mask, sample = looked_at
    with pytest.raises(LabelError, match="covers no mapped ground"):
        estimate_area(mask, sample=sample, by=towns(tmp_path / "far.gpkg", shapely.box(9e5, 4e6, 9.1e5, 4.01e6)))


def test_a_sample_that_nobody_has_looked_at(drawn):
    with pytest.raises(InputError, match="has no reference values yet"):
        estimate_area(drawn[0], sample=drawn[1])


def test_a_mask_that_the_sample_was_not_drawn_on(looked_at, tmp_path: Path):
    _, sample = looked_at
    other = write_raster(tmp_path / "other.tif", truth())
    own = design_of(sample)["mask"]["sha256"][:12]
    with pytest.raises(InputError, match=rf"is not the mask that the sample was drawn on: that is mask\.tif \({own}\)"):
        estimate_area(other, sample=sample)


def test_a_copy_of_the_mask_will_do(looked_at, tmp_path: Path):
    mask, sample = looked_at
    copy = write_mask(tmp_path / "copy.tif", compress="deflate")
    assert estimate_area(copy, sample=sample).area_ha == estimate_area(mask, sample=sample).area_ha


def test_points_outside_of_the_mask(tmp_path: Path):
    frame = gpd.GeoDataFrame({"reference": [1, 0]}, geometry=[CENTRE, shapely.Point(0, 0)], crs=32650)
    frame.to_file(tmp_path / "points.gpkg")
    with pytest.raises(InputError, match=r"1 of 2 points of points\.gpkg lie outside of mask\.tif"):
        estimate_area(write_mask(tmp_path / "mask.tif"), sample=tmp_path / "points.gpkg")


def test_points_that_are_there_twice(tmp_path: Path):
    places = [CENTRE, CENTRE, shapely.Point(500_800, 3_999_400)]
    frame = gpd.GeoDataFrame({"reference": [1, 0, 1]}, geometry=places, crs=32650)
    frame.to_file(tmp_path / "points.gpkg")
    with pytest.raises(InputError, match=r"1 of 3 points of points\.gpkg lie exactly where another one does"):
        estimate_area(write_mask(tmp_path / "mask.tif"), sample=tmp_path / "points.gpkg")


def test_points_in_another_crs_or_order_are_the_sample_and_moved_ones_are_not(looked_at):
    mask, sample = looked_at
    before = estimate_area(mask, sample=sample).area_ha
    frame = gpd.read_file(sample)
    frame.iloc[::-1].to_crs(4326).to_file(sample, layer="sample")
    assert estimate_area(mask, sample=sample).area_ha == before
    frame.loc[frame["id"] == 7, "geometry"] = frame.geometry.translate(6, 0)  # of pixels of 10 m
    frame.to_file(sample, layer="sample")
    with pytest.raises(InputError, match=r"1 points of .* are no longer in the pixels that were drawn \(id 7\)"):
        estimate_area(mask, sample=sample)


def test_a_sample_that_was_changed(looked_at):
    mask, sample = looked_at
    gpd.read_file(sample).iloc[1:].to_file(sample, layer="sample")
    with pytest.raises(InputError, match="has not the points 1 to 200 of its"):
        estimate_area(mask, sample=sample)
    (sample.parent / "design.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="is no design of a sample"):
        estimate_area(mask, sample=sample)


def test_tables_need_a_design_and_resolving_needs_tables(looked_at, tmp_path: Path):
    mask, sample = looked_at
    table = write_answers(tmp_path / "li.csv", "x", {1: "1"})
    with pytest.raises(InputError, match="give their tables with answers="):
        estimate_area(mask, sample=sample, resolved=table)
    (sample.parent / "design.json").unlink()
    with pytest.raises(InputError, match=r"has no design\.json beside it"):
        estimate_area(mask, sample=sample, answers=[table])


def test_the_command_prints_figures_and_writes_them(looked_at, tmp_path: Path, capsys):
    mask, sample = looked_at
    words = ["area", "estimate", str(mask), "--sample", str(sample), "--out", str(tmp_path / "area")]
    assert cli.main(words) == 0
    told = capsys.readouterr().out
    assert "Area of cropland" in told and " mu " in told and "95 % interval" in told
    found = json.loads((tmp_path / "area" / "area.json").read_text(encoding="utf-8"))
    assert found["format"] == 1 and found["area_ha"]["value"] > 0 and found["regions"] is None
    rows = pd.read_csv(tmp_path / "area" / "area.csv").set_index("figure")
    assert rows.loc["area_ha", "value"] == pytest.approx(found["area_ha"]["value"])
    assert cli.main(words) == 2
    assert "holds an estimate already" in capsys.readouterr().err
    with pytest.raises(OutputError, match="is a file"):
        estimate_area(mask, sample=sample, out=mask)


def test_an_estimate_shows_itself(looked_at):
    found = estimate_area(*looked_at[:1], sample=looked_at[1])
    assert repr(found).startswith("area of cropland: ") and "(95 %: " in repr(found)
    assert "<td" in found._repr_html_() and "Producer&#x27;s accuracy of cropland" in found._repr_html_()


def test_figures_hold_together():
    """Cells of the matrix add up to the share and the overall accuracy."""
    rng = np.random.default_rng(0)
    stratum, mapped, reference = rng.integers(0, 3, 90), rng.integers(0, 2, 90), rng.integers(0, 2, 90)
    sizes = np.array([10**5, 10**6, 10**4])
    found, matrix = figures(mapped, reference, StratifiedSample(stratum, sizes.astype(float), sizes))
    cells = np.array([[each.value for each in row] for row in matrix])
    assert cells.sum() == pytest.approx(1) and cells[:, 1].sum() == pytest.approx(found["share"].value)
    assert np.trace(cells) == pytest.approx(found["overall"].value)
    assert cells[1, 1] / cells[1].sum() == pytest.approx(found["user"].value)
    assert cells[0, 0] / cells[:, 0].sum() == pytest.approx(found["producer_other"].value)


# --- the page ---------------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Tags that are open, to see that each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "path", "circle", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("path", "circle"):
            assert self.open.pop() == tag


@pytest.fixture
def found(looked_at, tmp_path):
    boxes = shapely.box(500_000, 3_998_800, 501_500, 4_000_000), CENTRE.buffer(30)
    return dict(estimate_area(looked_at[0], sample=looked_at[1], by=towns(tmp_path / "towns.gpkg", *boxes)).figures)


def test_the_page_holds_the_figures_and_asks_nothing_of_a_network(found):
    text = page(found)
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    for part in (f"{found['area_ha']['value']:,.1f}", "town 0", "too few points", found["mask"]["sha256"], "Wilson"):
        assert part in text
    assert not re.search(r"(src|href)=|https?://", text)


def test_the_picture_of_an_interval_is_where_the_figure_is(found):
    text = page(found)
    share = found["share"]
    ends = [f"{4 + 192 * share[name]:.2f}" for name in ("low", "high", "value")]
    assert f'd="M{ends[0]} 10H{ends[1]}"/><circle class="at" r="4" cx="{ends[2]}"' in text


def test_names_of_files_are_escaped(found):
    found["mask"] = {**found["mask"], "file": "<b>.tif"}
    assert "&lt;b&gt;.tif" in page(found)


def test_a_page_of_figures_that_are_not_known(found):
    nothing = dict.fromkeys(("value", "se", "low", "high"))
    names = ("area_ha", "area_mu", "share", "overall", "user", "producer", "user_other", "producer_other")
    found |= dict.fromkeys(names, nothing) | {"matrix": np.full((2, 2), nothing).tolist(), "regions": None}
    found["mapped"] = {**found["mapped"], "difference_ha": None}
    assert "a stratum has no answer" in page(found)


def test_the_page_speaks_the_language_of_the_person(found):
    with speaking("zh"):
        assert '<html lang="zh">' in page(found)
