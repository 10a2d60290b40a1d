"""Checks on the locality box and on near and far."""

from collections.abc import Iterator

import numpy as np

from validate.analysis.boxes import box_shares
from validate.analysis.depth_agreement import depths_are_poor, pixel_aspect, suspects
from validate.analysis.model import Analysis
from validate.analysis.scale import scale_is_off
from validate.checks.check import check
from validate.findings import Finding, on_scenes, on_views


@check("BOX-PIXELS", "W", "most pixels' rays meet the locality box", limits=("box_pixels",))
def box_pixels(analysis: Analysis) -> Iterator[Finding]:
    usable = np.flatnonzero(analysis.diagnosis.usable)
    if not len(usable) or not analysis.diagnosis.known or scale_is_off(analysis):
        return
    shares, _ = box_shares(analysis)
    few = shares < analysis.limits.box_pixels
    if not few.any():
        return
    median, least = float(np.median(shares)), float(shares.min())
    message = (
        f"the rays of {100 * least:.0f} % of a view's pixels meet the locality box "
        f"±{analysis.settings.obj_scale:g} (minimum; median over all views {100 * median:.0f} %), expected "
        f"at least {100 * analysis.limits.box_pixels:.0f} %: foreground slots get too little to explain"
    )
    if few.mean() > 0.5:
        fix = "pass a larger --obj-scale (see the suggestion), or render from nearer"
    else:
        fix = "these cameras are further away or look elsewhere than the others: check their poses"
    yield on_views(
        analysis.scan,
        "BOX-PIXELS",
        "W",
        usable[few],
        message,
        fix,
        suffix="_RT.txt",
        fixable=bool(few.mean() > 0.5),
    )


@check(
    "BOX-OBJECTS", "E", "the objects lie inside the locality box", needs="pictures", limits=("box_objects",)
)
def box_objects(analysis: Analysis) -> Iterator[Finding]:
    rows = analysis.rows
    seen = np.zeros(analysis.scan.n_scenes)
    inside = np.zeros(analysis.scan.n_scenes)
    # A depth map that contradicts its neighbours says nothing about where objects are.
    sound = np.ones(len(rows), dtype=bool)
    sound[suspects(analysis)] = False
    np.add.at(seen, analysis.scan.scene_index, np.where(sound, rows["objects_seen"], 0))
    np.add.at(inside, analysis.scan.scene_index, np.where(sound, rows["objects_inside"], 0))
    # Where depth, scale or convention is wrong, where the objects lie is not known.
    if (
        not seen.any()
        or (depths_are_poor(analysis) and pixel_aspect(analysis) is None)
        or analysis.depth_explanation is not None
        or scale_is_off(analysis)
        or not analysis.diagnosis.known
    ):
        return
    with np.errstate(invalid="ignore", divide="ignore"):
        share = inside / seen
    outside = np.flatnonzero((seen >= 50) & (share < analysis.limits.box_objects))
    if not len(outside):
        return
    ids = np.array(list(analysis.scan.dataset.scenes))
    reach = float(rows["objects_extent"][np.isin(analysis.scan.scene_index, outside)].max())
    yield on_scenes(
        analysis.scan,
        "BOX-OBJECTS",
        "E",
        [int(ids[scene]) for scene in outside],
        f"{100 * share[outside].min():.0f} % of the foreground lies inside the locality box "
        f"±{analysis.settings.obj_scale:g}, expected at least {100 * analysis.limits.box_objects:g} %: "
        f"objects reach out to {reach:.3g}, where foreground slots may have no density early in training",
        "pass a larger --obj-scale (see the suggestion), or place objects nearer to the centre",
        fixable=True,
    )


@check(
    "NEAR-FAR", "E", "near and far enclose what is seen", needs="pictures", limits=("clip_share", "clip_box")
)
def near_far(analysis: Analysis) -> Iterator[Finding]:
    settings, limits = analysis.settings, analysis.limits
    if settings.far <= settings.near:
        yield Finding(
            "NEAR-FAR",
            "E",
            f"far ({settings.far:g}) is not beyond near ({settings.near:g})",
            "correct near and far in dataset.yaml (--fix writes the suggested ones)",
            path="dataset.yaml",
            unit="files",
            fixable=True,
        )
        return
    if not analysis.diagnosis.known or scale_is_off(analysis) or analysis.depth_explanation is not None:
        return
    rows = analysis.rows
    measured = np.flatnonzero(rows["depth_high"] > 0)
    if len(measured):
        yield from _against_depth(analysis, measured)
        return
    usable = np.flatnonzero(analysis.diagnosis.usable)
    _, clipped = box_shares(analysis)
    cut = clipped > limits.clip_box
    if cut.any():
        yield on_views(
            analysis.scan,
            "NEAR-FAR",
            "W",
            usable[cut],
            f"up to {100 * clipped.max():.0f} % of the ray length inside the locality box is outside near "
            f"{settings.near:g} … far {settings.far:g}, expected at most {100 * limits.clip_box:g} %: "
            "objects there are never sampled",
            "pass the suggested near and far",
            suffix="_RT.txt",
            fixable=bool(cut.mean() > 0.5),
        )


def _against_depth(analysis: Analysis, measured: np.ndarray) -> Iterator[Finding]:
    settings, limits = analysis.settings, analysis.limits
    rows = analysis.rows[measured]
    objects = rows["objects_seen"] >= 20
    cut_near = objects & (rows["objects_near"] < settings.near)
    cut_far = objects & (rows["objects_far"] > settings.far)
    if (cut_near | cut_far).any():
        cut = cut_near | cut_far
        nearest, farthest = rows["objects_near"][objects].min(), rows["objects_far"][objects].max()
        yield on_views(
            analysis.scan,
            "NEAR-FAR",
            "W",
            measured[cut],
            f"objects are seen at depths {nearest:.3g} … {farthest:.3g}, outside near {settings.near:g} … "
            f"far {settings.far:g}: what lies outside is never sampled",
            "pass the suggested near and far",
            suffix="_depth.npy",
            fixable=True,
        )
        return
    outside = rows["before_near"] + rows["beyond_far"]
    cut = outside > limits.clip_share
    if cut.any():
        yield on_views(
            analysis.scan,
            "NEAR-FAR",
            "W",
            measured[cut],
            f"up to {100 * outside.max():.0f} % of a view's depth lies outside near {settings.near:g} … far "
            f"{settings.far:g}, expected at most {100 * limits.clip_share:g} %; depth runs from "
            f"{rows['depth_low'].min():.3g} to {rows['depth_high'].max():.3g}",
            "pass the suggested near and far",
            suffix="_depth.npy",
            fixable=True,
        )
