"""Use what cropland makes with the programs that others use, and the networks of others in it: `make ecosystem`.

Environments and maps go to runs/ecosystem, the table to docs/ecosystem.md, QGIS' picture to docs/qgis.jpg. QGIS is
Debian's: apt install qgis python3-qgis xvfb.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
RUNS = ROOT / "runs" / "ecosystem"
MAP = RUNS / "地图" / "样例"  # a name that not every program expects
SAMPLE = ROOT / "src" / "cropland" / "sample"
TILE, FIELDS = SAMPLE / "naip_minnesota.tif", SAMPLE / "naip_minnesota_fields.geojson"
FILES = (
    "duckdb==1.5.5",  # the newest whose spatial extension is a package
    "duckdb-extension-spatial==1.5.5",
    "duckdb-extensions==1.5.5",
    "onnx==1.23.2",
    "onnxruntime==1.32.0",
    "onnxscript",
    "pystac[validation]==1.15.2",
    "rio-cogeo==7.0.4",
)
NETWORKS = ("torchvision==0.28.0", "timm==1.0.31", "segmentation-models-pytorch==0.6.0")
OTHERS = ("huggingface_hub", "pillow", "pyyaml", "tqdm")  # what these need besides torch
RECIPES = {
    "segmentation_models_pytorch:Unet": {"encoder_name": "resnet18", "encoder_weights": "None", "classes": 2},
    f"{HERE / 'timm_decoder.py'}:Net": {},
}
RESULTS = {True: "passed", False: "FAILED", None: "not tried"}
Row = dict[str, Any]


class FailedError(Exception):
    """A program that ended with another status than 0."""


def main() -> int:
    """Every check; the exit status is 1 if one of them went wrong."""
    cropland = (sys.executable, "-m", "cropland")
    run(*cropland, "map", TILE, "--out", MAP, "--overwrite")
    rows = [*read_files(), *networks(), *qgis()]
    lines = ["# With other programs", "", "Written by `make ecosystem`.", ""]
    lines += ["| what | with | seen | result |", "|---|---|---|---|"]
    lines += [f"| {r['check']} | {r['with']} | {r['seen']} | {RESULTS[r['right']]} |" for r in rows]
    picture = ["", "![The project in QGIS](qgis.jpg)", "", "*The project of the sample, as QGIS draws it.*"]
    lines += picture if (ROOT / "docs" / "qgis.jpg").exists() else []
    (ROOT / "docs" / "ecosystem.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 1 if any(row["right"] is False for row in rows) else 0


def read_files() -> Iterator[Row]:
    """Parcels, rasters, the network as ONNX, the STAC item."""
    python = environment("files", *FILES)
    for line in run(python, HERE / "read_files.py", MAP).splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def networks() -> Iterator[Row]:
    """Networks of others, trained for a moment and mapped with."""
    python = environment("networks", *OTHERS, alone=NETWORKS)
    cropland = (python, HERE / "with_torchvision.py")
    chips, options = RUNS / "chips", ("--background", "known", "--size", "128", "--split", "validation=0.25")
    shutil.rmtree(chips, ignore_errors=True)
    run(*cropland, "chips", TILE, "--labels", FIELDS, *options, "--out", chips)
    versions = ", ".join(each.replace("==", " ") for each in NETWORKS)
    for name, given in RECIPES.items():
        short = name.rpartition("/")[2]
        row = {"check": f"`{short}` trains on 16 chips and maps: that it runs, not how well", "with": versions}
        try:
            yield row | {"seen": _trained(cropland, name, given, chips), "right": True}
        except FailedError as error:
            yield row | {"seen": str(error), "right": False}


def _trained(cropland: tuple[Path, Path], name: str, given: Row, chips: Path) -> str:
    """What mapping says of the sample after a moment of training."""
    place = RUNS / name.rpartition("/")[2].partition(":")[0]
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    words = ", ".join(f"{key} = {json.dumps(value)}" for key, value in given.items())
    text = f'[network]\nname = "{name}"\noptions = {{ {words} }}\n[sampling]\ncrop = 64\n'
    text += "[training]\nepochs = 1\nchips_per_epoch = 16\nbatch = 4\n"
    (place / "recipe.toml").write_text(text, encoding="utf-8")
    run(*cropland, "train", place / "recipe.toml", "--chips", chips, "--out", place / "run")
    model = place / "run" / "model.safetensors"
    said = run(*cropland, "map", TILE, "--model", model, "--trust", "--out", place / "map")
    return next(line for line in said.splitlines() if line.startswith("naip_minnesota"))


def qgis() -> Iterator[Row]:
    """The project, in a real QGIS on a screen that nobody sees."""
    what = "map.qgs opens, every layer is valid"
    if not shutil.which("qgis") or not shutil.which("xvfb-run"):
        yield {"check": what, "with": "QGIS", "seen": "apt install qgis python3-qgis xvfb", "right": None}
        return
    picture = ROOT / "docs" / "qgis.jpg"
    try:
        said = run("xvfb-run", "-a", "/usr/bin/python3", HERE / "open_project.py", MAP / "map.qgs", picture)
    except FailedError as error:
        yield {"check": what, "with": "QGIS", "seen": str(error), "right": False}
        return
    told = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    seen = f"layers {', '.join(told['layers'])}; not valid: {', '.join(told['broken']) or 'none'}"
    yield {
        "check": what,
        "with": f"QGIS {told['version']}",
        "seen": seen,
        "right": told["loaded"] and not told["broken"],
    }


def environment(name: str, *packages: str, alone: tuple[str, ...] = ()) -> Path:
    """The Python of an environment with cropland and these packages; `alone` are installed without what they need."""
    place = RUNS / name
    python = place / "bin" / "python"
    if not (place / "made").exists():
        run(sys.executable, "-m", "venv", place)
        pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
        run(*pip, "-c", ROOT / "constraints.txt", "torch", "-e", ROOT, *packages)
        if alone:
            run(*pip, "--no-deps", *alone)
        (place / "made").touch()
    return python


def run(*command: str | Path) -> str:
    """Run a program; its output. Raises `FailedError` with the last line of what it said."""
    print("$", *command, flush=True)
    done = subprocess.run([str(each) for each in command], cwd=ROOT, capture_output=True, encoding="utf-8")
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:], sep="\n")
        raise FailedError((done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
