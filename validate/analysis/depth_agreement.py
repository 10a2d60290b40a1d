"""How well the depths of different views agree, and which views stand out."""

import numpy as np

from validate.analysis.model import Analysis

#: Fewer points that land in another view than this say nothing.
MIN_POINTS = 50

#: A view is suspect when the median of its pairs contradicts more than this, or than a multiple of what is
#: usual in the dataset.
_SUSPECT_CONTRADICTS = 0.06

#: From so many scenes on, what is usual in the dataset is known.
_MANY_SCENES = 10

#: Contradiction from which a mistake of the whole dataset is looked for; right data has hardly any.
_WORTH_EXPLAINING = 0.05


def crossview_totals(analysis: Analysis) -> tuple[int, float, float] | None:
    """Landed points, agreeing and contradicting shares over the dataset; None without depth to compare."""
    rows = analysis.rows
    comparable = rows["depth_high"] > 0
    if comparable.sum() < 2 or np.bincount(analysis.scan.scene_index[comparable]).max() < 2:
        return None
    landed = int(rows["landed"].sum())
    if landed < MIN_POINTS:
        return landed, 0.0, 0.0
    return landed, float(rows["agree"].sum()) / landed, float(rows["contradict"].sum()) / landed


def depths_are_poor(analysis: Analysis) -> bool:
    """Whether depths of different views disagree so much, over the dataset, that a mistake is looked for."""
    totals = crossview_totals(analysis) if analysis.pictures is not None else None
    if totals is None:
        return False
    if totals[0] < MIN_POINTS or pixel_aspect(analysis) is not None:
        return True
    if len(suspects(analysis)) > 0.5 * compared_views(analysis):
        return True
    odd = np.isin(analysis.scan.scene_index, analysis.scan.scene_index[suspects(analysis)])
    rows = analysis.rows
    rest = int(rows["landed"][~odd].sum())
    if rest < MIN_POINTS:
        # No scene is left that is beyond suspicion: a mistake of the whole dataset has to be thought of.
        return totals[2] > _WORTH_EXPLAINING
    agree, contradict = rows["agree"][~odd].sum() / rest, rows["contradict"][~odd].sum() / rest
    return bool(contradict > _WORTH_EXPLAINING) or is_poor(analysis, float(agree), float(contradict))


def suspect_level(analysis: Analysis) -> float:
    """Share of contradiction in a pair of views from which one of them is suspect.

    Crowded scenes contradict a little at every outline, and the more of them there are the further the
    sound ones spread: eight times what the best quarter of the views has, and never less than 6 %.
    """
    rows = analysis.rows
    measured = (rows["landed"] > 0) & np.isfinite(rows["pair_contradict"])
    # In a handful of scenes a few bad views are a good part of all.
    if len(np.unique(analysis.scan.scene_index[measured])) < _MANY_SCENES:
        return _SUSPECT_CONTRADICTS
    return max(_SUSPECT_CONTRADICTS, 8.0 * float(np.quantile(rows["pair_contradict"][measured], 0.25)))


def suspects(analysis: Analysis) -> np.ndarray:
    """Views that most of their partners contradict."""
    rows = analysis.rows
    with np.errstate(invalid="ignore"):
        return np.flatnonzero(
            (rows["depth_high"] > 0)
            & (rows["landed"] > 0)
            & (rows["pair_contradict"] > suspect_level(analysis))
        )


def compared_views(analysis: Analysis) -> int:
    rows = analysis.rows
    return int((rows["depth_high"] > 0).sum())


def is_poor(analysis: Analysis, agree: float, contradict: float) -> bool:
    """Too much contradiction, or too little agreement.

    Points that are hidden in the other view neither agree nor contradict. A crowded scene has many of them
    and next to no contradiction; then only very little agreement is poor.
    """
    limits = analysis.limits
    if contradict > limits.depth_contradict:
        return True
    crowded = contradict < 0.3 * limits.depth_contradict
    return bool(agree < limits.depth_agree * (0.6 if crowded else 1.0))


def pixel_aspect(analysis: Analysis) -> float | None:
    """How much higher than wide pixels are by the focal ratio; None when they are square."""
    size = analysis.usual_size
    if size is None:
        return None
    ratio = analysis.settings.focal_ratio
    aspect = ratio[0] * size[0] / (ratio[1] * size[1])
    return None if abs(aspect - 1.0) <= analysis.limits.pixel_aspect else aspect
