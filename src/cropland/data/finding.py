"""What the data doctor finds: a fault with its evidence and its remedy, and all of them as text, sheet and page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from cropland.data.shift import Shift
from cropland.errors import OutputError
from cropland.fact_sheet import fact_sheet
from cropland.files import write_text
from cropland.language import _, shown

__all__ = ["DataFinding", "Diagnosis", "Severity"]

Severity = Literal["error", "warning", "note"]
WORST_FIRST: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, eq=False)
class DataFinding:
    """One fault. severity: error (training on this is wrong), warning or note.

    kind: its short name. where: the scene, file of labels or chips. evidence: what was seen, with its number. remedy:
    which command or option helps. picture: red, green and blue in bytes, where one helps.
    """

    severity: Severity
    kind: str
    where: str
    evidence: str
    remedy: str
    picture: UInt8[np.ndarray, "height width 3"] | None = None

    def __repr__(self) -> str:
        return f"{severities()[self.severity]:8}{self.where}: {shown(self.evidence)}\n{'':8}{shown(self.remedy)}"


def severities() -> dict[Severity, str]:
    """What a person calls them."""
    return {"error": _("error"), "warning": _("warning"), "note": _("note")}


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis:
    """What was found in some data, the worst first; it shows itself in a notebook, and as text it is what is printed.

    given: what was looked at. shifts: how far the labels of a scene lie from its edges, where that could be measured,
    also if it is no fault. notes: what was assumed and left out.
    """

    given: str
    findings: tuple[DataFinding, ...]
    shifts: Mapping[str, Shift] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(
        given: str, findings: list[DataFinding], *, shifts: Mapping[str, Shift], notes: tuple[str, ...] = ()
    ) -> Diagnosis:
        """The worst first; within one severity in the order of the checks."""
        ordered = sorted(findings, key=lambda each: WORST_FIRST.index(each.severity))
        return Diagnosis(given, tuple(ordered), shifts, tuple(dict.fromkeys(notes)))

    def save(self, out: str | Path) -> None:
        """Write report.html, one file for any browser, into a folder. Raises `OutputError` if it cannot be written."""
        folder = Path(out)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "report.html", self._page())
        except OSError as error:
            raise OutputError(
                "{out} cannot be written ({strerror}); give another --out", out=out, strerror=error.strerror or error
            ) from error

    def __repr__(self) -> str:
        return "\n".join([self._summary(), *map(repr, self.findings)])

    def _repr_html_(self) -> str:
        facts = {f"{severities()[each.severity]}: {each.where}": shown(each.evidence) for each in self.findings}
        return fact_sheet(self._summary(), facts)

    def _summary(self) -> str:
        if not self.findings:
            return _("{given}: no fault found", given=self.given)
        return _("findings in {given}: {count}", given=self.given, count=len(self.findings))

    def _page(self) -> str:
        from cropland.page import jpeg_uri, rendered  # jinja2 and Pillow, which the text does without

        rows = [
            {
                "severity": each.severity,
                "called": severities()[each.severity],
                "where": each.where,
                "evidence": shown(each.evidence),
                "remedy": shown(each.remedy),
                "picture": None if each.picture is None else jpeg_uri(each.picture, quality=88, subsampling=0),
            }
            for each in self.findings
        ]
        shifts = [(name, _shift_words(shift)) for name, shift in self.shifts.items()]
        notes = [*map(shown, self.notes)]
        values = {"title": self._summary(), "findings": rows, "shifts": shifts, "notes": notes}
        return rendered("cropland.data", "doctor.html", **values)


def _shift_words(shift: Shift) -> str:
    if not shift.is_measured:
        return _("chance ({agreement:.0%} of the draws agree)", agreement=shift.agreement)
    return _(
        "{right:+.1f} pixels to the right, {down:+.1f} down, from {blocks} blocks",
        right=shift.right,
        down=shift.down,
        blocks=shift.blocks,
    )
