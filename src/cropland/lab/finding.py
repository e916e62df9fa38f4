"""What an experiment finds about one claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cropland.lab.charts import Chart, from_plain, to_plain
from cropland.lab.number import Number


@dataclass(frozen=True)
class Finding:
    """The numbers that the words of a claim speak of, and pictures.

    `missing` says, as a label, why nothing was measured; `notes` are labels on how it was (a size reduced, say).
    """

    claim: str
    numbers: Mapping[str, Number] = field(default_factory=dict)
    charts: Sequence[Chart] = ()
    notes: Sequence[str] = ()
    missing: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "claim": self.claim,
            "numbers": {name: asdict(number) for name, number in self.numbers.items()},
            "charts": [to_plain(chart) for chart in self.charts],
            "notes": list(self.notes),
            "missing": self.missing,
        }

    @staticmethod
    def of(plain: Mapping[str, Any]) -> Finding:
        """From what JSON holds."""
        numbers = {name: Number(**number) for name, number in plain["numbers"].items()}
        charts = tuple(map(from_plain, plain["charts"]))
        return Finding(plain["claim"], numbers, charts, tuple(plain["notes"]), plain["missing"])
