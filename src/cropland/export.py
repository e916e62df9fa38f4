"""`cropland export`: a model as a file that other programs run, compared with the model before it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx.experimental import _config as any_case

from cropland.catalog import find
from cropland.errors import ModelError, OutputError, first_line
from cropland.formats import INPUT, OUTPUT, Format, Run
from cropland.geo.statistics import CEILING, FLOOR, HIGH, LOW, MISSING, Statistics
from cropland.language import _
from cropland.mapping.plan import check_statistics, read_statistics
from cropland.model import ModelFile, default_model
from cropland.options import ABOVE_0, COUNT
from cropland.streaming.program import NotExportedError, exported, largest_difference
from cropland.writers import replacing

__all__ = ["Exported", "command", "export"]

TRACED = (2, 129, 135)  # batch, height, width: odd, so that no size passes for a multiple of something
PROBES = ((1, 64, 64), (2, 95, 70))
MOST = 1e-4  # of a probability, between a file and torch in single precision


@dataclass(frozen=True)
class Exported:
    """A file, the sizes (batch, height, width) at which it was compared with torch, and the largest difference."""

    path: Path
    sizes: tuple[tuple[int, int, int], ...]
    apart: float


def export(
    model: ModelFile,
    to: str,
    out: Path,
    *,
    pixel_m: float | None = None,
    tile: int | None = None,
    boundary: bool = False,
    statistics: Statistics | None = None,
) -> Exported:
    """Write a model as a file of the format `to`, for images of any size or of one `tile`; see `cropland.formats`.

    Raises `RecipeError` for an unknown format, `InputError` where a package is missing, `ModelError` for a network that
    cannot be exported, or comes out otherwise than torch computes it, or for a boundary that the model does not give.
    """
    file: Format = find("formats", to)
    channels, bands = _channels(model, boundary), len(model.bands)
    network = Probability(model.network(), channels.get("boundary", 0)).eval()
    sizes = ((1, tile, tile),) if tile else PROBES
    program = _program(network, bands, tile, name=model.recipe.network.name)
    told = facts(model, pixel_m=pixel_m, tile=tile, boundary=boundary, statistics=statistics)
    with replacing(out) as hidden, TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        written = Path(folder) / out.name
        file.write(program, told, written)
        apart = _compared(file.read(written), network, [(size[0], bands, *size[1:]) for size in sizes], to)
        for beside in sorted({*written.parent.iterdir()} - {written}):
            beside.replace(out.with_name(beside.name))
        written.replace(hidden)
    return Exported(out, sizes, apart)


def _channels(model: ModelFile, boundary: bool) -> dict[str, int]:
    if boundary and "boundary" not in model.channels:
        raise ModelError(
            "{name} gives no boundary; train one with outputs = ['cropland', 'boundary'], or export it without one",
            name=model.name,
        )
    return model.channels if boundary else {"cropland": 0}


def facts(
    model: ModelFile,
    *,
    pixel_m: float | None = None,
    tile: int | None = None,
    boundary: bool = False,
    statistics: Statistics | None = None,
) -> dict[str, Any]:
    """What a program must know to use the file, as plain values: the model's header and what the file takes and gives.

    `statistics` are the percentiles (sensor units) that `image` is stretched by; None: those of each scene.
    """
    assert model.path is not None, "a model has facts once it is saved"
    header = ModelFile.read(model.path).header()  # where code of the user's own is named without this machine's folders
    header.pop("code", None)
    pixel, known = model.nearest_pixel(pixel_m or model.working_pixels[0].pixel_m), statistics or model.statistics
    image = {"name": INPUT, "bands": list(model.bands), "percentiles": [LOW, HIGH], "clip": [FLOOR, CEILING]}
    return {
        **header,
        "sha256": model.digest,
        "pixel_m": pixel.pixel_m,
        "threshold": pixel.threshold,
        "boundary_threshold": pixel.boundary_threshold,
        "tile": tile,
        "statistics": known.to_json() if known else None,
        "input": {**image, "no_data": MISSING},
        "output": {"name": OUTPUT, "channels": [*_channels(model, boundary)]},
    }


class Probability(nn.Module):
    """A network between the clipping of its input and the sigmoid of its channels 0 and `last`, which may be one."""

    def __init__(self, network: nn.Module, last: int = 0) -> None:
        super().__init__()
        self.network, self.channels = network, slice(0, last + 1, max(1, last))

    def forward(self, image: Tensor) -> Tensor:
        return torch.sigmoid(self.network(image.clamp(FLOOR, CEILING))[:, self.channels])


def _program(network: nn.Module, bands: int, tile: int | None, *, name: str) -> ExportedProgram:
    batch, height, width = (1, tile, tile) if tile else TRACED
    try:
        # Without, the program would ask of every image what was true of the one that it was traced with, such as that
        # a map has an odd number of rows.
        with any_case.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]  # torch's stub lacks it
            program = exported(network, (batch, bands, height, width), any_size=() if tile else (0, 2, 3))
    except NotExportedError as error:
        raise ModelError(
            "{name} cannot be exported for images of any size ({error}); give one with --tile",
            name=name,
            error=error.args[0],
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names files of this machine
    return program


def _compared(run: Run, network: nn.Module, shapes: Sequence[tuple[int, ...]], to: str) -> float:
    """The largest difference from torch, which is refused where it is large."""
    try:
        apart = max(largest_difference(run, network, shape) for shape in shapes)
    except Exception as error:  # whatever the other library raises
        raise ModelError(
            "{to} cannot compute the network ({error}); nothing was written", to=to, error=first_line(error)
        ) from error
    if apart > MOST:
        raise ModelError(
            "{to} and PyTorch differ by {apart:.1e} on this network; nothing was written", to=to, apart=apart
        )
    return apart


def command(
    model: Path | None = None,
    /,
    *,
    to: str,
    out: Path | None = None,
    pixel_m: Annotated[float | None, ABOVE_0] = None,
    tile: Annotated[int | None, COUNT] = None,
    boundary: bool = False,
    statistics: Path | None = None,
    trust: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a model as a file that other programs run: onnx, openvino or torch.

    Example:

        cropland export --to onnx
        cropland export model.safetensors --to onnx --tile 1024 --statistics my_map/map.json
        cropland export model.safetensors --to openvino --boundary

    Parameters
    ----------
    model
        A model file; the one that ships if not given.
    to
        The format: onnx, openvino or torch.
    out
        The file to write; in this folder, by the model's name, if not given.
    pixel_m
        Pixel size in metres of the scenes that the file is for; their threshold is written into it; the model's first
        if not given.
    tile
        Edge in pixels of the images that the file takes, as Deepness in QGIS needs; any size if not given.
    boundary
        Give the boundary of fields as a second channel. Deepness in QGIS takes files of one channel.
    statistics
        The map.json of a map, whose stretch is written into it.
    trust
        Run the code that the model file names.
    overwrite
        Replace a file.
    """
    trained = ModelFile.load(model or default_model(), trust=trust)
    suffix = find("formats", to).suffix
    place = out or Path(f"{trained.name}{suffix}")
    if place.suffix != suffix:
        raise OutputError("{out} must end in {suffix}", out=place, suffix=suffix)
    if place.exists() and not overwrite:
        raise OutputError("{out} exists; replace it with --overwrite, or choose another --out", out=place)
    known = check_statistics(read_statistics(statistics), trained) if statistics else None
    done = export(trained, to, place, pixel_m=pixel_m, tile=tile, boundary=boundary, statistics=known)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    size, channels = f"{tile}, {tile}" if tile else "height, width", len(_channels(trained, boundary))
    axes = (f"{name} (batch, {many}, {size})" for name, many in ((INPUT, len(trained.bands)), (OUTPUT, channels)))
    console.print(f"{done.path}: " + ", ".join(axes))
    sizes = ", ".join(f"{height} x {width}" for _batch, height, width in done.sizes)
    console.print(_("largest difference from PyTorch at {sizes}: {apart:.1e}", sizes=sizes, apart=done.apart))
    if suffix == ".onnx" and not tile and not boundary:
        console.print(_("Deepness in QGIS takes files of one size only: give --tile 1024 for it"))
