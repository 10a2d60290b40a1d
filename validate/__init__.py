"""A dataset in, findings out: what is wrong, why, and how to fix it.

>>> import validate
>>> report = validate.run("room_diverse_train")    # doctest: +SKIP
>>> report.ok, [finding.id for finding in report.findings]    # doctest: +SKIP
(False, ['POSE-AXES'])
"""

from validate.checks.catalogue import all_checks, explain
from validate.command import command, cores, parse_limits
from validate.findings import Finding
from validate.options import Options
from validate.report.json import as_json_object
from validate.report.text import render_text
from validate.result import Report
from validate.runner import run
from validate.settings import Limits, Settings

__all__ = [
    "Finding",
    "Limits",
    "Options",
    "Report",
    "Settings",
    "all_checks",
    "as_json_object",
    "command",
    "cores",
    "explain",
    "parse_limits",
    "render_text",
    "run",
]
