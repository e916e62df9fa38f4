"""A step in OpenVINO: converted through torch once, kept as files, and run with the kept rows inside the engine.

What is compiled is not kept: OpenVINO's own cache saved 0.2 s of processor time of 0.6, for 29 MB of each width.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
from jaxtyping import Float
from openvino.passes import MakeStateful, Manager

from cropland.streaming.schedule import Schedule

if TYPE_CHECKING:
    from cropland.streaming.step import Step

__all__ = ["Converted", "OpenVINOSlide"]


FORMS = ("edge", "inside")  # the top edge comes first
WIDE = 4096  # columns, beyond which a form is forgotten when the other's turn comes, and compiled anew beside it
FORMAT = 2  # of the files: counted up where a step is planned otherwise, so that none made before is read
PERIODS = 4  # of the image that is traced
Rows = Float[np.ndarray, "1 channel rows width"]


@dataclass(frozen=True)
class Converted:
    """A step as OpenVINO's graphs, for images of any width and bands of any height."""

    schedule: Schedule
    graphs: Mapping[str, openvino.Model]

    @staticmethod
    def of(step: Step, bands: int) -> Converted:
        """Convert both forms."""
        import torch

        schedule, edge = step.schedule, PERIODS * step.schedule.stride
        masks = [torch.from_numpy(mask) for mask in schedule.masks(0, edge, edge)]
        kept = [torch.from_numpy(each) for each in schedule.first(edge)]
        image, graphs = torch.zeros(1, bands, edge, edge), {}
        for form, module, given in (("inside", step.inside, []), ("edge", step.edge, masks)):
            example = (image, *given, *kept)
            with warnings.catch_warnings(action="ignore"), torch.no_grad():
                traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]  # torch's stub lacks it
                graphs[form] = openvino.convert_model(traced, example_input=example)
            _name(graphs[form], masks=len(given), kept=len(kept))
        return Converted(schedule, graphs)

    def save(self, folder: Path) -> None:
        """Write into a folder that is there."""
        for form, graph in self.graphs.items():
            openvino.save_model(graph, folder / f"{form}.xml", compress_to_fp16=False)
        plain = {"format": FORMAT, **self.schedule.plain()}
        (folder / "schedule.json").write_text(json.dumps(plain), encoding="utf-8")

    @staticmethod
    def load(core: openvino.Core, folder: Path) -> Converted:
        """Read what was saved. Raises `OSError`, `RuntimeError` or `ValueError` if it is missing, damaged or older."""
        plain = json.loads((folder / "schedule.json").read_text(encoding="utf-8"))
        if plain.get("format") != FORMAT:
            raise ValueError(folder)
        schedule = Schedule.of(plain)
        return Converted(schedule, {form: core.read_model(folder / f"{form}.xml") for form in FORMS})


class OpenVINOSlide:
    """Slides down one image of one width; the kept rows stay inside OpenVINO, and change hands between the forms."""

    def __init__(
        self, core: openvino.Core, step: Converted, *, bands: int, width: int, settings: Mapping[str, Any]
    ) -> None:
        self.schedule, self.band = step.schedule, step.schedule.band(width)
        self._core, self._graphs, self._settings = core, step.graphs, dict(settings)
        self._shape = (1, bands, self.band, width)
        self._beside = ThreadPoolExecutor(1)  # compiles while bands are read and computed
        self._requests = {form: self._beside.submit(self._compile, form) for form in FORMS}
        self._last = ""

    def __call__(self, image: Rows, masks: Sequence[np.ndarray]) -> Rows:
        """The next band, and for an edge its masks: the rows that come out."""
        form = "edge" if len(masks) else "inside"
        request = self._requests[form].result()
        if self._last not in ("", form):
            _hand_over(self._requests[self._last].result(), request)
            if self._shape[3] > WIDE:
                self._requests[self._last] = self._beside.submit(self._compile, self._last)
        self._last = form
        request.infer([np.ascontiguousarray(image, np.float32), *masks])
        rows: np.ndarray = request.get_output_tensor(0).data.copy()
        return rows

    def _compile(self, form: str) -> openvino.InferRequest:
        """A form of the step for this width; what it keeps is 0."""
        graph, first = self._graphs[form].clone(), self.schedule.first(self._shape[3])
        masks = self.schedule.masks(0, self.band, self.band) if form == "edge" else []
        given = [*((f"mask_{i}", mask.shape) for i, mask in enumerate(masks))]
        given += [(f"kept_{i}", kept.shape) for i, kept in enumerate(first)]
        graph.reshape({"image": list(self._shape), **{name: list(shape) for name, shape in given}})
        manager = Manager()
        manager.register_pass(MakeStateful({f"kept_{i}": f"next_{i}" for i in range(len(first))}))
        manager.run_passes(graph)
        return self._core.compile_model(graph, "CPU", self._settings).create_infer_request()


def _hand_over(above: openvino.InferRequest, below: openvino.InferRequest) -> None:
    """What one form kept, to the other; one map after the other, since each is copied in single precision."""
    kept = {state.name: state for state in above.query_state()}
    for state in below.query_state():
        state.state = kept[state.name].state


def _name(graph: openvino.Model, *, masks: int, kept: int) -> None:
    """Names that do not depend on the converter."""
    names = ["image", *(f"mask_{i}" for i in range(masks)), *(f"kept_{i}" for i in range(kept))]
    for place, name in zip(graph.inputs, names, strict=True):
        place.get_tensor().set_names({name})
    for place, name in zip(graph.outputs, ["rows", *(f"next_{i}" for i in range(kept))], strict=True):
        place.get_tensor().set_names({name})
