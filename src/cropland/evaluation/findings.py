"""What was measured, of a model or a map or of two on the same ground, and what is said of it in metrics.json."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cropland.evaluation.calibration import calibration_figures
from cropland.evaluation.score import Part, add_up, compared, metrics
from cropland.evaluation.viewer import Sheet
from cropland.progress import progress_bar

if TYPE_CHECKING:
    from cropland.evaluation.robustness import Robustness

__all__ = ["Findings", "hashed", "watched", "worst_first"]


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found: the parts of one side, or of two on the same ground, and what is said of them.

    complete: the labels hold all fields. whole_groups: a group holds all its predicted fields, and the labels all its
    fields. pixels: of all ground that was looked at.
    """

    about: Mapping[str, Any]
    sides: Sequence[Sequence[Part]]
    complete: bool
    whole_groups: bool
    pixels: int
    sheets: tuple[Sheet, ...] = ()
    robustness: tuple[Robustness, ...] = ()

    def figures(self, tolerances_m: Sequence[float]) -> dict[str, Any]:
        """The content of metrics.json."""
        how: dict[str, Any] = {"tolerances_m": tolerances_m, "complete": self.complete}
        first, *others = (metrics(parts, whole_groups=self.whole_groups, **how) for parts in self.sides)
        levels, known = add_up(part.total for part in self.sides[0]).levels, first["pooled"]["known"]
        trust = {"threshold": self.about["threshold"], "temperature": self.about["temperature"]}
        counted = {"known_pixels": known, "unknown_share": 1 - known / self.pixels}
        second = {"file": self.about["second"], "pooled": others[0]["pooled"]} if others else {}
        return {
            **self.about,
            "computed_on": {**self.about["computed_on"], **counted},
            "tolerances_m": tolerances_m,
            "complete": self.complete,
            **first,
            "calibration": calibration_figures(levels, **trust) if levels.any(axis=1).all() else None,
            **({"against": {**second, "difference": compared(*self.sides, **how)}} if others else {}),
            **({"robustness": [each.figures for each in self.robustness]} if self.robustness else {}),
        }


def hashed(path: Path, *, folders: Iterable[Path] = ()) -> dict[str, Any]:
    """Name, bytes and SHA-256 of a file; of one in these folders, the name has the way from there."""
    above = next((each.parent for each in folders if each in path.parents), path.parent)
    with path.open("rb") as file:
        return {
            "name": path.relative_to(above).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def watched(parts: Iterable[Part], *, total: int) -> list[Part]:
    """All parts, with a progress bar while they are measured."""
    done = []
    with progress_bar(total=total, rate="{:.1f}/s".format, counted=True) as bar:
        for part in parts:
            done.append(part)
            bar()
    return done


def worst_first(parts: Sequence[Part]) -> list[str]:
    """The scenes of the parts, those with most wrong pixels first."""
    wrong = Counter[str]()
    for part in parts:
        wrong[part.source] += part.total.counts.fp + part.total.counts.fn
    return [source for source, _count in wrong.most_common()]
