"""Which statistics normalise a scene: the model's, those of an earlier map, or the scene's own."""

from __future__ import annotations

import json
from pathlib import Path

from cropland.data.statistics import Statistics, scene_statistics
from cropland.errors import InputError
from cropland.geo.scene import Scene
from cropland.language import _
from cropland.model import Model

__all__ = ["check_statistics", "choose_statistics", "read_statistics"]


def choose_statistics(scene: Scene, model: Model, given: Statistics | None) -> Statistics:
    """Those given, else the model's own when its radiometry is fixed, else the scene's from one decimated pass."""
    return check_statistics(given or model.statistics or scene_statistics(scene, model.bands), model)


def check_statistics(given: Statistics, model: Model) -> Statistics:
    """The same. Raises `InputError` for those of other bands than the model's."""
    if given.bands != model.bands:
        raise InputError(
            _(
                "the statistics are of {bands}, the model takes {bands2}; use the map.json of a map "
                "made with this model",
                bands=", ".join(given.bands),
                bands2=", ".join(model.bands),
            )
        )
    return given


def read_statistics(path: Path) -> Statistics:
    """The statistics that an earlier map used, from its map.json."""
    try:
        return Statistics.from_json(json.loads(path.read_text(encoding="utf-8"))["statistics"])
    except FileNotFoundError as error:
        raise InputError(_("no file {path}; give the map.json of an earlier map", path=path)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(_("{path} holds no statistics; give the map.json of an earlier map", path=path)) from error
