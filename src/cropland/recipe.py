"""A recipe: everything that decides a model, read from TOML."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from cropland.errors import RecipeError
from cropland.language import Message
from cropland.notebooks.names import anchored

Range = tuple[float, float]
Layout = Literal["channels_last", "channels_first"]
Precision = Literal["auto", "float32", "bfloat16"]
FAULTS = {  # pydantic speaks English only
    "greater_than": Message("input should be greater than {gt}"),
    "greater_than_equal": Message("input should be greater than or equal to {ge}"),
    "less_than": Message("input should be less than {lt}"),
    "less_than_equal": Message("input should be less than or equal to {le}"),
    "literal_error": Message("input should be one of {expected}"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), Message("input should be a whole number")),
    **dict.fromkeys(("float_type", "float_parsing"), Message("input should be a number")),
    **dict.fromkeys(("bool_type", "bool_parsing"), Message("input should be true or false")),
    "string_type": Message("input should be a string"),
    "tuple_type": Message("input should be a list"),
    **dict.fromkeys(("dict_type", "model_type"), Message("input should be a section of keys and values")),
}


class Section(BaseModel):
    """A frozen part of a recipe; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Network(Section):
    """Which network: a name on the shelf, `file.py:Name` or `notebook.ipynb:Name` (relative to the recipe), and its
    options. Of a file only what the name needs runs, with `trust_all` all of it.

    It starts from random weights, from `imagenet` (an encoder's), or from a model's file (`teacher.safetensors`). The
    option `norm = "auto"` is `batch_norm`, or `channel_norm` if memory holds fewer than four chips at a time.
    """

    name: str = "unet"
    options: dict[str, Any] = {}
    start: str | None = None
    trust_all: bool = False


class Radiometry(Section):
    """`scene`: every scene is stretched between its own 2nd and 98th percentile. `fixed`: between those of the
    training set."""

    kind: Literal["scene", "fixed"] = "scene"


class Sampling(Section):
    """Which chips are drawn and how: crops of `crop` pixels at `scale` times the chip's pixel, or that of its group in
    `scales`, kept within `pixel_m` metres.

    `groups` and `paste_groups` weigh chip groups (patterns with `*`); unnamed: every chip alike. With probability
    `paste`, up to three shapes of other chips are pasted into a crop, with their labels; their gain and their colours
    vary twice as much as `[augmentation]` says. Groups that match a pattern of `one_radiometry` are patches of one
    collection: their percentiles are pooled.
    """

    crop: PositiveInt = 256
    scale: Range = (0.5, 4.0)
    scales: dict[str, Range] = {}
    pixel_m: Range = (0.1, 30.0)
    groups: dict[str, PositiveFloat] = {}
    paste: float = Field(0.0, ge=0, le=1)
    paste_groups: dict[str, PositiveFloat] = {}
    one_radiometry: tuple[str, ...] = ()


class Boundary(Section):
    """The output `boundary`: whether a pixel lies within the rim of a field, `width_m` metres wide and at least one
    and a half pixels of the crop. It has the loss of cropland, `weight` times.
    """

    width_m: PositiveFloat = 4.0
    weight: PositiveFloat = 1.0


class Augmentation(Section):
    """How far crops are varied; all amounts in units of the range between low and high percentile.

    `gain` and `offset` of all bands together, `band_gain` and `band_offset` per band, `gamma` as exponent 2^±gamma,
    `haze` towards white, `blur` in pixels of sigma, `noise` as deviation, `window_percentiles` the probability of a
    stretch taken from the crop rather than from its scene. With probability `fields` every field has a light and a
    contrast of its own, and parts of the rest have weaker ones; with probability `colour` the colours fade, and with
    `swap` the bands change places.
    """

    gain: float = 0.2
    offset: float = 0.1
    band_gain: float = 0.15
    band_offset: float = 0.05
    gamma: float = 0.4
    haze: float = 0.3
    blur: float = 1.0
    noise: float = 0.03
    window_percentiles: float = Field(0.5, ge=0, le=1)
    fields: float = Field(0.0, ge=0, le=1)
    colour: float = Field(0.0, ge=0, le=1)
    swap: float = Field(0.0, ge=0, le=1)


class Training(Section):
    """The optimizer's batch never changes; memory decides how it is cut. An epoch is `chips_per_epoch` drawn chips.

    The rate rises over the share `warmup`, then follows the `schedule`. `label_smoothing` moves labels towards 1/2 by
    half of itself. `decay_all`: weight decay on norms and biases too. `layout` is the memory order, `precision` that of
    forward and backward pass, `auto` what the hardware multiplies fastest. 0 turns off `warmup`, `clip` and `ema`.
    `keep`: the epoch that becomes the model, the one that is best on validation or the last.

    For a network that starts from a model: during the share `frozen` of the steps its encoder stays as it is; with
    `frozen_norm` batch normalisation keeps the statistics of the start; the share `replay` of the chips comes from the
    samples that ship, labelled as the start maps them; with `mix` the model is a mean of the start and of what was
    trained, in the shares that are best on validation, and has the thresholds of the start.
    """

    epochs: PositiveInt = 20
    chips_per_epoch: PositiveInt = 512
    batch: PositiveInt = 8
    learning_rate: PositiveFloat = 1e-3
    encoder_rate: PositiveFloat = 1.0
    weight_decay: float = Field(0.01, ge=0)
    decay_all: bool = False
    warmup: float = Field(0.05, ge=0, le=1)
    schedule: Literal["cosine", "constant"] = "cosine"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    clip: float = Field(1.0, ge=0)
    ema: float = Field(0.998, ge=0, lt=1)
    layout: Layout = "channels_last"
    precision: Precision = "auto"
    patience: PositiveInt = 1000
    keep: Literal["best", "last"] = "best"
    frozen: float = Field(0.0, ge=0, le=1)
    frozen_norm: bool = False
    replay: float = Field(0.0, ge=0, lt=1)
    mix: bool = False
    seed: int = 0


class Validation(Section):
    """Working pixels (metres) that are scored, each chip at the nearest to its own. Empty: the pixel of the chips.

    The mean over places, which are groups of chips, decides which epoch is best, and the one threshold of all pixels.
    """

    working_pixels: tuple[PositiveFloat, ...] = ()


class Recipe(Section):
    """Everything that decides a model."""

    name: str = "cropland"
    bands: tuple[str, ...] = ("red", "green", "blue")
    outputs: tuple[str, ...] = ("cropland",)
    network: Network = Network()
    radiometry: Radiometry = Radiometry()
    sampling: Sampling = Sampling()
    augmentation: Augmentation = Augmentation()
    boundary: Boundary = Boundary()
    loss: dict[str, PositiveFloat] = {"cross_entropy": 1.0, "dice": 1.0}
    training: Training = Training()
    validation: Validation = Validation()


def read_recipe(path: Path, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe from TOML, with `settings` such as `training.epochs=3` laid over it.

    Raises `RecipeError` for a file that is missing or not TOML, a misspelt key (naming the nearest) or a value out of
    range.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError("no recipe {path}; give the path of a .toml file", path=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError("{path} is not TOML: {error}", path=path, error=error) from error
    return _with(_anchored(values, path.parent), settings, source=str(path))


def change_recipe(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with `settings` laid over it, as in `read_recipe`; raises the same errors."""
    return _with(recipe.model_dump(mode="json"), settings, source=recipe.name) if settings else recipe


def with_norm(recipe: Recipe, norm: str) -> Recipe:
    """The recipe with `norm` where its network's normalisation is left to the plan of the training, as "auto"."""
    if recipe.network.options.get("norm") != "auto":
        return recipe
    network = recipe.network.model_copy(update={"options": {**recipe.network.options, "norm": norm}})
    return recipe.model_copy(update={"network": network})


def parse_recipe(values: dict[str, Any], *, source: str = "recipe") -> Recipe:
    """A recipe from plain values; raises `RecipeError` with the first fault."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError("{source}: {fault}", source=source, fault=_first_fault(error)) from error


def _anchored(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Files with code by their full path."""
    return {key: anchored(value, folder) if key in ("network", "loss") else value for key, value in values.items()}


def _with(values: dict[str, Any], settings: Sequence[str], *, source: str) -> Recipe:
    for setting in settings:
        _lay_over(values, setting)
    return parse_recipe(_anchored(values, Path()), source=source)


def _lay_over(values: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise RecipeError("--set {setting}: expected key=value, as in --set training.epochs=3", setting=setting)
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise RecipeError("--set {setting}: '{key}' is a value, not a section", setting=setting, key=section)
    values[last] = _value(text)


def _value(text: str) -> Any:
    """A value as TOML reads it; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _first_fault(error: ValidationError) -> Message:
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return Message("unknown key '{key}'; {advice}", key=place, advice=_advice(fault["loc"]))
    known, limits = FAULTS.get(fault["type"]), fault.get("ctx", {})
    texts = {name: str(limit).removesuffix(".0").replace(" or ", ", ") for name, limit in limits.items()}
    why = known.filled(**texts) if known else fault["msg"].lower()
    return Message("{key} = {value!r}: {why}", key=place, value=fault["input"], why=why)


def _advice(place: tuple[int | str, ...]) -> Message:
    section: type[BaseModel] = Recipe
    for part in place[:-1]:
        annotation = section.model_fields[str(part)].annotation
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
        section = annotation
    known = sorted(section.model_fields)
    close = difflib.get_close_matches(str(place[-1]), known, n=1)
    return (
        Message("did you mean '{name}'?", name=close[0])
        if close
        else Message("there are: {names}", names=", ".join(known))
    )
