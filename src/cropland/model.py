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
from cropland.catalog import find, names
from cropland.data.ground import TrainingGround
from cropland.engines import cache_folder
from cropland.errors import ModelError, first_line
from cropland.fact_sheet import fact_sheet
from cropland.files import replacing
from cropland.geo.statistics import Statistics
from cropland.language import _
from cropland.notebooks.bundle import bundle, unpack
from cropland.notebooks.names import anchored, files_of, foreign_names, is_foreign, with_paths
from cropland.recipe import Recipe, parse_recipe, with_norm

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class WorkingPixel:
    """A pixel size in metres that the model knows, its validation IoU there, and the threshold chosen.

    boundary_threshold: the probability from which on the output `boundary` parts fields, chosen on validation with the
    F1 of fields `field_f1`; both None where no fields are known there.
    """

    pixel_m: float
    iou: float
    threshold: float
    boundary_threshold: float | None = None
    field_f1: float | None = None


@dataclass(frozen=True)
class ModelFile:
    """A trained network and everything needed to use it.

    temperature: what the logits are divided by where a probability must be right as a number, fitted on validation
    (`evaluation.calibration`); maps do without. None where validation had one class only. trained_on: the ground of the
    training chips. Both are None for a file that is older than they are.
    """

    recipe: Recipe
    working_pixels: tuple[WorkingPixel, ...]
    stride: int
    radius: int | None  # pixels; None: the network looks at the whole image
    statistics: Statistics | None = None  # when the radiometry is fixed
    metrics: Mapping[str, Any] = field(default_factory=dict)
    temperature: float | None = None
    trained_on: TrainingGround | None = None
    version: str = __version__
    source_hash: str = ""
    code: Mapping[str, Any] | None = None  # of the user's own, see `cropland.notebooks.bundle`
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
    def channels(self) -> dict[str, int]:
        """The channels that a map holds, by name: `cropland`, and `boundary` where the network gives it."""
        found = {"cropland": 0}  # by contract
        if "boundary" in self.outputs[1:]:
            found["boundary"] = self.outputs.index("boundary", 1)
        return found

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

    def _repr_html_(self) -> str:
        pixels = (f"{each.pixel_m:g} m (IoU {each.iou:.3f})" for each in self.working_pixels)
        bound = _("{radius} pixels to every side", radius=self.radius)
        facts = {
            _("network"): self.recipe.network.name,
            _("bands"): ", ".join(self.bands),
            _("outputs"): ", ".join(self.outputs),
            _("working pixels"): ", ".join(pixels),
            _("receptive field"): _("the whole image") if self.radius is None else bound,
            **({_("temperature"): f"{self.temperature:.3f}"} if self.temperature else {}),
            _("made by"): f"cropland {self.version}",
        }
        return fact_sheet(self.name, facts)

    @staticmethod
    def load(path: Path, *, trust: bool = False) -> ModelFile:
        """Read a model's header.

        Raises `ModelError` for a file that is missing, corrupt, foreign, of a newer version, or that names code
        outside the shelves without `trust`.
        """
        model = ModelFile.read(path)
        own = list(foreign_names(model.recipe.network.model_dump()))
        if own and not trust:
            raise ModelError(
                "{path} names code of its own ({names}); look at it with `cropland show`, then allow it with --trust",
                path=path,
                names=", ".join(own),
            )
        return replace(model, recipe=_with_code(model.recipe, model.code)) if model.code else model

    @staticmethod
    def read(path: Path) -> ModelFile:
        """What a model's header says; the network of one that names code of its own cannot be had from it."""
        return _from_header(read_header(path), path)

    def network(self) -> nn.Module:
        """The network with its weights, in evaluation mode, float32."""
        assert self.path is not None, "a model has weights once it is saved"
        network = build_network(self.recipe)
        weights = read_weights(self.path)
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            name, cause = self.recipe.network.name, first_line(error)
            raise ModelError(
                "{path} does not fit its network {name}: {error}", path=self.path, name=name, error=cause
            ) from error
        return network.eval()

    def save(self, path: Path, weights: Mapping[str, Tensor]) -> ModelFile:
        """Write the model with its weights in half precision (vectors, such as those of norms, stay single); returns
        it with its path."""
        write(path, weights, self._packed().header())
        return replace(self, path=path)

    def _packed(self) -> ModelFile:
        """With the user's own code, which its recipe then names by paths within that."""
        values = self.recipe.model_dump(mode="json")
        files = files_of([values["network"], values["loss"]])
        if self.code or not files:
            return self
        code = bundle(files)
        renamed = code.pop("renamed")
        for section in ("network", "loss"):
            values[section] = with_paths(values[section], renamed.__getitem__)
        return replace(self, recipe=parse_recipe(values), code=code)

    def header(self) -> dict[str, Any]:
        """What the file says of itself, as plain values."""
        return {
            "format": FORMAT,
            "version": self.version,
            "recipe": self.recipe.model_dump(mode="json"),
            "working_pixels": [
                {name: value for name, value in asdict(pixel).items() if value is not None}
                for pixel in self.working_pixels
            ],
            "stride": self.stride,
            "radius": self.radius,
            "statistics": self.statistics.to_json() if self.statistics else None,
            "metrics": dict(self.metrics),
            **({"temperature": self.temperature} if self.temperature else {}),
            **({"trained_on": self.trained_on.to_json()} if self.trained_on else {}),
            "source_hash": self.source_hash,
            **({"code": dict(self.code)} if self.code else {}),
        }


def default_model() -> Path:
    """The path of the model that ships."""
    return Path(str(files("cropland") / "models" / "cropland_rgb.safetensors"))


def build_network(recipe: Recipe) -> nn.Module:
    """The recipe's network with fresh weights; a name on the shelf is also told the numbers of bands and outputs, one
    of the user's own is fitted to them. A norm that is still left open is batch norm."""
    recipe = with_norm(recipe, "batch_norm")
    name, options, bands, outputs = recipe.network.name, recipe.network.options, len(recipe.bands), len(recipe.outputs)
    network = find("networks", name, whole=recipe.network.trust_all)
    if is_foreign(name):
        from cropland.contract import build_own

        return build_own(network, name, options, bands=bands, outputs=outputs)
    try:
        built: nn.Module = network(bands=bands, outputs=outputs, **options)
    except TypeError as error:
        raise ModelError("network {name} does not take these options: {error}", name=name, error=error) from error
    return built


def source_hash(recipe: Recipe) -> str:
    """A hash of the sources of the recipe's shelves, to tell whether a model was trained with the code at hand."""
    digest = hashlib.sha256()
    for shelf in ("blocks", "encoders", "networks"):
        for name in names(shelf):
            digest.update((files("cropland") / shelf / f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]


def _from_header(header: dict[str, Any], path: Path) -> ModelFile:
    try:
        return ModelFile(
            recipe=parse_recipe(header["recipe"], source=str(path)),
            working_pixels=tuple(WorkingPixel(**pixel) for pixel in header["working_pixels"]),
            stride=int(header["stride"]),
            radius=header["radius"],
            statistics=Statistics.from_json(header["statistics"]) if header["statistics"] else None,
            metrics=header["metrics"],
            temperature=header.get("temperature"),
            trained_on=TrainingGround.from_json(header["trained_on"]) if "trained_on" in header else None,
            version=header["version"],
            source_hash=header["source_hash"],
            code=header.get("code"),
            path=path,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            "{path} has a damaged header ({error}); get the file again", path=path, error=first_line(error)
        ) from error


def _with_code(recipe: Recipe, code: Mapping[str, Any]) -> Recipe:
    """The recipe with its code written out, named by where that is."""
    folder = unpack(code, cache_folder() / "code")
    values = recipe.model_dump(mode="json")
    return parse_recipe({**values, **{key: anchored(values[key], folder) for key in ("network", "loss")}})


FORMAT = 1
KEY = "cropland"


def write(path: Path, weights: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write weights (vectors, such as those of norms, stay single) and header, by renaming."""
    import torch
    from safetensors.torch import save

    halves = {
        name: (value.half() if value.dim() > 1 and value.is_floating_point() else value).contiguous().cpu()
        for name, value in weights.items()
        if torch.is_tensor(value)
    }
    text = json.dumps(header, ensure_ascii=False, sort_keys=True)
    with replacing(path) as hidden:
        hidden.write_bytes(save(halves, metadata={KEY: text}))  # save_file would make it readable to its owner only


def read_header(path: Path) -> dict[str, Any]:
    """What a file says of itself. Raises `ModelError` for one that is missing, damaged, foreign or newer."""
    if not path.is_file():
        raise ModelError("no model {path}; give the path of a .safetensors file", path=path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            "{path} is not a safetensors file, or a damaged one: {error}", path=path, error=first_line(error)
        ) from error
    if KEY not in metadata:
        raise ModelError(
            "{path} is a safetensors file of another program; expected one made by 'cropland train'", path=path
        )
    return _read_header(metadata[KEY], path)


def _read_header(text: str, path: Path) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads(text)
        newest = int(header["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            "{path} has a damaged header ({error}); get the file again", path=path, error=first_line(error)
        ) from error
    if newest > FORMAT:
        raise ModelError(
            "{path} is of format {came}, this program reads up to {known}; upgrade cropland",
            path=path,
            came=newest,
            known=FORMAT,
        )
    return header


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in single precision. Raises `ModelError` if the file is damaged."""
    from safetensors.torch import load_file

    try:
        return {name: value.float() if value.is_floating_point() else value for name, value in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            "{path} is damaged: {error}; get the file again", path=path, error=first_line(error)
        ) from error
