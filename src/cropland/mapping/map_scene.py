"""From a scene to a map: probability, mask, parcels, picture. The only tiler in the package is reached from here."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cropland.errors import ReadError
from cropland.geo.area import MU_PER_HA
from cropland.geo.scene import Scene
from cropland.language import _
from cropland.mapping.fill import Executor, fill
from cropland.mapping.journal import Journal
from cropland.mapping.own_grid import write_probability
from cropland.mapping.place import check_room, publish, work_folder
from cropland.mapping.plan import MapOptions, Plan, make_plan
from cropland.mapping.plane import Plane
from cropland.mapping.record import Found, finished, job, record
from cropland.mapping.turned import mean_of_turns
from cropland.mapping.work import Work
from cropland.model import Model
from cropland.progress import progress_bar, stage, taken

__all__ = ["MapOptions", "MapResult", "map_scene"]


@dataclass(frozen=True)
class MapResult:
    """What was found in one scene; seconds in all and by stage.

    how: `resumed` after what an earlier run had done, or `kept` from one that had done all.
    """

    scene: Scene
    folder: Path
    found: Found
    seconds: float
    stages: Mapping[str, float]
    notes: tuple[str, ...] = field(default=())
    how: Literal["new", "resumed", "kept"] = "new"

    @staticmethod
    def earlier(scene: Scene, folder: Path, about: Mapping[str, Any]) -> MapResult:
        """Of a map that was made before, from what its map.json says."""
        found = about["found"]
        counted = Found(found["area_ha"], found["known_ha"], found["parcels"])
        took = found["seconds"], found["seconds_by_stage"]
        return MapResult(scene, folder, counted, *took, tuple(about["notes"]), "kept")

    @property
    def sentence(self) -> str:
        """One line for a person."""
        return _(
            "{name}: {area_ha:,.1f} ha of cropland ({area_mu:,.0f} mu), {share:.1%} of {known_ha:,.1f} ha, "
            "parcels: {parcels:,}; {took}",
            name=self.scene.name,
            area_ha=self.found.area_ha,
            area_mu=self.found.area_ha * MU_PER_HA,
            share=self.found.share,
            known_ha=self.found.known_ha,
            parcels=self.found.parcels,
            took=self._took,
        )

    @property
    def _took(self) -> str:
        if self.how == "kept":
            return _("mapped before")
        if self.how == "resumed":
            return _("{seconds:.1f} s, after what an earlier run had done", seconds=self.seconds)
        speed = self.scene.shape[0] * self.scene.shape[1] / 1e6 / self.seconds
        return _("{seconds:.1f} s, {speed:.2f} Mpx/s", seconds=self.seconds, speed=speed)


def map_scene(
    scene: Scene,
    model: Model,
    out: Path,
    *,
    executor: Executor,
    options: MapOptions | None = None,
    overwrite: bool = False,
    keep: bool = False,
) -> MapResult:
    """Map one scene into the folder `out`, which appears whole; a run that was stopped goes on where it was.

    keep: leave a finished map that was made from the same scene in the same way, as it is.
    executor: what computes the units. Raises `InputError` or one of its kinds for bands that
    are missing, statistics of other bands, a scene without data, a folder that cannot be used, a disk that is too
    small, unfinished work of another kind; `IncompleteError` where files failed on the way.
    """
    began, _before = time.monotonic(), taken()
    with stage("planning"):
        plan = make_plan(scene, model, options or MapOptions(), engine=executor.engine, prepare=executor.prepare)
        task = job(scene, model, plan, executor.engine)
        earlier = finished(out, task) if keep else None
    if earlier:
        return MapResult.earlier(scene, out, earlier)
    with work_folder(out, overwrite=overwrite) as folder:
        check_room(out, plan.pixels, work=folder)
        journal = Journal.begin(folder, task, anew=overwrite)
        flat = folder / "flat.tif"
        _fill(scene, plan, flat, executor=executor, journal=journal)
        from cropland.mapping.finish import finish  # what makes parcels takes as long to import as all before

        whole = folder / "map"
        found = finish(scene, plan, flat, whole, home=out.absolute(), journal=journal)
        notes, resumed = (*scene.notes, *plan.notes), journal.goes_on
        result = MapResult(scene, out, found, time.monotonic() - began, taken(), notes, "resumed" if resumed else "new")
        took: dict[str, Any] = {"seconds": result.seconds, "stages": result.stages, "resumed": resumed}
        about = record(journal.job, found=found, notes=notes, why=executor.why, **took)
        (whole / "map.json").write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
        publish(whole, out.absolute())
    return result


def _fill(scene: Scene, plan: Plan, out: Path, *, executor: Executor, journal: Journal) -> None:
    """Compute the probability, in every direction that is asked for, and write it on the grid of the product."""
    failed: list[ReadError] = []
    planes = []
    with progress_bar(scene.name, total=len(plan.passes) * plan.working_pixels) as advance:
        for each in plan.passes:
            work = Work(each.readable, plan.statistics, plan.ratio, plan.radius)
            planes.append(Plane(out.with_name(each.name), each.cut.shape))
            failed += fill(planes[-1], each.name, work, each.cut, executor=executor, journal=journal, advance=advance)
    if failed:
        told = _(
            "{count} parts of {name} could not be read ({error}); the rest is kept, and the same command fills in "
            "what is missing",
            count=len(failed),
            name=scene.name,
            error=failed[0],
        )
        raise ReadError(told, failed[0].path, failed[0].window, failed[0].cause)
    with stage("own grid"):
        plane = mean_of_turns(planes, plan.turns, out.with_name("mean"))
        write_probability(plane, scene, out, ratio=plan.ratio, out_ratio=plan.out_ratio)
