"""The report as JSON."""

import json
import math
import os
from typing import Any

from objnerf.dataset.files import write_text
from validate.findings import Report


def write_json(report: Report, path: str | os.PathLike[str]) -> None:
    """Write the report to a file, atomically."""
    write_text(path, render_json(report))


def render_json(report: Report) -> str:
    """The report as one JSON object: strict JSON, in which no nan or inf occurs."""
    return json.dumps(_plain(report.as_dict()), indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
