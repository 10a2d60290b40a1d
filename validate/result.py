"""The outcome of a validation, as data; ``validate.report`` renders it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from validate.analysis.model import Analysis
from validate.findings import Finding


@dataclass(frozen=True)
class Suggestion:
    """A proposed value of a setting, with the reason for it."""

    value: float | tuple[float, float]
    reason: str


@dataclass
class Repair:
    """What was done.

    Attributes:
        out: the fixed copy, or where it would be.
        changes: what was changed, in words with counts.
        left: what was found and could not be fixed.
        refused: why nothing was written; None where a copy was.
    """

    out: Path
    changes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    refused: str | None = None


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
        repair: what was done for the fixed copy, when one was asked for.
        analysis: what the findings rest on, for the HTML report.
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
    repair: Repair | None = None
    analysis: Analysis | None = field(default=None, repr=False, compare=False)

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
