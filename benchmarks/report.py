"""`docs/benchmarks.md` from the results and the words in `pages/`, and nothing else.

python benchmarks/report.py
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pictures
from goals import DEFAULT, FLOAT32, MAP, TRAINING, TRAINING_LOOP, Goal, extra_memory, line, read_goals, times_as_long
from places import DOCS, PAGES, RESULTS
from results import load

START = "start"  # a question that has a goal, and no section
BUSY = 0.2  # cores that others use before or after
RANDOM = "segmentation-models-pytorch + plain loop"  # its weights: what it finds means nothing
CAUSES = (
    "512 x 512 at a time, random pixels",
    "bands of some 192 rows of the whole width, with the rows that each layer keeps",
    "rows until the field has filled, and until it has run empty; the steps at the edges",
    "reading, the stretch, sigmoid, writing a plane",
    "two GeoTIFFs, specks and holes",
    "start of the program, overviews, parcels, picture, project",
)
Kept = Mapping[str, Any]  # a file of results, or its figures
Values = dict[str, object]


def write(results: Path = RESULTS, docs: Path = DOCS) -> None:
    """Write the page and its pictures."""
    told = {*SECTIONS, START}
    kept = {question: each for question, each in load(results).items() if question in told}
    head, *rest = re.split(r"^<!-- (\w+) -->\n", (PAGES / "benchmarks.md").read_text(encoding="utf-8"), flags=re.M)
    text = head.format(**_head(kept))
    for question, words in zip(rest[::2], rest[1::2], strict=True):
        if question in kept:
            text += words.format(**SECTIONS[question](kept[question]["figures"], docs / "benchmarks"))
    put(text, docs / "benchmarks.md")


def put(text: str, page: Path) -> None:
    """Write a page, without the room of what was not said."""
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(re.sub(r"\n{3,}", "\n\n", text).strip() + "\n", encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """As Markdown has it."""
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return digits(value) if isinstance(value, float) else str(value).replace("|", "\\|")


def digits(value: float) -> str:
    """Three of them."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def size_of(figures: Kept) -> str:
    """Rows x columns."""
    return f"{figures['height']:,} x {figures['width']:,}"


def _head(kept: Mapping[str, Kept]) -> Values:
    goals = read_goals({question: each["figures"] for question, each in kept.items()})
    return {
        "warning": warning(kept),
        "machines": _machines(kept),
        "goals": table(("goal", "wanted", "measured", ""), [_goal_row(goal) for goal in goals]),
        "why": listed("Why some are missed:", {g.says: g.reason for g in goals if g.verdict == "missed"}),
    }


def warning(kept: Mapping[str, Kept]) -> str:
    """What a reader must know before anything else."""
    busy = [question for question, each in kept.items() if each["busy"] > BUSY]
    told = f"**The machine was not at rest** when these were measured: {', '.join(busy)}. Do not rely on them."
    return told if busy else ""


def listed(title: str, items: Mapping[str, str]) -> str:
    """A list under its title, or nothing."""
    lines = [f"- {name}: {words or 'no reason is known yet.'}" for name, words in items.items()]
    return "\n".join([title, "", *lines]) if items else ""


def _machines(kept: Mapping[str, Kept]) -> str:
    """Where and when the questions were asked, those of one time in one row."""
    minutes: dict[Sequence[object], dict[str, float]] = defaultdict(dict)
    for question, each in kept.items():
        minutes[_machine(each)][question] = each["minutes"]
    rows = [(", ".join(its), *about, sum(its.values())) for about, its in minutes.items()]
    return table(("questions", "machine", "software", "date", "minutes"), rows)


def _machine(kept: Kept) -> Sequence[object]:
    about = kept["machine"]
    software = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    return (
        f"{about['processor']}; {about['cores']} cores used, {about['memory_gb']} GB; {about['system']}",
        f"cropland {about['cropland']}, Python {about['python']}, {software}",
        about["date"],
    )


def _goal_row(goal: Goal) -> Sequence[object]:
    return goal.says, goal.wanted, goal.measured, f"**{goal.verdict}**"


def _peers(figures: Kept, folder: Path) -> Values:
    contenders, (height, width) = figures["contenders"], figures["size"]
    ran = {name: runs for name, runs in contenders.items() if "seconds" in runs}
    rates = {name: height * width / 1e6 / median(runs["seconds"]) for name, runs in ran.items()}
    own = [name for name in ran if name.startswith("cropland")]
    pictures.bars(rates, "Mpx/s, from reading to the written raster", folder / "peers.svg", own=own)
    head = ("", "s", "Mpx/s", "× default", "× float32", "process, s", "extra MB", "other class")
    missing = {name: runs["missing"] for name, runs in contenders.items() if "missing" in runs}
    return {
        "height": height,
        "width": width,
        "default": DEFAULT,
        "contenders": table(head, [_peer_row(name, ran, rates[name]) for name in ran]),
        "missing": listed("Not measured:", missing),
        "versions": ", ".join(figures["versions"].values()),
    }


def _peer_row(name: str, ran: Mapping[str, Kept], rate: float) -> Sequence[object]:
    runs = ran[name]
    ratios = [times_as_long(runs["seconds"], ran[own]["seconds"]) if own in ran else None for own in (DEFAULT, FLOAT32)]
    extra = median(runs["peak_mb"]) - runs["empty_mb"]
    other = None if name == RANDOM else f"{runs['other_class']:.2%}"
    return name, median(runs["seconds"]), rate, *ratios, median(runs["whole"]), extra, other


def _sizes(figures: Kept, folder: Path) -> Values:
    pictures.memory(figures, folder / "memory.svg")
    pictures.time(figures[MAP], MAP, folder / "time.svg")
    start, each, apart = line(figures[MAP])
    rows = [(name, *_size_row(size, extra)) for name, runs in figures.items() for size, extra in extra_memory(runs)]
    every = [(name, size) for name, runs in figures.items() for size in runs["sizes"]]
    failed = {f"{name}, {size_of(size)}": size["missing"] for name, size in every if "missing" in size}
    return {
        "sizes": table(("", "rows x columns", "Mpx", "extra MB", "process, s", "Mpx/s"), rows),
        "failed": listed("Did not end:", failed),
        "start": digits(start),
        "each": digits(each),
        "apart": ", ".join(f"{share:+.1%}" for share in apart),
    }


def _size_row(size: Kept, extra: float) -> Sequence[object]:
    megapixels, seconds = size["height"] * size["width"] / 1e6, median(size["whole"])
    return size_of(size), megapixels, extra, seconds, megapixels / seconds


def _breakdown(figures: Kept, folder: Path) -> Values:
    rates, (height, width) = figures["rates"], figures["size"]
    pictures.bars({name: median(its) for name, its in rates.items()}, "Mpx/s", folder / "breakdown.svg", own=[MAP])
    names, bare = [*rates], next(iter(rates.values()))
    rows = [
        (name, median(rates[name]), times_as_long(rates[name], rates[before]), times_as_long(rates[name], bare), why)
        for before, name, why in zip([names[0], *names], names, CAUSES, strict=False)
    ]
    strips = [(f"{int(width):,}", share) for width, share in figures["strips"].items()]
    return {
        "height": height,
        "width": width,
        "causes": table(("", "Mpx/s", "of the line above", "of the bare engine", "what it has more"), rows),
        "strips": table(("columns of the scene", "computed"), strips),
        "stages": _stages(figures["stages"]),
    }


def _stages(stages: Sequence[Mapping[str, float]]) -> str:
    if not stages:
        return "`cropland map` of this version writes no profile."
    middles = {name: median(each.get(name, 0.0) for each in stages) for name in stages[0]}
    return "The stages of `cropland map --profile`:\n\n" + table(("stage", "s"), middles.items())


def _parcels(figures: Kept, _: Path) -> Values:
    stages = [*figures["sizes"][0]["stages"]]
    rows = [_parcels_row(size, stages) for size in figures["sizes"]]
    return {"parcels": table(("rows x columns", "parcels", "s", "s per Mpx", "peak MB", *stages), rows)}


def _compare(figures: Kept, _: Path) -> Values:
    rows = [
        (
            size_of(size),
            f"{size['polygons']:,}",
            f"{size['changes']:,}",
            median(size["seconds"]),
            median(size["seconds"]) / size["polygons"] * 1e6,
            median(size["peak_mb"]),
        )
        for size in figures["sizes"]
    ]
    return {"compare": table(("rows x columns", "polygons", "changes", "s", "µs per polygon", "peak MB"), rows)}


def _parcels_row(size: Kept, stages: Sequence[str]) -> Sequence[object]:
    megapixels, seconds = size["height"] * size["width"] / 1e6, median(size["seconds"])
    shares = (size["stages"][name] / megapixels * 1e3 for name in stages)
    return size_of(size), f"{size['parcels']:,}", seconds, seconds / megapixels, median(size["peak_mb"]), *shares


def _field_instances(figures: Kept, _: Path) -> Values:
    rows = [
        (size_of(size), what, f"{size[what]['found']:,}", size[what]["ms_per_mpx"], median(size[what]["peak_mb"]))
        for size in figures["sizes"]
        for what in ("fields", "parcels")
    ]
    return {"instances": table(("rows x columns", "", "found", "ms per Mpx", "peak MB"), rows)}


def _field_pairs(figures: Kept, _: Path) -> Values:
    rows = [
        (f"{size['fields']:,}", size["format"], f"{size['pairs']:,}", median(size["seconds"]), median(size["peak_mb"]))
        for size in figures["sizes"]
        if "seconds" in size
    ]
    return {"fields": table(("fields on each side", "file", "pairs that meet", "s", "peak MB"), rows)}


def _three_classes(figures: Kept, _: Path) -> Values:
    contenders, megapixels = figures["contenders"], figures["megapixels"]
    ran = {name: its for name, its in contenders.items() if "seconds" in its}
    names = ("f1", "f1_50_95", "over_segmentation", "under_segmentation")
    rows = [
        (
            name,
            *(share if share is None else f"{share:.3f}" for share in (*map(its["fields"].get, names), its["iou"])),
            f"{its['fields']['predicted']:,}",
            median(its["seconds"]) / megapixels,
        )
        for name, its in ran.items()
    ]
    head = (
        "",
        "field F1",
        "F1 0.5–0.95",
        "over-segmentation",
        "under-segmentation",
        "IoU of pixels",
        "fields",
        "s per Mpx",
    )
    return {
        "three_classes": table(head, rows),
        "untried": listed(
            "Not measured:", {name: its["missing"] for name, its in contenders.items() if name not in ran}
        ),
        "crops": f"{figures['crops']:,}",
        "start": {None: "random weights", "imagenet": "them too"}.get(figures["start"], figures["start"]),
        "pixel_m": digits(figures["pixel_m"]),
        "reference": next((its["fields"]["reference"] for its in ran.values()), 0),
        "version": figures["version"],
    }


def _suggest(figures: Kept, _: Path) -> Values:
    def mean(name: str, where: str) -> float:
        return fmean(run[name][where] for run in figures["runs"])

    rows, verdicts = [], []
    for where, words in (("scene", "the rest of the scene"), ("tests", "other tiles")):
        its = figures["differences"][where]
        low_high = f"{its['low']:+.3f} to {its['high']:+.3f}"
        shown = (figures["start"][where], mean("random", where), mean("suggested", where))
        rows.append((words, *(f"{each:.3f}" for each in shown), f"{its['mean']:+.3f} ({low_high})"))
        won = "win" if its["low"] > 0 else "lose" if its["high"] < 0 else "do not differ from random ones for certain"
        verdicts.append(f"On {words} suggested windows {won}.")
    return {
        "suggest": table(("IoU on", "start", "random", "suggested", "difference (95 %)"), rows),
        "verdict": " ".join(verdicts),
        "count": figures["windows"],
        "size": figures["size"],
        "tiles": figures["tiles"],
        "seeds": len(figures["runs"]),
    }


def _roofline(figures: Kept, folder: Path) -> Values:
    head = ("", "ms per tile of 512", "least", "reached", "GFLOP/s", "best GFLOP/s")
    return {
        "operations": digits(figures["flops_per_pixel"] / 1e3),
        "bandwidth": digits(figures["bandwidth"] / 1e9),
        "types": table(head, [_type_row(figures[precision]) for precision in ("fastest", "f32")]),
    }


def _type_row(each: Kept) -> Sequence[object]:
    seconds = median(each["seconds"])
    rates = each["flops"] / seconds / 1e9, each["peak"] / 1e9
    return each["type"], seconds * 1e3, each["least"] * 1e3, each["reached"], *rates


def _sliding(figures: Kept, folder: Path) -> Values:
    rates = [
        (name, median(its), times_as_long(its, next(iter(both.values()))), precision)
        for precision, both in figures["rates"].items()
        for name, its in both.items()
    ]
    parity = [
        (each["way"], each["precision"], f"{each['largest']:.1e}", f"{each['mean']:.1e}", f"{each['changed']:.4%}")
        for each in figures["parity"]
    ]
    growth = [(each["way"], size_of(each), each["seconds"], each["peak_mb"]) for each in figures["growth"]]
    return {
        "rates": table(("", "Mpx/s", "of lone tiles", "precision"), rates),
        "parity": table(("", "precision", "largest", "mean", "other class"), parity),
        "growth": table(("", "rows x columns", "s", "peak of the process, MB"), growth),
    }


def _training(figures: Kept, _: Path) -> Values:
    contenders = figures["contenders"]
    ran = {name: runs for name, runs in contenders.items() if "seconds" in runs}
    head = (
        "",
        "chips/s",
        "as long as cropland",
        "CPU s per chip",
        "waits",
        "of the rate without loader",
        "CPU ms per crop",
    )
    missing = {name: runs["missing"] for name, runs in contenders.items() if "missing" in runs}
    cost = {name: f"{runs['multiply_adds'][0] / 1e9:.3f} billion for {name}" for name, runs in ran.items()}
    cost = {name: words for name, words in cost.items() if name in (TRAINING, TRAINING_LOOP)}  # float32 has no other
    return {
        "batch": figures["batch"],
        "crop": figures["crop"],
        "steps": figures["steps"],
        "chips": "the sample that ships" if figures["is_sample"] else "those of the shipped model",
        "multiply_adds": ", ".join(cost.values()),
        "version": figures["version"],
        "training": table(head, [_training_row(name, ran) for name in ran]),
        "failed": listed("Not measured:", missing),
        "gpu": _training_gpu(figures["gpu"]),
    }


def _training_row(name: str, ran: Mapping[str, Kept]) -> Sequence[object]:
    runs = ran[name]
    chips, seconds = runs["chips"][0], median(runs["seconds"])
    ratio = times_as_long(runs["seconds"], ran[TRAINING]["seconds"]) if TRAINING in ran else None
    waits = median(waited / each for waited, each in zip(runs["waiting"], runs["seconds"], strict=True))
    ready = times_as_long(runs["ready"], runs["seconds"]) if "ready" in runs else None
    crop = median(runs["crop_cpu"]) * 1e3 if "crop_cpu" in runs else None
    return name, chips / seconds, ratio, median(runs["cpu"]) / chips, f"{waits:.1%}", ready, crop


def _training_gpu(gpu: Kept | None) -> str:
    if gpu is None:
        return "There was no GPU here."
    return (
        f"On {gpu['name']} a step of ready batches trains {digits(gpu['chips'] / gpu['ready'])} chips per second, "
        f"{digits(gpu['flops'] / 1e12)} of the {digits(gpu['peak_flops'] / 1e12)} TFLOP/s at which it multiplies "
        f"matrices of 8,192 rows in bfloat16: {gpu['reached']:.1%}."
    )


SECTIONS: dict[str, Callable[[Kept, Path], Values]] = {
    "peers": _peers,
    "sizes": _sizes,
    "breakdown": _breakdown,
    "parcels": _parcels,
    "compare": _compare,
    "field_instances": _field_instances,
    "fields": _field_pairs,
    "three_classes": _three_classes,
    "suggest": _suggest,
    "roofline": _roofline,
    "sliding": _sliding,
    "training": _training,
}

if __name__ == "__main__":
    write()
