"""The library: what the command line does, in two lines of a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from affine import Affine

from cropland.comparing.compare import Comparison
from cropland.comparing.compare import compare as _compare
from cropland.comparing.polygons import PolygonOptions
from cropland.data.cut import CutReport
from cropland.data.cut import cut_chips as _cut_chips
from cropland.data.doctor import doctor as _doctor
from cropland.data.finding import Diagnosis
from cropland.data.labels import LabelOptions
from cropland.delivering.deliver import Delivery
from cropland.delivering.deliver import deliver as _deliver
from cropland.engines import Precision
from cropland.errors import ModelError, SceneError
from cropland.evaluation.evaluate import Evaluation
from cropland.evaluation.evaluate import evaluate as _evaluate
from cropland.evaluation.subject import SubjectOptions
from cropland.geo.arrays import is_labelled, open_array, open_labelled_array
from cropland.geo.scene import Image, Scene, SceneOptions, open_scene
from cropland.geo.statistics import Statistics
from cropland.mapping.compute import Serial
from cropland.mapping.map import MapResult, map_in_memory, map_scene, open_executor
from cropland.mapping.plan import MapOptions, read_statistics
from cropland.model import ModelFile, default_model
from cropland.options import bytes_of
from cropland.recipe import Recipe
from cropland.sampling.design import SampleDesign
from cropland.sampling.design import design_sample as _design_sample
from cropland.sampling.estimate import AreaEstimate
from cropland.sampling.estimate import estimate_area as _estimate_area
from cropland.searching.find import FoundItems
from cropland.searching.find import find as _find
from cropland.suggesting.suggest import Suggestions
from cropland.suggesting.suggest import suggest as _suggest

__all__ = [
    "Model",
    "compare",
    "cut_chips",
    "deliver",
    "design_sample",
    "doctor",
    "estimate_area",
    "evaluate",
    "find",
    "map",
    "open",
    "suggest",
    "train",
    "tune",
]

AnyPath = str | Path
T = TypeVar("T")


def open(
    given: Any,
    *,
    sensor: str | None = None,
    bands: str | Mapping[str, int] | Sequence[str] | None = None,
    nodata: float | None = None,
    crs: Any = None,
    pixel_m: float | None = None,
    transform: Affine | None = None,
    allow_datum_shift: bool = False,
    mask: AnyPath | None = None,
    mask_values: str | Sequence[int] | None = None,
    mask_bits: str | Sequence[int] | None = None,
) -> Scene:
    """A scene, which shows itself in a notebook: its bands, size and coordinates, and a small picture.

    given: a file, a folder with one file per band, a STAC item, an address; a numpy array (band, height, width) with
    its `transform` and `crs`; or an xarray.DataArray. sensor: whose bands these are. bands: numbers by name, as
    "red=3,green=2,blue=1" or a mapping; or a name for each. nodata, crs: in place of what the file says. pixel_m: edge
    of a pixel in metres, for a scene without a CRS. allow_datum_shift: allow an approximate datum transformation. mask:
    a raster beside files whose values say where cloud, shadow or snow hides the ground, which is no data there; that of
    a STAC item if not given, none at all for "none". mask_values, mask_bits: which of its values, or of its bits,
    counted from 0, hide the ground; known for Sentinel-2's SCL, Landsat's QA_PIXEL and Fmask.
    Raises `SceneError`, `BandError` or `GridError` for what cannot be used.

    >>> import cropland
    >>> from cropland.demo import TILE
    >>> scene = cropland.open(TILE)
    >>> scene.bands, scene.shape
    (('red', 'green', 'blue'), (1024, 1024))
    """
    described: dict[str, Any] = {"sensor": sensor, "bands": bands, "nodata": nodata, "crs": crs, "pixel_m": pixel_m}
    masking: dict[str, Any] = {"mask": mask, "mask_values": mask_values, "mask_bits": mask_bits}
    is_array = is_labelled(given) or isinstance(given, np.ndarray)
    if is_array and any(option is not None for option in masking.values()):
        raise SceneError("--mask is for files; give a masked array: numpy.ma.masked_array")
    if is_labelled(given):
        return open_labelled_array(given, transform=transform, **described)
    if isinstance(given, np.ndarray):
        if transform is None and pixel_m is None:
            raise SceneError("the array has no position; give transform= (affine) and crs=")
        return open_array(given, transform=transform, **described)
    if transform is not None:
        raise SceneError("a file has a transform of its own; transform= is for arrays")
    return open_scene(given, allow_datum_shift=allow_datum_shift, **masking, **described)


def find(
    area: AnyPath | Sequence[float],
    *,
    catalog: str,
    collection: str,
    from_: str,
    to: str,
    cloud: float | None = None,
) -> FoundItems:
    """The scenes of an area and a time in a STAC catalog; `save` writes a file that `cropland map` reads.

    area: a file of polygons, or west, south, east and north in degrees. catalog: the address of a STAC API. `from_`
    and `to`: the first and the last day, as 2024-04-01. cloud: how much of a scene may lie under clouds, in percent.
    Raises `InputError` or one of its kinds for what cannot be searched, and where there is no such scene.

    >>> import cropland
    >>> catalog = "https://earth-search.aws.element84.com/v1"
    >>> days = {"from_": "2024-04-01", "to": "2024-09-30"}
    >>> found = cropland.find("county.gpkg", catalog=catalog, collection="sentinel-2-l2a", **days)  # doctest: +SKIP
    >>> found.save("items.json")  # doctest: +SKIP
    """
    return _find(area, catalog=catalog, collection=collection, from_=from_, to=to, cloud=cloud)


@dataclass(frozen=True, eq=False)
class Model:
    """A model that is ready to map: its file, and how the network runs."""

    file: ModelFile
    engine: str | None = None
    threads: int | None = None
    precision: Precision = "fastest"

    @staticmethod
    def open(
        path: AnyPath | None = None,
        *,
        trust: bool = False,
        engine: str | None = None,
        threads: int | None = None,
        precision: Precision = "fastest",
    ) -> Model:
        """The model of a file, or the one that ships.

        trust: run the code that the file names. engine: openvino or torch; the one for this machine if not given.
        threads: all if not given. precision: fastest or f32. Raises `ModelError` for a file that is no model.

        >>> import cropland
        >>> cropland.Model.open().bands
        ('red', 'green', 'blue')
        """
        file = ModelFile.load(default_model() if path is None else Path(path), trust=trust)
        return Model(file, engine, threads, precision)

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.file.name

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands that the model takes, in order."""
        return self.file.bands

    def map(self, scene: Scene | Image | AnyPath, **options: Any) -> MapResult:
        """The map of a scene that fits in memory: mask, probability, boundary where the model gives it, parcels, area.

        It lies in a temporary folder until `save` keeps it. The options are those of `cropland.map` that decide the
        map. Raises as `cropland.map`.

        >>> import cropland
        >>> from cropland.demo import TILE
        >>> result = cropland.Model.open().map(TILE)
        >>> len(result.parcels), round(result.area_ha, 1)
        (43, 57.4)
        """
        return map_in_memory(_scene(scene), self.file, executor=self.executor, options=_map_options(**options))

    def probability(self, image: Scene | Image | AnyPath, **options: Any) -> Image:
        """The probability of cropland (0..1) on the grid of an image or scene; not valid where there is no data.

        A window of a scene has its own percentiles, so it maps differently from the whole scene: give `statistics` of
        the scene for the same map.
        """
        return self.map(image, **options).probability

    def calibrated(self, probability: Image) -> Image:
        """A probability (0..1), as `probability` or `MapResult.probability` gives it, with the model's temperature.

        Use it where the number itself counts, as in an expected area or a risk. No map holds it, and it changes no mask
        at a threshold of 0.5. Raises `ModelError` if the model has no temperature.
        """
        from cropland.evaluation.calibration import calibrated

        if self.file.temperature is None:
            raise ModelError("{name} has no temperature: train it again with both classes to validate", name=self.name)
        return replace(probability, values=calibrated(probability.values, self.file.temperature))

    @cached_property
    def executor(self) -> Serial:
        """What computes a map; opened once, since compiling takes as long as mapping a small scene."""
        return Serial.open(self.file, engine=self.engine, threads=self.threads, precision=self.precision)

    def _repr_html_(self) -> str:
        return self.file._repr_html_()


def map(
    scene: Scene | Image | AnyPath,
    out: AnyPath,
    *,
    model: Model | AnyPath | None = None,
    executor: str = "serial",
    overwrite: bool = False,
    **options: Any,
) -> MapResult:
    """Map a scene of any size into the folder `out`, which appears whole; the same call goes on where a run stopped.

    model: the one that ships if not given. executor: serial, dask, or dask:tcp://HOST:8786. Options that decide the
    map: threshold (0..1), min_area_m2, out_pixel (m), statistics (a `Statistics` or the map.json of an earlier map),
    flips (1, 2, 4 or 8), tiles, tile (pixels), memory (as "2GB"). A model with the output boundary also gives
    `MapResult.boundary`, and its parcels are fields.
    Raises `InputError` or one of its kinds for input that cannot be used, `IncompleteError` for a run that stopped.

    >>> import cropland, tempfile
    >>> from cropland.demo import TILE
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = cropland.map(TILE, folder + "/my_map")
    ...     [*result.parcels.columns[:4]]
    ['id', 'area_ha', 'area_mu', 'mean_probability']
    """
    ready = model if isinstance(model, Model) else Model.open(model)
    decided = _map_options(**options)
    if executor == "serial":
        by: Any = ready.executor
        return map_scene(_scene(scene), ready.file, Path(out), executor=by, options=decided, overwrite=overwrite)
    running: dict[str, Any] = {"engine": ready.engine, "threads": ready.threads, "precision": ready.precision}
    with open_executor(executor, ready.file, **running) as by:
        return map_scene(_scene(scene), ready.file, Path(out), executor=by, options=decided, overwrite=overwrite)


def cut_chips(
    scenes: Scene | AnyPath | Sequence[Scene | AnyPath],
    labels: AnyPath | LabelOptions | None,
    out: AnyPath,
    *,
    background: Literal["known", "unknown"] | None = None,
    size: int = 256,
    validation: float = 0.2,
    **options: Any,
) -> CutReport:
    """Cut chips for training from scenes, open or one path each, and labels into a folder.

    labels: polygons of any format and CRS, one for each field, whose boundaries a recipe with the output boundary
    learns; a raster, or a folder of rasters; None where `corrections` or `whole` stand in their place. background: what
    lies outside polygons, known (it is not cropland) or unknown. size: edge of a chip in pixels. validation: share of
    the chips that validate, 0..1. Further options: layer, where, preset, encoding, inside, unknown_where, classes,
    whole; corrections (the parcels.gpkg of a map, edited), map; group, append; for paths sensor, bands, nodata, crs,
    pixel_m; allow_datum_shift. Raises `InputError` or one of its kinds for input that cannot be used; the folder stays
    as it was.

    >>> import cropland, tempfile
    >>> from cropland.demo import FIELDS, TILE
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = cropland.cut_chips(TILE, FIELDS, folder + "/chips", background="known", size=128)
    ...     len(report.chips) > 40
    True
    """
    if isinstance(bands := options.get("bands"), Mapping):
        options["bands"] = ",".join(f"{name}={number}" for name, number in bands.items())
    opening, others = _split(SceneOptions, options)
    given, others = _labels(labels, {"background": background, **others})
    return _cut_chips(scenes, given, out, size=size, validation=validation, opening=opening, **others)


def doctor(
    given: Scene | AnyPath | Sequence[Scene | AnyPath],
    labels: AnyPath | LabelOptions | None = None,
    *,
    background: Literal["known", "unknown"] | None = None,
    map: MapResult | AnyPath | None = None,
    out: AnyPath | None = None,
    fix_shift: AnyPath | None = None,
    **options: Any,
) -> Diagnosis:
    """Look for faults in scenes and their labels, or in a chip folder, before training on them.

    given: scenes, open or one path each; or the path of a chip folder. labels: polygons of any format and CRS, a
    raster, or a folder of rasters. background: what lies outside polygons, known or unknown. map: a map of the scene,
    to look where it is sure and the labels differ. out: a folder for report.html, with pictures. fix_shift: a file for
    the labels, moved by the shift that was measured. Further options: those of labels as in `cut_chips`; for paths
    sensor, bands, nodata, crs, pixel_m; allow_datum_shift. Raises `InputError` or one of its kinds for what cannot be
    read.

    >>> import cropland
    >>> from cropland.demo import FIELDS, TILE
    >>> cropland.doctor(TILE, FIELDS, background="known")
    naip_minnesota: no fault found
    """
    if isinstance(bands := options.get("bands"), Mapping):
        options["bands"] = ",".join(f"{name}={number}" for name, number in bands.items())
    opening, others = _split(SceneOptions, options)
    about, others = _labels(labels, {"background": background, **others})
    mapped = map.folder if isinstance(map, MapResult) else map
    return _doctor(given, about, map=mapped, out=out, fix_shift=fix_shift, opening=opening, **others)


def suggest(
    scene: Scene | Image | AnyPath,
    *,
    n: int = 10,
    model: Model | AnyPath | None = None,
    out: AnyPath | None = None,
    size: int | None = None,
    labelled: AnyPath | None = None,
    overwrite: bool = False,
) -> Suggestions:
    """Choose the windows of a scene that are worth labelling next; they show themselves in a notebook.

    A window is worth it where the model is unsure, where its answer changes if the window is mirrored, turned, darkened
    or brightened, and where it looks unlike what was labelled before. n: windows, which do not touch each other; fewer
    if no more fit. model: the one that ships if not given. out: a folder for the windows, a file to draw labels in,
    pictures and a project of QGIS, if wanted. size: edge of a window in pixels of the scene; 256 of the model's working
    pixels if not given. labelled: a folder of chips that are labelled already. Raises `InputError` or one of its kinds
    for input that cannot be used.

    >>> import cropland
    >>> from cropland.demo import TILE
    >>> suggestions = cropland.suggest(TILE, n=2, size=256)
    >>> [*suggestions.windows.columns]
    ['rank', 'score', 'unsure', 'disagree', 'unlike', 'reason', 'done', 'geometry']
    """
    ready = model if isinstance(model, Model) else Model.open(model)
    return _suggest(_scene(scene), ready.file, out, n=n, size=size, labelled=labelled, overwrite=overwrite)


def train(
    recipe: Recipe | AnyPath,
    chips: AnyPath,
    out: AnyPath | None = None,
    *,
    set: Sequence[str] = (),
    device: str | None = None,
    memory: str | int | None = None,
) -> Model:
    """Train a model from a folder of chips, or continue a run that stopped; the file is OUT/model.safetensors.

    recipe: a TOML file or a `Recipe`. out: the run folder; runs/NAME if not given. set: values that replace the
    recipe's. device: cpu or cuda; cuda where there is one. memory: what the training may take, as "4GB"; most of what
    is free if not given. Raises `RecipeError`, `ChipError` or `ModelError` for what cannot be used.

    >>> import cropland, tempfile
    >>> from cropland.demo import FIELDS, FOLDER, TILE
    >>> short = ["training.epochs=1", "training.chips_per_epoch=8", "sampling.crop=64"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = cropland.cut_chips(TILE, FIELDS, folder + "/chips", background="known", size=128)
    ...     model = cropland.train(FOLDER / "small.toml", folder + "/chips", folder + "/run", set=short)
    ...     model.name
    epoch 1: loss ..., validation IoU ...
    'demo'
    """
    from cropland.training.train import train as train_network  # imports torch, which mapping does without

    limit = None if memory is None else bytes_of(memory)
    return Model(train_network(recipe, chips, out, set=set, device=device, memory=limit))


def tune(
    model: Model | AnyPath | None,
    chips: AnyPath,
    out: AnyPath | None = None,
    *,
    set: Sequence[str] = (),
    device: str | None = None,
    memory: str | int | None = None,
) -> Model:
    """Let a model go on learning from a few chips of one's own, for minutes; the file is OUT/model.safetensors.

    model: the one that ships if None. out: the run folder; runs/NAME_tuned if not given. Its weights become a mean of
    the model's and the new ones, in the shares that are best on the validation chips. Other arguments and errors are
    those of `train`.

    >>> import cropland, tempfile
    >>> from cropland.demo import FIELDS, TILE
    >>> short = ["training.epochs=1", "training.chips_per_epoch=8", "sampling.crop=64"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = cropland.cut_chips(TILE, FIELDS, folder + "/chips", background="known", size=128)
    ...     model = cropland.tune(None, folder + "/chips", folder + "/run", set=short)
    ...     model.name
    epoch 1: loss ..., validation IoU ...
    validation IoU ... before, ... now; ... of the change is kept
    'cropland_rgb_tuned'
    """
    from cropland.training.train import tune as tune_network  # imports torch, which mapping does without

    limit = None if memory is None else bytes_of(memory)
    start = model.file if isinstance(model, Model) else default_model() if model is None else str(model)
    return Model(tune_network(start, chips, out, set=set, device=device, memory=limit))


def evaluate(
    subject: Model | MapResult | AnyPath,
    *,
    chips: AnyPath | None = None,
    labels: AnyPath | LabelOptions | None = None,
    background: Literal["known", "unknown"] | None = None,
    against: Model | MapResult | AnyPath | None = None,
    out: AnyPath | None = None,
    **options: Any,
) -> Evaluation:
    """Measure a model on chips, or a map against labels: pixels, boundaries and fields.

    subject: a model with `chips`; with `labels` a map, its folder, a folder of maps, or the file of a mask, of a
    probability or of parcels. against: a second one, for the differences with their intervals. out: a folder for
    report.html and metrics.json, if wanted. Further options: those of labels as in `cut_chips`; split, by, robustness,
    tolerance_m, working_pixel_m, trust, allow_training_chips, overwrite; for maps threshold, imagery, crs, pixel_m,
    allow_datum_shift. Raises `InputError` or one of its kinds for input that cannot be used.

    >>> import cropland
    >>> from cropland.demo import FIELDS, TILE
    >>> result = cropland.Model.open().map(TILE)
    >>> evaluation = cropland.evaluate(result, labels=FIELDS, background="known")
    >>> evaluation.iou > 0.8, evaluation.field_f1 > 0.1
    (True, True)
    """
    what, other = (_subject(each) for each in (subject, against))
    assert what is not None, "a subject is given"
    reading, others = _split(SubjectOptions, options)
    given, others = _labels(labels, {"background": background, **others})
    return _evaluate(what, chips=chips, labels=given, against=other, out=out, reading=reading, **others)


def _subject(given: Model | MapResult | AnyPath | None) -> ModelFile | AnyPath | None:
    if isinstance(given, Model):
        return given.file
    return given.folder if isinstance(given, MapResult) else given


def compare(
    polygons: AnyPath,
    map: MapResult | AnyPath,
    later_map: MapResult | AnyPath | None = None,
    *,
    out: AnyPath | None = None,
    **options: Any,
) -> Comparison:
    """Compare polygons, as of a land survey or of insured plots, with a map or with two.

    polygons: of any format and CRS. map, later_map: a map, its folder, a mask or a probability; without a later one,
    gains and losses are those against the polygons. out: a folder for the tables, a report and a project of QGIS.
    Further options: layer, encoding; code (the column that says what a polygon is), cropland_codes, background; id, by,
    insured_ha or insured_mu, owner (columns); min_area_m2, min_width_m (of a gain or a loss), overwrite; threshold,
    imagery, crs, pixel_m, allow_datum_shift. Raises `InputError` or one of its kinds for what cannot be used.

    >>> import cropland
    >>> from cropland.demo import FIELDS, TILE
    >>> found = cropland.compare(FIELDS, cropland.Model.open().map(TILE))
    >>> found["total"]["disagreeing"], len(found.polygons)
    (2, 34)
    """
    known, others = _split(PolygonOptions, options)
    reading, others = _split(SubjectOptions, others)
    paths = [each.folder if isinstance(each, MapResult) else each for each in (map, later_map)]
    assert paths[0] is not None, "a map is given"
    return _compare(polygons, paths[0], paths[1], out=out, options=known, reading=reading, **others)


def design_sample(
    mask: MapResult | AnyPath,
    out: AnyPath | None = None,
    *,
    n: int | None = None,
    margin: float | None = None,
    strata: Literal["mask", "probability", "edge"] = "mask",
    imagery: Scene | AnyPath | None = None,
    **options: Any,
) -> SampleDesign:
    """Draw a stratified random sample of the pixels of a mask, to be looked at by people.

    mask: a map, or the file of a mask. out: a folder for the points, a sheet of the imagery and a project of QGIS. n:
    points; or margin: half the width of the 95 % interval of the share of cropland, 0..1. Further options:
    probability, edge_m, least, seed, bands, overwrite, crs, pixel_m, allow_datum_shift. Raises `InputError` or one of
    its kinds for what cannot be sampled.

    >>> import cropland
    >>> from cropland.demo import TILE
    >>> result = cropland.Model.open().map(TILE)
    >>> cropland.design_sample(result, n=100)
    100 points of mask.tif
    """
    return _design_sample(_mask(mask), out, n=n, margin=margin, strata=strata, imagery=imagery, **options)


def estimate_area(
    mask: MapResult | AnyPath,
    *,
    sample: AnyPath,
    answers: Sequence[AnyPath] = (),
    by: AnyPath | None = None,
    out: AnyPath | None = None,
    **options: Any,
) -> AreaEstimate:
    """Estimate the area of cropland and the accuracy of a mask, with 95 % intervals, from the answers at a sample.

    mask: the map, or the file of the mask, that the sample was drawn on. sample: its points, with a column `reference`:
    1 cropland, 0 not cropland, 255 cannot tell. answers: tables that the sheet saved, one of each interpreter. by:
    polygons of regions. out: a folder for the report and the tables. Further options: resolved, name, probability,
    overwrite, crs, pixel_m, allow_datum_shift. Raises `InputError` or one of its kinds for what cannot be used.

    >>> import cropland, tempfile
    >>> from cropland.demo import TILE
    >>> result = cropland.Model.open().map(TILE)
    >>> points = cropland.design_sample(result, n=100).points
    >>> points["reference"] = 1  # what people saw
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     points.to_file(folder + "/points.gpkg")
    ...     cropland.estimate_area(result, sample=folder + "/points.gpkg")["share"]["value"]
    1.0
    """
    return _estimate_area(_mask(mask), sample=sample, answers=answers, by=by, out=out, **options)


def deliver(
    parcels: MapResult | AnyPath,
    out: AnyPath | None = None,
    *,
    by: AnyPath | None = None,
    name: str | None = None,
    min_area_mu: float | None = None,
    deduction: str | float | None = None,
    code: Mapping[str, str] | None = None,
    rename: Mapping[str, str] | None = None,
    **options: Any,
) -> Delivery:
    """Parcels as an office wants them: cut by regions, without slivers, with net areas and codes, and checked.

    parcels: a map, its folder, or a file of polygons. out: the file to write, if wanted: .shp, .gdb, .gpkg, .parquet or
    .geojson; beside it a folder holds the areas of the regions and the topology report. by, name: polygons of regions,
    and the column that names them. min_area_mu: smaller pieces are united with a neighbour. deduction: a column of the
    parcels, else of the regions, or a number, 0..1. code: constant columns. rename: new names of columns by the old
    ones. Further options: min_area_m2, min_width_m, drop, encoding, layer, input_encoding, crs, report, overwrite,
    allow_datum_shift. Raises `InputError` or one of its kinds for input that cannot be used.

    >>> import cropland
    >>> from cropland.demo import TILE
    >>> result = cropland.Model.open().map(TILE)
    >>> delivery = cropland.deliver(result, deduction=0.05, code={"DLBM": "0103"}, rename={"net_m2": "TBDLMJ"})
    >>> len(delivery.parcels), len(delivery.topology), sorted(delivery.parcels.columns)[:2]
    (43, 0, ['DLBM', 'TBDLMJ'])
    """
    given = parcels.folder if isinstance(parcels, MapResult) else parcels
    how: dict[str, Any] = {"by": by, "name": name, "min_area_mu": min_area_mu, "deduction": deduction}
    return _deliver(given, out, code=code, rename=rename, **how, **options)


def _mask(given: MapResult | AnyPath) -> Path:
    return given.folder / "mask.tif" if isinstance(given, MapResult) else Path(given)


def _scene(given: Scene | Image | AnyPath) -> Scene:
    if isinstance(given, Image):
        assert given.grid is not None, "an image that a scene gave has a grid"
        affine, crs = given.grid.affine, None if given.grid.crs is None else given.grid.crs.to_wkt()
        return open_array(given.values, transform=affine, crs=crs, bands=given.bands or None, valid=given.valid)
    return given if isinstance(given, Scene) else open(given)


def _map_options(
    *,
    statistics: Statistics | AnyPath | None = None,
    memory: str | int | None = None,
    out_pixel: float | None = None,
    **others: Any,
) -> MapOptions:
    read = read_statistics(Path(statistics)) if isinstance(statistics, str | Path) else statistics
    limit = None if memory is None else bytes_of(memory)
    return MapOptions(statistics=read, memory=limit, out_pixel_m=out_pixel, **others)


def _labels(labels: AnyPath | LabelOptions | None, options: Mapping[str, Any]) -> tuple[LabelOptions, dict[str, Any]]:
    """The labels, with what the options say of them in place of their own, and the other options."""
    about, others = _split(LabelOptions, options)
    given = {name: value for name, value in vars(about).items() if value is not None}
    own = labels if isinstance(labels, LabelOptions) else LabelOptions(None if labels is None else Path(labels))
    return replace(own, **given), others


def _split(kind: type[T], options: Mapping[str, Any]) -> tuple[T, dict[str, Any]]:
    """What of the options a dataclass holds, and the others."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    held = {name: value for name, value in options.items() if name in names}
    return kind(**held), {name: value for name, value in options.items() if name not in names}
