"""Findings: what checks say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from validate.scan import DatasetScan

Severity = Literal["E", "W"]


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
        fixable: ``--fix`` can fix it.
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
    fixable: bool = False


def on_views(
    scan: DatasetScan,
    id: str,
    severity: Severity,
    views: Sequence[int] | np.ndarray,
    message: str,
    fix: str,
    suffix: str = ".png",
    fixable: bool = False,
) -> Finding:
    """A finding on some views, folded; ``suffix`` names the file of theirs that it is about."""
    indices = [int(view) for view in views]
    scenes = {int(scan.scene_of[view]) for view in indices}
    paths = [f"{scan.views[view].stem}{suffix}" for view in indices[:3]]
    return Finding(
        id,
        severity,
        message,
        fix,
        path=paths[0],
        scene=scenes.pop() if len(scenes) == 1 else None,
        count=len(indices),
        total=len(scan.views),
        examples=tuple(paths),
        views=tuple(indices),
        fixable=fixable,
    )


def on_scenes(
    scan: DatasetScan,
    id: str,
    severity: Severity,
    scenes: Sequence[int],
    message: str,
    fix: str,
    fixable: bool = False,
) -> Finding:
    """A finding on some scenes (ids), folded."""
    ids = [int(scene) for scene in scenes]
    first = [
        scan.dataset.scenes[scene].views[0].stem + ".png" for scene in ids[:3] if scene in scan.dataset.scenes
    ]
    chosen = np.flatnonzero(np.isin(scan.scene_of, ids[:50]))
    return Finding(
        id,
        severity,
        message,
        fix,
        path=first[0] if first else None,
        scene=ids[0] if len(ids) == 1 else None,
        count=len(ids),
        total=scan.n_scenes,
        unit="scenes",
        examples=tuple(first),
        views=tuple(int(view) for view in chosen),
        fixable=fixable,
    )


def on_files(
    id: str,
    severity: Severity,
    files: list[str],
    message: str,
    fix: str,
    total: int | None = None,
    fixable: bool = False,
) -> Finding:
    """A finding on files that are no views, folded."""
    return Finding(
        id,
        severity,
        message,
        fix,
        path=files[0],
        count=len(files),
        total=total,
        unit="files",
        examples=tuple(files[:3]),
        fixable=fixable,
    )
