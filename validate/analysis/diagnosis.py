"""Which convention were the poses written in? One answer for the dataset, and the views that differ from it.

The analysis has two steps. ``search`` asks how the cameras fit together, whichever way their world is turned,
shifted and scaled: every likely mistake (layout of the matrix, camera axes) is undone on trial, and the one
after which they look at common points and have a common up is the diagnosis. Only then ``up`` measures which
way is up in their world. Where it is centred is ``centring``'s part. All later checks work on the corrected
poses, so that one mistake is reported once and not by its consequences.

A single view is called wrong (``gaze``) only where the others of its scene, all together, contradict it.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from objnerf.dataset.rigid import estimate_focus
from validate.analysis.convention import RIGHT, Convention
from validate.analysis.gaze import find_gaze, judge_single_views
from validate.analysis.search import find_convention, possible_readings
from validate.analysis.up import World, level_world
from validate.measure.geometry import off_axis_angles

#: With a smaller share of cameras that look at common points, no convention is the dataset's.
_LEAST_SHARE = 0.5


@dataclass(frozen=True)
class Diagnosis:
    """The dataset's convention, the views that differ from it, and poses to work on.

    Attributes:
        convention: of the dataset as a whole.
        world: which way is up in it.
        known: False when no convention makes the cameras look at common points.
        share: share of the views that do in it.
        flipped: most matrices have the determinant -1.
        forward_facing: the cameras look in one direction, so that their axes meet nowhere.
        readings: the conventions among which the poses alone don't decide, ``convention`` first; each makes
            a sound gaze. One alone where they do.
        decided_by: what decided among several: ``depth`` or ``photo``; None where nothing did.
        single: views (index) in a convention of their own.
        turned_round: views with a mirrored matrix among others, and which camera axis to turn round.
        astray: views that don't look at what the others of the scene look at, in any likely convention,
            with the angle in degrees between the optical axis and that point.
        miss: median angle between the optical axes and the point that they have most nearly in common.
        poses: corrected ``world_from_camera``; nan for views with no usable pose and for those astray.
        usable: where ``poses`` can be worked on.
        every_pose: the same with the views astray, in the dataset's convention and world.
    """

    convention: Convention
    world: World
    known: bool
    share: float
    flipped: bool
    forward_facing: bool
    readings: tuple[Convention, ...]
    single: dict[int, Convention]
    turned_round: dict[int, int]
    astray: dict[int, float]
    miss: float
    poses: Float[np.ndarray, "views 4 4"]
    usable: Bool[np.ndarray, " views"]
    every_pose: Float[np.ndarray, "views 4 4"]
    decided_by: str | None = None

    @property
    def is_undecided(self) -> bool:
        """Two readings are left that are mirror images of each other."""
        hands = {reading.mirrored for reading in self.readings}
        return len(hands) > 1 and self.decided_by is None


def diagnose(
    stored: Float[np.ndarray, "views 4 4"],
    valid: Bool[np.ndarray, " views"],
    scene_index: Int[np.ndarray, " views"],
    n_scenes: int,
    off_axis_degrees: float = 20.0,
    roll_degrees: float = 5.0,
    convention: Convention | None = None,
) -> Diagnosis:
    """Find the convention of a dataset's poses, the world's up, and the views that differ.

    Args:
        stored: the matrices as they are in the files; rows with ``valid`` False are ignored.
        valid: finite matrices whose rotation blocks are orthonormal (with determinant 1 or -1).
        scene_index: scene of each view, 0 … n_scenes - 1.
        off_axis_degrees: how far from the centre an optical axis may point.
        roll_degrees: roll of a camera, and tilt of the world, to put up with.
        convention: what is known already; found when left out.
    """
    indices = np.flatnonzero(valid)
    if not len(indices):
        return _undiagnosed(np.full_like(stored, np.nan), valid, n_scenes)
    matrices, scenes = stored[indices], scene_index[indices]
    regular, flipped = _signs(matrices)
    found = find_convention(matrices, scenes, regular, flipped, off_axis_degrees, convention)
    if found.share < _LEAST_SHARE:
        # Nothing fits: work on the poses as they are, and let the checks say how they miss each other.
        undone = found.convention.undo(matrices)
        none = _undiagnosed(_placed(undone, valid), valid, n_scenes)
        return replace(none, share=found.share, flipped=flipped, miss=_least_miss(undone))
    readings = possible_readings(found.convention, flipped) if convention is None else (convention,)
    convention = readings[0]
    undone = convention.undo(matrices)
    gaze = find_gaze(undone, scenes, n_scenes, regular, off_axis_degrees)
    if found.forward_facing:
        gaze.known[:], gaze.limit = False, np.inf
    good = regular & (gaze.angle <= gaze.limit)
    upright = good if good.any() else regular
    world = level_world(gaze.poses, scenes, n_scenes, convention, upright, roll_degrees)
    judge_single_views(gaze, matrices, convention, world, good, ~regular)
    every_pose = _placed(_turned(gaze.poses, world.turns[scenes]), valid)
    astray = np.flatnonzero(gaze.known & (gaze.angle > gaze.limit))
    usable = valid.copy()
    usable[indices[astray]] = False
    return Diagnosis(
        convention=convention,
        world=world,
        known=True,
        share=found.share,
        flipped=flipped,
        forward_facing=found.forward_facing,
        readings=readings,
        single={int(indices[position]): own for position, own in gaze.single.items()},
        turned_round={int(indices[position]): axis for position, axis in gaze.turned_round.items()},
        astray={int(indices[position]): float(gaze.angle[position]) for position in astray},
        miss=float(np.median(gaze.angle)),
        poses=np.where(usable[:, None, None], every_pose, np.nan),
        usable=usable,
        every_pose=every_pose,
    )


def _signs(matrices: Float[np.ndarray, "views 4 4"]) -> tuple[Bool[np.ndarray, " views"], bool]:
    """Which determinants have the sign that most have, and whether it is negative."""
    negative = np.linalg.det(matrices[:, :3, :3]) < 0
    flipped = bool(negative.mean() > 0.5)
    return negative == flipped, flipped


def _placed(
    poses: Float[np.ndarray, "usable 4 4"], valid: Bool[np.ndarray, " views"]
) -> Float[np.ndarray, "views 4 4"]:
    """The poses of the valid views among those of all; nan for the others."""
    placed = np.full((len(valid), 4, 4), np.nan)
    placed[valid] = poses
    return placed


def _turned(
    poses: Float[np.ndarray, "views 4 4"], turns: Float[np.ndarray, "views 3 3"]
) -> Float[np.ndarray, "views 4 4"]:
    """The poses in a turned world."""
    turned = poses.copy()
    turned[:, :3] = np.einsum("nij,njk->nik", turns, poses[:, :3])
    return turned


def _undiagnosed(
    poses: Float[np.ndarray, "views 4 4"], usable: Bool[np.ndarray, " views"], n_scenes: int
) -> Diagnosis:
    """What is said of poses that make sense in no convention."""
    level = World(np.tile(np.eye(3), (n_scenes, 1, 1)), np.array([0.0, 0.0, 1.0]), "z", 0.0, 0.0)
    return Diagnosis(
        convention=RIGHT,
        world=level,
        known=False,
        share=0.0,
        flipped=False,
        forward_facing=False,
        readings=(RIGHT,),
        single={},
        turned_round={},
        astray={},
        miss=0.0,
        poses=poses,
        usable=usable,
        every_pose=poses,
    )


def _least_miss(poses: Float[np.ndarray, "views 4 4"]) -> float:
    """Median angle between the optical axes and the point that they have most nearly in common, degrees."""
    points = [np.zeros(3), estimate_focus(poses).point] if len(poses) > 1 else [np.zeros(3)]
    return min(float(np.median(off_axis_angles(poses, point[None]))) for point in points)
