"""Checks on depth maps, and on the intrinsics that only depth can tell."""

from collections.abc import Iterator

import numpy as np

from objnerf.dataset import names
from objnerf.dataset.cameras import REFERENCE_FOCAL_RATIO
from validate.checks.images import opened, usual_size
from validate.checks.registry import check
from validate.findings import Finding
from validate.hypotheses import bad_views_of_scene
from validate.pictures import BROKEN, READ
from validate.settings import CARD, OPTION, VIEWS
from validate.survey import Survey

_DEPTH = names.DEPTH_SUFFIX

#: Scenes whose bad views are looked for one by one.
_MAX_SCENES = 40

#: A view is suspect when the median of its pairs contradicts more than this, or than a multiple of what is
#: usual in the dataset.
_SUSPECT_CONTRADICTS = 0.06

#: From so many scenes on, what is usual in the dataset is known.
_MANY_SCENES = 10

#: Contradiction from which a mistake of the whole dataset is looked for; right data has hardly any.
_WORTH_EXPLAINING = 0.05


@check("DEPTH-READ", "E", "depth maps are float32 H×W×1, finite and positive", needs="pictures")
def depth_read(survey: Survey) -> Iterator[Finding]:
    pictures = opened(survey)
    rows = pictures.rows
    broken = np.flatnonzero(rows["depth"] == BROKEN)
    if len(broken):
        yield survey.on_views(
            "DEPTH-READ",
            "E",
            broken,
            f"the depth map cannot be read: {pictures.problems[int(broken[0]), 'depth']}",
            "write it anew with numpy.save, as float32 of shape H×W×1",
            suffix=_DEPTH,
        )
    read = rows["depth"] == READ
    dims = rows["depth_dims"]
    flat = dims[:, 0] == 2
    one_channel = (dims[:, 0] == 3) & (dims[:, 3] == 1)
    unfit = np.flatnonzero(read & ~flat & ~one_channel)
    if len(unfit):
        yield survey.on_views(
            "DEPTH-READ",
            "E",
            unfit,
            f"the depth map has the shape {_shape(dims[unfit[0]])}, expected H×W×1",
            "store one planar depth a pixel",
            suffix=_DEPTH,
        )
    size = usual_size(survey)
    if size is not None:
        other = (dims[:, 1] != size[1]) | (dims[:, 2] != size[0])
        other &= (dims[:, 1] != rows["height"]) | (dims[:, 2] != rows["width"])
        other = np.flatnonzero(read & (flat | one_channel) & other)
        if len(other):
            yield survey.on_views(
                "DEPTH-READ",
                "E",
                other,
                f"the depth map has the shape {_shape(dims[other[0]])}, its picture {size[1]} rows of "
                f"{size[0]} pixels",
                "render depth at the picture's size; interpolated depth makes surfaces that are not there",
                suffix=_DEPTH,
            )
    loose = np.flatnonzero(read & flat & (dims[:, 1] > 0))
    if len(loose):
        yield survey.on_views(
            "DEPTH-READ",
            "W",
            loose,
            f"the depth map has the shape {_shape(dims[loose[0]])}, expected H×W×1: some loaders need the "
            "last axis",
            "store depth[..., None] (--fix does)",
            suffix=_DEPTH,
            mendable=True,
        )
    typed = np.flatnonzero(read & ~rows["depth_float32"] & one_channel)
    if len(typed):
        yield survey.on_views(
            "DEPTH-READ",
            "W",
            typed,
            "the depth map's numbers are not float32: double the size for nothing, or rounded to whole units",
            "store float32 (--fix does)",
            suffix=_DEPTH,
            mendable=True,
        )
    measured = read & (flat | one_channel) & (dims[:, 1] > 0) & (dims[:, 2] > 0)
    holes = np.flatnonzero(measured & (rows["depth_finite"] < 1.0))
    if len(holes):
        share = 1.0 - float(rows["depth_finite"][holes].min())
        nan = bool(rows["depth_nan"][holes].any())
        yield survey.on_views(
            "DEPTH-READ",
            "E" if nan else "W",
            holes,
            f"up to {100 * share:.2g} % of the depth map is {'nan' if nan else 'inf'}, expected finite "
            "numbers" + ("" if nan else ": rays that meet nothing; losses on depth become inf there"),
            "give empty pixels a large finite depth, or put a floor under the scene",
            suffix=_DEPTH,
        )
    negative = np.flatnonzero(measured & (rows["depth_positive"] < 1.0))
    if len(negative):
        share = 1.0 - float(rows["depth_positive"][negative].min())
        yield survey.on_views(
            "DEPTH-READ",
            "E",
            negative,
            f"up to {100 * share:.2g} % of the depth map is zero or negative, expected distances in front of "
            "the "
            "camera: depth along -z (OpenGL), or 0 where nothing was hit",
            "store the positive distance along the viewing direction; give empty pixels a large depth",
            suffix=_DEPTH,
        )


def _shape(dims: np.ndarray) -> str:
    shown = [str(int(size)) for size in dims[1 : 1 + min(int(dims[0]), 3)]]
    return "×".join(shown) + ("×…" if dims[0] > 3 else "") if shown else "of a single number"


def crossview_totals(survey: Survey) -> tuple[int, float, float] | None:
    """Landed points, agreeing and contradicting shares over the dataset; None without depth to compare."""
    rows = opened(survey).rows
    comparable = rows["depth_high"] > 0
    if comparable.sum() < 2 or np.bincount(survey.scene_index[comparable]).max() < 2:
        return None
    landed = int(rows["landed"].sum())
    if landed < 50:
        return landed, 0.0, 0.0
    return landed, float(rows["agree"].sum()) / landed, float(rows["contradict"].sum()) / landed


def depths_are_poor(survey: Survey) -> bool:
    """Whether depths of different views disagree so much, over the whole dataset, that a mistake is looked "
    "for."""
    totals = crossview_totals(survey) if survey.pictures is not None else None
    if totals is None:
        return False
    if totals[0] < 50 or pixel_aspect(survey) is not None:
        return True
    if len(suspects(survey)) > 0.5 * _compared_views(survey):
        return True
    odd = np.isin(survey.scene_index, survey.scene_index[suspects(survey)])
    rows = opened(survey).rows
    rest = int(rows["landed"][~odd].sum())
    if rest < 50:
        # No scene is left that is beyond suspicion: a mistake of the whole dataset has to be thought of.
        return totals[2] > _WORTH_EXPLAINING
    agree, contradict = rows["agree"][~odd].sum() / rest, rows["contradict"][~odd].sum() / rest
    return bool(contradict > _WORTH_EXPLAINING) or _is_poor(survey, float(agree), float(contradict))


def suspect_level(survey: Survey) -> float:
    """Share of contradiction in a pair of views from which one of them is suspect.

    Crowded scenes contradict a little at every outline, and the more of them there are the further the
    sound ones spread: eight times what the best quarter of the views has, and never less than 6 %.
    """
    rows = opened(survey).rows
    measured = (rows["landed"] > 0) & np.isfinite(rows["pair_contradict"])
    # In a handful of scenes a few bad views are a good part of all.
    if len(np.unique(survey.scene_index[measured])) < _MANY_SCENES:
        return _SUSPECT_CONTRADICTS
    return max(_SUSPECT_CONTRADICTS, 8.0 * float(np.quantile(rows["pair_contradict"][measured], 0.25)))


def suspects(survey: Survey) -> np.ndarray:
    """Views that most of their partners contradict."""
    rows = opened(survey).rows
    with np.errstate(invalid="ignore"):
        return np.flatnonzero(
            (rows["depth_high"] > 0)
            & (rows["landed"] > 0)
            & (rows["pair_contradict"] > suspect_level(survey))
        )


def _compared_views(survey: Survey) -> int:
    rows = opened(survey).rows
    return int((rows["depth_high"] > 0).sum())


def _is_poor(survey: Survey, agree: float, contradict: float) -> bool:
    """Too much contradiction, or too little agreement.

    Points that are hidden in the other view neither agree nor contradict. A crowded scene has many of them
    and next to no contradiction; then only very little agreement is poor.
    """
    limits = survey.limits
    if contradict > limits.depth_contradict:
        return True
    crowded = contradict < 0.3 * limits.depth_contradict
    return bool(agree < limits.depth_agree * (0.6 if crowded else 1.0))


def pixel_aspect(survey: Survey) -> float | None:
    """How much higher than wide pixels are by the focal ratio; None when they are square."""
    size = usual_size(survey)
    if size is None:
        return None
    ratio = survey.settings.focal_ratio
    aspect = ratio[0] * size[0] / (ratio[1] * size[1])
    return None if abs(aspect - 1.0) <= survey.limits.pixel_aspect else aspect


@check(
    "DEPTH-KIND",
    "E",
    "depth is planar z in world units, not the ray's length",
    needs="pictures",
    limits=("depth_tolerance",),
)
def depth_kind(survey: Survey) -> Iterator[Finding]:
    explanation = survey.depth_explanation
    if explanation is None or explanation.kind == "focal":
        return
    views = np.flatnonzero(opened(survey).rows["depth_high"] > 0)
    if explanation.kind == "ray":
        message = (
            "the length of the ray is stored as depth, expected planar z-depth: divided by the ray's "
            "stretch, "
            f"{100 * explanation.agree:.0f} % of the points agree between views"
        )
        fix = "divide each value by the length of its ray with z = 1 (--fix does)"
    else:
        message = (
            f"{explanation.words}: once that is undone, {100 * explanation.agree:.0f} % of the points agree "
            "between "
            "views; expected planar z-depth in the units of the poses"
        )
        fix = (
            f"multiply depth by {explanation.factor:g}, or the positions by {1 / explanation.factor:.4g}"
            if explanation.factor
            else "write the depth maps anew"
        )
    yield survey.on_views(
        "DEPTH-KIND",
        "E",
        views,
        message,
        fix,
        suffix=_DEPTH,
        mendable=explanation.kind == "ray" or explanation.is_unit,
    )


@check(
    "DEPTH-VIEWS",
    "E",
    "the depths of different views agree",
    needs="pictures",
    limits=("depth_tolerance", "depth_agree", "depth_contradict"),
)
def depth_views(survey: Survey) -> Iterator[Finding]:
    totals = crossview_totals(survey)
    if totals is None or survey.depth_explanation is not None:
        return
    landed, agree, contradict = totals
    rows = opened(survey).rows
    limits = survey.limits
    if landed < 50:
        yield survey.on_views(
            "DEPTH-VIEWS",
            "W",
            np.flatnonzero(rows["depth_high"] > 0),
            "hardly any point of one view lands in another: views that don't overlap, or depth in another "
            "unit",
            "check the unit of depth, and whether the views of a scene look at the same place",
            suffix=_DEPTH,
        )
        return
    odd = suspects(survey)
    if len(odd) <= 0.5 * _compared_views(survey):
        yield from _single_views(survey, odd)
        rest = ~np.isin(survey.scene_index, survey.scene_index[odd])
        landed = int(rows["landed"][rest].sum())
        if landed < 50:
            return
        agree = float(rows["agree"][rest].sum()) / landed
        contradict = float(rows["contradict"][rest].sum()) / landed
    if not _is_poor(survey, agree, contradict):
        return
    severe = contradict > limits.depth_contradict
    yield survey.on_views(
        "DEPTH-VIEWS",
        "E" if severe else "W",
        np.flatnonzero(rows["depth_high"] > 0),
        f"depth of one view carried into another: {100 * agree:.0f} % of the points agree within "
        f"{100 * limits.depth_tolerance:g} %, {100 * contradict:.0f} % lie in front of what the other view "
        "sees; "
        f"expected over {100 * limits.depth_agree:g} % and under {100 * limits.depth_contradict:g} %. Poses, "
        "intrinsics and depth don't belong together, and no single known mistake explains it",
        "check whether depth, poses and pictures come from the same run, and objects did not move between "
        "views",
        suffix=_DEPTH,
    )


def _single_views(survey: Survey, odd: np.ndarray) -> Iterator[Finding]:
    """Name the views that don't go with the rest of their scene."""
    named: list[int] = []
    unclear: list[int] = []
    for scene in np.unique(survey.scene_index[odd])[:_MAX_SCENES]:
        views = np.flatnonzero(survey.scene_index == scene)
        bad = bad_views_of_scene(survey, views.tolist(), suspect_level(survey))
        if bad:
            named += bad
        else:
            unclear.append(int(survey.scene_of[views[0]]))
    if named:
        yield survey.on_views(
            "DEPTH-VIEWS",
            "E",
            sorted(named),
            "the view's depth contradicts the other views of its scene, which agree with each other: its "
            "pose or its "
            "depth map belongs to another view, or an object was moved",
            "export the pose and the depth of this view again",
            suffix=_DEPTH,
        )
    if unclear:
        yield survey.on_scenes(
            "DEPTH-VIEWS",
            "E",
            unclear,
            "the depths of the scene's views contradict each other: poses were exchanged, or something moved "
            "between the views",
            "export the poses and the depth of this scene again",
        )


@check("INTRINSICS", "E", "the focal ratio suits the pictures", needs="pictures", limits=("pixel_aspect",))
def intrinsics(survey: Survey) -> Iterator[Finding]:
    size = usual_size(survey)
    if size is None:
        return
    ratio = survey.settings.focal_ratio
    source = survey.settings.source.get("focal_ratio", "reference")
    origin = {
        OPTION: "given",
        CARD: "from dataset.yaml",
        VIEWS: "the median of the views' own intrinsics" if survey.lenses.differ else "the views' own",
    }.get(source, "the reference's")
    explanation = survey.depth_explanation
    stored = f"({ratio[0]:.4g}, {ratio[1]:.4g}) ({origin})"
    if explanation is not None and explanation.kind == "focal" and explanation.focal_ratio is not None:
        better = explanation.focal_ratio
        yield survey.on_views(
            "INTRINSICS",
            "E",
            np.flatnonzero(opened(survey).rows["image"] == READ),
            f"the focal ratio {stored} does not fit the depth: with ({better[0]:.4g}, {better[1]:.4g}), "
            "where "
            f"{explanation.words}, {100 * explanation.agree:.0f} % of the points agree between views",
            f"pass --focal-ratio {better[0]:.6g} {better[1]:.6g}, or write it into dataset.yaml (--fix does)",
            mendable=True,
        )
        return
    totals = crossview_totals(survey)
    if totals is not None and totals[0] >= 50 and not _is_poor(survey, totals[1], totals[2]):
        # Depth carried between views agrees: the intrinsics are right, whatever the pixels' shape.
        return
    aspect = pixel_aspect(survey)
    if aspect is None:
        return
    is_reference = np.allclose(ratio, REFERENCE_FOCAL_RATIO, rtol=1e-3)
    square_picture = size[0] == size[1]
    if is_reference and square_picture and source == OPTION:
        return
    right = f"({ratio[0]:.4g}, {ratio[0] * size[0] / size[1]:.4g})"
    if is_reference and square_picture:
        message = (
            f"pictures are square ({size[0]}×{size[1]}) and the focal ratio is {stored}, that of 4:3 "
            "pictures: right "
            "only if they were squashed from 4:3 to square; rendered square, fy is 4/3 too long and the "
            "ratio is "
            f"{right}"
        )
    elif is_reference:
        message = (
            f"pictures have {size[0]}×{size[1]} pixels and the focal ratio is {stored}, that of 4:3 "
            "pictures: pixels "
            f"would be {aspect:.3f} times as high as wide; with square pixels the ratio is {right}"
        )
    else:
        message = (
            f"the focal ratio {stored} on pictures of {size[0]}×{size[1]} means pixels {aspect:.3f} times as "
            "high as "
            f"wide, expected square ones; with the same fx the ratio is {right}"
        )
    yield survey.on_views(
        "INTRINSICS",
        "W",
        np.flatnonzero(opened(survey).rows["image"] == READ),
        message,
        f"pass --focal-ratio {ratio[0]:.6g} {ratio[0] * size[0] / size[1]:.6g} if the pictures were rendered "
        "like "
        "this, or write focal_ratio into dataset.yaml",
    )
