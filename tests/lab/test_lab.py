"""`cropland lab`: names, wrong input, runs that are stopped, and machines side by side."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cropland.cli import main
from cropland.errors import InputError
from cropland.lab import report
from cropland.lab.claim import Finding
from cropland.lab.lab import choose, run
from cropland.lab.measure import QUICK
from cropland.lab.results import Results
from source_tree import ROOT

CPU = torch.device("cpu")
SMALL = replace(QUICK, rounds=2, size=32, channels=16)


def test_names_and_chapters_in_the_order_of_the_report():
    assert choose(["transposed", "separable_remedy"]) == [
        *("separable_remedy", "transposed", "transposed_trained"),
    ]
    everything = choose([])
    assert everything[0] == "walk" and "tricks" not in everything


def test_an_unknown_experiment_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'separable'"):
        choose(["seperable"])


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["nosuch"], "no experiment"),
        (["transposed", "--device", "tpu"], "no device"),
        (["--join", "nowhere.json"], "no file"),
        *([] if torch.cuda.is_available() else [(["transposed", "--device", "cuda"], "no CUDA device")]),
    ],
)
def test_bad_input(tokens: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["lab", *tokens, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err.replace("sees no CUDA", "no CUDA")
    assert not (tmp_path / "out").exists()


def test_a_run_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["lab", "transposed", "--quick", "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert str(tmp_path / "report.html") in capsys.readouterr().out
    results = Results.load(tmp_path / "results.json")
    assert results.machine["threads"] == torch.get_num_threads()
    assert {finding.claim for finding in results.findings} >= {"transposed.transpose", "transposed.cost"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "results.json"]


def test_what_is_finished_stays_when_it_is_stopped(tmp_path: Path):
    seen: list[Finding] = []

    def stop_at_the_second(finding: Finding) -> None:
        seen.append(finding)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(["transposed"], CPU, SMALL, tmp_path, step=stop_at_the_second)
    kept = Results.load(tmp_path / "results.json").findings
    assert [finding.claim for finding in kept] == [finding.claim for finding in seen]
    assert "share of the sizes that it restores" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_machines_side_by_side(tmp_path: Path):
    cpu = run(["transposed"], CPU, SMALL, tmp_path, step=lambda _: None)
    gpu = replace(
        cpu, machine={**cpu.machine, "kind": "cuda", "device": "Another <machine>"}, findings=cpu.findings[:1]
    )
    (tmp_path / "gpu").mkdir()
    gpu.save(tmp_path / "gpu")
    tokens = ["lab", "--join", str(tmp_path / "results.json"), str(tmp_path / "gpu" / "results.json")]
    assert main([*tokens, "--out", str(tmp_path / "both")]) == 0
    page = (tmp_path / "both" / "report.html").read_text(encoding="utf-8")
    assert "<th>Another &lt;machine&gt;</th>" in page
    row = page.split('href="#transposed.shapes"')[1].split("</tr>")[0]
    assert "holds in part" in row and "not measured" in row


def test_without_a_gpu_its_column_says_so(tmp_path: Path):
    page = report.page([run(["transposed"], CPU, SMALL, tmp_path, step=lambda _: None)])
    row = page.split('href="#transposed.transpose"')[1].split("</tr>")[0]
    assert row.count("<td>") == 2 and "not measured" in row


@pytest.mark.parametrize("content", ["no json", "[]", '{"format": 99}', '{"format": 1}'])
def test_a_file_of_something_else(content: str, tmp_path: Path):
    path = tmp_path / "results.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"results\.json"):
        Results.load(path)


def test_results_are_plain_json(tmp_path: Path):
    run(["transposed"], CPU, SMALL, tmp_path, step=lambda _: None)
    plain = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert plain["format"] == 1 and plain["budget"] == "quick"
    assert plain["findings"][0]["numbers"]["error"]["value"] < 1e-12


def test_the_report_that_is_kept_is_that_of_the_results_that_are_kept(tmp_path: Path):
    kept = ROOT / "docs" / "lab"
    assert main(["lab", "--join", *map(str, kept.rglob("results.json")), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").read_bytes() == (kept / "report.html").read_bytes()
