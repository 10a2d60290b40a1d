"""Find the convention of a dataset's poses: undo every likely mistake on trial, and compare.

The convention is the one after which the cameras look at common points, stand upright, and need the least
mistake to be explained.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from objnerf.dataset.rigid import estimate_focus, estimate_up
from validate.analysis.convention import FLIP, LAYOUTS, LEFT_HANDED_TWINS, RIGHT, Convention
from validate.analysis.up import LEVEL_DEGREES, MOST_UNCERTAIN_DEGREES
from validate.measure.geometry import AXIS_CONVENTIONS, UP_DIRECTIONS, off_axis_angles, rolls, scene_focuses
from validate.measure.spread import spread_evenly

#: Views, and scenes, on which the dataset's convention is decided; more would not change the answer.
_TRIAL_VIEWS, _TRIAL_SCENES, _TRIAL_SCENE_VIEWS = 400, 24, 64

#: What it counts for a reading that cameras stand upright in a world whose up is z and look at its origin, as
#: in most datasets of this format: by chance no wrong reading has it.
_AT_HOME = 1.0

#: Share of the views whose roll counts in how cameras are held. Single wrong views may be rolled anyhow; but
#: where half of them are level and half are not, as in world-to-camera matrices, nobody held them so.
_MOST_ROLLS = 0.75


@dataclass(frozen=True)
class Trial:
    """One convention on trial."""

    convention: Convention
    share: float
    score: float
    forward_facing: bool = False


def possible_readings(convention: Convention, flipped: bool) -> tuple[Convention, ...]:
    """What the poses alone leave open, the likeliest reading first.

    Cameras and their mirror image fit together alike. A mirrored matrix has a mirrored camera axis or stands
    in a left-handed world; and the axes of two right-handed programs are those of two left-handed ones whose
    worlds are mirrored too. Cameras that are all turned about their optical axis were held so, or have their
    axes mislabelled.
    """
    if flipped:
        return convention, replace(convention, mirrored=True)
    if convention.axes in LEFT_HANDED_TWINS:
        readings = convention, replace(convention, mirrored=True)
        return (
            (*readings, replace(convention, axes=0, held=convention.axes))
            if (convention.turns_about_axis)
            else readings
        )
    if convention.turns_about_axis:
        return replace(convention, axes=0, held=convention.axes), convention
    return (convention,)


def _trial_views(
    scenes: Int[np.ndarray, " views"], regular: Bool[np.ndarray, " views"]
) -> Int[np.ndarray, " trial"]:
    """Whole scenes spread over the dataset: what single views look at is asked of their scene."""
    candidates = np.flatnonzero(regular)
    ids = np.unique(scenes[candidates])
    chosen: list[np.ndarray] = []
    total = 0
    for scene in spread_evenly(ids, _TRIAL_SCENES):
        views = candidates[scenes[candidates] == scene]
        kept = spread_evenly(views, _TRIAL_SCENE_VIEWS)
        chosen.append(kept)
        total += len(kept)
        if total >= _TRIAL_VIEWS:
            break
    return np.sort(np.concatenate(chosen))


def find_convention(
    matrices: Float[np.ndarray, "views 4 4"],
    scenes: Int[np.ndarray, " views"],
    regular: Bool[np.ndarray, " views"],
    flipped: bool,
    off_axis_degrees: float,
    given: Convention | None,
) -> Trial:
    """The convention in which the cameras fit together best, and the share of the views that take part.

    Args:
        regular: matrices whose determinant has the sign that most have; the others are not asked.
        flipped: that sign is negative.
        given: the convention, where it is known: then only the share is found.
    """
    trial_views = _trial_views(scenes, regular)
    matrices = matrices[trial_views]
    scenes = np.unique(scenes[trial_views], return_inverse=True)[1]
    if given is not None:
        share, _, facing = _convergence(given.undo(matrices), scenes, off_axis_degrees)
        return Trial(given, share, 0.0, facing)
    if not flipped:
        share, centre, facing = _convergence(matrices, scenes, off_axis_degrees)
        if share >= 0.95 and not facing and _posture(matrices, scenes, centre) == 0.0:
            return Trial(RIGHT, share, 0.0)
    trials = _converging(matrices, scenes, flipped, off_axis_degrees)
    best = Trial(RIGHT, trials[0].share if trials else 0.0, np.inf)
    for trial in trials:
        if trial.score - _AT_HOME >= best.score:
            # Sorted: no later one can be better.
            break
        poses = trial.convention.undo(matrices)
        _, centre, _ = _convergence(poses, scenes, off_axis_degrees)
        posture = _posture(poses, scenes, centre)
        score = trial.score + posture
        distance = np.linalg.norm(poses[:, :3, 3], axis=1)
        if posture == 0.0 and (np.linalg.norm(centre, axis=1) < 0.1 * distance).mean() >= 0.9:
            score -= _AT_HOME
        if score < best.score:
            best = replace(trial, score=score)
    if best.share >= (0.5 if best.convention.is_right else 0.6):
        return best
    share, _, facing = _convergence(RIGHT.undo(matrices), scenes, off_axis_degrees)
    return Trial(RIGHT, share, np.inf, facing)


def _converging(
    matrices: Float[np.ndarray, "views 4 4"],
    scenes: Int[np.ndarray, " views"],
    flipped: bool,
    off_axis_degrees: float,
) -> list[Trial]:
    """All conventions by how well the cameras look at common points in them, and by how likely they are."""
    trials = []
    for layout in LAYOUTS:
        for forward in range(3):
            for sign in (1.0, -1.0):
                same = [
                    index
                    for index, axes in enumerate(AXIS_CONVENTIONS)
                    if (axes if not flipped else FLIP @ axes)[forward, 2] == sign
                ]
                poses = Convention(layout, same[0]).undo(matrices)
                share, _, facing = _convergence(poses, scenes, off_axis_degrees)
                if facing and layout != "stored":
                    # Parallel axes say nothing about layouts.
                    continue
                for index in same:
                    candidate = Convention(layout, index)
                    score = candidate.cost(flipped) + 5.0 * (1.0 - share)
                    trials.append(Trial(candidate, share, score, facing))
    if any(trial.share >= 0.95 and not trial.forward_facing for trial in trials):
        # Cameras that face one way look at no common point in any convention. Those that do in one are of
        # another kind: world-to-camera matrices of cameras at one height, read as they are, face one way too.
        trials = [trial for trial in trials if not trial.forward_facing]
    return sorted(trials, key=lambda trial: trial.score)


def _convergence(
    poses: Float[np.ndarray, "views 4 4"], scenes: Int[np.ndarray, " views"], off_axis_degrees: float
) -> tuple[float, Float[np.ndarray, "views 3"], bool]:
    """Share of the cameras that look at a point that they have in common, and that point for each view.

    Tried are the origin, a point that all scenes have in common, and a point of each scene's own. The last
    value says that the cameras look in one direction, and that no point but the direction is common.
    """
    n_scenes = int(scenes.max()) + 1
    origin = np.zeros((len(poses), 3))
    best = float((off_axis_angles(poses, origin) < off_axis_degrees).mean()), origin
    if best[0] >= 0.95 or len(poses) < 2:
        return (*best, False)
    common = estimate_focus(poses)
    if common.distance > 0 and common.residual < 0.4 * common.distance:
        point = np.tile(common.point, (len(poses), 1))
        share = float((off_axis_angles(poses, point) < off_axis_degrees).mean())
        if share > best[0] + 0.02:
            best = share, point
    if n_scenes > 1:
        focus, _, residual = scene_focuses(poses, scenes, n_scenes)
        point = np.nan_to_num(focus)[scenes]
        distance = np.linalg.norm(poses[:, :3, 3] - point, axis=1)
        met = np.isfinite(focus).all(axis=1)[scenes] & (np.nan_to_num(residual)[scenes] < 0.4 * distance)
        looks = met & (off_axis_angles(poses, point) < off_axis_degrees)
        # Two lines always pass near some point: the fewer views a scene has, the less that says.
        counts = np.bincount(scenes, minlength=n_scenes)[scenes]
        share = float((looks * np.clip(1.0 - 0.3 / np.maximum(counts - 1, 1), 0.0, 1.0)).mean())
        if share > best[0] + 0.02:
            best = share, point
    if best[0] < 0.9:
        direction = poses[:, :3, 2].mean(axis=0)
        length = float(np.linalg.norm(direction))
        # World-to-camera matrices of cameras at one height look in one direction as well, rolled all round.
        if length > 0.97 and np.median(np.abs(rolls(poses, estimate_up(poses).direction))) < LEVEL_DEGREES:
            along = poses[:, :3, 2] @ (direction / length)
            share = 0.9 * float((along > np.cos(np.radians(off_axis_degrees))).mean())
            if share > best[0]:
                return share, origin, True
    return (*best, False)


def _posture(
    poses: Float[np.ndarray, "views 4 4"],
    scenes: Int[np.ndarray, " views"],
    centre: Float[np.ndarray, "views 3"],
) -> float:
    """How oddly the cameras would be held: rolled, below the scene, in a world whose up is not z."""
    up = estimate_up(poses)
    roll = float(np.quantile(np.abs(rolls(poses, up.direction)), _MOST_ROLLS))
    directions, own_worlds = np.tile(up.direction, (len(poses), 1)), False
    if roll > LEVEL_DEGREES and scenes.max() > 0:
        own = np.zeros((len(poses), 3))
        for scene in range(int(scenes.max()) + 1):
            here = scenes == scene
            own[here] = estimate_up(poses[here]).direction
        own_roll = float(np.quantile(np.abs(rolls(poses, own)), _MOST_ROLLS))
        # As many ups as scenes fit better as a matter of course.
        if own_roll < 0.5 * roll:
            roll, directions, own_worlds = own_roll, own, True
    offset = poses[:, :3, 3] - centre
    height = np.einsum("ni,ni->n", offset, directions)
    below = float((height < -0.1 * np.linalg.norm(offset, axis=1)).mean()) > 0.5
    tilts = np.degrees(np.arccos(np.clip(directions @ np.array(list(UP_DIRECTIONS.values())).T, -1.0, 1.0)))
    near = np.median(tilts, axis=0) < max(5.0, min(3.0 * up.uncertainty_degrees, MOST_UNCERTAIN_DEGREES))
    axis = next((name for name, close in zip(UP_DIRECTIONS, near, strict=True) if close), None)
    world = {"z": 0.0, "y": 0.3, "-y": 0.3}.get(axis or "", 0.5)
    # One world for all scenes is likelier than one for each, unless it is the only one that fits.
    world += 0.6 if own_worlds else 0.0
    return min(1.5, max(0.0, roll - LEVEL_DEGREES) / 20.0) + (0.8 if below else 0.0) + world
