"""What benchmarks promise apart from speed: scenes, children, goals, pages, and the simulation of many machines."""

import json
import math
import sys
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import rasterio
import torch
from geopandas import GeoDataFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas import concat
from rasterio.transform import from_origin
from shapely import box

import country_scale
import cropland
import environments
import goals
import map_three_classes
import processes
import report
import scenes
import suggest
import train_three_classes
import training
from country_scale import HARSH, PERFECT, World, simulate
from cropland.data.batches import Batch
from cropland.geo.scene import open_scene
from given import Job
from plain_loop import windowed_loop

MACHINE = {
    "processor": "P",
    "cores": 2,
    "memory_gb": 8,
    "system": "S",
    "python": "3",
    "cropland": "1",
    "date": "2026-01-01",
}


@given(st.integers(1, 40), st.integers(1, 12), st.floats(0.1, 1e4))
def test_without_stragglers_and_failures_the_time_is_the_quotient(rounds: int, machines: int, task_s: float):
    came = simulate(rounds * machines, machines, task_s=task_s, world=PERFECT, seed=0)
    assert came == pytest.approx(rounds * task_s, rel=1e-12)


def test_machines_that_are_left_over_wait():
    assert simulate(9, 4, task_s=10.0, world=PERFECT, seed=0) == pytest.approx(30.0)
    assert simulate(3, 8, task_s=10.0, world=PERFECT, seed=0) == pytest.approx(10.0)


def test_failures_cost_what_the_closed_form_says():
    # One machine that begins anew after each failure: (mean life + repair) (exp(task / mean life) - 1) for each task,
    # Daly 2006, doi:10.1016/j.future.2004.11.016, equation 3 without checkpoints.
    world = World("", 0.0, between_failures_h=2.0, repair_h=0.5)
    came = [simulate(500, 1, task_s=3600.0, world=world, seed=seed) / 3600 / 500 for seed in range(20)]
    assert fmean(came) == pytest.approx((2 + 0.5) * (math.exp(0.5) - 1), rel=0.02)


def test_the_spread_leaves_the_mean():
    came = simulate(100_000, 1, task_s=5.0, world=World("", 0.6, math.inf, 0.0), seed=0)
    assert came / 100_000 == pytest.approx(5.0, rel=0.01)


@settings(max_examples=20)
@given(st.integers(1, 200), st.integers(1, 16), st.integers(0, 9))
def test_many_machines_end_no_sooner_than_all_work_shared_evenly(tasks: int, machines: int, seed: int):
    came = simulate(tasks, machines, task_s=600.0, world=HARSH, seed=seed)
    assert came == simulate(tasks, machines, task_s=600.0, world=HARSH, seed=seed)
    calm = World("", HARSH.spread, math.inf, 0.0)
    assert came >= simulate(tasks, 1, task_s=600.0, world=calm, seed=seed) / machines * (1 - 1e-9)


def test_scenes_mirror_the_sample(tmp_path: Path):
    with rasterio.open(scenes.SAMPLE) as file:
        sample, names = file.read(), file.descriptions
    height, width = sample.shape[1] + 70, 300
    scenes.write_scene(tmp_path / "s.tif", height, width)
    with rasterio.open(tmp_path / "s.tif") as file:
        assert file.descriptions == names and file.dtypes == ("uint16",) * 4
        expected = np.pad(sample, ((0, 0), (0, 70), (0, 0)), mode="symmetric")[:, :, :width]
        np.testing.assert_array_equal(file.read(), expected)


def job(folder: Path, scene: Path) -> Job:
    return Job(str(scene), str(folder / "mask.tif"), "", 2, False, [3, 2, 1], [0.0] * 3, [1000.0] * 3, logit=0.1)


def test_the_plain_loop_of_a_network_without_a_field_is_the_whole_image(tmp_path: Path):
    scenes.write_scene(tmp_path / "s.tif", 700, 500)
    network, given_job = torch.nn.Conv2d(3, 1, 1), job(tmp_path, tmp_path / "s.tif")
    windowed_loop(network, given_job)
    with rasterio.open(tmp_path / "s.tif") as scene, rasterio.open(given_job.out) as mask, torch.inference_mode():
        image = torch.from_numpy(given_job.normalise(scene.read(given_job.bands)))[None]
        came, expected = mask.read(1), given_job.classes(network(image))[0]
        assert came.shape == expected.shape and (came != expected).mean() < 1e-4  # sums in another order


def test_cropland_runs_as_a_contender(tmp_path: Path):
    scenes.write_scene(tmp_path / "s.tif", 96, 80)
    words = {"scene": str(tmp_path / "s.tif"), "out": str(tmp_path / "mask.tif"), "threads": 2}
    seconds, whole, peak_mb = processes.child("with_cropland.py", json.dumps(words))
    assert 0 < seconds < whole and (peak_mb > 50 or math.isnan(peak_mb))
    with rasterio.open(tmp_path / "mask.tif") as mask:
        assert mask.shape == (96, 80) and set(np.unique(mask.read())) <= {0, 1, 255}


def test_a_contender_that_fails_is_kept_with_what_it_said():
    def fails() -> tuple[float, float, float]:
        raise processes.ChildError("no wheel for this Python")

    found = processes.in_turn({"one": lambda: (1.0, 2.0, 3.0), "other": fails}, rounds=2)
    assert found["one"].plain == {"seconds": [1.0, 1.0], "whole": [2.0, 2.0], "peak_mb": [3.0, 3.0]}
    assert found["other"].plain == {"missing": "no wheel for this Python"}


def test_a_peer_that_cannot_be_installed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environments, "WORK", tmp_path)
    monkeypatch.setattr(environments, "FAILED", {})
    monkeypatch.setitem(environments.PACKAGES, "none", (str(tmp_path / "not_there.whl"),))
    python = tmp_path / "none" / "bin" / "python"  # this one, since a new environment takes seconds
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    for _ in range(2):  # said again, not tried again
        with pytest.raises(processes.ChildError, match=r"could not be installed: .*not_there\.whl"):
            environments.environment("none")
    assert not (tmp_path / "none" / "made").exists()


def test_an_environment_of_other_packages_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environments, "WORK", tmp_path)
    monkeypatch.setattr(environments, "FAILED", {})
    python, asked = tmp_path / "one" / "bin" / "python", tmp_path / "asked"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$@" >> "{asked}"\n', encoding="utf-8")
    python.chmod(0o755)
    for packages in (("first",), ("first",), ("first", "second")):
        monkeypatch.setitem(environments.PACKAGES, "one", packages)
        assert environments.environment("one") == python
    calls = asked.read_text(encoding="utf-8").splitlines()
    assert [line.partition("--quiet ")[2] for line in calls] == ["first", "first second"]


def three_class_batch() -> Batch:
    """Two chips of 2 x 3 pixels: background, cropland, and the rim on either side; unknown by mask, rim, and both."""
    cropland = torch.tensor([[[0.0, 1, 0], [1, 1, 0]], [[1, 1, 1], [0, 0, 0]]])
    rim = torch.tensor([[[0.0, 0, 1], [1, 0, 0]], [[0, 0, 0], [0, 1, 0]]])
    known_cropland = torch.tensor([[[True, True, True], [True, True, False]], [[True] * 3, [True, False, False]]])
    known_rim = torch.tensor([[[True, True, True], [True, False, True]], [[True] * 3, [True, True, False]]])
    target, valid = torch.stack([cropland, rim], 1), torch.stack([known_cropland, known_rim], 1)
    return Batch(torch.zeros(2, 3, 2, 3), target, valid, ("one", "other"))


def test_three_classes_are_known_where_mask_and_rim_are():
    unknown = train_three_classes.UNKNOWN
    expected = [[[0, 1, 2], [2, unknown, unknown]], [[1, 1, 1], [0, unknown, unknown]]]
    assert train_three_classes.classes_of(three_class_batch()).tolist() == expected


def test_the_mean_of_the_losses_is_pytorchs_weighted_mean():
    batch, logits = three_class_batch(), torch.randn(2, 3, 2, 3, generator=torch.Generator().manual_seed(0))
    losses = train_three_classes.weighted_cross_entropy(logits, batch)
    criterion = torch.nn.CrossEntropyLoss(
        weight=torch.tensor(train_three_classes.WEIGHTS), ignore_index=train_three_classes.UNKNOWN
    )
    assert losses.shape == (2,)
    torch.testing.assert_close(losses.mean(), criterion(logits, train_three_classes.classes_of(batch)))


def test_a_batch_of_unknown_pixels_has_no_loss():
    batch = three_class_batch()
    none = batch._replace(valid=torch.zeros_like(batch.valid))
    assert train_three_classes.weighted_cross_entropy(torch.randn(2, 3, 2, 3), none).tolist() == [0.0, 0.0]


def test_interiors_become_the_map_of_their_fields(tmp_path: Path):
    # Two fields that share a boundary of four pixels, and a speck of 16 m2 that is no field.
    image = np.zeros((3, 64, 96), np.uint8)
    image[:, ::2] = 9
    place = {"crs": "EPSG:32650", "transform": from_origin(500_000, 5e6, 1, 1)}
    with rasterio.open(tmp_path / "s.tif", "w", "GTiff", 96, 64, 3, dtype="uint8", **place) as file:
        file.write(image)
    classes = np.zeros((64, 96), np.int64)
    classes[4:60, 4:92], classes[4:60, 46:50], classes[0:4, 0:4] = 1, 2, 1
    shares = np.float32(np.stack([classes == each for each in range(3)]))
    scene, folder = open_scene(tmp_path / "s.tif"), tmp_path / "maps" / "s"
    numbers = map_three_classes.field_numbers(shares, "interiors", pixel_m=1.0)
    fields = map_three_classes.polygons_of(numbers, scene, simplify=1.0)
    map_three_classes.write_map(folder, scene, fields, shares)

    reference = GeoDataFrame(geometry=[box(500_004, 4_999_940, 500_046, 4_999_996)], crs=32650)
    reference = concat([reference, reference.translate(46).rename("geometry").to_frame()])
    reference.to_file(tmp_path / "fields.gpkg")
    found = cropland.evaluate(tmp_path / "maps", labels=tmp_path / "fields.gpkg", background="known")
    assert found.field_f1 == 1.0 and found.iou == pytest.approx(1.0)
    assert found["pooled"]["fields"]["predicted"] == 2


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """As the questions write them, with figures made up."""
    ran = {"whole": [3.0] * 5, "peak_mb": [300.0] * 5, "empty_mb": 100.0, "empty_whole": 1.0, "other_class": 0.001}
    contenders = {
        goals.LOOP: {"seconds": [12.0, 14.0, 60.0, 13.0, 12.5], **ran},
        goals.GEOAI: {"missing": "no wheel for this Python"},
        goals.DEFAULT: {"seconds": [2.0, 2.0, 10.0, 2.0, 2.0], **ran},
        goals.FLOAT32: {"seconds": [8.0] * 5, **ran},
        goals.MAP: {"seconds": [3.0] * 5, **ran},
    }
    grown = [(2048, 2048, 150.0), (8192, 8192, 400.0), (32768, 4096, 420.0)]
    sizes = [
        {"height": h, "width": w, "seconds": [1.0], "whole": [1 + 0.2 * h * w / 1e6], "peak_mb": [peak]}
        for h, w, peak in grown
    ]
    rates = {"lone tiles, no overlap": [10.0], "probability and mask": [8.0], "cropland map": [5.0]}
    products = {"probability.tif": 0.5, "mask.tif": 0.25, "parcels.parquet": 0.125, "scene": 6.0}
    figures = {
        "peers": {"size": [4096, 4096], "contenders": contenders, "versions": {"geoai": "no wheel for this Python"}},
        "sizes": {goals.MAP: {"empty": {"peak_mb": [100.0]}, "sizes": sizes}},
        "breakdown": {
            "size": [8192, 8192],
            "rates": rates,
            "stages": [],
            "strips": {"8192": 1.0},
            "products": products,
        },
    }
    fields = {"f1": 0.5, "f1_50_95": 0.25, "over_segmentation": 0.125, "under_segmentation": None}
    fields |= {"predicted": 1200, "reference": 1000}
    figures["three_classes"] = {
        "crops": 80_000,
        "start": None,
        "pixel_m": 2.0,
        "megapixels": 4.0,
        "version": "smp 1",
        "contenders": {
            "cropland": {"seconds": [2.0, 1.0, 4.0], "iou": 0.75, "fields": fields},
            "three classes, watershed": {"missing": "no wheel for this Python"},
        },
    }
    figures["suggest"] = {
        "windows": 10,
        "size": 256,
        "tiles": 12,
        "start": {"scene": 0.5, "tests": 0.75},
        "runs": [
            {"suggested": {"scene": 0.6 + step, "tests": 0.8}, "random": {"scene": 0.5 + step, "tests": 0.79 + step}}
            for step in (0.0, 0.02)
        ],
        "differences": {"scene": suggest.interval([0.1, 0.1]), "tests": suggest.interval([0.01, -0.01])},
    }
    steps = {"seconds": [2.0, 2.0, 4.0], "cpu": [3.0] * 3, "chips": [16] * 3, "multiply_adds": [1e9] * 3}
    figures["training"] = {
        "batch": 8,
        "crop": 256,
        "steps": 2,
        "is_sample": True,
        "version": "smp 1",
        "gpu": None,
        "contenders": {
            goals.TRAINING: {
                **steps,
                "waiting": [0.25, 0.125, 0.25],
                "ready": [1.5, 1.8, 3.8],
                "crop_cpu": [0.008] * 3,
            },
            goals.TRAINING_LOOP: {**steps, "seconds": [4.0, 3.5, 5.0], "waiting": [0.5, 0.5, 0.5]},
        },
    }
    about = {"machine": {**MACHINE, "packages": {"torch": "2"}}, "minutes": 1.0, "busy": 0.1}
    (tmp_path / "results").mkdir()
    for question, found in figures.items():
        (tmp_path / "results" / f"{question}.json").write_text(
            json.dumps({**about, "figures": found}), encoding="utf-8"
        )
    return tmp_path / "results"


def test_the_page_is_made_of_the_results(results: Path, tmp_path: Path):
    report.write(results, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert f"- {goals.GEOAI}: no wheel for this Python" in page
    assert row(page, "to the written raster: the plain loop") == ["≥ 5", "6.25", "**met**"]  # the middle ratio of five
    assert row(page, "Float32 against float32: the plain loop") == ["≥ 2.5", "1.62", "**missed**"]
    assert row(page, "Default against default: geoai's") == ["≥ 5", "", "**not measured**"]
    assert row(page, "Extra memory of `cropland map`") == ["≤ 700", "300", "**met**"]
    assert row(page, "The largest extra memory") == ["≤ 1.1", "1.07", "**met**"]
    assert row(page, "a straight line")[2] == "**met**" and row(page, "to probability and mask")[1] == "0.8"
    assert "not at rest" not in page
    linked = [part.partition(")")[0] for part in page.split("](")[1:]]
    assert linked and all((tmp_path / link).read_text(encoding="utf-8").startswith("<?xml") for link in linked)


def test_the_page_compares_fields_by_three_classes(results: Path, tmp_path: Path):
    report.write(results, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    page = page[page.index("## Fields by three classes") :]
    assert "80,000 crops" in page and "started from random weights" in page and "its 1000 fields" in page
    assert row(page, "cropland") == ["0.500", "0.250", "0.125", "", "0.750", "1,200", "0.5"]
    assert "- three classes, watershed: no wheel for this Python" in page


def test_the_page_compares_training(results: Path, tmp_path: Path):
    report.write(results, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert row(page, "Training on a CPU, chips per second") == ["≥ 1.5", "1.75", "**met**"]
    assert row(page, "the share of the time in which a step does not wait") == ["≥ 0.95", "0.938", "**missed**"]
    page = page[page.index("## Training") :]
    assert "There was no GPU here." in page and "1.000 billion for cropland, 1.000 billion for segm" in page
    assert row(page, "cropland") == ["8", "1", "0.188", "6.2%", "0.9", "8"]
    assert row(page, goals.TRAINING_LOOP) == ["4", "1.75", "0.188", "12.5%", "", ""]


def test_training_is_measured_on_chips_of_the_sample(tmp_path: Path):
    """Where nobody has the chips of the shipped model; the recipe then has no groups of theirs."""
    chips, recipe = training.sample_chips(tmp_path / "chips"), training.own_recipe(is_sample=True)
    job = {"chips": str(chips), "warm": 0, "steps": 1, "threads": 2, "batch": 2}
    sampling = recipe.sampling.model_copy(update={"crop": 64})
    few = recipe.training.model_copy(update={"batch": 2})
    told = training.train_own(job, recipe.model_copy(update={"sampling": sampling, "training": few}))
    assert told["chips"] == 2 and 0 <= told["waiting"] < told["seconds"] and told["ready"] > 0
    assert told["crop_cpu"] > 0 and told["multiply_adds"] > 1e6 and told["peak_flops"] is None


def row(page: str, words: str) -> list[str]:
    """The cells behind the first goal that says this."""
    line = next(line for line in page.splitlines() if line.startswith("| ") and words in line.split(" | ")[0])
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


def test_the_page_says_whether_suggested_windows_win(results: Path, tmp_path: Path):
    report.write(results, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    page = page[page.index("## Suggested windows and random ones") :]
    assert row(page, "the rest of the scene") == ["0.500", "0.510", "0.610", "+0.100 (+0.100 to +0.100)"]
    assert row(page, "other tiles") == [
        "0.750",
        "0.800",
        "0.800",
        "+0.000 (-0.127 to +0.127)",
    ]  # t = 12.71 of one degree
    assert "On the rest of the scene suggested windows win. On other tiles suggested windows do not differ" in page


def test_random_windows_do_not_touch_and_come_of_the_seed():
    first, again, other = (suggest.at_random((2048, 3000), 9, seed) for seed in (0, 0, 1))
    corners = np.array(first)[:, :2]
    gaps = np.abs(corners[:, None] - corners).max(axis=2)[~np.eye(9, dtype=bool)]
    assert len(first) == 9 and gaps.min() >= 2 * 256 and first == again != other


def test_a_busy_machine_is_told(results: Path, tmp_path: Path):
    path = results / "breakdown.json"
    kept = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**kept, "busy": 2.0}), encoding="utf-8")
    report.write(results, tmp_path)
    assert "**The machine was not at rest** when these were measured: breakdown." in (
        tmp_path / "benchmarks.md"
    ).read_text("utf-8")


def test_without_results_nothing_is_measured(tmp_path: Path):
    report.write(tmp_path, tmp_path)
    assert {goal.verdict for goal in goals.read_goals({})} == {"not measured"}
    country_scale.write(tmp_path, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["benchmarks.md"]


def test_the_page_on_a_country(results: Path, tmp_path: Path):
    country_scale.write(results, tmp_path)
    page = (tmp_path / "explanation" / "country_scale.md").read_text(encoding="utf-8")
    assert "96 gigapixels at 10 m, 2,400 at 2 m" in page and "takes 5 Mpx/s" in page
    hours = 797 * country_scale.TASK / 5e6 / 3600
    assert f"| 10 m, nothing goes wrong | {hours:.3g} | " in page
    assert "| probability, boundary and mask | 0.75 | 0.072 | 1.8 |" in page


def test_every_goal_has_its_figure_and_every_figure_its_goal():
    import tomllib

    listed = tomllib.loads(Path(goals.__file__).with_suffix(".toml").read_text(encoding="utf-8"))["goal"]
    assert [each["figure"] for each in listed] == [*goals.FIGURES]
    assert not any(character.isdigit() for each in listed for character in each["reason"]), "figures stand in results"


def test_children_need_nothing_of_the_project():
    # They run in the peers' environments.
    folder = Path(processes.CHILDREN)
    for path in [folder / name for name in ("told.py", "given.py", "plain_loop.py", *peers_children(folder))]:
        assert "cropland" not in path.read_text(encoding="utf-8").replace("cropland.", "."), path
    assert sys.modules["plain_loop"].__file__


def peers_children(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("with_*.py") if path.name != "with_cropland.py"]
