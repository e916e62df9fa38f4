"""The page of a comparison: what it shows, in both languages, and the command that writes it."""

import re
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from shapely import box

import cropland
from cropland import cli
from cropland.demo import FIELDS
from cropland.language import speaking

PICTURE = re.compile(r'<img src="data:image/jpeg;base64,')


@pytest.fixture(scope="module")
def maps(quarter: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two maps of a quarter of the sample: by the model's threshold, and by one that leaves much out."""
    folder, model = tmp_path_factory.mktemp("maps"), cropland.Model.open()
    first = cropland.map(quarter, folder / "first", model=model)
    second = cropland.map(quarter, folder / "second", model=model, threshold=0.9)
    return first.folder, second.folder


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory, quarter: Path) -> Path:
    """The fields of the sample in two villages; the two largest on the quarter are said to be gardens."""
    frame = gpd.read_file(FIELDS)[["geometry"]]
    with rasterio.open(quarter) as file:
        here = frame.geometry.intersection(box(*file.bounds)).area
    gardens = here.rank(ascending=False) <= 2
    villages = np.where(np.arange(len(frame)) % 2, "李家村", "<b>王家村</b>")
    path = tmp_path_factory.mktemp("survey") / "survey.gpkg"
    frame.assign(DLBM=np.where(gardens, "0201", "0103"), 村=villages).to_file(path)
    return path


def test_the_page_shows_the_worst_and_the_largest(maps, survey: Path):
    found = cropland.compare(survey, maps[0], background="known", by="村")
    html = (found.folder / "report.html").read_text(encoding="utf-8")
    worst = min(20, found["total"]["disagreeing"])
    shown = worst + sum(min(6, found["changes"][kind]["count"]) for kind in ("gain", "loss"))
    assert worst and len(PICTURE.findall(html)) == 2 * shown, "image and map of each"
    assert html.count("<figure>") == shown
    assert "李家村" in html and "&lt;b&gt;王家村" in html, "escaped"
    assert "<script" not in html and "http" not in html.replace("http://www.w3.org", "")


def test_with_two_maps_both_dates_are_shown(maps, survey: Path):
    found = cropland.compare(survey, *maps)
    html = (found.folder / "report.html").read_text(encoding="utf-8")
    assert len(PICTURE.findall(html)) == 3 * html.count("<figure>") > 0
    assert found["changes"]["loss"]["area_ha"] > 0 and not found["changes"]["gain"]["count"]


def test_the_page_speaks_chinese(maps, survey: Path):
    with speaking("zh"):
        found = cropland.compare(survey, maps[0])
        html, text = (found.folder / "report.html").read_text(encoding="utf-8"), repr(found)
    words = re.sub(r"<style>.*?</style>|<code>.*?</code>|<[^>]*>|&\w+;", " ", html, flags=re.DOTALL)
    english = set(re.findall(r"[A-Za-z]{4,}", words)) - {
        "DLBM",
        "gpkg",
        "survey",
        "cropland",
        "quarter",
        "doctor",
        "shift",
    }
    assert 'lang="zh"' in html and not english
    assert text == "survey.gpkg 与 quarter 对比"


def test_a_browser_draws_it(maps, survey: Path, browser: Any, tmp_path: Path):
    found = cropland.compare(survey, *maps, by="村", out=tmp_path / "out")
    page = browser.new_page(viewport={"width": 380, "height": 800})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((found.folder / "report.html").as_uri())
    assert page.evaluate("[...document.images].every(each => each.naturalWidth > 100)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than a telephone"
    assert not errors


def test_the_command_says_what_it_found(maps, survey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    words = ["compare", str(survey), str(maps[0]), "--by", "村", "DLBM", "--min-area-mu", "1", "--out", str(out)]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert "Polygons that disagree" in printed and "report.html" in printed
    assert "at least 666.667 m2" in printed
    assert {path.name for path in out.glob("by_*.csv")} == {"by_村.csv", "by_DLBM.csv"}
    assert cli.main(words) == 2
    assert "holds a comparison already" in capsys.readouterr().err
    assert cli.main([*words, "--overwrite", "--min-area-m2", "9"]) == 2
    assert "mean the same" in capsys.readouterr().err
    assert cli.main(["compare", str(survey), str(tmp_path / "no_map"), "--out", str(tmp_path / "no")]) == 2
    assert "there is no such file" in capsys.readouterr().err and not (tmp_path / "no").exists()
