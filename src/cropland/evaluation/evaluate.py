"""`cropland evaluate`: a model on the chips of a folder, or a mask against labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from cropland.data.labels import LabelOptions, read_labels
from cropland.errors import InputError, OutputError
from cropland.evaluation.report import best_and_worst, page, percent
from cropland.evaluation.score import Part, metrics
from cropland.fact_sheet import fact_sheet
from cropland.files import write_text
from cropland.language import Message, _, shown
from cropland.options import ABOVE_0
from cropland.progress import progress_bar

__all__ = ["Evaluation", "command", "evaluate", "write_report"]

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
        A column to report figures by: of the chips' index (default: group), of the --inside polygons, or of the label
        polygons, then what is found of each kind of cropland.
    out
        The folder to write to.
    overwrite
        Replace the evaluation that is there.
    tolerance_m
        How far off a boundary may be, in metres. Default: 2 5 10 20.
    working_pixel_m
        Run the model at its working pixel nearest to this, instead of the one nearest to each chip's.
    trust
        Run code that the model file names.
    crs
        The CRS of a mask that does not say it.
    pixel_m
        Pixel size in metres of a mask without a CRS.
    allow_datum_shift
        Allow an approximate datum transformation (errors up to about 100 m).
    """
    measured = evaluate(
        subject,
        chips=chips,
        split=split,
        labels=labels,
        by=by,
        out=out,
        overwrite=overwrite,
        tolerance_m=tolerance_m,
        working_pixel_m=working_pixel_m,
        trust=trust,
        crs=crs,
        pixel_m=pixel_m,
        allow_datum_shift=allow_datum_shift,
    )
    _say(measured.figures, out)


@dataclass(frozen=True)
class Evaluation:
    """What a model or a mask is worth: the figures of metrics.json, and the parts that they are pooled from."""

    figures: Mapping[str, Any]
    parts: Sequence[Part]

    @property
    def iou(self) -> float | None:
        """Intersection over union of cropland, over all that is known; None where only one class is known."""
        iou: float | None = self.figures["pooled"]["iou"]
        return iou

    def write(self, out: str | Path) -> None:
        """Write report.html and metrics.json into a folder. Raises `OutputError` where it cannot be written."""
        write_report(Path(out), self.figures, self.parts)

    def _repr_html_(self) -> str:
        pooled, low_high = self.figures["pooled"], self.figures["pooled"]["iou_interval"]
        named = {"IoU": "iou", "F1": "f1", _("precision"): "precision", _("recall"): "recall"}
        facts = {name: percent(pooled[key]) + " %" * (pooled[key] is not None) for name, key in named.items()}
        if low_high:
            facts[_("interval of the IoU")] = f"{percent(low_high[0])} – {percent(low_high[1])} %"
        return fact_sheet(shown(self.figures["title"]), facts)


def evaluate(
    subject: str | Path,
    *,
    chips: str | Path | None = None,
    split: str = "validation",
    labels: LabelOptions | None = None,
    by: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    tolerance_m: Sequence[float] | None = None,
    working_pixel_m: float | None = None,
    trust: bool = False,
    crs: str | None = None,
    pixel_m: float | None = None,
    allow_datum_shift: bool = False,
) -> Evaluation:
    """Measure a model on chips, or a mask against labels; see `command`. out: a folder for the report, if wanted.

    Raises `InputError` or one of its kinds for what cannot be measured, `OutputError` for a folder that is in use.
    """
    subject, chips, labels = Path(subject), Path(chips) if chips else None, labels or LabelOptions()
    tolerances_m = tuple(sorted(tolerance_m or TOLERANCES_M))
    if tolerances_m[0] <= 0:
        raise InputError("--tolerance-m {tolerances_m:g}: give metres above 0", tolerances_m=tolerances_m[0])
    _check(subject, chips, labels)
    if out:
        _check_out(Path(out), overwrite=overwrite)
    if chips:
        about, parts = _model(
            subject, chips, split=split, by=by or "group", tolerances_m=tolerances_m, at=working_pixel_m, trust=trust
        )
    else:
        about, parts = _mask(
            subject,
            labels,
            by=by,
            tolerances_m=tolerances_m,
            crs=crs,
            pixel_m=pixel_m,
            allow_datum_shift=allow_datum_shift,
        )
    figures = about | {"tolerances_m": tolerances_m} | metrics(parts, tolerances_m=tolerances_m)
    measured = Evaluation(figures, parts)
    if out:
        measured.write(out)
    return measured


def write_report(out: Path, figures: Mapping[str, Any], parts: Sequence[Part]) -> None:
    """Write metrics.json and report.html into a folder, each complete or not at all."""
    contents = {
        "metrics.json": json.dumps(figures, ensure_ascii=False, indent=1),
        "report.html": page(figures, best_and_worst(parts)),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_text(out / name, content)
    except OSError as error:
        raise OutputError(
            "{out} cannot be written ({strerror}); give another --out", out=out, strerror=error.strerror
        ) from error


def _check(subject: Path, chips: Path | None, labels: LabelOptions) -> None:
    against = labels.given("labels", "whole")
    if (chips is None) == (not against):
        raise InputError("say what to measure against: --chips DIR with a model, or --labels FILE with a mask")
    if not subject.is_file():
        raise InputError("{subject}: there is no such file; give a model (.safetensors) or a mask", subject=subject)
    if chips and subject.suffix != ".safetensors":
        raise InputError(
            "{subject} is not a model (.safetensors); a mask is measured with --labels FILE", subject=subject
        )
    if against and subject.suffix == ".safetensors":
        raise InputError(
            "{subject} is a model; measure it with --chips DIR, or map a scene and measure its mask.tif",
            subject=subject,
        )


def _check_out(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError("{out} is a file; give a folder as --out", out=out)
    if (out / "metrics.json").exists() and not overwrite:
        raise OutputError("{out} holds an evaluation already; give another --out, or --overwrite", out=out)


def _model(
    path: Path,
    chips: Path,
    *,
    split: str,
    by: str,
    tolerances_m: Sequence[float],
    at: float | None,
    trust: bool,
) -> tuple[dict[str, Any], list[Part]]:
    from cropland.data.chips import open_chips
    from cropland.engines.openvino import open_engine
    from cropland.evaluation.measure import Judge, choose_chips, on_chips
    from cropland.model import ModelFile

    model = ModelFile.load(path, trust=trust)
    folder = choose_chips(open_chips(chips), model, split=split, by=by)
    engine = open_engine(model)
    judge = Judge(model, lambda values: engine(values[None])[0], tolerances_m, at)
    about = {
        "kind": "model",
        "part": "chip",
        "title": Message("{model} on {chips}", model=model.name, chips=chips.name),
        "subtitle": Message("{model}, {count:,} chips ({split})", model=path.name, count=len(folder), split=split),
        "subject": {"name": model.name, "file": path.name, "sha256": model.digest, "version": model.version},
        "against": {"chips": chips.name, "split": split, "by": by, "working_pixel_m": at},
    }
    return about, _watched(on_chips(folder, judge, by=by), total=len(folder))


def _mask(
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
    parts = _watched(on_mask(mask, truth, tolerances_m=tolerances_m, regions=regions), total=blocks(mask))
    if not parts:
        raise InputError(
            "{name} and its labels share no pixel that both know; look at no data and at --inside", name=path.name
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
    }
    return about, parts


def _watched(parts: Iterable[Part], *, total: int) -> list[Part]:
    done = []
    with progress_bar(total=total, rate="{:.1f}/s".format, counted=True) as bar:
        for part in parts:
            done.append(part)
            bar()
    return done


def _say(figures: Mapping[str, Any], out: Path) -> None:
    spoken = {"precision": _("precision"), "recall": _("recall"), "false_alarm": _("false alarm")}
    names = {"iou": "IoU", "f1": "F1", **spoken}
    table = Table("", *names.values(), box=None, header_style="dim")
    for row, its in {
        _("pooled"): figures["pooled"],
        _("all cropland"): figures["all_cropland"],
        **figures["groups"],
    }.items():
        table.add_row(row, *(percent(its[name]) for name in names))
    console = Console()
    console.print(table)
    console.print(out / "report.html", soft_wrap=True, highlight=False, markup=False)
