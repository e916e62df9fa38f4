"""`cropland evaluate`: a report that stands alone, wrong input in one line, and the same figures in a notebook."""

import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import shapely
from playwright.sync_api import Browser

from cropland.cli import main
from cropland.data.chips import open_chips, write_index
from cropland.data.ground import TrainingGround
from cropland.data.labels import LabelOptions
from cropland.errors import InputError, OutputError
from cropland.evaluation import robustness
from cropland.evaluation.evaluate import evaluate
from cropland.recipe import Network, Recipe
from evaluation import small_evaluation
from evaluation.chromium import opened
from evaluation.small_evaluation import field, write_mask, write_polygons

BEYOND_THE_EDGE = """() => [...document.querySelectorAll("main *")].filter(each =>
    !each.closest(".viewer-map") && !each.parentElement.closest(".scroll") && each.getBoundingClientRect().width &&
    each.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(each => each.outerHTML)"""
LABELS = ["--labels", "fields.gpkg", "--background", "known"]
VOID = {"meta", "img", "br", "i", "path", "circle", "polyline", "input"}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    values = np.zeros((100, 120), np.uint8)
    values[20:60, 20:60] = 1
    write_mask(tmp_path / "mask.tif", values)
    write_polygons(
        tmp_path / "fields.gpkg", crop=["rice & <b>", "wheat"], geometry=[field(20, 20, 50, 40), field(0, 70, 10, 30)]
    )
    return tmp_path


def test_a_mask_against_polygons(files: Path, capsys: pytest.CaptureFixture[str]):
    status = main(
        ["evaluate", "mask.tif", "--labels", "fields.gpkg", "--background", "known", "--by", "crop", "--out", "out"]
    )
    assert status == 0, capsys.readouterr().err
    assert "report.html" in capsys.readouterr().out
    found = json.loads((files / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert found["format"] == 2 and found["kind"] == "map" and found["reference"]["background"] == "known"
    assert found["pooled"]["precision"] == 1 and found["groups"]["wheat"]["recall"] == 0
    assert sorted(path.name for path in (files / "out").iterdir()) == ["metrics.json", "report.html"]


def test_the_report_stands_alone_and_is_well_formed(files: Path):
    main(["evaluate", "mask.tif", "--labels", "fields.gpkg", "--background", "known", "--by", "crop", "--out", "out"])
    text = (files / "out" / "report.html").read_text(encoding="utf-8")
    assert "rice &amp; &lt;b&gt;" in text and "data:image/jpeg;base64," in text
    prose = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert not re.search(r'\s(src|href)="(?!data:)|@import', prose)
    assert not re.search(r"\$\w|\bnan\b|\bNone\b", prose)
    assert _unclosed(prose) == []


def test_an_evaluation_is_not_overwritten_unasked(files: Path, capsys: pytest.CaptureFixture[str]):
    command = ["evaluate", "mask.tif", "--labels", "fields.gpkg", "--background", "known"]
    assert [main(command), main(command), main([*command, "--overwrite"])] == [0, 2, 0]
    assert "holds an evaluation already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tokens", "line"),
    [
        (["mask.tif"], "say what to measure against"),
        (["mask.tif", "--chips", "c", "--labels", "fields.gpkg"], "say what to measure against"),
        (["nowhere.tif", "--labels", "fields.gpkg"], "there is no such file"),
        (["mask.tif", "--chips", "c"], "not a model"),
        (["model.safetensors", "--labels", "fields.gpkg"], "is a model; measure it with --chips"),
        (["mask.tif", "--whole", "other", "--tolerance-m", "0"], "give metres above 0"),
        (["mask.tif", "--whole", "other", "--tolerance-m", "5", "nan"], "--tolerance-m nan: give metres above 0"),
        (["mask.tif", "--labels", "fields.gpkg"], "--background known"),
        (["mask.tif", "--whole", "other", "--threshold", "0.5"], "mask.tif is a mask; --threshold"),
        (["mask.tif", "--whole", "other", "--imagery", "nowhere.tif"], "nowhere.tif is not there"),
        (["mask.tif", "--whole", "other", "--imagery", "fields.gpkg"], "not an image that GDAL can read"),
        (["mask.tif", "--whole", "other", "--robustness"], "use it with a model and --chips"),
        (["mask.tif", "--whole", "other", "--working-pixel-m", "5"], "--working-pixel-m does not go with a map"),
        (["mask.tif", "--whole", "other", "--against", "model.safetensors"], "is a model; measure it with --chips"),
        (["mask.tif", "--whole", "other", "--against", "notes.txt"], "notes.txt is not a vector file"),
        (["mask.tif", *LABELS, "--by", "state"], "no column 'state'; it has crop"),
        (["notes.txt", "--whole", "other"], "notes.txt is not a vector file"),
        (["empty", "--whole", "other"], "empty holds no map"),
        (["model.safetensors", "--chips", "c", "--imagery", "mask.tif"], "--imagery does not go with a model on chips"),
        (["model.safetensors", "--chips", "c", "--background", "known"], "--background does not go with a model"),
        (["mask.tif", "--whole", "other", "--out", "fields.gpkg"], "is a file; give a folder"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    files: Path, tokens: list[str], line: str, capsys: pytest.CaptureFixture[str]
):
    (files / "model.safetensors").write_bytes(b"")
    (files / "notes.txt").write_text("hello", encoding="utf-8")
    (files / "empty").mkdir()
    assert main(["evaluate", *tokens]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
    assert not (files / "evaluation").exists()


def test_a_scene_that_is_wholly_other_gives_its_false_alarm(files: Path):
    assert main(["evaluate", "mask.tif", "--whole", "other"]) == 0
    found = json.loads((files / "evaluation" / "metrics.json").read_text(encoding="utf-8"))["pooled"]
    assert found["false_alarm"] == pytest.approx(1600 / 12000) and found["recall"] is None


def test_a_mask_is_measured_without_torch_and_mapping(files: Path):
    import subprocess

    code = (
        "import sys; from cropland.cli import main; "
        "main(['evaluate', 'mask.tif', '--whole', 'other', '--out', 'quiet']); "
        "print([name for name in sys.modules if name == 'torch' or name.startswith('cropland.mapping')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=files, capture_output=True, text=True, encoding="utf-8", check=True
    )
    assert run.stdout.splitlines()[-1] == "[]"


def test_in_a_notebook_the_figures_are_a_value_and_nothing_is_written(files: Path):
    found = evaluate("mask.tif", labels="fields.gpkg", background="known", by="crop")
    assert sorted(path.name for path in files.iterdir()) == ["fields.gpkg", "mask.tif"]
    assert found.iou == found["pooled"]["iou"] == pytest.approx(1600 / 2300) and found.f1 == pytest.approx(3200 / 3900)
    assert found["groups"].keys() == {"rice & <b>", "wheat"} and dict(found) == dict(found.figures)
    assert repr(found).startswith("mask.tif against fields.gpkg: IoU 69.6, ")
    page = found._repr_html_()
    assert "<tr><th style='text-align:left'>IoU</th>" in page and ">69.6 %<" in page
    found.save("later")
    main(["evaluate", "mask.tif", "--labels", "fields.gpkg", "--background", "known", "--by", "crop", "--out", "out"])
    for name in ("metrics.json", "report.html"):
        assert (files / "later" / name).read_bytes() == (files / "out" / name).read_bytes()
    with pytest.raises(OutputError, match="holds an evaluation already"):
        evaluate("mask.tif", labels=LabelOptions(whole="other"), out="out")
    evaluate("mask.tif", labels=LabelOptions(whole="other"), out="out", overwrite=True)
    assert json.loads((files / "out" / "metrics.json").read_text(encoding="utf-8"))["reference"] == {
        "whole": "other",
        "by": None,
    }


def test_a_model_on_chips(tmp_path: Path):
    pytest.importorskip("cropland.engines.openvino")
    from cropland.model import build_network

    recipe = Recipe(bands=("red",), network=Network(options={"width": 4}))
    model = small_evaluation.model(recipe=recipe, stride=32, radius=None)
    saved = model.save(tmp_path / "model.safetensors", build_network(recipe).state_dict())
    chips, out = small_evaluation.write_chips(tmp_path / "chips"), tmp_path / "out"
    assert main(["evaluate", str(saved.path), "--chips", str(chips), "--out", str(out)]) == 0
    found = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert found["kind"] == "model" and found["groups"].keys() == {"fields", "sea"}
    assert found["groups"]["sea"]["fp"] + found["groups"]["sea"]["tn"] == 1024 and found["groups"]["sea"]["iou"] is None
    assert "data:image/jpeg" in (out / "report.html").read_text(encoding="utf-8")
    for each in (saved, str(saved.path)):
        again = evaluate(each, chips=str(chips), out=tmp_path / "again", overwrite=True)
        assert again.iou == found["pooled"]["iou"]
        assert (tmp_path / "again" / "metrics.json").read_bytes() == (out / "metrics.json").read_bytes()
    with pytest.raises(InputError, match="is a model; measure it with chips="):
        evaluate(saved, labels=LabelOptions(whole="other"))


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chips, and two models of them: a has been trained on the chip sea_0, b does not say."""
    pytest.importorskip("cropland.engines.openvino")
    import torch

    from cropland.model import build_network

    folder = tmp_path_factory.mktemp("two")
    chips = open_chips(small_evaluation.write_chips(folder / "chips"))
    apart = [shapely.box(number, 0, number + 0.5, 1) for number in range(3)]
    index = chips.index.assign(source=["s0", "s1", "s2"], geometry=apart)
    write_index(folder / "chips", index, {"bands": ["blue", "red"], "scenes": [], "options": {}})
    recipe = Recipe(bands=("red",), network=Network(options={"width": 4}))
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        trained = {"trained_on": TrainingGround.of(index.iloc[2:])} if name == "a" else {}
        model = small_evaluation.model(recipe=recipe, stride=32, radius=None, **trained)
        model.save(folder / f"{name}.safetensors", build_network(recipe).state_dict())
    return folder


def test_chips_that_a_model_was_trained_on(two_models: Path, monkeypatch, capsys):
    monkeypatch.chdir(two_models)
    command = ["evaluate", "a.safetensors", "--chips", "chips", "--out", "trained"]
    assert main(command) == 2 and not (two_models / "trained").exists()
    error = capsys.readouterr().err
    assert "1 of 3 chips" in error and "such as sea_0" in error and error.count("\n") == 1
    assert main([*command, "--allow-training-chips"]) == 0
    found = json.loads((two_models / "trained" / "metrics.json").read_text(encoding="utf-8"))
    assert "1 of 3 chips lie on ground that the model was trained on" in found["notes"]
    assert found["computed_on"]["unknown_share"] == pytest.approx(256 / 3072)
    names = {file["name"]: file["sha256"] for file in found["computed_on"]["files"]}
    for path in (two_models / "a.safetensors", two_models / "chips" / "index.parquet"):
        assert names[path.name] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found["subject"]["sha256"] == names["a.safetensors"]


@pytest.fixture
def few_perturbations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of light alone: an image of another size takes the engine a second."""
    whole = robustness.perturbations
    monkeypatch.setattr(robustness, "perturbations", lambda bands, *, seed: whole(bands, seed=seed)[2:4])


def test_two_models_and_their_robustness(two_models: Path, monkeypatch, capsys, few_perturbations: None):
    monkeypatch.chdir(two_models)
    command = ["evaluate", "b.safetensors", "--chips", "chips"]
    both = [*command, "--against", "a.safetensors", "--allow-training-chips", "--robustness", "--out", "both"]
    assert main(both) == 0, capsys.readouterr().err
    assert "first − second" in capsys.readouterr().out
    one, two = (evaluate(f"{name}.safetensors", chips="chips", allow_training_chips=True) for name in "ba")
    found = json.loads((two_models / "both" / "metrics.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    its = found["against"]["difference"]["accuracy"]
    assert its["difference"] == pytest.approx(one["pooled"]["accuracy"] - two["pooled"]["accuracy"])
    assert its["interval"][0] <= its["difference"] <= its["interval"][1]
    assert found["against"]["file"] == "a.safetensors"
    assert any(note.startswith("a.safetensors: 1 of 3 chips") for note in found["notes"])
    assert [each["model"] for each in found["robustness"]] == ["b.safetensors", "a.safetensors"]
    assert all(each["perturbations"]["brightness"]["changed"] is not None for each in found["robustness"])
    page = (two_models / "both" / "report.html").read_text(encoding="utf-8")
    assert page.count("<h2>Robustness <small>") == 2 and "First minus second" in page


def test_the_report_in_a_browser(
    files: Path, two_models: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch, few_perturbations: None
):
    """No request, no error, nothing that reaches over the edge of a telephone, no name that is taken for a tag."""
    values = np.zeros((100, 120), np.uint8)
    values[20:60, 20:40] = 1
    write_mask(files / "other.tif", values)
    rgb = np.random.default_rng(0).integers(1, 255, (3, 100, 120)).astype(np.uint8)
    write_mask(files / "rgb.tif", rgb, names=("red", "green", "blue"))
    pages = {
        "imagery": ["mask.tif", *LABELS, "--by", "crop", "--imagery", "rgb.tif"],
        "unknown": ["mask.tif", "--labels", "fields.gpkg", "--background", "unknown"],
        "against": ["mask.tif", *LABELS, "--against", "other.tif"],
        "chips": [str(two_models / "b.safetensors"), "--chips", str(two_models / "chips"), "--robustness"],
    }
    for name, tokens in pages.items():
        monkeypatch.setenv("CROPLAND_LANG", "zh" if name == "against" else "en")
        assert main(["evaluate", *tokens, "--out", name]) == 0
        for page in opened(browser, files / name / "report.html", viewport={"width": 400, "height": 800}):
            page.wait_for_selector(".viewer canvas")
            assert page.evaluate(BEYOND_THE_EDGE) == [], name
            if name == "imagery":
                assert "rice & <b>" in page.inner_text("main") and page.locator("td b").count() == 1  # that of "all"


def _unclosed(text: str) -> list[str]:
    """Tags that were opened and never closed, by a parser that knows only which tags are empty."""
    open_tags: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in VOID - {"i"}:
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass

    Parser().feed(text)
    return open_tags
