"""What validation says: findings, and the report that gathers them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from validate.repair import Repair
    from validate.survey import Survey

Severity = Literal["E", "W"]

#: Version of the JSON report's shape.
REPORT_VERSION = 1


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, folded over everything that it is wrong with.

    Attributes:
        id: the check's stable id, such as ``POSE-AXES``.
        severity: ``E`` for an error, ``W`` for a warning.
        message: what was measured, what was expected, and the likely cause, in one line.
        fix: what to do about it, in one line.
        path: first file concerned, relative to the dataset; None when it is about the dataset as a whole.
        scene: its scene, when the finding is about one scene alone.
        count: how many things are concerned.
        total: how many of them there are; None when a share would say nothing.
        unit: the thing counted: ``views``, ``scenes`` or ``files``.
        examples: the first few paths concerned.
        views: indices of the views concerned (into ``Report.views``), for pictures.
        mendable: ``--fix`` can mend it.
    """

    id: str
    severity: Severity
    message: str
    fix: str
    path: str | None = None
    scene: int | None = None
    count: int = 1
    total: int | None = None
    unit: str = "views"
    examples: tuple[str, ...] = ()
    views: tuple[int, ...] = ()
    mendable: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The finding as it stands in the JSON report."""
        return {
            "id": self.id,
            "severity": self.severity,
            "path": self.path,
            "scene": self.scene,
            "count": self.count,
            "total": self.total,
            "unit": self.unit,
            "message": self.message,
            "fix": self.fix,
            "examples": list(self.examples),
            "mendable": self.mendable,
        }


@dataclass(frozen=True)
class Suggestion:
    """A proposed value of a setting, with the reason for it."""

    value: float | tuple[float, float]
    reason: str


@dataclass(frozen=True)
class Report:
    """The outcome of a validation.

    Attributes:
        dataset: the folder, as it was given.
        scenes: number of scenes.
        n_views: number of views.
        findings: errors first, in the order of the checks.
        suggested: proposed ``near``, ``far``, ``nss_scale``, ``obj_scale`` and ``focal_ratio``.
        notes: remarks that are neither errors nor warnings.
        held_back: ids of follow-on findings that were not reported, with the reason.
        checked: ids of the checks that ran.
        skipped: ids of the checks that did not run, with the reason.
        settings: the values that were checked against, and where each came from.
        limits: the thresholds that were used.
        repair: what was done for the mended copy, when one was asked for.
        survey: what the findings rest on, for the HTML report.
    """

    dataset: str
    scenes: int
    n_views: int
    findings: tuple[Finding, ...]
    suggested: dict[str, Suggestion] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    held_back: dict[str, str] = field(default_factory=dict)
    checked: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    repair: "Repair | None" = None
    survey: "Survey | None" = field(default=None, repr=False, compare=False)

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "E")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "W")

    @property
    def ok(self) -> bool:
        """There is no error; warnings don't count."""
        return not self.errors

    def exit_code(self, strict: bool = False) -> int:
        """Exit status: 1 when there are errors (with ``strict`` also when there are warnings), else 0."""
        return 1 if self.errors or (strict and self.findings) else 0

    def text(self, colour: bool = False, limit: int = 3) -> str:
        """The report for people; see ``validate.report.text``."""
        from validate.report.text import render_text

        return render_text(self, colour=colour, limit=limit)

    def as_dict(self) -> dict[str, Any]:
        """The report as it is written to JSON."""
        return {
            "format_version": REPORT_VERSION,
            "dataset": self.dataset,
            "ok": self.ok,
            "counts": {
                "scenes": self.scenes,
                "views": self.n_views,
                "errors": len(self.errors),
                "warnings": len(self.warnings),
            },
            "suggested": {
                key: list(s.value) if isinstance(s.value, tuple) else s.value
                for key, s in self.suggested.items()
            },
            "reasons": {key: s.reason for key, s in self.suggested.items()},
            "findings": [finding.as_dict() for finding in self.findings],
            "notes": list(self.notes),
            "repair": None
            if self.repair is None
            else {
                "out": str(self.repair.out),
                "changes": self.repair.changes,
                "left": self.repair.left,
                "refused": self.repair.refused,
            },
            "held_back": dict(self.held_back),
            "checked": list(self.checked),
            "skipped": dict(self.skipped),
            "settings": self.settings,
            "limits": dict(self.limits),
        }
