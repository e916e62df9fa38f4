"""STAC: a model as an Item of the Machine Learning Model extension, which catalogues can search."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cropland.writers import replacing

__all__ = ["write_model_item"]

EXTENSIONS = [
    "https://stac-extensions.github.io/mlm/v1.4.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
]
EARTH = [-180.0, -90.0, 180.0, 90.0]
DIMENSIONS = ["batch", "channel", "height", "width"]
CLASSES = [
    {"value": 0, "name": "other", "description": "not cropland", "color_hint": "E9E4D6"},
    {"value": 1, "name": "cropland", "description": "cropland", "color_hint": "548C2F"},
]


def write_model_item(header: Mapping[str, Any], model_file: Path, out: Path) -> None:
    """Write the header of a model file as a STAC Item beside it; the Item links to the file by a relative path.

    The Item covers the whole Earth and all time, since a model file does not limit where and when it can be used.
    Raises `OutputError` where `out` cannot be written.
    Source: STAC 1.1.0; github.com/stac-extensions/mlm, version 1.4.0.
    """
    item = _item(header, model_file, out)
    with replacing(out) as hidden:
        hidden.write_text(json.dumps(item, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _item(header: Mapping[str, Any], model_file: Path, out: Path) -> dict[str, Any]:
    recipe = header["recipe"]
    west, south, east, north = EARTH
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": EXTENSIONS,
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
        "mlm:name": recipe["name"],
        "mlm:architecture": recipe["network"]["name"],
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:framework": "PyTorch",
        "mlm:accelerator": None,
        "mlm:input": [_input(header)],
        "mlm:output": [_output(header)],
        "mlm:hyperparameters": {key: header[key] for key in ("stride", "radius", "working_pixels", "metrics")},
    }


def _input(header: Mapping[str, Any]) -> dict[str, Any]:
    bands = header["recipe"]["bands"]
    return {
        "name": "image",
        "description": "Normalised between low and high percentiles: 0 to 1, clipped to -0.5 and 1.5; no data is 0.5.",
        "bands": [{"name": band} for band in bands],
        "input": {"shape": [-1, len(bands), -1, -1], "dim_order": DIMENSIONS, "data_type": "float32"},
        "value_scaling": _scaling(header["statistics"]),
        "resize_type": "interpolation-area",
    }


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
        "result": {"shape": [-1, len(outputs), -1, -1], "dim_order": DIMENSIONS, "data_type": "float32"},
        "classification:classes": CLASSES,
    }


def _asset(header: Mapping[str, Any], model_file: Path, out: Path) -> dict[str, Any]:
    return {
        "href": Path(os.path.relpath(model_file, out.parent)).as_posix(),
        "title": f"{header['recipe']['name']}, cropland {header['version']}",
        "type": "application/octet-stream; application=safetensors",
        "roles": ["mlm:model", "mlm:weights", "data"],
        "mlm:artifact_type": "safetensors",
        "file:size": model_file.stat().st_size,
        "bands": [{"name": band, "eo:common_name": band} for band in header["recipe"]["bands"]],
    }
