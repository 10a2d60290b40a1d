"""A dataset in, findings out: what is wrong, why, and how to mend it.

>>> import validate
>>> report = validate.run("room_diverse_train")    # doctest: +SKIP
>>> report.ok, [finding.id for finding in report.findings]    # doctest: +SKIP
(False, ['POSE-AXES'])
"""

from validate.checks.registry import all_checks, explain
from validate.command import command
from validate.findings import Finding, Report
from validate.runner import run
from validate.settings import Limits, Settings

__all__ = ["Finding", "Limits", "Report", "Settings", "all_checks", "command", "explain", "run"]
