"""QGIS itself, without a screen: what it makes of a file is what people see."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

PYTHON = os.environ.get("CROPLAND_QGIS_PYTHON") or "/usr/bin/python3"  # the one of the system, which QGIS is built for
QUIET = {"QT_QPA_PLATFORM": "offscreen", "PATH": os.defpath, "PYTHONPATH": ""}
PROGRAM = """
import json, sys
from qgis.core import QgsApplication, QgsVectorLayer
application = QgsApplication([], False)
application.initQgis()
layer = QgsVectorLayer(sys.argv[1], "layer", "ogr")
default = layer.loadDefaultStyle()[1]  # first: it replaces the renderer, and with it the symbols
single = layer.renderer().symbol() if layer.renderer().type() == "singleSymbol" else None
print("FOUND", json.dumps({
    "valid": layer.isValid(),
    "count": layer.featureCount(),
    "fields": [field.name() for field in layer.fields()],
    "crs": layer.crs().authid(),
    "default": default,
    "renderer": layer.renderer().type(),
    "symbol": single and single.symbolLayer(0).properties(),
    "first": {name: str(value) for name, value in next(layer.getFeatures()).attributeMap().items()},
}))
"""


def opened(path: Path, layer: str) -> dict[str, Any]:
    """What QGIS finds when it opens a layer: fields, first feature, and the style in which it shows it."""
    try:
        here = subprocess.run([PYTHON, "-c", "import qgis.core"], env=QUIET, capture_output=True, check=False)
    except FileNotFoundError:
        here = None
    if here is None or here.returncode:
        pytest.skip("no QGIS: apt install python3-qgis, or set CROPLAND_QGIS_PYTHON to a Python that has it")
    command = [PYTHON, "-c", PROGRAM, f"{path}|layername={layer}"]
    done = subprocess.run(command, env=QUIET, capture_output=True, text=True, encoding="utf-8", check=False)
    line = next((each for each in done.stdout.splitlines() if each.startswith("FOUND ")), None)
    assert line is not None, done.stderr
    found: dict[str, Any] = json.loads(line.removeprefix("FOUND "))
    return found
