"""A model: network, recipe, statistics and threshold in one safetensors file. Reading its header never imports
torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from cropland import __version__
from cropland.catalog import find, is_foreign, names
from cropland.data.statistics import Statistics
from cropland.errors import ModelError
from cropland.recipe import Recipe, parse_recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = 1
KEY = "cropland"


@dataclass(frozen=True)
class WorkingPixel:
    """A pixel size in metres that the model knows, its validation IoU there, and the threshold chosen there."""

    pixel_m: float
    iou: float
    threshold: float


@dataclass(frozen=True)
class Model:
    """A trained network and everything needed to use it."""

    recipe: Recipe
    working_pixels: tuple[WorkingPixel, ...]
    stride: int
    radius: int | None  # pixels; None: the network looks at the whole image
    statistics: Statistics | None = None  # when the radiometry is fixed
    metrics: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__
    source_hash: str = ""
    path: Path | None = None

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.recipe.name

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands that the network takes, in order."""
        return self.recipe.bands

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the network's channels; the first is `cropland`."""
        return self.recipe.outputs

    @property
    def radiometry(self) -> str:
        """`scene` or `fixed`."""
        return self.recipe.radiometry.kind

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file."""
        assert self.path is not None, "a model has a digest once it is saved"
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def nearest_pixel(self, pixel_m: float) -> WorkingPixel:
        """The working pixel nearest to a scene's, by ratio; of two equally near the finer."""
        return min(self.working_pixels, key=lambda known: (abs(math.log(known.pixel_m / pixel_m)), known.pixel_m))

    @staticmethod
    def load(path: Path, *, trust: bool = False) -> Model:
        """Read a model's header.

        Raises `ModelError` for a file that is missing, corrupt, foreign, of a newer version, or that names code
        outside the shelves without `trust`.
        """
        model = _from_header(_header(path), path)
        if is_foreign(model.recipe.network.name) and not trust:
            raise ModelError(
                f"{path} names code of its own ({model.recipe.network.name}); look at it, then allow it with --trust"
            )
        return model

    def network(self) -> nn.Module:
        """The network with its weights, in evaluation mode, float32."""
        assert self.path is not None, "a model has weights once it is saved"
        network = build_network(self.recipe)
        weights = _weights(self.path)
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise ModelError(
                f"{self.path} does not fit its network {self.recipe.network.name}: {_first_line(error)}"
            ) from error
        return network.eval()

    def save(self, path: Path, weights: Mapping[str, Tensor]) -> Model:
        """Write the model with its weights in half precision (vectors, such as those of norms, stay single); returns
        it with its path."""
        import torch
        from safetensors.torch import save

        halves = {
            name: (value.half() if value.dim() > 1 and value.is_floating_point() else value).contiguous().cpu()
            for name, value in weights.items()
            if torch.is_tensor(value)
        }
        hidden = path.with_name(f".{path.name}.part")
        header = json.dumps(self.header(), ensure_ascii=False, sort_keys=True)
        hidden.write_bytes(save(halves, metadata={KEY: header}))  # save_file would make it readable to its owner only
        hidden.replace(path)
        return replace(self, path=path)

    def header(self) -> dict[str, Any]:
        """What the file says of itself, as plain values."""
        return {
            "format": FORMAT,
            "version": self.version,
            "recipe": self.recipe.model_dump(mode="json"),
            "working_pixels": [asdict(pixel) for pixel in self.working_pixels],
            "stride": self.stride,
            "radius": self.radius,
            "statistics": self.statistics.to_json() if self.statistics else None,
            "metrics": dict(self.metrics),
            "source_hash": self.source_hash,
        }


def default_model() -> Path:
    """The path of the model that ships."""
    return Path(str(files("cropland") / "models" / "cropland_rgb.safetensors"))


def build_network(recipe: Recipe) -> nn.Module:
    """The recipe's network with fresh weights; a name on the shelf is also told the numbers of bands and outputs."""
    network = find("networks", recipe.network.name)
    counts = {} if is_foreign(recipe.network.name) else {"bands": len(recipe.bands), "outputs": len(recipe.outputs)}
    try:
        built: nn.Module = network(**counts, **recipe.network.options)
    except TypeError as error:
        raise ModelError(f"network {recipe.network.name} does not take these options: {error}") from error
    return built


def source_hash(recipe: Recipe) -> str:
    """A hash of the sources of the recipe's shelves, to tell whether a model was trained with the code at hand."""
    digest = hashlib.sha256()
    for shelf in ("blocks", "encoders", "networks"):
        for name in names(shelf):
            digest.update((files("cropland") / shelf / f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]


def _header(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError(f"no model {path}; give the path of a .safetensors file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a safetensors file, or a damaged one: {_first_line(error)}") from error
    if KEY not in metadata:
        raise ModelError(f"{path} is a safetensors file of another program; expected one made by 'cropland train'")
    return _read_header(metadata[KEY], path)


def _read_header(text: str, path: Path) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads(text)
        newest = int(header["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} has a damaged header ({_first_line(error)}); get the file again") from error
    if newest > FORMAT:
        raise ModelError(f"{path} is of format {newest}, this program reads up to {FORMAT}; upgrade cropland")
    return header


def _from_header(header: dict[str, Any], path: Path) -> Model:
    try:
        return Model(
            recipe=parse_recipe(header["recipe"], source=str(path)),
            working_pixels=tuple(WorkingPixel(**pixel) for pixel in header["working_pixels"]),
            stride=int(header["stride"]),
            radius=header["radius"],
            statistics=Statistics.from_json(header["statistics"]) if header["statistics"] else None,
            metrics=header["metrics"],
            version=header["version"],
            source_hash=header["source_hash"],
            path=path,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} has a damaged header ({_first_line(error)}); get the file again") from error


def _weights(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return {name: value.float() if value.is_floating_point() else value for name, value in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is damaged: {_first_line(error)}; get the file again") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
