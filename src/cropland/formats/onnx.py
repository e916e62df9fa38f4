"""ONNX, with the metadata that Deepness reads: `pip install 'cropland[export]'`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from cropland.errors import InputError
from cropland.formats import INPUT, KEY, OUTPUT, Run

try:
    import onnx_ir
    import onnxruntime
    import onnxscript  # noqa: F401  # torch needs it, and says so late
except ModuleNotFoundError as error:
    raise InputError(
        "{name} is not installed, which ONNX needs; pip install 'cropland[export]'", name=error.name
    ) from error

__all__ = ["ONNX"]

OPSET = 18  # what onnxruntime has read since 1.14, of early 2023
AXES = {0: "batch", 2: "height", 3: "width"}
MOST_OVERLAP = 50  # percent: every pixel is computed four times; where that is less than the field, tiles show a little


class ONNX:
    """For onnxruntime, Deepness in QGIS, and whatever else reads ONNX."""

    suffix = ".onnx"

    @staticmethod
    def write(program: ExportedProgram, facts: Mapping[str, Any], path: Path) -> None:
        """Write one file, whose axes may be of any size where the program's are."""
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which nothing here needs
        made = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=(AXES,),
        )
        assert made is not None
        graph = made.model.graph
        size = graph.inputs[0].shape
        assert size is not None
        channels = facts["output"]["channels"]
        graph.outputs[0].shape = onnx_ir.Shape([size[0], len(channels), *size[2:]])  # torch writes formulas
        for node in graph.all_nodes():
            node.metadata_props.clear()  # where in which file of this machine it came from
        told = {KEY: facts, **(for_deepness(facts) if len(channels) == 1 else {})}
        made.model.metadata_props.update({key: json.dumps(value, ensure_ascii=False) for key, value in told.items()})
        made.save(path)

    @staticmethod
    def read(path: Path) -> Run:
        """As onnxruntime computes it on the CPU."""
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda image: session.run([OUTPUT], {INPUT: image})[0]


def for_deepness(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the plugin Deepness for QGIS reads from `metadata_props`, each value as JSON.

    * Pixels come as value / 255, whatever their type, less `standardization_mean`, over `standardization_std`: written
      where the statistics are known.
    * One channel of probability is cut at `seg_thresh`; of several it would take the largest, as of a softmax, and it
      refuses files of several outputs: a file with the boundary is not for it.
    * `resolution` is in cm, `tiles_overlap` in percent of `tile_size`, half of it at each side: twice the radius makes
      tiles come out as the whole does.
    * Its form takes the size of tiles from the file's input, and fails for a file of any size.

    Source: github.com/PUTvision/qgis-plugin-deepness 0.6, `processing/models/model_base.py`,
    `processing/map_processor/map_processor_segmentation.py`, `deepness_dockwidget.py`, `common/processing_overlap.py`.
    """
    found = {
        "model_type": "Segmentor",
        "class_names": {"0": "other", "1": "cropland"},
        "resolution": 100 * facts["pixel_m"],
        "seg_thresh": round(facts["threshold"], 2),  # its dial has two digits
        "seg_small_segment": 0,
    }
    if tile := facts["tile"]:
        halo = facts["radius"] or tile
        found |= {"tile_size": tile, "tiles_overlap": min(ceil(200 * halo / tile), MOST_OVERLAP)}
    if known := facts["statistics"]:
        found["standardization_mean"] = [low / 255 for low in known["low"]]
        found["standardization_std"] = [
            (high - low) / 255 for low, high in zip(known["low"], known["high"], strict=True)
        ]
    return found
