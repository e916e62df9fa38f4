"""Load a project in QGIS, check its layers, draw it: python3 open_project.py PROJECT PICTURE.

The system's Python has PyQGIS.
"""

import json
import sys

from qgis.core import Qgis, QgsApplication, QgsMapRendererSequentialJob, QgsMapSettings, QgsProject
from qgis.PyQt.QtCore import QSize


def main(project: str, picture: str) -> None:
    """One line of JSON: what was loaded, and what is not valid."""
    application = QgsApplication([], False)
    application.initQgis()
    opened = QgsProject.instance()
    loaded = opened.read(project)
    root = opened.layerTreeRoot()
    layers, shown = root.layerOrder(), root.checkedLayers()
    settings = QgsMapSettings()
    settings.setLayers(shown)
    settings.setDestinationCrs(opened.crs())
    extent = layers[0].extent()
    for layer in layers[1:]:
        extent.combineExtentWith(layer.extent())
    settings.setExtent(extent)
    settings.setOutputSize(QSize(900, 900))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    saved = job.renderedImage().save(picture, "JPG", 60)
    broken = [layer.name() for layer in layers if not layer.isValid()]
    names = [layer.name() for layer in layers]
    print(json.dumps({"version": Qgis.version(), "loaded": loaded and saved, "layers": names, "broken": broken}))
    application.exitQgis()


if __name__ == "__main__":
    main(*sys.argv[1:])
