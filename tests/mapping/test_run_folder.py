"""Where a map is put: whole or not at all, and nothing of the user's is lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
from geopandas.testing import assert_geodataframe_equal
from hypothesis import given, settings
from hypothesis import strategies as st

from cropland.cli import main
from cropland.errors import OutputError
from cropland.geo.window import Window, tiles
from cropland.mapping.run_folder import Journal, RawRaster, check_room, publish, sync, work_folder
from cropland.mapping.units import Cut
from large_scene import write_large_scene
from small_model import save_model

HOLDS_BOUNDARY = json.dumps({"found": {}, "options": {"outputs": ["cropland", "boundary"]}})


def write_map(out: Path, words: str, *, overwrite: bool = False) -> None:
    with work_folder(out, overwrite=overwrite) as folder:
        whole = folder / "map"
        whole.mkdir()
        (whole / "map.json").write_text(words, encoding="utf-8")
        (whole / "mask.tif").write_text(words, encoding="utf-8")
        publish(whole, out.absolute())


def test_a_folder_appears_whole_with_its_parents(tmp_path: Path) -> None:
    write_map(tmp_path / "new" / "out", "1")
    assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == {"map.json", "mask.tif"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


def test_an_error_leaves_the_earlier_map(tmp_path: Path) -> None:
    write_map(tmp_path / "out", "1")
    with pytest.raises(ZeroDivisionError), work_folder(tmp_path / "out", overwrite=True) as folder:
        (folder / "mask.tif").write_text("2", encoding="utf-8")
        _ = 1 / 0
    assert (tmp_path / "out" / "mask.tif").read_text(encoding="utf-8") == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_replacing_a_map_keeps_files_of_the_users_own(tmp_path: Path) -> None:
    write_map(tmp_path / "out", "1")
    (tmp_path / "out" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="overwrite=True"):
        write_map(tmp_path / "out", "2")
    write_map(tmp_path / "out", "2", overwrite=True)
    assert (tmp_path / "out" / "mask.tif").read_text(encoding="utf-8") == "2"
    assert (tmp_path / "out" / "notes.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(("earlier", "stays"), [(HOLDS_BOUNDARY, False), ('{"found": {}}', True), ("not JSON", True)])
def test_the_boundary_of_an_earlier_map_goes_and_a_file_of_that_name_that_is_the_users_stays(
    tmp_path: Path, earlier: str, stays: bool
) -> None:
    write_map(tmp_path / "out", earlier)
    (tmp_path / "out" / "boundary.tif").write_text("first", encoding="utf-8")
    write_map(tmp_path / "out", "2", overwrite=True)
    assert (tmp_path / "out" / "boundary.tif").exists() == stays


def test_here_is_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_map(Path(), "1")
    assert (tmp_path / "here" / "mask.tif").exists()


def test_places_that_cannot_be_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        write_map(tmp_path / "file", "1")
    with pytest.raises(OutputError, match="cannot be written"):
        write_map(tmp_path / "file" / "below", "1")
    with pytest.raises(OutputError, match="free some disk space"):
        check_room(tmp_path / "not" / "yet", 10**15)


def test_a_map_with_fields_needs_more_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(free=10**9)
    monkeypatch.setattr("shutil.disk_usage", lambda path: free)
    check_room(tmp_path, 10**8)
    with pytest.raises(OutputError, match="may need 1,420 MB"):  # 3 rasters twice, and 8 bytes for the fields
        check_room(tmp_path, 10**8, outputs=2)


def test_work_that_was_begun_stays_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), work_folder(tmp_path / "out", overwrite=False) as folder:
        (folder / "journal.jsonl").touch()
        raise KeyboardInterrupt
    with work_folder(tmp_path / "out", overwrite=False) as folder:
        assert (folder / "journal.jsonl").exists()
    assert not any(tmp_path.iterdir())


def test_only_one_run_makes_a_map(tmp_path: Path) -> None:
    """The second, in a process of its own, is told who is at it, and lets go without harm."""
    code = (
        "import sys; from pathlib import Path; from cropland.mapping.run_folder import work_folder\n"
        "with work_folder(Path(sys.argv[1]), overwrite=True): pass"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "out")]
    with work_folder(tmp_path / "out", overwrite=False) as folder:
        done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8")
        assert done.returncode == 1 and f"is being made by process {os.getpid()}" in done.stderr
        assert folder.exists()
    assert subprocess.run(words).returncode == 0


CUT = Cut("tiles", (40, 30), tuple(tiles((40, 30), size=10, halo=0, stride=1)))


def write_units(raster: RawRaster, journal: Journal, numbers: list[int]) -> None:
    import zlib

    for number in numbers:
        values = np.full((raster.bands, *CUT.units[number].core.shape), number + 1, np.uint8)
        raster.write(CUT.units[number].core, values)
        journal.note({f"a {number}": zlib.crc32(values.data)})


def test_what_stands_in_the_journal_is_not_missing(tmp_path: Path) -> None:
    raster, journal = RawRaster(tmp_path / "raster", CUT.shape), Journal.begin(tmp_path, {"scene": "s"})
    write_units(raster, journal, [0, 3, 7])
    again = Journal.begin(tmp_path, {"scene": "s"})
    assert again.missing("a", CUT, raster) == [1, 2, 4, 5, 6, 8, 9, 10, 11]
    assert again.missing("b", CUT, raster) == list(range(12))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 2), st.integers(0, 2400), st.integers(0, 400))
def test_a_cut_off_file_costs_only_what_it_lost(
    tmp_path_factory: pytest.TempPathFactory, bands: int, kept_bytes: int, kept_letters: int
) -> None:
    """Of the raster and of the journal, anywhere; a unit is done where it is whole in the last band as well."""
    folder = tmp_path_factory.mktemp("cut")
    raster = RawRaster(folder / "raster", CUT.shape, bands)
    write_units(raster, Journal.begin(folder, {}), list(range(12)))
    os.truncate(raster.path, min(kept_bytes, raster.start(bands)))
    os.truncate(folder / "journal.jsonl", min(kept_letters, (folder / "journal.jsonl").stat().st_size))
    lines = (folder / "journal.jsonl").read_text(encoding="utf-8").split("\n")
    noted = [json.loads(line)["done"] for line in lines if line.endswith("}")]
    whole = [n for n, unit in enumerate(CUT.units) if kept_bytes >= raster.start(bands - 1) + _end(unit.core)]
    missing = Journal.begin(folder, {}).missing("a", CUT, raster)
    assert missing == [n for n in range(12) if n not in whole or f"a {n}" not in noted]


def _end(core: tuple[int, int, int, int]) -> int:
    return (core[0] + core[2] - 1) * CUT.shape[1] + core[1] + core[3]


def test_another_job_is_refused_and_named(tmp_path: Path) -> None:
    Journal.begin(tmp_path, {"scene": "s", "model": 1})
    with pytest.raises(OutputError, match=r"other settings \(model 1, now 2\); "):
        Journal.begin(tmp_path, {"scene": "s", "model": 2})
    assert Journal.begin(tmp_path, {"scene": "s", "model": 1}).job["model"] == 1
    (tmp_path / "map").mkdir()
    (tmp_path / "map" / "boundary.tif").touch()
    assert Journal.begin(tmp_path, {"scene": "s", "model": 2}, anew=True).job["model"] == 2
    assert not (tmp_path / "map").exists()


def test_what_is_otherwise_in_a_job_is_told_with_its_values_where_they_are_short(tmp_path: Path) -> None:
    options = {"threshold": 0.5, "flips": 1}
    Journal.begin(tmp_path, {"options": options, "sha256": "a" * 64})
    with pytest.raises(OutputError, match=r"\(options.threshold 0.5, now 0.4, sha256\)"):
        Journal.begin(tmp_path, {"options": {**options, "threshold": 0.4}, "sha256": "b" * 64})


def test_a_file_is_made_once(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_text("same", encoding="utf-8")

    for _ in range(2):
        Journal.begin(tmp_path, {}).once(tmp_path / "mask.tif", make)
    assert len(made) == 1
    (tmp_path / "mask.tif").write_text("damaged", encoding="utf-8")
    Journal.begin(tmp_path, {}).once(tmp_path / "mask.tif", make)
    assert len(made) == 2


KILLS = [pytest.param(number, marks=[pytest.mark.soak] if number > 2 else []) for number in range(20)]


@pytest.fixture(scope="module")
def whole_map(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path, float]:
    """The words of a run without `--out`, its map with a boundary, and how long it took."""
    folder = tmp_path_factory.mktemp("whole")
    model = save_model(folder / "m.safetensors", outputs=("cropland", "boundary"))
    write_large_scene(folder / "scene.tif", (3000, 1400))
    words = ["map", str(folder / "scene.tif"), "--model", str(model.path)]
    begun = time.monotonic()
    subprocess.run([sys.executable, "-m", "cropland", *words, "--out", str(folder / "out")], check=True)
    return words, folder / "out", time.monotonic() - begun


@pytest.mark.parametrize("seed", KILLS)
def test_a_run_that_is_killed_anywhere_ends_at_the_same_bytes(
    whole_map: tuple[list[str], Path, float], tmp_path: Path, seed: int
) -> None:
    """Killed (SIGKILL) at two random moments, then left alone."""
    words, expected, seconds = whole_map
    out, moments = tmp_path / "out", random.Random(seed)
    for _ in range(2):
        running = subprocess.Popen([sys.executable, "-m", "cropland", *words, "--out", str(out)])
        time.sleep(moments.uniform(0.2, 1.0) * seconds)
        running.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        running.wait()
        if out.exists():
            break
        assert not list(out.parent.glob("*/mask.tif"))  # no half of a map where a reader looks
    else:
        assert main([*words, "--out", str(out)]) == 0
    for name in ("probability.tif", "boundary.tif", "mask.tif"):
        assert (out / name).read_bytes() == (expected / name).read_bytes(), name
    for name, read in (("parcels.parquet", gpd.read_parquet), ("parcels.gpkg", gpd.read_file)):
        assert_geodataframe_equal(read(out / name), read(expected / name))
    assert not [path for path in out.parent.iterdir() if path.name != "out"]
    assert {path.name for path in out.iterdir()} == {path.name for path in expected.iterdir()}


def test_a_plane_gives_back_what_was_written(tmp_path: Path) -> None:
    raster, values = RawRaster(tmp_path / "raster", (5, 7), 2), np.arange(70, dtype=np.uint8).reshape(2, 5, 7)
    assert not raster.rows(0, 5).any()
    for window in (Window(2, 3, 3, 4), Window(0, 0, 2, 7), Window(2, 0, 3, 3)):
        raster.write(window, values[:, *window.slices])
        assert np.array_equal(raster.read(window), values[:, *window.slices])
    sync(raster.path), sync(tmp_path)
    assert np.array_equal(raster.rows(1, 4), values[:, 1:])
    assert raster.path.read_bytes() == values.tobytes()  # as the VRT of a band tells GDAL
