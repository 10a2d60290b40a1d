"""The report as text: a line a finding, then the summary and the suggestions."""

import os
import shutil
import textwrap

from objnerf.console import printable
from validate.findings import Finding
from validate.result import Repair, Report

_COLOURS = {"E": "\x1b[31;1m", "W": "\x1b[33;1m", "dim": "\x1b[2m", "good": "\x1b[32;1m"}
_RESET = "\x1b[0m"


def render_text(report: Report, colour: bool = False, limit: int = 3) -> str:
    """The report for a terminal or a log.

    Args:
        colour: with ANSI colours.
        limit: how many examples of a folded finding to name.
    """
    width = max(60, min(110, shutil.get_terminal_size((100, 24)).columns))
    lines = []
    for finding in report.findings:
        lines += _finding_lines(finding, colour, limit, width)
    if report.findings:
        lines.append("")
    for note in report.notes:
        lines += textwrap.wrap(printable(f"note: {note}"), width, subsequent_indent="      ")
    for id, reason in report.held_back.items():
        lines += textwrap.wrap(printable(f"held back: {id}, {reason}"), width, subsequent_indent="      ")
    for name, suggestion in report.suggested.items():
        value = suggestion.value
        shown = " ".join(f"{part:.6g}" for part in value) if isinstance(value, tuple) else f"{value:.4g}"
        text = f"suggested --{name.replace('_', '-')} {shown}: {suggestion.reason}"
        lines += textwrap.wrap(text, width, subsequent_indent="      ")
    if report.repair is not None:
        lines += ["", *(printable(line) for line in _repair_lines(report.repair))]
    lines.append(_summary(report, colour))
    return "\n".join(lines) + "\n"


def _repair_lines(repair: Repair) -> list[str]:
    if repair.refused is not None:
        return [f"no fixed copy was written: {repair.refused}"]
    lines = [f"fixed copy: {repair.out}"]
    lines += [f"  changed: {change}" for change in repair.changes] or ["  nothing had to be changed"]
    return lines + [f"  left as it is: {item}" for item in repair.left]


def _finding_lines(finding: Finding, colour: bool, limit: int, width: int) -> list[str]:
    head = f"{finding.severity} {finding.id}"
    body = f"{where(finding, limit)}: {finding.message}"
    # Names of files, and values in them, must not give orders to the screen.
    wrapped = textwrap.wrap(
        printable(f"{head}  {body}"), width, subsequent_indent="    ", break_on_hyphens=False
    )
    fix = textwrap.wrap(
        printable(f"fix: {finding.fix}"), width - 4, subsequent_indent="      ", break_on_hyphens=False
    )
    if colour:
        wrapped[0] = wrapped[0].replace(head, f"{_COLOURS[finding.severity]}{head}{_RESET}", 1)
        fix = [f"{_COLOURS['dim']}{line}{_RESET}" for line in fix]
    return wrapped + ["    " + line for line in fix]


def where(finding: Finding, limit: int = 3) -> str:
    """What a finding is about: a path, or ``317 of 6000 views, first 3: …``."""
    examples = ", ".join(os.path.basename(path) for path in finding.examples[:limit])
    if finding.path is not None and finding.count == 1 and finding.unit != "scenes":
        return finding.path
    if finding.scene is not None and finding.count == 1 and finding.unit == "scenes":
        return f"scene {finding.scene}"
    unit = finding.unit if finding.count != 1 or finding.total is not None else finding.unit.removesuffix("s")
    amount = (
        f"{finding.count} of {finding.total} {unit}"
        if finding.total is not None
        else f"{finding.count} {unit}"
    )
    if finding.path is None and finding.count == finding.total:
        return f"all {finding.total} {unit}"
    if not examples:
        return amount
    shown = min(limit, len(finding.examples), finding.count)
    return f"{amount}, first {shown}: {examples}" if finding.count > shown else f"{amount}: {examples}"


def _summary(report: Report, colour: bool) -> str:
    errors, warnings = len(report.errors), len(report.warnings)
    counts = f"{_number(report.scenes, 'scene')}, {_number(report.n_views, 'view')}"
    verdict = (
        f"{_number(errors, 'error')}, {_number(warnings, 'warning')}"
        if errors or warnings
        else "nothing wrong found"
    )
    text = f"{printable(str(report.dataset))}: {counts}, {len(report.checked)} checks: {verdict}"
    if not colour:
        return text
    shade = _COLOURS["E"] if errors else _COLOURS["W"] if warnings else _COLOURS["good"]
    return f"{shade}{text}{_RESET}"


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
