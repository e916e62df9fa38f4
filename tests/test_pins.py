"""What must stay the same while the source is moved about: the results of commands, as checksums in `pins.json`.

Everything goes through the command line and the files it writes, but for the two names that list the lab's claims.
`CROPLAND_PIN=write pytest -n 0 tests/test_pins.py` writes the values afresh: for a change that is meant.

Maps and training hold for one kind of processor, which `pins.json` names: another one, or another release of torch,
OpenVINO or GDAL, rounds and compresses otherwise. On a kind without values they are skipped, which the summary says.
All is computed in single precision. The bytes of a map do not depend on threads, and hold no date or path but in
map.json, map.qgs and parcels.gpkg. Converted networks are kept between runs by weights and version, not by sources, so
a cache of its own is what makes these tests see a change of the conversion.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas
import pytest
import rasterio
import torch

from cropland.cli import main
from cropland.lab.claim import claims, experiments
from large_scene import write_large_scene
from source_tree import PACKAGE, ROOT

PINS = Path(__file__).with_name("pins.json")
SAMPLE, LAB = PACKAGE / "sample", ROOT / "docs" / "lab"
LAB_RUNS = [LAB / "results.json", LAB / "tricks" / "results.json"]
ANY = "any processor"
BFLOAT16 = "bfloat16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "no bfloat16"
THIS = f"{sys.platform}, {torch.backends.cpu.get_cpu_capability()}, {BFLOAT16}"
TWENTY_STEPS = ("training.epochs=2", "training.chips_per_epoch=20", "training.batch=2", "sampling.crop=64")

Pin = Callable[[Path], Any]


def mapped(scene: str, *options: str) -> Pin:
    def pin(folder: Path) -> dict[str, Any]:
        path = write_large_scene(folder / "wide.tif", (512, 4096)) if scene == "wide" else SAMPLE / f"{scene}.tif"
        out = folder / "map"
        run("map", path, "--out", out, "--precision", "f32", *options)
        record = json.loads((out / "map.json").read_text(encoding="utf-8"))
        return {
            "files": sorted(path.name for path in out.iterdir()),
            "bytes": {name: sha256((out / name).read_bytes()) for name in ("probability.tif", "mask.tif")},
            "pixels": {name: pixels(out / name) for name in ("probability.tif", "mask.tif")},
            "parcels": parcels(out / "parcels.parquet"),
            "record": {key: sorted(value) if isinstance(value, dict) else None for key, value in record.items()},
            "options": record["options"],
            "statistics": record["statistics"],
            "notes": record["notes"],
            "found": {key: record["found"][key] for key in ("area_ha", "known_ha", "parcels")},
        }

    return pin


def parcels(path: Path) -> dict[str, Any]:
    table = geopandas.read_parquet(path)
    return {
        "rows": len(table),
        "columns": list(table.columns),
        "area": float(table["area"].sum()),
        "outlines": sha256(b"".join(sorted(table.geometry.to_wkb()))),
    }


def chips(folder: Path) -> dict[str, Any]:
    out = cut_sample(folder)
    rows = pandas.read_parquet(out / "index.parquet").set_index("id").sort_index()
    rows["geometry"] = rows["geometry"].map(bytes.hex)
    return {
        "about": json.loads((out / "chips.json").read_text(encoding="utf-8")),
        "index": {"columns": list(rows.columns), "rows": sha256(rows.to_json(orient="index").encode())},
        "split": rows["split"].to_dict(),
        "chips": {name: [pixels(out / row["image"]), pixels(out / row["label"])] for name, row in rows.iterrows()},
    }


def trained(folder: Path) -> dict[str, Any]:
    """With one thread, in a process of its own: the number of threads is decided before torch is imported."""
    chosen = [f"--set={value}" for value in (*TWENTY_STEPS, "training.precision=float32")]
    line = ["train", ROOT / "recipes" / "small.toml", "--chips", cut_sample(folder), "--out", folder / "run", *chosen]
    command = [sys.executable, "-m", "cropland", *map(str, line), "--device", "cpu"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    journal = (folder / "run" / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    found = model_file(folder / "run" / "model.safetensors")
    del found["header"]["source_hash"]  # of the files of networks and blocks, which move
    return {**found, "journal": [{k: v for k, v in json.loads(row).items() if k != "seconds"} for row in journal]}


def model_file(path: Path) -> dict[str, Any]:
    """Read by the format alone: the length of the header, the header, the tensors."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    tensors = json.loads(content[8:start])
    metadata = tensors.pop("__metadata__")
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        first, last = tensor["data_offsets"]
        digest.update(f"{name} {tensor['dtype']} {tensor['shape']}".encode() + content[start + first : start + last])
    return {"metadata": sorted(metadata), "header": json.loads(metadata["cropland"]), "weights": digest.hexdigest()}


def lab(_: Path) -> dict[str, Any]:
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in LAB_RUNS]
    return {
        "results": sorted(kept[0]),
        "finding": sorted(kept[0]["findings"][0]),
        "measured": [[finding["claim"] for finding in run["findings"]] for run in kept],
        "claims": sorted(f"{name}.{key}" for name in experiments() for key in claims(name)),
    }


def cut_sample(folder: Path) -> Path:
    scene, labels = SAMPLE / "naip_minnesota.tif", SAMPLE / "naip_minnesota_fields.geojson"
    how = ("--background", "known", "--size", "128", "--split", "validation=0.25")
    run("chips", scene, "--labels", labels, *how, "--out", folder / "chips")
    return folder / "chips"


def run(*line: str | Path) -> None:
    assert main([str(word) for word in line]) == 0


def pixels(path: Path) -> str:
    with rasterio.open(path) as file:
        values = file.read()
    return sha256(f"{values.dtype} {values.shape}".encode() + np.ascontiguousarray(values).tobytes())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module", autouse=True)
def fresh_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROPLAND_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


CASES: dict[str, tuple[str, Pin]] = {
    "map of naip_minnesota": (THIS, mapped("naip_minnesota")),
    "map of sentinel2_delmarva": (THIS, mapped("sentinel2_delmarva")),
    "map of a wide scene, sliding": (THIS, mapped("wide")),
    "map of a wide scene, in tiles": (THIS, mapped("wide", "--tiles", "--tile", "2048")),
    "model after 20 steps": (THIS, trained),
    "model that ships": (ANY, lambda _: model_file(PACKAGE / "models" / "cropland_rgb.safetensors")),
    "chips": (ANY, chips),
    "lab": (ANY, lab),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_it_was(name: str, tmp_path: Path):
    kind, pin = CASES[name]
    pins = json.loads(PINS.read_text(encoding="utf-8")) if PINS.exists() else {}
    if os.environ.get("CROPLAND_PIN") == "write":
        pins.setdefault(kind, {})[name] = pin(tmp_path)
        PINS.write_text(json.dumps(pins, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    elif kind not in pins:
        pytest.skip(f"pins.json has no values for {kind}, only for {', '.join(sorted(set(pins) - {ANY}))}")
    else:
        assert json.loads(json.dumps(pin(tmp_path))) == pins[kind][name]


def test_the_report_of_the_lab_is_the_one_that_is_kept(tmp_path: Path):
    run("lab", "--join", *LAB_RUNS, "--out", tmp_path)
    assert (tmp_path / "report.html").read_bytes() == (LAB / "report.html").read_bytes()
