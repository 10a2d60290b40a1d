"""Validate a dataset: survey it, run the checks, and gather their findings into a report."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from objnerf.console import Progress, no_progress
from objnerf.dataset import names
from objnerf.dataset.card import DatasetCard, read_card
from objnerf.dataset.index import Dataset, View, scan_dataset
from objnerf.errors import InputError
from validate.checks.registry import Check, all_checks
from validate.diagnosis import Diagnosis
from validate.findings import Finding, Report
from validate.lenses import read_lenses
from validate.pictures import Source, gather
from validate.readings import settle
from validate.settings import Limits, Settings, resolve_settings
from validate.suggest import notes, suggest
from validate.survey import Centring, Survey, diagnose_poses, find_centring, read_matrices, sort_poses
from validate.workers import Workers

#: Below this many views, starting processes takes longer than reading.
_FEW_VIEWS = 192


def run(
    path: str | os.PathLike[str],
    *,
    quick: bool = False,
    only: Iterable[str] = (),
    skip: Iterable[str] = (),
    near: float | None = None,
    far: float | None = None,
    nss_scale: float | None = None,
    obj_scale: float | None = None,
    focal_ratio: tuple[float, float] | None = None,
    num_slots: int | None = None,
    sample: int | None = None,
    photo: bool = False,
    limits: dict[str, float] | None = None,
    workers: int = 1,
    fix: str | os.PathLike[str] | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Validate a dataset folder.

    Args:
        path: the folder that holds the views.
        quick: only the checks that need no picture: names, files, poses, centring, box.
        only: ids of the checks to run (all when empty); a prefix such as ``POSE`` stands for all of its ids.
        skip: ids, or prefixes of ids, to leave out.
        near, far: planar depths between which a model will sample, world units.
        nss_scale: what a model will divide world units by.
        obj_scale: half side of the locality box, world units.
        focal_ratio: (fx / width, fy / height) of all views, those with intrinsics of their own included.
        num_slots: slots of the model, background included.
        sample: open the pictures of this many scenes only, spread evenly; names and poses are all checked.
        photo: also compare feature matches with the poses (needs the extra ``photo``).
        limits: changed thresholds by name (see ``Limits``).
        workers: processes that read pictures. With more than one, a script must call this under
            ``if __name__ == "__main__"``, because the processes are spawned.
        fix: write a mended copy to this folder, which must be new or empty; what was changed is in
            ``report.repair``. The dataset itself is never touched.
        progress: called with (done, total, note) while pictures are read.
    Returns:
        The report on ``path``; ``report.ok`` says whether there is no error.
    Raises:
        InputError: the folder is missing, empty or unreadable, or an argument makes no sense.
        WorkError: the mended copy cannot be written, or a worker process died.
    """
    if fix is not None and (quick or sample is not None):
        raise InputError("a mended copy needs every file to be checked: leave out quick and sample")
    checks = choose_checks(only, skip, quick=quick, photo=photo)
    dataset = scan_dataset(path)
    if workers < 1 or (sample is not None and sample < 1):
        raise InputError(f"sample and workers must be at least 1, got {sample} and {workers}")
    options = {
        "near": near,
        "far": far,
        "nss_scale": nss_scale,
        "obj_scale": obj_scale,
        "focal_ratio": focal_ratio,
        "num_slots": num_slots,
    }
    with Workers(workers if dataset.n_views >= _FEW_VIEWS and not quick else 1) as pool:
        survey = survey_dataset(dataset, options, Limits().with_changes(limits or {}), pool)
        if not quick:
            survey = settle(survey, any(check.needs == "photo" for check in checks), progress)
        if fix is not None or any(check.needs != "poses" for check in checks):
            survey = open_pictures(survey, sample, pool, progress)
    report = judge(survey, checks, path)
    if fix is not None:
        from validate.repair import repair

        # With the settings that are written into the copy, and the same checks and limits.
        again = [check.id for check in checks]

        def verify(copy: Path) -> Report:
            return run(copy, only=again, num_slots=num_slots, limits=limits, workers=workers)

        report = replace(report, repair=repair(survey, report, fix, verify, progress))
    return report


def choose_checks(only: Iterable[str], skip: Iterable[str], *, quick: bool, photo: bool) -> list[Check]:
    """The checks to run, in order.

    Raises:
        InputError: an id or prefix names no check.
    """
    known = all_checks()
    wanted, unwanted = _expand(only, known), _expand(skip, known)
    chosen = []
    for id, check in known.items():
        if (wanted and id not in wanted) or id in unwanted:
            continue
        if quick and check.needs != "poses":
            continue
        if check.needs == "photo" and not photo and id not in wanted:
            continue
        chosen.append(check)
    if not chosen:
        raise InputError("no check is left to run; loosen --only and --skip")
    return chosen


def _expand(ids: Iterable[str], known: dict[str, Check]) -> set[str]:
    expanded: set[str] = set()
    for word in ids:
        for part in word.replace(",", " ").split():
            name = part.upper()
            found = {id for id in known if id == name or id.startswith(name + "-")}
            if not found:
                raise InputError(f"no check is called {part!r}; there are {', '.join(known)}")
            expanded |= found
    return expanded


def survey_dataset(dataset: Dataset, options: dict[str, Any], limits: Limits, workers: Workers) -> Survey:
    """Read the poses of an indexed folder and diagnose their convention.

    Raises:
        InputError: there is nothing to validate.
    """
    card, card_problem = _card(dataset.root)
    settings = resolve_settings(card, options)
    if not dataset.scenes:
        _refuse_empty(dataset)
    views, extras = _without_extra_passes(list(dataset.views()))
    scene_of = np.array([view.scene for view in views], dtype=np.int64)
    steps = np.flatnonzero(np.diff(scene_of)) + 1
    scene_index = np.zeros(len(views), dtype=np.int64)
    scene_index[steps] = 1
    scene_index = np.cumsum(scene_index)
    n_scenes = len(dataset.scenes)
    matrices = read_matrices(dataset.root, views, workers)
    lenses, settings = read_lenses(dataset.root, views, settings, workers)
    poses = sort_poses(views, matrices, limits)
    diagnosis = diagnose_poses(poses, scene_index, n_scenes, limits)
    return Survey(
        dataset=dataset,
        settings=settings,
        limits=limits,
        card=card,
        card_problem=card_problem,
        views=views,
        scene_of=scene_of,
        scene_index=scene_index,
        poses=poses,
        diagnosis=diagnosis,
        centring=_centring(diagnosis, scene_index, n_scenes, settings, limits),
        matrices=matrices,
        lenses=lenses,
        extras=extras,
    )


def _centring(
    diagnosis: Diagnosis,
    scene_index: Int[np.ndarray, "views"],
    n_scenes: int,
    settings: Settings,
    limits: Limits,
) -> Centring:
    middle = 0.5 * (settings.near + settings.far)
    return find_centring(diagnosis, scene_index, n_scenes, settings.obj_scale, limits, middle)


def _without_extra_passes(views: list[View]) -> tuple[list[View], list[View]]:
    """Take out pictures that are no views: without a pose, and called like another view plus a suffix.

    ``x_sc0001_img0_normal.png`` beside ``x_sc0001_img0.png`` is an extra pass that belongs in a sub-folder.
    """
    stems = {view.stem for view in views}
    kept, extras = [], []
    for view in views:
        beginnings = (view.stem[:cut] for cut in range(len(view.stem)) if view.stem[cut] == "_")
        if names.POSE_SUFFIX not in view.companions and any(beginning in stems for beginning in beginnings):
            extras.append(view)
        else:
            kept.append(view)
    return kept, extras


def open_pictures(survey: Survey, sample: int | None, workers: Workers, progress: Progress) -> Survey:
    """The survey with its pictures: all of them, or those of ``sample`` scenes spread evenly."""
    opened = np.ones(len(survey.views), dtype=bool)
    if sample is not None and sample < survey.n_scenes:
        chosen = np.unique(np.linspace(0, survey.n_scenes - 1, sample).round().astype(int))
        opened = np.isin(survey.scene_index, chosen)
    cards = {
        int(name.removesuffix(".json")): name
        for name in survey.dataset.scene_cards
        if name.removesuffix(".json").isascii() and name.removesuffix(".json").isdigit() and len(name) < 24
    }
    source = Source(
        survey.dataset.root,
        survey.views,
        survey.scene_index,
        cards,
        survey.poses.stored,
        survey.world_poses,
        survey.lenses.numbers,
    )
    pictures = gather(source, opened, survey.settings, survey.limits, workers, progress)
    return replace(survey, pictures=pictures)


def _card(root: Path) -> tuple[DatasetCard | None, str | None]:
    """``dataset.yaml`` if it can be read, and else why not."""
    path = root / "dataset.yaml"
    if path.exists() and not path.is_file():
        return None, "no regular file"
    try:
        return read_card(root), None
    except InputError as error:
        return None, str(error)


def _refuse_empty(dataset: Dataset) -> None:
    """A folder with no view: a dataset whose names are all wrong can be reported on, nothing else can."""
    if any(name.endswith("_RT.txt") for name in dataset.orphans):
        return
    if not (dataset.strays or dataset.others or dataset.orphans):
        raise InputError(
            f"{dataset.root}: the folder is empty; expected views named like 00011_sc0002_img3.png"
        )
    hint = "name the folder that holds the pictures themselves"
    if {"transforms.json", "transforms_train.json", "sparse", "cameras.txt", "cameras.bin"} & set(
        dataset.others
    ):
        hint = "this looks like another format: objnerf convert turns it into this one"
    found = f"{len(dataset.strays)} PNG files without a scene id" if dataset.strays else "none"
    raise InputError(
        f"{dataset.root}: expected views named like 00011_sc0002_img3.png, found {found}; {hint}"
    )


def judge(survey: Survey, checks: list[Check], path: str | os.PathLike[str]) -> Report:
    """Run the checks and put their findings in order: errors first, each kind in the order of the checks."""
    found: list[Finding] = []
    for check in checks:
        found.extend(check.function(survey))
    findings, held_back = hold_back(survey, _confirm_rolls(survey, found))
    findings.sort(key=lambda finding: finding.severity != "E")
    used = sorted({name for check in checks for name in check.limits})
    all_limits = survey.limits.as_dict()
    return Report(
        dataset=str(path),
        scenes=survey.n_scenes,
        n_views=len(survey.views),
        findings=tuple(findings),
        suggested=suggest(survey),
        notes=(*notes(survey), *survey.remarks),
        held_back=held_back,
        checked=tuple(check.id for check in checks),
        settings=survey.settings.as_dict(),
        limits={name: all_limits[name] for name in used},
        survey=survey,
    )


def _confirm_rolls(survey: Survey, findings: list[Finding]) -> list[Finding]:
    """A rolled camera among upright ones whose depth contradicts the others: the roll is wrong, an error.

    Where most cameras are rolled, they were held so, and roll explains nothing.
    """
    contradicted = {
        view
        for finding in findings
        if finding.id == "DEPTH-VIEWS" and finding.severity == "E" and finding.unit == "views"
        for view in finding.views
    }
    result: list[Finding] = []
    for finding in findings:
        views = [view for view in finding.views if view in contradicted]
        few = finding.path is not None and finding.count <= 0.5 * survey.diagnosis.usable.sum()
        if finding.id != "POSE-ROLL" or not views or not few:
            result.append(finding)
            continue
        message = finding.message + ": its depth contradicts the other views, so that the pose is wrong"
        result.append(survey.on_views("POSE-ROLL", "E", views, message, finding.fix, names.POSE_SUFFIX))
        rest = [view for view in finding.views if view not in contradicted]
        if rest:
            again = survey.on_views("POSE-ROLL", "W", rest, finding.message, finding.fix, names.POSE_SUFFIX)
            result.append(again)
    return result


#: Findings on a view that follow from another finding on the same view: checks and what they follow from.
_FOLLOWS = {
    "AZIMUTH": ("POSE-", "WORLD-CENTRE"),
    "META": ("POSE-", "WORLD-CENTRE"),
    "DEPTH-VIEWS": ("POSE-", "WORLD-CENTRE", "IMAGE-DUP"),
    "PHOTO": ("POSE-", "WORLD-CENTRE", "IMAGE-DUP"),
}


def hold_back(survey: Survey, findings: list[Finding]) -> tuple[list[Finding], dict[str, str]]:
    """Leave out what follows from an error on the same view.

    A view with a wrong pose contradicts its azimuth file, its description and its neighbours' depth as a
    matter of course. (Mistakes of the whole dataset have no consequences here: the checks work on corrected
    poses.) Warnings hold nothing back, and a scene is left out only where all of its views are blamed.

    Returns:
        The findings that are left, and the reason for each id of which something was held back.
    """
    kept: list[Finding] = []
    held: dict[str, str] = {}
    for finding in findings:
        causes = _FOLLOWS.get(finding.id, ())
        blamed: dict[int, str] = {}
        for other in findings:
            follows = causes and other.severity == "E" and other.id.startswith(causes)
            if follows and other.unit == "views" and other.path is not None:
                blamed |= dict.fromkeys(other.views, other.id)
        rest, dropped = _unblamed(survey, finding, blamed)
        if not dropped:
            kept.append(finding)
            continue
        because = ", ".join(sorted({blamed[view] for view in finding.views if view in blamed}))
        held[finding.id] = f"on {dropped} {finding.unit} already named by {because}"
        if not rest:
            continue
        arguments = finding.id, finding.severity, rest, finding.message, finding.fix
        if finding.unit == "scenes":
            kept.append(survey.on_scenes(*arguments, mendable=finding.mendable))
        else:
            suffix = (finding.path or ".png").removeprefix(survey.views[finding.views[0]].stem)
            kept.append(survey.on_views(*arguments, suffix, finding.mendable))
    return kept, held


def _unblamed(survey: Survey, finding: Finding, blamed: dict[int, str]) -> tuple[list[int], int]:
    """The views, or scenes, of a finding that no other finding blames, and how many it leaves out."""
    if finding.unit != "scenes":
        rest = [view for view in finding.views if view not in blamed]
        return rest, len(finding.views) - len(rest)
    scenes = dict.fromkeys(int(survey.scene_of[view]) for view in finding.views)
    free = {int(survey.scene_of[view]) for view in finding.views if view not in blamed}
    return [scene for scene in scenes if scene in free], len(scenes) - len(free)
