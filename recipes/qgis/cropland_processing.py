"""cropland in the Processing toolbox of QGIS 3.22 or newer: map cropland, parcels from a mask, compare polygons.

Copy this one file into the scripts folder of Processing, or take it with "Add Script to Toolbox...". The program
`cropland` does the work in a process of its own, so that neither PyTorch nor another GDAL is loaded into QGIS.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsApplication,
    QgsMapLayer,
    QgsMapLayerStyle,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingOutputFile,
    QgsProcessingOutputRasterLayer,
    QgsProcessingOutputVectorLayer,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
    QgsProcessingProvider,
    QgsProject,
    QgsSettings,
)
from qgis.PyQt.QtCore import Qt

# QGIS leads its own Python, GDAL and PROJ to their files with these, and would lead those of the program astray.
OF_QGIS = ("PYTHONHOME", "PYTHONPATH", "GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_DATA", "PROJ_LIB", "LD_LIBRARY_PATH")
WINDOWS = os.name == "nt"


def __dir__() -> list[str]:
    """Nothing: Processing would also take the first algorithm that it sees here as a script of its own."""
    return []


def say(english: str, chinese: str) -> str:
    """In the language of QGIS."""
    return chinese if QgsApplication.locale().startswith("zh") else english


class Verb(QgsProcessingAlgorithm):
    """A verb of the command line as an algorithm."""

    verb = ""
    title = about = ("", "")  # in English and Chinese

    def name(self) -> str:
        return self.verb

    def displayName(self) -> str:  # noqa: N802 - QGIS gives these names
        return say(*self.title)

    def shortHelpString(self) -> str:  # noqa: N802
        return say(*self.about)

    def createInstance(self) -> Verb:  # noqa: N802
        return type(self)()

    def add_program(self) -> None:
        """Add the parameters that every verb has, as the last ones."""
        program = QgsSettings().value("cropland/program") or shutil.which("cropland") or "cropland"
        options = say("Further options, as on the command line", "其他选项，写法同命令行")
        for each in (
            QgsProcessingParameterString("OPTIONS", options, optional=True),
            QgsProcessingParameterString("PROGRAM", say("Program cropland", "程序 cropland"), program),
        ):
            each.setFlags(each.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
            self.addParameter(each)

    def raster(self, parameters: dict[str, Any], name: str, context: QgsProcessingContext) -> str:
        """What GDAL opens of a raster layer; empty if none is given."""
        layer = self.parameterAsRasterLayer(parameters, name, context)
        if layer is not None and layer.providerType() != "gdal":
            told = say("{} is not a file; expected a raster layer of a file", "{} 不是文件；需要来自文件的栅格图层")
            raise QgsProcessingException(told.format(layer.name()))
        return layer.source() if layer is not None else ""

    def options(self, parameters: dict[str, Any], context: QgsProcessingContext, **names: str) -> list[str]:
        """Of the parameters that are given, options and values as on the command line."""
        given = {option: self.parameterAsString(parameters, name, context) for name, option in names.items()}
        return [word for option, value in given.items() if value for word in (option, value)]

    def run_program(
        self,
        words: list[str],
        parameters: dict[str, Any],
        *,
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> bool:
        """Run the verb with these words and show what it says; False if it was cancelled. Raises where it fails."""
        program = str(Path(self.parameterAsString(parameters, "PROGRAM", context)).expanduser())
        more = shlex.split(self.parameterAsString(parameters, "OPTIONS", context))
        line = [program, self.verb, *words, *more, "--lang", say("en", "zh")]
        feedback.pushCommandInfo(shlex.join(line))
        try:
            process = start(line)
        except OSError as error:
            told = say(
                "The program {} cannot be started; give its path in the advanced parameters, as in .venv/bin/cropland",
                "无法启动程序 {}；请在高级参数中给出其路径，如 .venv/bin/cropland",
            )
            raise QgsProcessingException(told.format(program)) from error
        # In the thread of who cancels, since this one waits for the next line.
        feedback.canceled.connect(lambda: stop(process), Qt.ConnectionType.DirectConnection)
        if feedback.isCanceled():
            stop(process)
        last = ""
        with process:
            for text in process.stdout:
                if share := re.fullmatch(r"(\d+)%\n", text):
                    feedback.setProgress(int(share[1]))
                else:
                    last = text.strip() or last
                    feedback.pushInfo(text.rstrip())
        if feedback.isCanceled():
            return False
        if process.returncode:
            raise QgsProcessingException(last)
        QgsSettings().setValue("cropland/program", program)
        return True


def start(line: list[str]) -> subprocess.Popen[str]:
    """The program, in a group of processes of its own, with all that it says in one stream."""
    environment = {name: value for name, value in os.environ.items() if name not in OF_QGIS}
    environment |= {"CROPLAND_PROGRESS": "lines", "PYTHONUTF8": "1"}
    own: dict[str, Any] = {"creationflags": subprocess.CREATE_NO_WINDOW} if WINDOWS else {"start_new_session": True}
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(line, env=environment, encoding="utf-8", errors="replace", **streams, **own)


def stop(process: subprocess.Popen[str]) -> None:
    """Stop the program and all that it has started, as Ctrl-C does. What a map has done is kept."""
    if process.poll() is not None:
        return
    if WINDOWS:
        line = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        subprocess.run(line, creationflags=subprocess.CREATE_NO_WINDOW, check=False)
    else:
        os.killpg(process.pid, signal.SIGINT)


class Styled(QgsProcessingLayerPostProcessorInterface):
    """Gives a layer the style that the layer of that name has in a project."""

    alive: list[Styled] = []  # noqa: RUF012 - QGIS does not hold them, and needs them after the algorithm

    def __init__(self, name: str, project: Path) -> None:
        super().__init__()
        self.source = name, str(project)
        self.alive.append(self)

    def postProcessLayer(  # noqa: N802
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        name, path = self.source
        project, style = QgsProject(), QgsMapLayerStyle()
        project.read(path)
        for each in project.mapLayersByName(name):
            style.readFromLayer(each)
            style.writeToLayer(layer)
        self.alive.remove(self)


def load(path: Path, title: str, context: QgsProcessingContext, *, project: Path) -> str:
    """Have QGIS open a file, in its style of a project, when the algorithm has ended."""
    details = QgsProcessingContext.LayerDetails(title, context.project(), path.stem.upper())
    details.setPostProcessor(Styled(path.stem, project))
    context.addLayerToLoadOnCompletion(str(path), details)
    return str(path)


class MapCropland(Verb):
    verb = "map"
    title = "Map cropland", "耕地制图"
    about = (
        "Finds the cropland in a scene: probability, mask and parcels in a folder, with a QGIS project. The network "
        "that ships takes red, green and blue by name. If your bands have no names, give the sensor or the numbers. "
        "In a folder of your own, a map that was cancelled goes on when you run it again.",
        "在影像中提取耕地：文件夹中有概率、掩膜、地块和 QGIS 工程。自带的网络按名称取红、绿、蓝波段；"
        "波段没有名称时，请给出传感器或波段号。放在您自己的文件夹中的地图，取消后再次运行会接着做完。",
    )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:  # noqa: N802
        bands = say("Numbers of the bands, as in red=3,green=2,blue=1", "波段号，如 red=3,green=2,blue=1")
        model = say("Model (the one that ships, if not given)", "模型（不给出则用自带的）")
        for each in (
            QgsProcessingParameterRasterLayer("SCENE", say("Scene", "影像")),
            QgsProcessingParameterString("SENSOR", say("Sensor, as in gaofen2", "传感器，如 gaofen2"), optional=True),
            QgsProcessingParameterString("BANDS", bands, optional=True),
            QgsProcessingParameterFile("MODEL", model, extension="safetensors", optional=True),
            minimum_area(),
            QgsProcessingParameterFolderDestination("OUT", say("Folder of the map", "地图文件夹")),
        ):
            self.addParameter(each)
        self.addOutput(QgsProcessingOutputRasterLayer("MASK", say("Mask", "掩膜")))
        self.addOutput(QgsProcessingOutputVectorLayer("PARCELS", say("Parcels", "地块")))
        self.add_program()

    def processAlgorithm(  # noqa: N802
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, str]:
        scene, out = self.raster(parameters, "SCENE", context), Path(self.parameterAsString(parameters, "OUT", context))
        names = {"SENSOR": "--sensor", "BANDS": "--bands", "MODEL": "--model", "MIN_AREA_M2": "--min-area-m2"}
        words = [scene, "--out", str(out), *self.options(parameters, context, **names)]
        if not self.run_program(words, parameters, context=context, feedback=feedback):
            return {}
        mask = load(out / "mask.tif", say("Mask", "掩膜"), context, project=out / "map.qgs")
        parcels = load(out / "parcels.gpkg", say("Parcels", "地块"), context, project=out / "map.qgs")
        return {"OUT": str(out), "MASK": mask, "PARCELS": parcels}


class ParcelsFromMask(Verb):
    verb = "parcels"
    title = "Parcels from a mask", "由掩膜生成地块"
    about = (
        "Turns a mask of 0 and 1 into parcels with their area. With a boundary, as boundary.tif of a map, parcels are "
        "fields, which share their edges.",
        "将 0/1 掩膜转换为带面积的地块。给出边界（如地图的 boundary.tif）时，地块就是田块，相邻者共用边。",
    )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:  # noqa: N802
        for name, title, optional in (
            ("MASK", say("Mask", "掩膜"), False),
            ("BOUNDARY", say("Boundary", "边界"), True),
            ("PROBABILITY", say("Probability", "概率"), True),
        ):
            self.addParameter(QgsProcessingParameterRasterLayer(name, title, optional=optional))
        self.addParameter(minimum_area())
        self.addParameter(QgsProcessingParameterVectorDestination("OUT", say("Parcels", "地块")))
        self.add_program()

    def processAlgorithm(  # noqa: N802
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, str]:
        out = self.parameterAsOutputLayer(parameters, "OUT", context)
        words = [self.raster(parameters, "MASK", context), "--out", out]
        for name in ("BOUNDARY", "PROBABILITY"):
            if file := self.raster(parameters, name, context):
                words += [f"--{name.lower()}", file]
        words += self.options(parameters, context, MIN_AREA_M2="--min-area-m2")
        return {"OUT": out} if self.run_program(words, parameters, context=context, feedback=feedback) else {}


class ComparePolygons(Verb):
    verb = "compare"
    title = "Compare polygons with a map", "多边形与地图对比"
    about = (
        "Compares polygons that you have, such as a survey, with a map of cropland, and shows where the two differ; "
        "with a later map, also what has changed.",
        "将已有的多边形（如调查图斑）与耕地地图对比，显示两者不同之处；给出较晚的地图时，还显示变化。",
    )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:  # noqa: N802
        polygons, later = say("Polygons", "多边形"), say("Mask of a later map", "较晚地图的掩膜")
        kind = [QgsProcessing.TypeVectorPolygon]
        for each in (
            QgsProcessingParameterFeatureSource("POLYGONS", polygons, kind),
            QgsProcessingParameterRasterLayer("MAP", say("Mask of the map", "地图的掩膜")),
            QgsProcessingParameterRasterLayer("LATER_MAP", later, optional=True),
            QgsProcessingParameterFolderDestination("OUT", say("Folder of the comparison", "对比结果文件夹")),
        ):
            self.addParameter(each)
        self.addOutput(QgsProcessingOutputVectorLayer("POLYGONS", polygons))
        self.addOutput(QgsProcessingOutputVectorLayer("CHANGES", say("Changes", "变化")))
        self.addOutput(QgsProcessingOutputFile("REPORT", say("Report", "报告")))
        self.add_program()

    def processAlgorithm(  # noqa: N802
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, str]:
        # Layers in memory, selections and filters become a file; one that is a file already is taken as it is.
        how = {"compatibleFormats": ["gpkg", "shp", "geojson", "fgb"], "preferredFormat": "gpkg", "feedback": feedback}
        polygons = self.parameterAsCompatibleSourceLayerPath(parameters, "POLYGONS", context, **how)
        masks = [self.raster(parameters, name, context) for name in ("MAP", "LATER_MAP")]
        # The folder of a map knows its probability, fields and image; a mask by itself is a map too.
        homes = [(mask, Path(mask).parent) for mask in masks if mask]
        maps = [str(home) if (home / "map.json").exists() else mask for mask, home in homes]
        out = Path(self.parameterAsString(parameters, "OUT", context))
        words = [polygons, *maps, "--out", str(out)]
        if not self.run_program(words, parameters, context=context, feedback=feedback):
            return {}
        project = out / "compare.qgs"
        found = load(out / "polygons.gpkg", say("Polygons", "多边形"), context, project=project)
        changes = load(out / "changes.gpkg", say("Changes", "变化"), context, project=project)
        return {"OUT": str(out), "REPORT": str(out / "report.html"), "POLYGONS": found, "CHANGES": changes}


def minimum_area() -> QgsProcessingParameterNumber:
    kind = QgsProcessingParameterNumber.Double
    title = say("Minimum area in m²", "最小面积（平方米）")
    return QgsProcessingParameterNumber("MIN_AREA_M2", title, kind, optional=True, minValue=0)


class Cropland(QgsProcessingProvider):
    """The three, as a part of the toolbox of their own: a script by itself can give one only."""

    def id(self) -> str:
        return "cropland"

    def name(self) -> str:
        return "cropland"

    def supportedOutputVectorLayerExtensions(self) -> list[str]:  # noqa: N802
        return ["gpkg", "geojson"]

    def loadAlgorithms(self) -> None:  # noqa: N802
        for algorithm in (MapCropland, ParcelsFromMask, ComparePolygons):
            self.addAlgorithm(algorithm())


registry = QgsApplication.processingRegistry()
registry.removeProvider("cropland")  # of an earlier load of this file
registry.addProvider(Cropland())
