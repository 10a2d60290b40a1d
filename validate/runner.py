"""Validate a dataset: scan it, measure and analyse it, run the checks, and gather their findings."""

import os
from collections.abc import Sequence
from dataclasses import replace

from objnerf.console import Progress, no_progress
from objnerf.dataset.index import scan_dataset
from validate.analysis.model import Analysis
from validate.analysis.pictures import measure_pictures
from validate.analysis.poses import analyse_poses
from validate.analysis.readings import choose_reading
from validate.checks.catalogue import choose_checks
from validate.checks.check import Check
from validate.checks.consequences import confirm_rolls, hold_back
from validate.findings import Finding
from validate.options import Options
from validate.repair.copy import repair
from validate.result import Report
from validate.scan import scan_files
from validate.settings import Limits, resolve_settings
from validate.suggest import notes, suggest
from validate.workers import Workers

#: Below this many views, starting processes takes longer than reading.
_FEW_VIEWS = 192


def run(
    path: str | os.PathLike[str], options: Options | None = None, *, progress: Progress = no_progress
) -> Report:
    """Validate a dataset folder.

    Args:
        path: the folder that holds the views.
        options: what to check, against which settings, and whether to write a fixed copy.
        progress: called with (done, total, note) while pictures are read.
    Returns:
        The report on ``path``; ``report.ok`` says whether there is no error.
    Raises:
        InputError: the folder is missing, empty or unreadable, or an option makes no sense for it.
        WorkError: the fixed copy cannot be written, or a worker process died.
    """
    options = options or Options()
    checks = choose_checks(options)
    analysis = analyse(path, options, checks, progress)
    report = judge(analysis, checks, path)
    if options.fix is None:
        return report
    # With the settings that are written into the copy, and the same checks and limits.
    again = Options(
        only=[check.id for check in checks],
        num_slots=options.num_slots,
        limits=options.limits,
        workers=options.workers,
    )
    repaired = repair(analysis, report, options.fix, lambda copy: run(copy, again), progress)
    return replace(report, repair=repaired)


def analyse(
    path: str | os.PathLike[str], options: Options, checks: Sequence[Check], progress: Progress = no_progress
) -> Analysis:
    """Read what the checks need of a dataset, and find out what it means.

    Raises:
        InputError: as ``run``.
        WorkError: a worker process died.
    """
    dataset = scan_dataset(path)
    limits = Limits().with_changes(options.limits)
    in_parallel = dataset.n_views >= _FEW_VIEWS and not options.quick
    with Workers(options.workers if in_parallel else 1) as workers:
        scan = scan_files(dataset, workers)
        analysis = analyse_poses(scan, resolve_settings(scan.card, options), limits)
        if not options.quick:
            with_matches = any(check.needs == "photo" for check in checks)
            analysis = choose_reading(analysis, with_matches, progress)
        if options.fix is not None or any(check.needs != "poses" for check in checks):
            analysis = measure_pictures(analysis, options.sample, workers, progress)
    return analysis


def judge(analysis: Analysis, checks: Sequence[Check], path: str | os.PathLike[str]) -> Report:
    """Run the checks and put their findings in order: errors first, each kind in the order of the checks."""
    found: list[Finding] = []
    for check in checks:
        found.extend(check.function(analysis))
    findings, held_back = hold_back(analysis, confirm_rolls(analysis, found))
    findings.sort(key=lambda finding: finding.severity != "E")
    used = sorted({name for check in checks for name in check.limits})
    all_limits = analysis.limits.as_dict()
    return Report(
        dataset=str(path),
        scenes=analysis.scan.n_scenes,
        n_views=len(analysis.scan.views),
        findings=tuple(findings),
        suggested=suggest(analysis),
        notes=(*notes(analysis), *analysis.remarks),
        held_back=held_back,
        checked=tuple(check.id for check in checks),
        settings=analysis.settings.as_dict(),
        limits={name: all_limits[name] for name in used},
        analysis=analysis,
    )
