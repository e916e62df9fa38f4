"""A STAC item that describes a model, by the Machine Learning Model extension."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["write_model_item"]

EXTENSION = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
AXES = ["batch", "bands", "height", "width"]


def write_model_item(header: Mapping[str, Any], weights: Path, out: Path) -> None:
    """Write the item of a model, given what its file says of itself, beside its weights.

    Source: STAC 1.0 item and the extension mlm 1.4, https://github.com/stac-extensions/mlm.
    """
    out.write_text(json.dumps(_item(header, weights), indent=1, ensure_ascii=False), encoding="utf-8")


def _item(header: Mapping[str, Any], weights: Path) -> dict[str, Any]:
    recipe = header["recipe"]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [EXTENSION],
        "id": recipe["name"],
        "geometry": None,
        "properties": {
            "datetime": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "mlm:name": recipe["name"],
            "mlm:architecture": recipe["network"]["name"],
            "mlm:tasks": ["semantic-segmentation"],
            "mlm:framework": "pytorch",
            "mlm:input": [_input(recipe)],
            "mlm:output": [_output(recipe)],
            "mlm:hyperparameters": recipe["training"],
        },
        "links": [],
        "assets": {
            "weights": {
                "href": f"./{weights.name}",
                "type": "application/octet-stream; framework=safetensors",
                "roles": ["mlm:model", "mlm:weights"],
            }
        },
    }


def _input(recipe: Mapping[str, Any]) -> dict[str, Any]:
    bands = recipe["bands"]
    return {
        "name": "normalised image",
        "bands": bands,
        "input": {"shape": [-1, len(bands), -1, -1], "dim_order": AXES, "data_type": "float32"},
    }


def _output(recipe: Mapping[str, Any]) -> dict[str, Any]:
    outputs = recipe["outputs"]
    return {
        "name": "logits",
        "tasks": ["semantic-segmentation"],
        "result": {"shape": [-1, len(outputs), -1, -1], "dim_order": AXES, "data_type": "float32"},
        "classification:classes": [{"value": 0, "name": "other"}, {"value": 1, "name": "cropland"}],
    }
