"""OpenVINO: an .xml with the graph, and a .bin with the weights beside it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from cropland import engines  # noqa: F401  # keeps the converter from reporting its use over the network
from cropland.formats import INPUT, KEY, OUTPUT, Run
from cropland.streaming.program import image_of

__all__ = ["OpenVINO"]


class OpenVINO:
    """For OpenVINO's runtime; the facts are in its `rt_info`."""

    suffix = ".xml"

    @staticmethod
    def write(program: ExportedProgram, facts: Mapping[str, Any], path: Path) -> None:
        """Write the two files, the weights in single precision."""
        import openvino

        with warnings.catch_warnings(action="ignore"):
            graph = openvino.convert_model(program)
        size = image_of(program).meta["val"].shape
        graph.reshape([edge if isinstance(edge, int) else -1 for edge in size])  # the converter forgets what it may be
        graph.input(0).get_tensor().set_names({INPUT})
        graph.output(0).get_tensor().set_names({OUTPUT})
        graph.set_rt_info(json.dumps(facts, ensure_ascii=False), [KEY])
        openvino.save_model(graph, path, compress_to_fp16=False)

    @staticmethod
    def read(path: Path) -> Run:
        """As it computes on the CPU in single precision."""
        import openvino

        compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda image: compiled(image)[OUTPUT]
