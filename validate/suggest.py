"""Proposed near, far, nss_scale, obj_scale and focal ratio, each with its reason."""

import numpy as np

from objnerf.dataset.cameras import REFERENCE_FOCAL_RATIO, box_corners
from objnerf.dataset.card import UORF_CAMERA_DISTANCE, UORF_SCALE
from validate.analysis.boxes import box_shares
from validate.analysis.model import Analysis
from validate.analysis.scale import camera_distances, scale_is_off
from validate.result import Suggestion
from validate.settings import OPTION

#: What is left around measured extents.
_MARGIN = 1.05


def suggest(analysis: Analysis) -> dict[str, Suggestion]:
    """Values to train with. Empty where no pose can be used."""
    if not analysis.diagnosis.usable.any() or not analysis.diagnosis.known:
        return {}
    distance = float(np.median(camera_distances(analysis)))
    obj_scale = _obj_scale(analysis, distance)
    near, far = _near_far(analysis, _number(obj_scale), distance)
    nss_scale = _nss_scale(analysis, distance)
    suggested = {"near": near, "far": far, "nss_scale": nss_scale, "obj_scale": obj_scale}
    focal_ratio = _focal_ratio(analysis)
    if focal_ratio is not None:
        suggested["focal_ratio"] = focal_ratio
    return suggested


def _number(suggestion: Suggestion) -> float:
    assert isinstance(suggestion.value, float)
    return suggestion.value


def _usual(published: float, distance: float) -> str:
    return f"{published:g} at uORF's camera distance {UORF_CAMERA_DISTANCE:g}, here {distance:.4g}"


def _round(value: float, digits: int = 3) -> float:
    """To so many significant digits."""
    return float(f"{value:.{digits}g}")


def _objects(analysis: Analysis) -> np.ndarray | None:
    """Rows of the views whose objects were measured in three dimensions; None when there is none."""
    if analysis.pictures is None or analysis.depth_explanation is not None:
        return None
    rows = analysis.pictures.rows
    rows = rows[rows["objects_seen"] >= 20]
    return rows if len(rows) else None


def _nss_scale(analysis: Analysis, distance: float) -> Suggestion:
    current = analysis.settings.nss_scale
    ratio = distance / current
    if analysis.limits.scale_low <= ratio <= analysis.limits.scale_high:
        return Suggestion(current, f"suits cameras at {distance:.4g} units (median)")
    value = _round(UORF_SCALE.nss_scale * distance / UORF_CAMERA_DISTANCE)
    return Suggestion(value, _usual(UORF_SCALE.nss_scale, distance))


def _obj_scale(analysis: Analysis, distance: float) -> Suggestion:
    """Large enough for the objects and for most pixels."""
    current = analysis.settings.obj_scale
    start = current
    reason = ""
    if scale_is_off(analysis):
        start = _round(UORF_SCALE.obj_scale * distance / UORF_CAMERA_DISTANCE)
        reason = _usual(UORF_SCALE.obj_scale, distance)
    objects = _objects(analysis)
    reach = 0.0
    if objects is not None:
        reach = float(np.quantile(objects["objects_extent"], 0.99))
        reason = f"98 % of every view's foreground lies within ±{reach:.3g}"
    half = max(start, reach * _MARGIN)
    # The least half side, in steps of 5 %, at which (nearly) all views keep enough pixels.
    for _ in range(60):
        shares, _ = box_shares(analysis, half)
        least = float(np.quantile(shares, 0.02))
        if least >= analysis.limits.box_pixels or half > 0.9 * distance:
            break
        half *= 1.05
    half = start if half == start else _round(half)
    shares, _ = box_shares(analysis, half)
    kept = f"the rays of at least {100 * shares.min():.0f} % of the pixels meet the box"
    return Suggestion(half, f"{reason}; {kept}" if reason else kept)


def _near_far(analysis: Analysis, half: float, distance: float) -> tuple[Suggestion, Suggestion]:
    settings = analysis.settings
    poses = analysis.world_poses[analysis.diagnosis.usable]
    corners = np.einsum("kj,nj->nk", box_corners(half), poses[:, :3, 2])
    corners -= np.einsum("nj,nj->n", poses[:, :3, 3], poses[:, :3, 2])[:, None]
    nearest, farthest = (
        float(np.quantile(corners.min(axis=1), 0.02)),
        float(np.quantile(corners.max(axis=1), 0.98)),
    )
    rows = analysis.pictures.rows if analysis.pictures is not None else None
    if rows is not None and (rows["depth_high"] > 0).any() and analysis.depth_explanation is None:
        seen = rows[rows["depth_high"] > 0]
        low, high = float(seen["depth_low"].min()), float(np.quantile(seen["depth_high"], 0.98))
        near = Suggestion(_round(low / _MARGIN), f"depth begins at {low:.3g}")
        far = Suggestion(_round(high * _MARGIN), f"depth ends at {high:.3g}")
        if settings.near <= low and settings.near >= 0.6 * low:
            near = Suggestion(settings.near, f"depth begins at {low:.3g}")
        if high <= settings.far <= 1.5 * high:
            far = Suggestion(settings.far, f"depth ends at {high:.3g}")
        return near, far
    floor = 0.05 * distance
    near = Suggestion(
        _round(max(nearest, floor)), f"the locality box's nearest corner is at depth {nearest:.3g}"
    )
    far = Suggestion(
        _round(farthest * 1.02), f"the locality box's farthest corner is at depth {farthest:.3g}"
    )
    _, clipped = box_shares(analysis)
    if not scale_is_off(analysis) and clipped.max() <= analysis.limits.clip_box:
        share = f"at most {100 * clipped.max():.1g} % of the ray length inside the box is cut off"
        near, far = Suggestion(settings.near, share), Suggestion(settings.far, share)
    return near, far


def _focal_ratio(analysis: Analysis) -> Suggestion | None:
    settings = analysis.settings
    size = analysis.usual_size if analysis.pictures is not None else None
    if size is None:
        return None
    explanation = analysis.depth_explanation
    if explanation is not None and explanation.focal_ratio is not None:
        return Suggestion(explanation.focal_ratio, f"depth agrees between views when {explanation.words}")
    ratio = settings.focal_ratio
    if analysis.lenses.own.any():
        words = "the median of the views' own" if analysis.lenses.differ else "in the views' own files"
        return Suggestion(ratio, f"{words} (_intrinsics.txt)")
    aspect = ratio[0] * size[0] / (ratio[1] * size[1])
    shape = f"images of {size[0]}×{size[1]}"
    if abs(aspect - 1.0) <= analysis.limits.pixel_aspect or settings.source.get("focal_ratio") == OPTION:
        return Suggestion(ratio, f"square pixels in {shape}" if abs(aspect - 1.0) <= 0.02 else "as given")
    if ratio == REFERENCE_FOCAL_RATIO:
        words = f"the 35 mm lens, square pixels in {shape}; keep uORF's if they were resized from 4:3"
        return Suggestion((ratio[0], ratio[0] * size[0] / size[1]), words)
    return Suggestion((ratio[0], ratio[0] * size[0] / size[1]), f"square pixels in {shape}")


def notes(analysis: Analysis) -> list[str]:
    """Remarks that are no findings."""
    remarks: list[str] = []
    if analysis.all_are_opaque_rgba:
        remarks.append(
            "all images have an alpha channel that is opaque everywhere; it is left out where they are read"
        )
    usable = analysis.diagnosis.usable
    if not usable.any() or not analysis.diagnosis.known or scale_is_off(analysis):
        return remarks
    settings = analysis.settings
    poses = analysis.world_poses[usable]
    corners = np.einsum("kj,nj->nk", box_corners(settings.obj_scale), poses[:, :3, 2])
    corners -= np.einsum("nj,nj->n", poses[:, :3, 3], poses[:, :3, 2])[:, None]
    nearest = float(corners.min())
    if nearest < settings.near:
        _, clipped = box_shares(analysis)
        remarks.append(
            f"near = {settings.near:g} clips the locality box, whose nearest corner is at depth "
            f"{nearest:.2f}: {100 * clipped.mean():.1f} % of the ray length inside the box is not sampled"
        )
    return remarks
