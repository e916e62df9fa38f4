"""Run experiments and write what they found; reading starts here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cropland.catalog import nearest
from cropland.data.chips import open_chips
from cropland.errors import InputError
from cropland.lab import report
from cropland.lab.claim import Finding, chapters, claims, experiment_named, experiments, label, place, split
from cropland.lab.measure import FULL, QUICK, Budget
from cropland.lab.parts import recipe_and_network
from cropland.lab.results import Results, merged, this_machine
from cropland.lab.trials import sides
from cropland.language import _
from cropland.training.memory import choose_device

Step = Callable[[Finding], None]
OWN_BUDGET = ("tricks",)  # hours, not minutes: only when asked for by name


def command(
    *names_: Annotated[str, Parameter(name="names")],
    quick: bool = False,
    device: str | None = None,
    out: Path = Path("lab"),
    chips: Path | None = None,
    network: str | None = None,
    join: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
) -> None:
    """Test common claims about segmentation networks on your machine, and write a report.

    Every experiment states a claim, measures it, and says whether it holds here. The report is one file in English and
    Chinese that opens without the internet.

    Example:

        cropland lab --quick
        cropland lab separable atrous
        cropland lab network --network file.py:Name
        cropland lab --join cpu/results.json gpu/results.json

    Parameters
    ----------
    names_
        Experiments or chapters; default: all but `tricks`, which takes hours.
    quick
        Under four minutes on two cores: smaller images, fewer repeats, nothing trained.
    device
        cpu or cuda; default: cuda where there is one.
    out
        The folder for results.json and report.html.
    chips
        A chip folder to train on; default: the sample that ships.
    network
        The network that the experiment `network` takes apart: `unet`, `file.py:Name`, a recipe or a model.
    join
        results.json of several machines, for one report with a column for each; those of one machine share one.
    """
    console = Console(highlight=False, soft_wrap=True)
    if join:
        console.print(str(report.write(merged(map(Results.load, join)), out)))
        return
    where, chosen = choose_device(device), choose(names_)
    budget = replace(QUICK if quick else FULL, chips=chips, network=network)
    if chips:
        open_chips(chips)
    recipe_and_network(network)  # what is wrong with either is said before anything is measured
    with _progress(sum(len(claims(name)) for name in chosen), console) as step:
        run(chosen, where, budget, out, step=step)
    console.print(f"{out / 'results.json'}\n{out / 'report.html'}")


def choose(asked: Sequence[str]) -> list[str]:
    """The experiments of these names or chapters, in the order of the report; `InputError` names the nearest."""
    known = sorted(experiments(), key=place)
    wanted = asked or [name for name in chapters() if name not in OWN_BUDGET]
    for name in wanted:
        if name not in known and name not in chapters():
            advice = nearest(name, sorted({*known, *chapters()}))
            raise InputError("no experiment '{name}'; {advice}", name=name, advice=advice)
    return [name for name in known if name in wanted or name.partition("_")[0] in wanted]


def run(chosen: Sequence[str], device: torch.device, budget: Budget, out: Path, *, step: Step) -> Results:
    """Run the experiments one after the other; what is finished is on disk, whatever happens to the next."""
    out.mkdir(parents=True, exist_ok=True)
    trained = {"chips": sides(budget.chips)} if budget.seeds else {}
    results = Results(this_machine(device) | trained, budget.name, ())
    try:
        for finding in chain.from_iterable(experiment_named(name)(device, budget) for name in chosen):
            results = replace(results, findings=(*results.findings, finding))
            results.save(out)
            step(finding)
    finally:
        report.write([results], out)
    return results


@contextmanager
def _progress(total: int, console: Console) -> Iterator[Step]:
    """A bar over the claims, with their rate and the time left; every verdict is said above it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(_("measuring"), total=total)

        def step(finding: Finding) -> None:
            experiment, key = split(finding.claim)
            claim = claims(experiment)[key]
            verdict = label(claim.verdict(finding).value, experiment).spoken
            bar.console.print(f"[bold]{verdict}[/]: {claim.claim.spoken}")
            bar.update(task, advance=1, description=experiment)

        yield step
