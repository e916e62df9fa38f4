"""`cropland evaluate`: a report that stands alone, wrong input in one line, and the same figures in a notebook."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from cropland.cli import main
from cropland.data.labels import LabelOptions
from cropland.errors import InputError, OutputError
from cropland.evaluation.evaluate import evaluate
from cropland.recipe import Network, Recipe
from evaluation import small_evaluation
from evaluation.small_evaluation import field, write_mask, write_polygons

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
        (["mask.tif", "--labels", "fields.gpkg"], "--background known"),
        (["mask.tif", "--whole", "other", "--out", "fields.gpkg"], "is a file; give a folder"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    files: Path, tokens: list[str], line: str, capsys: pytest.CaptureFixture[str]
):
    (files / "model.safetensors").write_bytes(b"")
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
