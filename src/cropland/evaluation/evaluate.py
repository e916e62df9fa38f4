"""Evaluation of a model on chips, or of a mask against labels: metrics, and a report where a folder is given."""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from cropland.data.labels import LabelOptions, read_labels
from cropland.errors import InputError, OutputError
from cropland.evaluation.report import best_and_worst, names, page, percent
from cropland.evaluation.score import Part, metrics
from cropland.fact_sheet import fact_sheet
from cropland.files import write_json, write_text
from cropland.language import Message, _, shown
from cropland.options import ABOVE_0
from cropland.progress import progress_bar

if TYPE_CHECKING:
    from cropland.data.chips import ChipFolder
    from cropland.model import ModelFile

__all__ = ["Evaluation", "command", "evaluate"]

TOLERANCES_M = (2.0, 5.0, 10.0, 20.0)


def command(
    subject: Path,
    *,
    chips: Path | None = None,
    split: str = "validation",
    labels: LabelOptions = LabelOptions(),  # noqa: B008 - frozen
    by: str | None = None,
    out: Path = Path("evaluation"),
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    tolerance_m: Annotated[list[float] | None, Parameter(consume_multiple=True)] = None,
    working_pixel_m: Annotated[float | None, ABOVE_0] = None,
    trust: Annotated[bool, Parameter(negative="")] = False,
    crs: str | None = None,
    pixel_m: Annotated[float | None, ABOVE_0] = None,
    allow_datum_shift: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Measure a model on chips, or a mask against labels.

    Writes report.html, one file for any browser, and metrics.json.

    Example: cropland evaluate model.safetensors --chips my_chips

    Example: cropland evaluate mask.tif --labels fields.gpkg --background known

    Parameters
    ----------
    subject
        A model (.safetensors), or a mask: 1 cropland, 0 not cropland, 255 no data.
    chips
        A folder made by `cropland chips`; with a model.
    split
        Which chips: validation, train or all.
    by
        A column to group figures by: of the chips' index (default: group), of the --inside polygons, or of the label
        polygons (the figures are then those of each kind of cropland).
    out
        The folder to write to.
    overwrite
        Replace an earlier evaluation.
    tolerance_m
        How far off a boundary may be, in metres. Default: 2 5 10 20.
    working_pixel_m
        Run the model at its working pixel nearest to this, instead of the one nearest to each chip's.
    trust
        Run code that the model file names.
    crs
        The CRS of a mask whose file names none.
    pixel_m
        Pixel size in metres of a mask without a CRS.
    allow_datum_shift
        Allow an approximate datum transformation (errors up to about 100 m).
    """
    found = evaluate(
        subject,
        chips=chips,
        split=split,
        labels=labels,
        by=by,
        out=out,
        overwrite=overwrite,
        tolerance_m=tolerance_m or TOLERANCES_M,
        working_pixel_m=working_pixel_m,
        trust=trust,
        crs=crs,
        pixel_m=pixel_m,
        allow_datum_shift=allow_datum_shift,
    )
    for note in found.figures.get("notes", ()):
        print(shown(note))
    console = Console()
    console.print(found.table())
    console.print(out / "report.html", soft_wrap=True, highlight=False, markup=False)


def evaluate(
    what: str | Path | ModelFile,
    *,
    chips: str | Path | ChipFolder | None = None,
    labels: str | Path | LabelOptions | None = None,
    background: Literal["known", "unknown"] | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    split: str = "validation",
    by: str | None = None,
    tolerance_m: Sequence[float] = TOLERANCES_M,
    working_pixel_m: float | None = None,
    trust: bool = False,
    crs: str | None = None,
    pixel_m: float | None = None,
    allow_datum_shift: bool = False,
) -> Evaluation:
    """Measure a model, or its file, on `chips`; or the file of a mask against `labels`.

    A mask is 1 cropland, 0 not cropland, 255 no data. labels: polygons or rasters by their path, or `LabelOptions`.
    background: what lies outside the polygons, known (not cropland) or unknown. out: a folder for metrics.json and
    report.html; without it nothing is written. overwrite: replace what is there. split: which chips, validation, train
    or all. by: a column to report figures by. tolerance_m: how far off a boundary may be, in metres. working_pixel_m:
    run the model at its working pixel nearest to this, instead of the one nearest to each chip's. trust: run code that
    the model's file names. crs, pixel_m, allow_datum_shift: of a mask, as in `open_scene`.

    Raises `InputError` or one of its kinds for what cannot be measured, `OutputError` where `out` cannot be used.
    """
    tolerances_m = tuple(sorted(tolerance_m))
    if tolerances_m[0] <= 0:
        raise InputError("--tolerance-m {tolerances_m:g}: give metres above 0", tolerances_m=tolerances_m[0])
    subject = Path(what) if isinstance(what, str | Path) else what
    options = LabelOptions.of(labels, background=background)
    _check(subject, options, on_chips=chips is not None)
    if out is not None:
        _check_free(Path(out), overwrite=overwrite)
    if chips is not None:
        how: dict[str, Any] = {"working_pixel_m": working_pixel_m, "trust": trust}
        about, parts = _on_chips(subject, chips, split=split, by=by or "group", tolerances_m=tolerances_m, **how)
    else:
        assert isinstance(subject, Path), "a model is not measured against labels"
        grid: dict[str, Any] = {"crs": crs, "pixel_m": pixel_m, "allow_datum_shift": allow_datum_shift}
        about, parts = _on_labels(subject, options, by=by, tolerances_m=tolerances_m, **grid)
    figures = about | {"tolerances_m": tolerances_m} | metrics(parts, tolerances_m=tolerances_m)
    found = Evaluation(figures, tuple(parts))
    if out is not None:
        found.save(out)
    return found


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """The metrics of a model or a mask.

    figures: the content of metrics.json, also as `evaluation["groups"]`. parts: the chips, or the blocks of the mask.
    """

    figures: Mapping[str, Any]
    parts: tuple[Part, ...]

    @property
    def iou(self) -> float | None:
        """Intersection over union of cropland over all pixels, 0..1; None where one class only is known."""
        return self.figures["pooled"]["iou"]  # type: ignore[no-any-return]

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall over all pixels, 0..1; None where one class only is known."""
        return self.figures["pooled"]["f1"]  # type: ignore[no-any-return]

    def __getitem__(self, name: str) -> Any:
        return self.figures[name]

    def keys(self) -> KeysView[str]:
        """The names in `figures`; `dict(evaluation)` is a copy of all of them."""
        return self.figures.keys()

    def save(self, out: str | Path) -> None:
        """Write metrics.json and report.html into a folder, each complete or not at all.

        Raises `OutputError` where they cannot be written.
        """
        folder, html = Path(out), page(self.figures, best_and_worst(self.parts))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "metrics.json", self.figures)
            write_text(folder / "report.html", html)
        except OSError as error:
            raise OutputError(
                "{out} cannot be written ({strerror}); give another --out", out=out, strerror=error.strerror
            ) from error

    def table(self) -> Table:
        """Metrics over all pixels and of each group, for a terminal."""
        spoken_names = {"precision": _("precision"), "recall": _("recall"), "false_alarm": _("false alarm")}
        columns = {"iou": "IoU", "f1": "F1", **spoken_names}
        table = Table("", *columns.values(), box=None, header_style="dim")
        rows = {_("pooled"): self["pooled"], _("all cropland"): self["all_cropland"], **self["groups"]}
        for name, its in rows.items():
            table.add_row(name, *(percent(its[column]) for column in columns))
        return table

    def __repr__(self) -> str:
        pooled = (f"{title} {percent(self['pooled'][name])}" for name, title in names().items())
        return f"{shown(self['title'])}: {', '.join(pooled)}"

    def _repr_html_(self) -> str:
        pooled = self["pooled"]
        facts = {title: f"{percent(pooled[name])} %" for name, title in names().items() if pooled[name] is not None}
        if interval := pooled["iou_interval"]:
            facts[_("interval of the IoU")] = " – ".join(f"{percent(bound)} %" for bound in interval)
        return fact_sheet(shown(self["title"]), facts)


def _check(subject: Path | ModelFile, labels: LabelOptions, *, on_chips: bool) -> None:
    against = labels.given("labels", "whole")
    if on_chips == bool(against):
        raise InputError("say what to measure against: --chips DIR with a model, or --labels FILE with a mask")
    if isinstance(subject, Path) and not subject.is_file():
        raise InputError("{subject}: there is no such file; give a model (.safetensors) or a mask", subject=subject)
    is_model = not isinstance(subject, Path) or subject.suffix == ".safetensors"
    if on_chips and not is_model:
        raise InputError(
            "{subject} is not a model (.safetensors); a mask is measured with --labels FILE", subject=subject
        )
    if against and is_model:
        raise InputError(
            "{subject} is a model; measure it with --chips DIR, or map a scene and measure its mask.tif",
            subject=subject if isinstance(subject, Path) else subject.name,
        )


def _check_free(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError("{out} is a file; give a folder as --out", out=out)
    if (out / "metrics.json").exists() and not overwrite:
        raise OutputError("{out} holds an evaluation already; give another --out, or --overwrite", out=out)


def _on_chips(
    subject: Path | ModelFile,
    chips: str | Path | ChipFolder,
    *,
    split: str,
    by: str,
    tolerances_m: Sequence[float],
    working_pixel_m: float | None,
    trust: bool,
) -> tuple[dict[str, Any], list[Part]]:
    # Here, so that a mask is measured without them.
    from cropland.data.chips import open_chips
    from cropland.engines.openvino import open_engine
    from cropland.evaluation.measure import Judge, choose_chips, on_chips
    from cropland.model import ModelFile

    model = ModelFile.load(subject, trust=trust) if isinstance(subject, Path) else subject
    assert model.path is not None, "a model is measured once it is saved"
    whole = open_chips(chips) if isinstance(chips, str | Path) else chips
    folder = choose_chips(whole, model, split=split, by=by)
    engine, file, ground = open_engine(model), model.path.name, folder.path.name
    judge = Judge(model, lambda values: engine(values[None])[0], tolerances_m, working_pixel_m)
    about = {
        "kind": "model",
        "part": "chip",
        "title": Message("{model} on {chips}", model=model.name, chips=ground),
        "subtitle": Message("{model}, {count:,} chips ({split})", model=file, count=len(folder), split=split),
        "subject": {"name": model.name, "file": file, "sha256": model.digest, "version": model.version},
        "against": {"chips": ground, "split": split, "by": by, "working_pixel_m": working_pixel_m},
    }
    return about, _watched(on_chips(folder, judge, by=by), total=len(folder))


def _on_labels(
    path: Path,
    labels: LabelOptions,
    *,
    by: str | None,
    tolerances_m: Sequence[float],
    crs: str | None,
    pixel_m: float | None,
    allow_datum_shift: bool,
) -> tuple[dict[str, Any], list[Part]]:
    from cropland.evaluation.measure import blocks, on_mask, read_regions
    from cropland.geo.scene import open_scene

    # Naming the band and the no data value keeps a mask of few values from being taken for imagery with a collar.
    mask = open_scene(
        path, bands={"mask": 1}, nodata=255, crs=crs, pixel_m=pixel_m, allow_datum_shift=allow_datum_shift
    )
    truth = read_labels(labels, allow_datum_shift=allow_datum_shift)
    regions = read_regions(labels, by, allow_datum_shift=allow_datum_shift) if by else None
    draw = truth.on(mask)
    parts = _watched(on_mask(mask, draw, tolerances_m=tolerances_m, regions=regions), total=blocks(mask))
    if not parts:
        raise InputError(
            "{name} and its labels have no known pixel in common; check no data and --inside", name=path.name
        )
    used = {name: getattr(value, "name", value) for name, value in asdict(labels).items() if value is not None}
    height, width = mask.shape
    about = {
        "kind": "mask",
        "part": "block",
        "title": Message("{mask} against {labels}", mask=path.name, labels=used.get("labels", labels.whole)),
        "subtitle": Message(
            "{height:,} × {width:,} pixels of {pixel_m:.3g} m", height=height, width=width, pixel_m=mask.pixel_m
        ),
        "subject": {"file": path.name},
        "against": used | {"by": by},
        "notes": draw.notes,
    }
    return about, parts


def _watched(parts: Iterable[Part], *, total: int) -> list[Part]:
    done = []
    with progress_bar(total=total, rate="{:.1f}/s".format, counted=True) as bar:
        for part in parts:
            done.append(part)
            bar()
    return done
