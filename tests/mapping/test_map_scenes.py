"""The command line of `cropland map`: what cannot be is refused before anything is computed."""

import json
from pathlib import Path

import pytest

from cropland.cli import main
from cropland.demo import FOLDER

SAMPLE = str(FOLDER / "sentinel2_delmarva.tif")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out-pixel=-3"], "--out-pixel"),
        (["--out-pixel", "0"], "--out-pixel"),
        (["--tile=-7"], "--tile"),
        (["--tile", "0"], "--tile"),
        (["--threads", "0"], "--threads"),
        (["--threshold", "7"], "--threshold"),
        (["--threshold", "nan"], "--threshold"),
        (["--min-area-m2=-5"], "--min-area-m2"),
        (["--memory", "1KB"], "the network takes some"),
        (["--memory", "1KB", "--tiles"], "the network takes some"),
        (["--memory", "much"], "as in 2GB"),
        (["--profile", "not_there/p.json"], "--profile not_there"),
        (["--executor", "dask:foo"], "dask:tcp://HOST:8786"),
        (["--mosaic", "--out-crs", "EPSG:9999999"], "--out-crs 'EPSG:9999999' is not known"),
        (["--overlap", "mean"], "give --mosaic as well"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["map", SAMPLE, "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert told in error and error.startswith("cropland: ") and "\n" not in error.strip()
    assert not list(tmp_path.iterdir())


def test_a_mosaic_that_is_there_is_told_before_any_scene_is_mapped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "mosaic").mkdir(parents=True)
    (tmp_path / "out" / "mosaic" / "map.json").write_text(json.dumps({}), encoding="utf-8")
    assert main(["map", SAMPLE, "--out", str(tmp_path / "out"), "--mosaic"]) == 2
    assert "mosaic holds a map; delete it" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mosaic"]
