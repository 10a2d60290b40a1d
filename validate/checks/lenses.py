"""Checks on the views' own intrinsics."""

from collections.abc import Iterator

import numpy as np

from objnerf.dataset import names
from objnerf.dataset.cameras import Pinhole, common_pinhole
from validate.checks.registry import check
from validate.findings import Finding
from validate.settings import VIEWS
from validate.survey import Survey


@check("INTRINSICS-FILE", "E", "a view's own intrinsics can be read and agree with dataset.yaml")
def intrinsics_file(survey: Survey) -> Iterator[Finding]:
    lenses = survey.lenses
    if lenses.problems:
        views = sorted(lenses.problems)
        yield survey.on_views(
            "INTRINSICS-FILE",
            "E",
            views,
            f"the view's own intrinsics cannot be used: {lenses.problems[views[0]]}",
            "write it as docs/format.md says, or remove it where the dataset's lens holds",
            suffix=names.INTRINSICS_SUFFIX,
        )
    said = survey.card.focal_ratio if survey.card is not None else None
    if said is None or survey.settings.source.get("focal_ratio") != VIEWS:
        return
    own = [lenses.pinhole(int(view)) for view in np.flatnonzero(lenses.own)]
    common = common_pinhole(own)
    # Off-centre lenses are the views' own alone: dataset.yaml has no place for a principal point.
    if common is None or not lenses.own.all() or common.same_as(Pinhole(said, common.principal_offset)):
        return
    ratio = common.focal_ratio
    yield Finding(
        "INTRINSICS-FILE",
        "W",
        f"dataset.yaml says the focal ratio ({said[0]:.4g}, {said[1]:.4g}), and the views' own "
        f"…{names.INTRINSICS_SUFFIX} all say ({ratio[0]:.4g}, {ratio[1]:.4g}), which holds",
        "correct focal_ratio in dataset.yaml (--fix does), or remove the views' files",
        path="dataset.yaml",
        unit="files",
        mendable=True,
    )
