"""The plan of a training: how each batch is computed within the memory at hand.

The optimizer's batch is the recipe's. It is computed in micro-batches whose gradients add up, in single precision or
bfloat16, with or without activations that are computed again in the backward pass (`memory.checkpointed`). What each
way takes is measured: a child process trains on one chip and on two, and both memory and time grow by the chip.

    python -m cropland.training.plan    the child process: a question in JSON per line of stdin, answers on stdout
"""

from __future__ import annotations

import copy
import json
import math
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn

from cropland.data.batches import CHIPS_KEPT, Batch, Sampler, batches, compact
from cropland.data.chips import ChipFolder
from cropland.errors import InputError
from cropland.language import _
from cropland.model import ModelFile, build_network
from cropland.progress import progress_bar
from cropland.recipe import Precision, Recipe, parse_recipe, with_norm
from cropland.streaming.receptive_field import field
from cropland.training.memory import (
    ORDERS,
    PROBE,
    autocast,
    checkpointed,
    free_bytes,
    is_out_of_memory,
    keep_memory,
    kept_bytes,
    multiplies_bfloat16,
    place_batch,
    place_network,
    unmoved,
)
from cropland.training.optimizer import (
    accumulate,
    make_optimizer,
    recipe_objective,
    set_frozen,
    update_average,
    update_weights,
)

__all__ = ["BatchPlan", "Chips", "choose", "limit", "make_plan", "plans", "table"]

EASY = 0.25  # of the memory: a batch that takes less by a count of its activations need not be measured
MARGIN = 1.05  # times the predicted bytes must fit
SHARE = 0.8  # of the free memory is used where no other number is given
SOUND = 4  # chips: statistics of batch normalisation over fewer are noisy, as the lab's chapter on batch shows
Chips = tuple[ChipFolder, ChipFolder]  # those that train and those that validate
STEPS = 4  # that are measured; the first warms up
ANSWER, FAILED = "answer: ", "failed"  # how a line of the child process begins: code of a notebook may print, too
Ask = Callable[[Mapping[str, Any]], dict[str, Any] | None]


@dataclass(frozen=True)
class BatchPlan:
    """How a batch is computed.

    `micro_batch` chips are in memory at a time, `accumulation` times. `norm` is what `norm = "auto"` of the recipe came
    to; with `frozen_norm` the statistics of batch normalisation stay those of the start. `bytes` are those of the whole
    process at its peak, or of a GPU's memory; `seconds` those of a batch. Both are None where nothing was measured.
    `memory` is the limit in bytes.
    """

    device: str
    micro_batch: int
    accumulation: int
    precision: Precision = "auto"
    checkpointing: bool = False
    norm: str | None = None
    frozen_norm: bool = False
    memory: int | None = None
    bytes: int | None = None
    seconds: float | None = None

    def halved(self) -> BatchPlan:
        """With micro-batches of half the size. Raises `InputError` if a chip at a time is too much."""
        if self.micro_batch == 1:
            raise InputError("memory is full with one chip at a time; lower sampling.crop, or take a narrower network")
        smaller = max(size for size in range(1, self.micro_batch // 2 + 1) if self.micro_batch % size == 0)
        times = self.micro_batch // smaller
        return replace(self, micro_batch=smaller, accumulation=self.accumulation * times, bytes=None, seconds=None)

    def __str__(self) -> str:
        lines = []
        if self.bytes is not None:
            again = _(", activations computed again") if self.checkpointing else ""
            lines.append(
                _(
                    "{micro} chips at a time, {times} times for a batch, in {precision}{again}: {taken:.2f} GB on "
                    "{device}, {seconds:.2f} s for a batch",
                    micro=self.micro_batch,
                    times=self.accumulation,
                    precision=self.precision,
                    again=again,
                    taken=self.bytes / 1e9,
                    device=self.device,
                    seconds=self.seconds,
                )
            )
        if self.norm == "channel_norm":
            lines.append(_("so few chips make batch normalisation noisy: the network has channel norm instead"))
        if self.frozen_norm:
            lines.append(_("so few chips make batch normalisation noisy: its statistics stay those of the start"))
        return "\n".join(lines)

    def row(self, *, steps: int) -> tuple[str, ...]:
        """What a table says of it; steps: those of an epoch."""
        assert self.bytes is not None and self.seconds is not None, "it was measured"
        return (
            self.device,
            f"{self.micro_batch} x {self.accumulation}",
            self.precision,
            _("yes") if self.checkpointing else _("no"),
            f"{self.bytes / 1e9:.2f} GB",
            f"{self.seconds * steps:,.0f} s",
        )


@dataclass(frozen=True)
class Way:
    """A way to compute chips: the bytes that micro-batches of `least` chips and of one more add to a process with the
    network, their seconds, and those of the update of the weights.

    least: 1, or 2 where batch normalisation has a single value of each chip.
    """

    device: str
    precision: Precision
    checkpointing: bool
    least: int
    bytes: tuple[int, int]
    seconds: tuple[float, float]
    update: float

    def plan(self, micro: int, batch: int) -> BatchPlan:
        """Micro-batches of so many chips; memory and time grow by the chip, or stay."""
        more_bytes, more_seconds = (max(0.0, two - one) for one, two in (self.bytes, self.seconds))
        more = micro - self.least
        taken, seconds = self.bytes[0] + more * more_bytes, self.seconds[0] + more * more_seconds
        way = (self.precision, self.checkpointing)
        times = batch // micro
        return BatchPlan(self.device, micro, times, *way, bytes=round(taken), seconds=times * seconds + self.update)


def plans(recipe: Recipe, ask: Ask, *, device: str | None, share: int) -> list[BatchPlan]:
    """Every way to compute a batch: on the named device, or on the CPU and the GPU if there is one.

    ask: as `_asking` gives it. share: chips of a batch that this process computes. Bytes and seconds of more than two
    chips are what follows from those of one and two. Takes some seconds for each way.
    """
    devices = [device] if device else _devices()
    asked = [
        {"device": place, "precision": precision, "checkpointing": again}
        for place in devices
        for precision in _precisions(recipe.training.precision, torch.device(place))
        for again in (False, True)
    ]
    sizes = [size for size in range(1, share + 1) if share % size == 0]
    found = []
    with progress_bar(_("measuring one chip and two"), total=len(asked), rate=lambda _speed: "", counted=True) as bar:
        for way in asked:
            if answer := ask(way):
                measured = Way(**way, **answer)  # type: ignore[arg-type]
                found += [measured.plan(size, share) for size in sizes if size >= measured.least]
            bar()
    return found


@dataclass(frozen=True)
class Besides:
    """What a training takes besides its steps, in bytes: this process with its chips, and by device the validation of
    the largest chip."""

    process: int
    validation: Mapping[str, int]

    @staticmethod
    def of(recipe: Recipe, chips: Chips, ask: Ask, devices: Iterable[str]) -> Besides:
        """Validation is measured in processes of its own, this process once it has prepared a batch."""
        import matplotlib.backends.backend_agg  # noqa: F401 - like what follows, needed later and counted here

        learn, check = chips
        field(build_network(recipe).eval(), len(recipe.bands))
        next(batches(Sampler(learn, recipe), 0))
        question = {"precision": recipe.training.precision, "image": _largest(recipe, check)}
        answers = {device: ask({"device": device, **question}) for device in devices}
        process = psutil.Process().memory_info().rss + _data_bytes(recipe, learn)
        return Besides(process, {device: answer["bytes"][0] for device, answer in answers.items() if answer})

    def added(self, plan: BatchPlan) -> BatchPlan:
        """The plan of a step with what else is in memory; validation and steps take turns."""
        taken = max(plan.bytes or 0, self.validation.get(plan.device, 0))
        return replace(plan, bytes=taken + (self.process if plan.device == "cpu" else 0))


def choose(every: Sequence[BatchPlan], limits: Mapping[str, int], *, sound: int = 1) -> BatchPlan:
    """The fastest plan that fits within the bytes of its device; those with `sound` chips at a time come first.

    Raises `InputError`, with the least memory that would do, if none fits.
    """
    if not every:
        raise InputError("there is too little memory for one chip; lower sampling.crop, or take a narrower network")
    fitting = [plan for plan in every if plan.bytes is not None and plan.bytes * MARGIN <= limits[plan.device]]
    if not fitting:
        least = min(every, key=lambda plan: plan.bytes or math.inf)
        assert least.bytes is not None, "every plan was measured"
        raise InputError(
            "one chip at a time takes {least} GB on {device}, and there are {limit:.2f} GB: give --memory {least}GB or "
            "more, lower sampling.crop, or take a narrower network",
            least=math.ceil(least.bytes * MARGIN / 1e7) / 100,
            device=least.device,
            limit=limits[least.device] / 1e9,
        )
    return min(fitting, key=lambda plan: (plan.micro_batch < sound, plan.seconds))


def make_plan(
    recipe: Recipe, chips: Chips, *, device: str | None, memory: int | None, share: int, measure: bool = False
) -> tuple[BatchPlan, list[BatchPlan]]:
    """The plan of a training that begins now, and the plans that it was chosen from, if they were measured.

    memory: bytes that the process may take on its device; most of what is free if not given, and then a batch that fits
    by far is measured only with `measure`. Other arguments and errors are those of `plans` and `choose`.

    Where batch normalisation would see too few chips, `norm = "auto"` becomes channel norm; in a network that starts
    from a model the statistics stay those of the start.
    """
    start, left_open = recipe.network.start or "", recipe.network.options.get("norm") == "auto"
    from_model = start.endswith(".safetensors")
    norm = (
        str(ModelFile.read(Path(start)).recipe.network.options.get("norm", "batch_norm"))
        if from_model
        else "batch_norm"
    )
    how: dict[str, Any] = {"device": device, "memory": memory, "share": share, "measure": measure}
    plan, every, sound = _best(with_norm(recipe, norm), chips, **how)
    if not sound and left_open and not from_model:
        norm = "channel_norm"
        plan, every, sound = _best(with_norm(recipe, norm), chips, **how)
    return replace(plan, norm=norm if left_open else None, frozen_norm=from_model and not sound), every


def _best(
    recipe: Recipe, chips: Chips, *, device: str | None, memory: int | None, share: int, measure: bool
) -> tuple[BatchPlan, list[BatchPlan], bool]:
    """As `make_plan`, of a recipe whose norm is decided, and whether the statistics of that are sound."""
    network = build_network(recipe)
    needs = SOUND if has_batch_norm(network) and not recipe.training.frozen_norm else 1
    if memory is None and not measure:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if _about(network.train(), recipe) * share < EASY * free_bytes(where):
            return BatchPlan(where.type, share, 1, recipe.training.precision), [], share >= needs
    limits = {name: memory or limit(name) for name in ([device] if device else _devices())}
    with _asking(recipe) as ask:
        every = plans(recipe, ask, device=device, share=share)
        besides = Besides.of(recipe, chips, ask, {plan.device for plan in every})
        every = [besides.added(plan) for plan in every]
        confirmed: list[BatchPlan] = []
        while (plan := choose(every, limits, sound=min(needs, share))) not in confirmed:
            way = {"device": plan.device, "precision": plan.precision, "checkpointing": plan.checkpointing}
            if answer := ask(way | {"sizes": [plan.micro_batch]}):
                seconds = plan.accumulation * answer["seconds"][0] + answer["update"]
                confirmed.append(besides.added(replace(plan, bytes=answer["bytes"][0], seconds=seconds)))
            every = [confirmed[-1] if each == plan else each for each in every] if answer else [*{*every} - {plan}]
    return replace(plan, memory=limits[plan.device]), every, plan.micro_batch >= needs


def _about(network: nn.Module, recipe: Recipe) -> float:
    """About the bytes of activations of two chips, from two crops that are smaller: this process holds what it took.

    They grow with the area of a crop, in a network with attention by a higher power of its edge.
    """
    edges = (PROBE, 2 * PROBE)
    small, large = (kept_bytes(network, torch.zeros(2, len(recipe.bands), edge, edge)) for edge in edges)
    power = max(2.0, math.log2(large / max(1, small)))
    return float(large * (recipe.sampling.crop / edges[1]) ** power)


def limit(device: str) -> int:
    """The bytes that a training may take where no other number is given: most of those that are free."""
    own = psutil.Process().memory_info().rss if device == "cpu" else 0
    return round(SHARE * free_bytes(torch.device(device))) + own


def table(every: Sequence[BatchPlan], chosen: BatchPlan, *, steps: int) -> str:
    """The plans of a training as a table, the chosen one marked; steps: those of an epoch."""
    head = (_("device"), _("chips x times"), _("precision"), _("computed again"), _("memory"), _("seconds per epoch"))
    rows = [head, *(plan.row(steps=steps) for plan in every)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    same = replace(chosen, memory=None, norm=None, frozen_norm=False)
    marks = ["  ", *("> " if plan == same else "  " for plan in every)]
    return "\n".join(mark + line.rstrip() for mark, line in zip(marks, lines, strict=True))


def _devices() -> list[str]:
    return ["cpu", *["cuda"] * torch.cuda.is_available()]


def has_batch_norm(network: nn.Module) -> bool:
    """Whether a network takes statistics over a batch."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def _precisions(wanted: Precision, device: torch.device) -> list[Precision]:
    if wanted != "auto":
        return [wanted]
    return ["bfloat16", "float32"] if multiplies_bfloat16(device) else ["float32"]


def _data_bytes(recipe: Recipe, learn: ChipFolder) -> int:
    """What decoded chips and the crops that are prepared ahead take."""
    pixels = (learn.index["height"] * learn.index["width"]).nlargest(CHIPS_KEPT).sum()
    values = compact(learn.read(0).image.values).dtype.itemsize
    chips = pixels * (len(recipe.bands) * values + 1 + 2)
    crop = recipe.sampling.crop**2 * (4 * len(recipe.bands) + 1 + 5 * len(recipe.outputs))
    return int(chips + 4 * recipe.training.batch * crop)


def _largest(recipe: Recipe, check: ChipFolder) -> tuple[int, int]:
    """Height and width of the largest validation chip, at the working pixel that it is scored at."""
    index = check.index
    chosen = np.array(recipe.validation.working_pixels or [index["pixel_m"].median()])
    nearest = chosen[np.abs(np.log(chosen[:, None] / index["pixel_m"].to_numpy())).argmin(0)]
    ratio = nearest / index["pixel_m"].to_numpy()
    shapes = np.stack([index["height"], index["width"]], axis=1) / ratio[:, None]
    height, width = np.ceil(shapes[shapes.prod(1).argmax()]).astype(int).tolist()
    return height, width


@contextmanager
def _asking(recipe: Recipe) -> Iterator[Ask]:
    """A function that lets a child process measure and gives its answer, None where it had too little memory or the way
    does not suit the network. Every question has a process of its own, whose peak of memory is then that of its way.

    Raises `InputError` from the function where a step cannot be computed at all.
    """
    how: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    how |= {"encoding": "utf-8", "errors": "replace"}  # it may print anything
    about = {"recipe": recipe.model_dump(mode="json"), "threads": torch.get_num_threads()}
    with subprocess.Popen([sys.executable, "-m", "cropland.training.plan"], **how) as process:
        assert process.stdin and process.stdout, "both are pipes"
        questions, lines = process.stdin, process.stdout

        def ask(question: Mapping[str, Any]) -> dict[str, Any] | None:
            print(json.dumps({**question, **about}), file=questions, flush=True)
            last = "?"
            while (line := lines.readline()) and not line.startswith(ANSWER):
                last = line.strip() or last
            if not line or (answer := json.loads(line.removeprefix(ANSWER))) == FAILED:
                raise InputError("a step of this training cannot be measured: {cause}", cause=last)
            found: dict[str, Any] | None = answer
            return found

        yield ask


def _serve() -> None:
    """Answer every question in a process of its own, on Linux without importing everything again."""
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    for line in sys.stdin:
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_reply, args=(line, sender))
        child.start()
        sender.close()
        try:
            answer = receiver.recv()
        except EOFError:  # it ended before: by the system, or by an error that it printed
            child.join()
            answer = None if child.exitcode < 0 else FAILED
        child.join()
        print(f"\n{ANSWER}{json.dumps(answer)}", flush=True)


def _reply(line: str, sender: Connection) -> None:
    sender.send(_answer(json.loads(line)))


def _answer(question: dict[str, Any]) -> dict[str, Any] | None:
    recipe, device = parse_recipe(question["recipe"]), torch.device(question["device"])
    keep_memory(device)
    torch.set_num_threads(question["threads"])
    torch.manual_seed(0)
    network = place_network(build_network(recipe), device, layout=recipe.training.layout)
    before = _peak(device)
    try:
        if "image" in question:
            _infer(network, recipe, question["image"], question["precision"])
            return {"bytes": [_peak(device) - before]}
        if question["checkpointing"] and not _computes_the_same(network, recipe):
            return None
        return _train(network, recipe, question, before)
    except Exception as error:
        if is_out_of_memory(error):
            return None
        raise


def _train(network: nn.Module, recipe: Recipe, question: Mapping[str, Any], before: int) -> dict[str, Any]:
    device = torch.device(question["device"])
    average, optimizer, objective = (
        copy.deepcopy(network),
        make_optimizer(network, recipe.training),
        recipe_objective(recipe),
    )
    least = 1 if _takes_one_chip(network, recipe) else 2
    found: dict[str, Any] = {"least": least, "bytes": [], "seconds": [], "update": 0.0}
    network.train()
    set_frozen(network, recipe.training, math.nextafter(1.0, 0.0))  # as in the last step
    for chips in question.get("sizes", (least, least + 1)):
        batch = _batch(recipe, chips, device)
        spent = []
        for _step in range(STEPS):
            begun = _now(device)
            accumulate(network, batch, objective, micro=chips, precision=question["precision"])
            computed = _now(device)
            update_weights(network, optimizer, clip=recipe.training.clip)
            update_average(average, network, decay=recipe.training.ema, step=0)
            spent.append((computed - begun, _now(device) - computed))
        seconds, updates = (min(column) for column in zip(*spent[1:], strict=True))  # others may use the machine
        found["bytes"].append(_peak(device) - before)
        found["seconds"].append(seconds)
        found["update"] = updates
    return found


def _batch(recipe: Recipe, chips: int, device: torch.device) -> Batch:
    size = recipe.sampling.crop
    image = torch.rand(chips, len(recipe.bands), size, size)
    target = (torch.rand(chips, len(recipe.outputs), size, size) > 0.5).float()
    batch = Batch(image, target, torch.ones_like(target, dtype=torch.bool), ("",) * chips)
    return place_batch(batch, device, layout=recipe.training.layout)


def _infer(network: nn.Module, recipe: Recipe, shape: tuple[int, int], precision: Precision) -> None:
    device = next(network.parameters()).device
    image = torch.rand(1, len(recipe.bands), *shape).to(device, memory_format=ORDERS[recipe.training.layout])
    with torch.inference_mode(), autocast(device, precision):
        network.eval()(image)


def _takes_one_chip(network: nn.Module, recipe: Recipe) -> bool:
    """False where batch normalisation is left with one value of each chip, and cannot train on one chip."""
    image = torch.zeros(1, len(recipe.bands), PROBE, PROBE, device=next(network.parameters()).device)
    try:
        with torch.no_grad(), unmoved(network):
            network(image)
    except ValueError as error:
        if "more than 1 value" in str(error):
            return False
        raise
    return True


def _computes_the_same(network: nn.Module, recipe: Recipe) -> bool:
    """Whether the gradients stay as they were when `checkpointed`, which the network then is.

    They do not where a part draws random numbers of its own or changes its input in place.
    """
    device = next(network.parameters()).device
    sampling = recipe.sampling.model_copy(update={"crop": min(PROBE, recipe.sampling.crop)})
    batch = _batch(recipe.model_copy(update={"sampling": sampling}), 2, device)
    objective = recipe_objective(recipe)
    network.train()
    gradients = []
    for _time in range(2):
        torch.manual_seed(0)
        accumulate(network, batch, objective, micro=2)
        gradients.append([weight.grad for weight in network.parameters()])
        network.zero_grad(set_to_none=True)
        if len(gradients) == 1:
            checkpointed(network, bands=len(recipe.bands))
    pairs = [(one, other) for one, other in zip(*gradients, strict=True) if one is not None and other is not None]
    return bool(pairs) and all(torch.allclose(one, other, rtol=1e-3, atol=1e-5) for one, other in pairs)


def _peak(device: torch.device) -> int:
    """The most bytes that this process has taken so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    status = Path("/proc/self/status")
    if status.exists():  # what `resource` says there includes the process that started this one
        return next(
            int(line.split()[1]) * 1024 for line in status.read_text("utf-8").splitlines() if line.startswith("VmHWM")
        )
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    _serve()
