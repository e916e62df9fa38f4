"""STAC: a model as an Item of the Machine Learning Model extension, which catalogues can search."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cropland.writers import replacing

__all__ = ["write_model_item"]

EXTENSIONS = [
    "https://stac-extensions.github.io/mlm/v1.5.2/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
]
EO = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"
COMMON_NAMES = {
    *("pan", "coastal", "blue", "green", "green05", "yellow", "red", "rededge", "rededge071", "rededge075"),
    *("rededge078", "nir", "nir08", "nir09", "cirrus", "swir16", "swir22", "lwir", "lwir11", "lwir12"),
}
HYPERPARAMETERS = ("stride", "radius", "working_pixels", "metrics", "temperature")
EARTH = [-180.0, -90.0, 180.0, 90.0]
CLASSES = [
    {"value": 0, "name": "other", "description": "not cropland", "color_hint": "E9E4D6"},
    {"value": 1, "name": "cropland", "description": "cropland", "color_hint": "548C2F"},
]


def write_model_item(header: Mapping[str, Any], model_file: Path, out: Path) -> None:
    """Write the header of a model file as a STAC Item beside it; the Item links to the file by a relative path.

    The Item covers the whole Earth and all time, since a model file does not limit where and when it can be used.
    Raises `OutputError` where `out` cannot be written.
    Source: STAC 1.1.0; github.com/stac-extensions/mlm, version 1.5.2, and eo, version 2.0.0.
    """
    # JSON has no nan, which is the score of a model that was never validated.
    item = json.loads(json.dumps(_item(header, model_file, out)), parse_constant=lambda _: None)
    with replacing(out) as hidden:
        hidden.write_text(json.dumps(item, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _item(header: Mapping[str, Any], model_file: Path, out: Path) -> dict[str, Any]:
    recipe = header["recipe"]
    west, south, east, north = EARTH
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [*EXTENSIONS, EO] if COMMON_NAMES & {*recipe["bands"]} else EXTENSIONS,
        "id": recipe["name"],
        "geometry": {"type": "Polygon", "coordinates": [corners]},
        "bbox": EARTH,
        "properties": _properties(header),
        "links": [],
        "assets": {"model": _asset(header, model_file, out)},
    }


def _properties(header: Mapping[str, Any]) -> dict[str, Any]:
    recipe = header["recipe"]
    return {
        "description": "Finds cropland: every pixel is cropland or it is not.",
        "datetime": None,
        "start_datetime": "1900-01-01T00:00:00Z",
        "end_datetime": "9999-12-31T23:59:59Z",
        "bands": [_band(name) for name in recipe["bands"]],
        "mlm:name": _name(recipe["name"]),
        "mlm:architecture": recipe["network"]["name"],
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:framework": "PyTorch",
        "mlm:accelerator": None,
        "mlm:input": [_input(header)],
        "mlm:output": [_output(header)],
        "mlm:hyperparameters": {key: header[key] for key in HYPERPARAMETERS if key in header},
    }


def _band(name: str) -> dict[str, str]:
    return {"name": name, "eo:common_name": name} if name in COMMON_NAMES else {"name": name}


def _name(name: str) -> str:
    """The name of a recipe; without what the extension does not allow: other letters than a to z, less than three."""
    if re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", name):
        return name
    return "-".join(["cropland", *re.findall("[a-zA-Z0-9]+", name)])


def _input(header: Mapping[str, Any]) -> dict[str, Any]:
    bands = header["recipe"]["bands"]
    return {
        "name": "image",
        "description": "Normalised between low and high percentiles: 0 to 1, clipped to -0.5 and 1.5; no data is 0.5.",
        "bands": [{"name": band} for band in bands],
        "input": _structure("bands", len(bands)),
        "value_scaling": _scaling(header["statistics"]),
        "resize_type": "interpolation-area",
    }


def _structure(dimension: str, length: int) -> dict[str, Any]:
    order = ["batch", dimension, "height", "width"]
    return {"shape": [-1, length, -1, -1], "dim_order": order, "data_type": "float32"}


def _scaling(statistics: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    """Fixed limits of each band; None when each scene has its own."""
    if statistics is None:
        return None
    limits = zip(statistics["low"], statistics["high"], strict=True)
    return [{"type": "min-max", "minimum": low, "maximum": high} for low, high in limits]


def _output(header: Mapping[str, Any]) -> dict[str, Any]:
    outputs = header["recipe"]["outputs"]
    return {
        "name": "logits",
        "description": f"Channels: {', '.join(outputs)}; cropland is where sigmoid(channel 0) >= threshold.",
        "tasks": ["semantic-segmentation"],
        "result": _structure("channel", len(outputs)),
        "classification:classes": CLASSES,
    }


def _asset(header: Mapping[str, Any], model_file: Path, out: Path) -> dict[str, Any]:
    return {
        "href": Path(os.path.relpath(model_file, out.parent)).as_posix(),
        "title": f"{header['recipe']['name']}, cropland {header['version']}",
        "type": "application/octet-stream; application=safetensors",
        "roles": ["mlm:model", "mlm:weights", "data"],
        "mlm:artifact_type": "safetensors.torch.save_file",
        "file:size": model_file.stat().st_size,
    }
