"""The report as JSON."""

import json
import math
import os
from typing import Any

from objnerf.dataset.files import write_text
from validate.findings import Finding
from validate.result import Report

#: Version of the JSON report's shape.
REPORT_VERSION = 1


def write_json(report: Report, path: str | os.PathLike[str]) -> None:
    """Write the report to a file, atomically."""
    write_text(path, render_json(report))


def render_json(report: Report) -> str:
    """The report as one JSON object: strict JSON, in which no nan or inf occurs."""
    return json.dumps(_plain(as_json_object(report)), indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def as_json_object(report: Report) -> dict[str, Any]:
    """The report as it is written to JSON: text, numbers, lists and objects alone."""
    return {
        "format_version": REPORT_VERSION,
        "dataset": report.dataset,
        "ok": report.ok,
        "counts": {
            "scenes": report.scenes,
            "views": report.n_views,
            "errors": len(report.errors),
            "warnings": len(report.warnings),
        },
        "suggested": {
            key: list(s.value) if isinstance(s.value, tuple) else s.value
            for key, s in report.suggested.items()
        },
        "reasons": {key: s.reason for key, s in report.suggested.items()},
        "findings": [_finding(finding) for finding in report.findings],
        "notes": list(report.notes),
        "repair": None
        if report.repair is None
        else {
            "out": str(report.repair.out),
            "changes": report.repair.changes,
            "left": report.repair.left,
            "refused": report.repair.refused,
        },
        "held_back": dict(report.held_back),
        "checked": list(report.checked),
        "skipped": dict(report.skipped),
        "settings": report.settings,
        "limits": dict(report.limits),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "severity": finding.severity,
        "path": finding.path,
        "scene": finding.scene,
        "count": finding.count,
        "total": finding.total,
        "unit": finding.unit,
        "message": finding.message,
        "fix": finding.fix,
        "examples": list(finding.examples),
        "fixable": finding.fixable,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
