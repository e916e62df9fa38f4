"""Run the algorithms of recipes/qgis without a window: python3 in_qgis.py SCRIPT PROGRAM SCENE FIELDS LARGE OUT.

The system's Python has PyQGIS; PYTHONPATH leads to the plugins of QGIS. Prints one object of JSON.
"""

import json
import shutil
import sys
from threading import Thread

import processing
from processing.core.Processing import Processing
from processing.script import ScriptUtils
from qgis.core import (
    QgsApplication,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsSettings,
)


class Log(QgsProcessingFeedback):
    """What a dialog shows. If it cancels, then halfway, and from another thread, as a person does."""

    def __init__(self, *, cancels: bool = False) -> None:
        super().__init__(False)
        self.lines, self.cancels = [], cancels

    def pushInfo(self, line: str) -> None:  # noqa: N802
        self.lines.append(line)

    def reportError(self, line: str, fatalError: bool = False) -> None:  # noqa: N802, N803
        self.lines.append(line)

    def setProgress(self, share: float) -> None:  # noqa: N802
        super().setProgress(share)
        if self.cancels and share >= 50:
            Thread(target=self.cancel).start()


def run(verb: str, **parameters: object) -> list[str]:
    """As the dialog does: what is made is loaded into the project. What the dialog would show."""
    log = Log(cancels=bool(parameters.pop("cancels", False)))
    try:
        processing.runAndLoadResults(f"cropland:{verb}", {"PROGRAM": PROGRAM, **parameters}, feedback=log)
    except QgsProcessingException as error:
        log.lines.append(str(error))
    return log.lines


def layers() -> dict[str, list[object]]:
    """Of each file in the project: the layer's name, whether it is valid, and the type of its renderer."""
    found = QgsProject.instance().mapLayers().values()
    return {each.source().partition("|")[0]: [each.name(), each.isValid(), each.renderer().type()] for each in found}


def titles() -> list[str]:
    return [each.displayName() for each in registry.providerById("cropland").algorithms()]


SCRIPT, PROGRAM, SCENE, FIELDS, LARGE, OUT = sys.argv[1:]
application = QgsApplication([], False)
application.initQgis()
Processing.initialize()
shutil.copy(SCRIPT, ScriptUtils.defaultScriptsFolder())  # what "Add Script to Toolbox..." does
registry = QgsApplication.processingRegistry()
registry.providerById("script").refreshAlgorithms()
scene = QgsRasterLayer(SCENE, "scene")
QgsProject.instance().addMapLayer(scene)

mask, boundary = f"{OUT}/map/mask.tif", f"{OUT}/map/boundary.tif"
logs = {
    "map": run("map", SCENE=scene, OUT=f"{OUT}/map", OPTIONS=f"--profile {OUT}/seconds.json"),
    "parcels": run("parcels", MASK=mask, BOUNDARY=boundary, MIN_AREA_M2=5000, OUT=f"{OUT}/fields.gpkg"),
    "wrong": run("map", SCENE=mask, OUT=f"{OUT}/wrong"),
    "no program": run("map", SCENE=scene, OUT=f"{OUT}/wrong", PROGRAM="/nowhere/cropland"),
    "cancelled": run("map", SCENE=LARGE, OUT=f"{OUT}/large", cancels=True),
    "compared": run("compare", POLYGONS=FIELDS, MAP=mask, OUT=f"{OUT}/compared"),
    "bare": run("compare", POLYGONS=FIELDS, MAP=shutil.copy(mask, f"{OUT}/bare.tif"), OUT=f"{OUT}/with_bare"),
    "again": run("map", SCENE=LARGE, OUT=f"{OUT}/large"),
}
found = {"titles": titles(), "scripts": [each.name() for each in registry.providerById("script").algorithms()]}
QgsSettings().setValue("locale/overrideFlag", True)
QgsSettings().setValue("locale/userLocale", "zh_CN")
registry.providerById("script").refreshAlgorithms()
found |= {"Chinese titles": titles(), "layers": layers()}
logs["Chinese"] = run("parcels", MASK=mask, OUT=f"{OUT}/fields.geojson")
print(json.dumps({**found, "logs": logs}))
application.exitQgis()
