"""Where the cameras look, and what brings that to the world's origin."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from objnerf.dataset.card import UORF_CAMERA_DISTANCE, UORF_SCALE
from validate.analysis.diagnosis import Diagnosis
from validate.measure.geometry import axis_misses, off_axis_angles, scene_focuses
from validate.settings import Limits

#: An obj_scale this many times larger or smaller than suits the cameras' distance is of another world.
_OTHER_SCALE = 3.0


@dataclass(frozen=True)
class Centring:
    """Where the cameras look.

    Attributes:
        focus: least-squares focus of each scene (nan with fewer than two usable views).
        excess: the part of it that the estimate's condition cannot explain away.
        share: |excess| / obj_scale.
        together: the point that the dataset as a whole is off by; None when it is centred, or when only
            single scenes are off.
        subtract: what to subtract from the camera positions of each scene.
        unit: what offsets are a share of: obj_scale, or what it would be at the scale of this world.
        odd_views: views that alone pull their scene's focus away, with the angle in degrees between the
            optical axis and what the others of the scene look at.
    """

    focus: Float[np.ndarray, "scenes 3"]
    excess: Float[np.ndarray, "scenes 3"]
    share: Float[np.ndarray, " scenes"]
    together: Float[np.ndarray, "3"] | None
    subtract: Float[np.ndarray, "scenes 3"]
    unit: float
    odd_views: dict[int, float] = field(default_factory=dict)


def find_centring(
    diagnosis: Diagnosis,
    scene_index: Int[np.ndarray, " views"],
    n_scenes: int,
    obj_scale: float,
    limits: Limits,
    distance: float = UORF_CAMERA_DISTANCE,
) -> Centring:
    """Where the cameras of each scene look, and how far from the origin beyond doubt.

    Along a direction in which the optical axes hardly differ (a narrow arc sees its own depth badly) the
    focus is uncertain by the look-at jitter over the square root of the normal matrix's eigenvalue; three
    times that, less what cameras all round have anyway, is taken off.

    Args:
        distance: how far before cameras that look in one direction the origin is to lie.
    """
    if diagnosis.known and diagnosis.forward_facing:
        return _centre_ahead(diagnosis, scene_index, n_scenes, obj_scale, limits, distance)
    usable = diagnosis.usable
    poses, index = diagnosis.poses[usable], scene_index[usable]
    focus, normal, residual = scene_focuses(poses, index, n_scenes)
    obj_scale = _centring_unit(poses, index, focus, obj_scale)
    count = np.bincount(index, minlength=n_scenes)
    values, vectors = np.linalg.eigh(normal)
    jitter = limits.centre_jitter * obj_scale
    sigma = np.maximum(np.nan_to_num(residual), jitter)
    wide = 1.0 / np.sqrt(0.3 * np.maximum(count, 1))
    uncertain = 1.0 / np.sqrt(np.maximum(values, 1e-12))
    allowed = 3.0 * sigma[:, None] * np.maximum(uncertain - wide[:, None], 0.0)
    # Cameras with more jitter than usual have a less certain focus in every direction.
    allowed += 2.0 * (sigma - jitter)[:, None] * np.minimum(uncertain, wide[:, None])
    along = np.einsum("sij,si->sj", vectors, np.nan_to_num(focus))
    reduced = np.sign(along) * np.maximum(np.abs(along) - allowed, 0.0)
    excess = np.einsum("sij,sj->si", vectors, reduced)
    excess[np.isnan(focus).any(axis=1)] = np.nan
    share = np.linalg.norm(excess, axis=1) / obj_scale
    odd_views: dict[int, float] = {}
    for scene in np.flatnonzero((np.nan_to_num(share) > limits.centre_warn) & (count >= 4)):
        if _is_pulled_by_one(poses[index == scene], limits.centre_warn * obj_scale):
            angles = off_axis_angles(diagnosis.poses, np.zeros((1, 3)))
            own = np.flatnonzero(usable & (scene_index == scene))
            odd = int(own[np.argmax(angles[own])])
            odd_views[odd] = float(angles[odd])
            excess[scene], share[scene] = 0.0, 0.0
    off = np.nan_to_num(share) > limits.centre_warn

    subtract = np.zeros((n_scenes, 3))
    together = None
    if diagnosis.known and off.any():
        offset = np.median(excess[off], axis=0)
        measured = np.isfinite(share)
        if off.sum() > 0.5 * measured.sum() and np.linalg.norm(offset) > limits.centre_warn * obj_scale:
            together = _common_focus(poses, index, focus, off)
            subtract[:] = together
        else:
            subtract[off] = focus[off]
    return Centring(focus, excess, share, together, subtract, obj_scale, odd_views)


def _is_pulled_by_one(poses: Float[np.ndarray, "views 4 4"], allowed: float) -> bool:
    """All axes of a scene but one pass near the origin: then it is not the scene that is off its centre."""
    misses = np.sort(axis_misses(poses, np.zeros((1, 3))))
    return bool(misses[-2] < allowed and misses[-1] > 3.0 * misses[-2])


def _centre_ahead(
    diagnosis: Diagnosis,
    scene_index: Int[np.ndarray, " views"],
    n_scenes: int,
    obj_scale: float,
    limits: Limits,
    distance: float,
) -> Centring:
    """For cameras that look in one direction: an origin before them, where it is not there already."""
    nothing, subtract = np.zeros((n_scenes, 3)), np.zeros((n_scenes, 3))
    views = np.flatnonzero(diagnosis.usable)
    poses, index = diagnosis.poses[views], scene_index[views]
    if np.median(off_axis_angles(poses, np.zeros((1, 3)))) > limits.off_axis_degrees:
        for scene in np.unique(index):
            own = poses[index == scene]
            direction = own[:, :3, 2].mean(axis=0)
            middle = np.median(own[:, :3, 3], axis=0)
            subtract[scene] = middle + distance * direction / np.linalg.norm(direction)
    return Centring(subtract.copy(), nothing, np.zeros(n_scenes), None, subtract, obj_scale)


def _centring_unit(
    poses: Float[np.ndarray, "views 4 4"],
    index: Int[np.ndarray, " views"],
    focus: Float[np.ndarray, "scenes 3"],
    obj_scale: float,
) -> float:
    """``obj_scale``, unless the world has another scale altogether: then what suits its cameras' distance.

    The scale is another one only where neither the distance from what the cameras look at nor that from the
    origin suits it: from a narrow arc the former is uncertain.
    """
    positions = poses[:, :3, 3]
    distances = np.linalg.norm(positions - focus[index], axis=1)
    distances = distances[np.isfinite(distances)]
    if not len(distances):
        return obj_scale
    measured = float(np.median(distances)), float(np.median(np.linalg.norm(positions, axis=1)))
    usual = [UORF_SCALE.obj_scale * distance / UORF_CAMERA_DISTANCE for distance in measured]
    suits = [value == 0.0 or 1 / _OTHER_SCALE < obj_scale / value < _OTHER_SCALE for value in usual]
    return obj_scale if any(suits) else usual[0]


def _common_focus(
    poses: Float[np.ndarray, "views 4 4"],
    index: Int[np.ndarray, " views"],
    focus: Float[np.ndarray, "scenes 3"],
    off: Bool[np.ndarray, " scenes"],
) -> Float[np.ndarray, "3"]:
    """Focus of all views at once, of the scenes near the median one: sharper than any scene's own."""
    median = np.median(focus[off], axis=0)
    spread = np.linalg.norm(focus - median, axis=1)
    typical = 3.0 * float(np.nanmedian(spread)) + 1e-6
    near = off & (spread <= typical)
    chosen = near[index]
    if chosen.sum() < 2:
        return median
    pooled, _, _ = scene_focuses(poses[chosen], np.zeros(int(chosen.sum()), dtype=np.int64), 1)
    return pooled[0] if np.isfinite(pooled).all() else median
