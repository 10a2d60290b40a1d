"""Checks on depth maps: each by itself, and against the other views."""

from collections.abc import Iterator

import numpy as np

from objnerf.dataset import names
from validate.analysis.depth_agreement import (
    MIN_POINTS,
    compared_views,
    crossview_totals,
    is_poor,
    suspect_level,
    suspects,
)
from validate.analysis.depth_mistakes import bad_views_of_scene
from validate.analysis.model import Analysis
from validate.checks.check import check
from validate.findings import Finding, Severity, on_scenes, on_views
from validate.measure.pictures import BROKEN, READ

_DEPTH = names.DEPTH_SUFFIX

#: Scenes whose bad views are looked for one by one.
_MAX_SCENES = 40


@check("DEPTH-READ", "E", "depth maps are float32 H×W×1, finite and positive", needs="pictures")
def depth_read(analysis: Analysis) -> Iterator[Finding]:
    rows = analysis.rows
    broken = np.flatnonzero(rows["depth"] == BROKEN)
    if len(broken):
        yield _on_depth(
            analysis,
            "E",
            broken,
            f"the depth map cannot be read: {analysis.measured.problems[int(broken[0]), 'depth']}",
            "write it anew with numpy.save, as float32 of shape H×W×1",
        )
    yield from _shapes(analysis)
    yield from _values(analysis)


def _on_depth(
    analysis: Analysis, severity: Severity, views: np.ndarray, message: str, fix: str, fixable: bool = False
) -> Finding:
    return on_views(analysis.scan, "DEPTH-READ", severity, views, message, fix, _DEPTH, fixable)


def _has_one_channel(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which depth maps are H×W, and which are H×W×1."""
    dims = rows["depth_dims"]
    return dims[:, 0] == 2, (dims[:, 0] == 3) & (dims[:, 3] == 1)


def _shapes(analysis: Analysis) -> Iterator[Finding]:
    """Shapes and number types of depth maps."""
    rows = analysis.rows
    read = rows["depth"] == READ
    dims = rows["depth_dims"]
    flat, one_channel = _has_one_channel(rows)
    unfit = np.flatnonzero(read & ~flat & ~one_channel)
    if len(unfit):
        message = f"the depth map has the shape {_shape(dims[unfit[0]])}, expected H×W×1"
        yield _on_depth(analysis, "E", unfit, message, "store one planar depth a pixel")
    size = analysis.usual_size
    if size is not None:
        other = (dims[:, 1] != size[1]) | (dims[:, 2] != size[0])
        other &= (dims[:, 1] != rows["height"]) | (dims[:, 2] != rows["width"])
        other = np.flatnonzero(read & (flat | one_channel) & other)
        if len(other):
            yield _on_depth(
                analysis,
                "E",
                other,
                f"the depth map has the shape {_shape(dims[other[0]])}, its image {size[1]} rows of "
                f"{size[0]} pixels",
                "render depth at the image's size; interpolated depth contains surfaces that do not exist",
            )
    loose = np.flatnonzero(read & flat & (dims[:, 1] > 0))
    if len(loose):
        yield _on_depth(
            analysis,
            "W",
            loose,
            f"the depth map has the shape {_shape(dims[loose[0]])}, expected H×W×1: some loaders need the "
            "last axis",
            "store depth[..., None] (--fix does)",
            fixable=True,
        )
    typed = np.flatnonzero(read & ~rows["depth_float32"] & one_channel)
    if len(typed):
        yield _on_depth(
            analysis,
            "W",
            typed,
            "the depth map's numbers are not float32: double the size for nothing, or rounded to whole units",
            "store float32 (--fix does)",
            fixable=True,
        )


def _values(analysis: Analysis) -> Iterator[Finding]:
    """Values of depth maps that are no distances."""
    rows = analysis.rows
    dims = rows["depth_dims"]
    flat, one_channel = _has_one_channel(rows)
    measured = (rows["depth"] == READ) & (flat | one_channel) & (dims[:, 1] > 0) & (dims[:, 2] > 0)
    holes = np.flatnonzero(measured & (rows["depth_finite"] < 1.0))
    if len(holes):
        share = 1.0 - float(rows["depth_finite"][holes].min())
        nan = bool(rows["depth_nan"][holes].any())
        yield _on_depth(
            analysis,
            "E" if nan else "W",
            holes,
            f"up to {100 * share:.2g} % of the depth map is {'nan' if nan else 'inf'}, expected finite "
            "numbers" + ("" if nan else ": rays that meet nothing; losses on depth become inf there"),
            "give empty pixels a large finite depth, or put a floor under the scene",
        )
    negative = np.flatnonzero(measured & (rows["depth_positive"] < 1.0))
    if len(negative):
        share = 1.0 - float(rows["depth_positive"][negative].min())
        yield _on_depth(
            analysis,
            "E",
            negative,
            f"up to {100 * share:.2g} % of the depth map is zero or negative, expected distances in front of "
            "the camera: depth along -z (OpenGL), or 0 where nothing was hit",
            "store the positive distance along the viewing direction; give empty pixels a large depth",
        )


def _shape(dims: np.ndarray) -> str:
    shown = [str(int(size)) for size in dims[1 : 1 + min(int(dims[0]), 3)]]
    return "×".join(shown) + ("×…" if dims[0] > 3 else "") if shown else "of a single number"


@check(
    "DEPTH-KIND",
    "E",
    "depth is planar z in world units, not the ray's length",
    needs="pictures",
    limits=("depth_tolerance",),
)
def depth_kind(analysis: Analysis) -> Iterator[Finding]:
    explanation = analysis.depth_explanation
    if explanation is None or explanation.kind == "focal":
        return
    views = np.flatnonzero(analysis.rows["depth_high"] > 0)
    if explanation.kind == "ray":
        message = (
            "the length of the ray is stored as depth, expected planar z-depth: divided by the ray's "
            f"stretch, {100 * explanation.agree:.0f} % of the points agree between views"
        )
        fix = "divide each value by the length of its ray with z = 1 (--fix does)"
    else:
        message = (
            f"{explanation.words}: once that is undone, {100 * explanation.agree:.0f} % of the points agree "
            "between views; expected planar z-depth in the units of the poses"
        )
        fix = (
            f"multiply depth by {explanation.factor:g}, or the positions by {1 / explanation.factor:.4g}"
            if explanation.factor
            else "write the depth maps anew"
        )
    yield on_views(
        analysis.scan,
        "DEPTH-KIND",
        "E",
        views,
        message,
        fix,
        suffix=_DEPTH,
        fixable=explanation.kind == "ray" or explanation.is_unit,
    )


@check(
    "DEPTH-VIEWS",
    "E",
    "the depths of different views agree",
    needs="pictures",
    limits=("depth_tolerance", "depth_agree", "depth_contradict"),
)
def depth_views(analysis: Analysis) -> Iterator[Finding]:
    totals = crossview_totals(analysis)
    if totals is None or analysis.depth_explanation is not None:
        return
    landed, agree, contradict = totals
    rows = analysis.rows
    limits = analysis.limits
    if landed < MIN_POINTS:
        yield on_views(
            analysis.scan,
            "DEPTH-VIEWS",
            "W",
            np.flatnonzero(rows["depth_high"] > 0),
            "hardly any point of one view lands in another: views that don't overlap, or depth in another "
            "unit",
            "check the unit of depth, and whether the views of a scene look at the same place",
            suffix=_DEPTH,
        )
        return
    odd = suspects(analysis)
    if len(odd) <= 0.5 * compared_views(analysis):
        yield from _single_views(analysis, odd)
        rest = ~np.isin(analysis.scan.scene_index, analysis.scan.scene_index[odd])
        landed = int(rows["landed"][rest].sum())
        if landed < MIN_POINTS:
            return
        agree = float(rows["agree"][rest].sum()) / landed
        contradict = float(rows["contradict"][rest].sum()) / landed
    if not is_poor(analysis, agree, contradict):
        return
    severe = contradict > limits.depth_contradict
    yield on_views(
        analysis.scan,
        "DEPTH-VIEWS",
        "E" if severe else "W",
        np.flatnonzero(rows["depth_high"] > 0),
        f"depth of one view carried into another: {100 * agree:.0f} % of the points agree within "
        f"{100 * limits.depth_tolerance:g} %, {100 * contradict:.0f} % lie in front of what the other view "
        f"sees; expected over {100 * limits.depth_agree:g} % and under {100 * limits.depth_contradict:g} %. "
        "Poses, intrinsics and depth don't belong together, and no single known mistake explains it",
        "check whether depth, poses and images come from the same run, and objects did not move between "
        "views",
        suffix=_DEPTH,
    )


def _single_views(analysis: Analysis, odd: np.ndarray) -> Iterator[Finding]:
    """Name the views that don't go with the rest of their scene."""
    named: list[int] = []
    unclear: list[int] = []
    for scene in np.unique(analysis.scan.scene_index[odd])[:_MAX_SCENES]:
        views = np.flatnonzero(analysis.scan.scene_index == scene)
        bad = bad_views_of_scene(analysis, views.tolist(), suspect_level(analysis))
        if bad:
            named += bad
        else:
            unclear.append(int(analysis.scan.scene_of[views[0]]))
    if named:
        yield on_views(
            analysis.scan,
            "DEPTH-VIEWS",
            "E",
            sorted(named),
            "the view's depth contradicts the other views of its scene, which agree with each other: its "
            "pose or its depth map belongs to another view, or an object was moved",
            "export the pose and the depth of this view again",
            suffix=_DEPTH,
        )
    if unclear:
        yield on_scenes(
            analysis.scan,
            "DEPTH-VIEWS",
            "E",
            unclear,
            "the depths of the scene's views contradict each other: poses were exchanged, or something moved "
            "between the views",
            "export the poses and the depth of this scene again",
        )
