"""Which convention were the poses written in? One answer for the dataset, and the views that differ from it.

The analysis has two steps. The first asks what kind of rig the poses are, whichever way its world is turned,
shifted and scaled: every likely mistake (layout of the matrix, camera axes) is undone on trial, and the one
after which the cameras look at common points and have a common up is the diagnosis. Only then is the rig's
place in the world measured: which way is up. Where it is centred is ``survey.find_centring``'s part. All
later checks work on the corrected poses, so that one mistake is reported once and not by its consequences.

A single view is called wrong only where the others of its scene, as one rig, contradict it.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from objnerf.dataset.rigid import rig_focus, rig_up, turn_to_z
from validate.geometry import (
    AXIS_CONVENTIONS,
    UP_DIRECTIONS,
    off_axis_angles,
    rolls,
    scene_focuses,
)

Layout = Literal["stored", "inverted", "transposed", "unrotated", "uninverted"]

LAYOUT_COSTS: dict[Layout, float] = {
    "stored": 0.0,
    "inverted": 1.0,
    "transposed": 1.2,
    "unrotated": 1.2,
    "uninverted": 1.3,
}

#: Views, and scenes, on which the dataset's convention is decided; more would not change the answer.
_TRIAL_VIEWS, _TRIAL_SCENES, _TRIAL_SCENE_VIEWS = 400, 24, 64

#: Roll of all cameras alike up to which a convention of axes needs no second thought, degrees.
_LEVEL = 8.0

#: What it counts for a reading that cameras stand upright in a world whose up is z and look at its origin, as
#: in most datasets of this format: by chance no wrong reading has it.
_AT_HOME = 1.0

#: Share of the views whose roll counts in how cameras are held. Single wrong views may be rolled anyhow; but
#: where half of them are level and half are not, as in world-to-camera matrices, nobody held them so.
_MOST_ROLLS = 0.75

#: A view's roll is a contradiction from here on, degrees, and from this multiple of what is typical.
_ROLLED_OVER, _ROLLED_TIMES = 8.0, 5.0

#: A world whose measured up is nearer to an axis than this is meant to have that axis up, degrees.
_SNAP = 1.0

#: A tilt that rolled cameras leave open is not reported up to this, degrees.
_MOST_UNCERTAIN = 15.0


def _axes_index(*rows: tuple[int, int, int]) -> int:
    return int(np.flatnonzero((np.array(rows) == AXIS_CONVENTIONS).all(axis=(1, 2)))[0])


_OPENGL = _axes_index((1, 0, 0), (0, -1, 0), (0, 0, -1))
_PYTORCH3D = _axes_index((-1, 0, 0), (0, -1, 0), (0, 0, 1))
_ROS = _axes_index((0, 0, 1), (-1, 0, 0), (0, -1, 0))

#: The frames of these programs' cameras, as they are called in findings.
_FRAME_NAMES = {_OPENGL: "OpenGL's or Blender's", _PYTORCH3D: "PyTorch3D's", _ROS: "ROS's (FLU)"}

#: Frames that are a left-handed program's camera when the world is left-handed too.
_LEFT_HANDED_TWINS = {_PYTORCH3D: "Unity's", _ROS: "Unreal's"}

#: Turns one camera axis round; what makes a mirrored matrix a rotation.
_FLIP = np.diag([-1.0, 1.0, 1.0])

#: Mirrors the world and leaves its up as it is.
_MIRROR = np.diag([1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Convention:
    """How a stored matrix differs from camera-to-world in OpenCV axes in a right-handed world.

    Attributes:
        layout: ``inverted`` for world-to-camera, ``transposed`` for a transposed rotation block beside a
            right position, ``unrotated`` for [Rᵀ | -t] and ``uninverted`` for [Rᵀ | t] of a world-to-camera
            [R | t]: the position is left in the camera's frame.
        axes: index into ``AXIS_CONVENTIONS``; 0 is OpenCV. For matrices with determinant -1 what is left
            once the camera's x axis is turned round.
        mirrored: the world is left-handed.
        held: index of the turn about the optical axis by which the cameras were held; poses and pictures are
            right as they are, only up has to be measured with it.
    """

    layout: Layout = "stored"
    axes: int = 0
    mirrored: bool = False
    held: int = 0

    def cost(self, flipped: bool) -> float:
        """How unlikely the mistake is; ties go to the likelier one.

        Args:
            flipped: the matrices have the determinant -1.
        """
        matrix = AXIS_CONVENTIONS[self.axes]
        if flipped:
            single = np.count_nonzero(np.diag(_FLIP @ matrix) == 1.0) == 2
            axes = 0.5 if single else 1.5
        elif self.axes == 0:
            axes = 0.0
        elif self.axes == _OPENGL:
            axes = 0.5
        elif self.axes in _FRAME_NAMES:
            axes = 1.0
        else:
            axes = 1.2 if matrix[2, 2] > 0 else 1.5
        return axes + LAYOUT_COSTS[self.layout]

    @property
    def is_right(self) -> bool:
        return replace(self, held=0) == RIGHT

    @property
    def is_opengl(self) -> bool:
        return self.axes == _OPENGL and not self.mirrored

    @property
    def turns_about_axis(self) -> bool:
        """The axes differ by a turn about the optical axis: a matter, perhaps, of how cameras were held."""
        return self.axes != 0 and bool(AXIS_CONVENTIONS[self.axes][2, 2] > 0)

    def frame(self, flipped: bool) -> Float[np.ndarray, "3 3"]:
        """The true right, down and forward axes (columns) in terms of the stored ones."""
        matrix = AXIS_CONVENTIONS[self.axes]
        if flipped:
            matrix = _FLIP @ matrix
        return matrix @ _FLIP if self.mirrored else matrix

    def axis_words(self, flipped: bool = False) -> str:
        """The stored camera axes in words: ``x right, y up, z backward``."""
        names = ("right", "left"), ("down", "up"), ("forward", "backward")
        matrix = self.frame(flipped)
        words = []
        for stored in range(3):
            true = int(np.flatnonzero(matrix[stored])[0])
            words.append(f"{'xyz'[stored]} {names[true][0 if matrix[stored, true] > 0 else 1]}")
        return ", ".join(words)

    def program(self) -> str | None:
        """Whose camera axes these are, when they are a well-known program's."""
        if self.mirrored:
            return _LEFT_HANDED_TWINS.get(self.axes)
        return _FRAME_NAMES.get(self.axes)

    def upright(self, poses: Float[np.ndarray, "views 4 4"]) -> Float[np.ndarray, "views 4 4"]:
        """Poses of cameras that were held upright, from those of cameras as they were held."""
        if not self.held:
            return poses
        turned = poses.copy()
        turned[:, :3, :3] = poses[:, :3, :3] @ AXIS_CONVENTIONS[self.held]
        return turned

    @property
    def held_degrees(self) -> float:
        """By how much all cameras are rolled: 90, 180 or -90."""
        matrix = AXIS_CONVENTIONS[self.held]
        return float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))

    def undo_layout(self, stored: Float[np.ndarray, "views 4 4"]) -> Float[np.ndarray, "views 4 4"]:
        """Camera-to-world matrices in the stored camera axes; determinants stay as they are."""
        poses = stored.copy()
        if self.layout == "inverted":
            # The full inverse, not the transpose: files with few digits hold rotations that are not quite
            # orthonormal, and this one gives back the very position that was inverted.
            return np.linalg.inv(poses)
        if self.layout == "transposed":
            poses[:, :3, :3] = np.swapaxes(poses[:, :3, :3], 1, 2)
        elif self.layout in ("unrotated", "uninverted"):
            sign = 1.0 if self.layout == "unrotated" else -1.0
            poses[:, :3, 3] = sign * np.einsum("nij,nj->ni", stored[:, :3, :3], stored[:, :3, 3])
        return poses

    def undo(self, stored: Float[np.ndarray, "views 4 4"]) -> Float[np.ndarray, "views 4 4"]:
        """``world_from_camera`` in OpenCV axes in a right-handed world, not turned yet.

        Matrices with determinant -1 have a camera axis turned round, so that all results are rotations.
        """
        poses = self.undo_layout(stored)
        flipped = np.linalg.det(poses[:, :3, :3]) < 0
        if flipped.any():
            poses[flipped, :3, :3] = poses[flipped, :3, :3] @ _FLIP
        if self.axes:
            poses[:, :3, :3] = poses[:, :3, :3] @ AXIS_CONVENTIONS[self.axes]
        if self.mirrored:
            poses[:, :3, :] = _MIRROR @ poses[:, :3, :]
            poses[:, :3, :3] = poses[:, :3, :3] @ _FLIP
        return poses


RIGHT = Convention()

_LAYOUTS: tuple[Layout, ...] = ("stored", "inverted", "transposed", "unrotated", "uninverted")


@dataclass(frozen=True)
class World:
    """Which way is up in the stored world.

    Attributes:
        turns: brings each scene's up to +z; the identity where it is there already.
        up: the measured direction in the stored world (before a mirrored one is mirrored back, if it is);
            None where each scene has its own.
        name: ``z`` or another axis, ``tilted`` for another direction, ``own`` for a direction a scene.
        tilt: angle between up and z, degrees; the median over the scenes where each has its own.
        uncertainty: standard deviation of the direction, degrees.
    """

    turns: Float[np.ndarray, "scenes 3 3"]
    up: Float[np.ndarray, "3"] | None
    name: str
    tilt: float
    uncertainty: float

    @property
    def is_level(self) -> bool:
        return self.name == "z"


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
            a sound rig. One alone where they do.
        decided_by: what decided among several: ``depth`` or ``photo``; None where nothing did.
        single: views (index) in a convention of their own.
        turned_round: views with a mirrored matrix among others, and which camera axis to turn round.
        astray: views that don't look at what the others of the scene look at, in any likely convention,
            with the angle in degrees between the optical axis and that point.
        miss: median angle between the optical axes and the point that they have most nearly in common.
        poses: corrected ``world_from_camera``; nan for views with no usable pose and for those astray.
        usable: where ``poses`` can be worked on.
        every_pose: the same with the views astray, in the rig's convention and world.
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
    usable: Bool[np.ndarray, "views"]
    every_pose: Float[np.ndarray, "views 4 4"]
    decided_by: str | None = None

    @property
    def is_undecided(self) -> bool:
        """Two readings are left that are mirror images of each other."""
        hands = {reading.mirrored for reading in self.readings}
        return len(hands) > 1 and self.decided_by is None


@dataclass(frozen=True)
class _Trial:
    """One convention on trial."""

    convention: Convention
    share: float
    score: float
    forward_facing: bool = False


@dataclass
class _Rig:
    """Poses with the convention undone, and what the others look at, for each view.

    Attributes:
        poses: ``world_from_camera`` of the valid views.
        scenes: scene of each, of ``n_scenes``.
        centre: what the rig of the view's scene looks at.
        angle: between each optical axis and it, degrees.
        known: where the others tell ``centre`` without the view itself.
        limit: an angle beyond this contradicts the others, degrees.
    """

    poses: Float[np.ndarray, "views 4 4"]
    scenes: Int[np.ndarray, "views"]
    n_scenes: int
    centre: Float[np.ndarray, "views 3"]
    angle: Float[np.ndarray, "views"]
    known: Bool[np.ndarray, "views"]
    limit: float
    single: dict[int, Convention] = field(default_factory=dict)
    turned_round: dict[int, int] = field(default_factory=dict)


def diagnose(
    stored: Float[np.ndarray, "views 4 4"],
    valid: Bool[np.ndarray, "views"],
    scene_index: Int[np.ndarray, "views"],
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
    poses = np.full_like(stored, np.nan)
    level = World(np.tile(np.eye(3), (n_scenes, 1, 1)), np.array([0.0, 0.0, 1.0]), "z", 0.0, 0.0)
    indices = np.flatnonzero(valid)
    if not len(indices):
        none = np.zeros(len(stored), dtype=bool)
        return Diagnosis(
            RIGHT, level, False, 0.0, False, False, (RIGHT,), {}, {}, {}, 0.0, poses, none, poses
        )
    matrices, scenes = stored[indices], scene_index[indices]
    negative = np.linalg.det(matrices[:, :3, :3]) < 0
    flipped = bool(negative.mean() > 0.5)
    regular = negative == flipped
    trial = _trial_views(scenes, regular)
    found = _find_convention(matrices[trial], scenes[trial], flipped, off_axis_degrees, convention)
    readings = _readings(found.convention, flipped) if convention is None else (convention,)
    convention = readings[0]
    undone = convention.undo(matrices)
    rig = _gather_rig(undone, scenes, n_scenes, regular, off_axis_degrees)
    usable = valid.copy()
    if found.share < 0.5:
        # Nothing fits: work on the poses as they are, and let the checks say how they miss each other.
        poses[indices] = undone
        miss = min(
            float(np.median(off_axis_angles(undone, point[None])))
            for point in (np.zeros(3), rig_focus(undone).point if len(undone) > 1 else np.zeros(3))
        )
        return Diagnosis(
            RIGHT, level, False, found.share, flipped, False, (RIGHT,), {}, {}, {}, miss, poses, usable, poses
        )
    good = regular & (rig.angle <= rig.limit)
    if found.forward_facing:
        good, rig.known[:] = regular.copy(), False
    world = _level_world(rig, convention, good if good.any() else regular, roll_degrees)
    _judge_single_views(rig, matrices, convention, world, good, ~regular)
    astray: dict[int, float] = {}
    for position in np.flatnonzero(rig.known & (rig.angle > rig.limit)):
        astray[int(indices[position])] = float(rig.angle[position])
    usable[list(astray)] = False
    turned = np.einsum("nij,njk->nik", world.turns[scenes], rig.poses[:, :3]) if not world.is_level else None
    if turned is not None:
        rig.poses[:, :3] = turned
    poses[indices] = rig.poses
    every_pose = poses.copy()
    poses[~usable] = np.nan
    return Diagnosis(
        convention=convention,
        world=world,
        known=True,
        share=found.share,
        flipped=flipped,
        forward_facing=found.forward_facing,
        readings=readings,
        single={int(indices[position]): own for position, own in rig.single.items()},
        turned_round={int(indices[position]): axis for position, axis in rig.turned_round.items()},
        astray=astray,
        miss=float(np.median(rig.angle)),
        poses=poses,
        usable=usable,
        every_pose=every_pose,
    )


def _readings(convention: Convention, flipped: bool) -> tuple[Convention, ...]:
    """What the poses alone leave open, the likeliest reading first.

    A rig and its mirror image look alike. A mirrored matrix has a mirrored camera axis or stands in a
    left-handed world; and the axes of two right-handed programs are those of two left-handed ones whose
    worlds are mirrored too. Cameras that are all turned about their optical axis were held so, or have their
    axes mislabelled.
    """
    if flipped:
        return convention, replace(convention, mirrored=True)
    if convention.axes in _LEFT_HANDED_TWINS:
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
    scenes: Int[np.ndarray, "views"], regular: Bool[np.ndarray, "views"]
) -> Int[np.ndarray, "trial"]:
    """Whole scenes spread over the dataset: what single views look at is asked of their scene."""
    candidates = np.flatnonzero(regular)
    ids = np.unique(scenes[candidates])
    chosen: list[np.ndarray] = []
    total = 0
    spread = np.unique(np.linspace(0, len(ids) - 1, min(len(ids), _TRIAL_SCENES)).astype(int))
    for scene in ids[spread]:
        views = candidates[scenes[candidates] == scene]
        kept = np.unique(np.linspace(0, len(views) - 1, min(len(views), _TRIAL_SCENE_VIEWS)).astype(int))
        chosen.append(views[kept])
        total += len(kept)
        if total >= _TRIAL_VIEWS:
            break
    return np.sort(np.concatenate(chosen))


# Which kind of rig


def _find_convention(
    matrices: Float[np.ndarray, "views 4 4"],
    scenes: Int[np.ndarray, "views"],
    flipped: bool,
    off_axis_degrees: float,
    given: Convention | None,
) -> _Trial:
    """The convention in which the poses make a rig best, and the share of the views that take part."""
    scenes = np.unique(scenes, return_inverse=True)[1]
    if given is not None:
        share, _, facing = _convergence(given.undo(matrices), scenes, off_axis_degrees)
        return _Trial(given, share, 0.0, facing)
    if not flipped:
        share, centre, facing = _convergence(matrices, scenes, off_axis_degrees)
        if share >= 0.95 and not facing and _posture(matrices, scenes, centre) == 0.0:
            return _Trial(RIGHT, share, 0.0)
    trials = _converging(matrices, scenes, flipped, off_axis_degrees)
    best = _Trial(RIGHT, trials[0].share if trials else 0.0, np.inf)
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
    return _Trial(RIGHT, share, np.inf, facing)


def _converging(
    matrices: Float[np.ndarray, "views 4 4"],
    scenes: Int[np.ndarray, "views"],
    flipped: bool,
    off_axis_degrees: float,
) -> list[_Trial]:
    """All conventions by how well the cameras look at common points in them, and by how likely they are."""
    trials = []
    for layout in _LAYOUTS:
        for forward in range(3):
            for sign in (1.0, -1.0):
                same = [
                    index
                    for index, axes in enumerate(AXIS_CONVENTIONS)
                    if (axes if not flipped else _FLIP @ axes)[forward, 2] == sign
                ]
                poses = Convention(layout, same[0]).undo(matrices)
                share, _, facing = _convergence(poses, scenes, off_axis_degrees)
                if facing and layout != "stored":
                    # Parallel axes say nothing about layouts.
                    continue
                for index in same:
                    candidate = Convention(layout, index)
                    score = candidate.cost(flipped) + 5.0 * (1.0 - share)
                    trials.append(_Trial(candidate, share, score, facing))
    if any(trial.share >= 0.95 and not trial.forward_facing for trial in trials):
        # Rigs whose cameras face one way meet in no point in any convention. Poses that do meet in one are
        # another kind of rig: world-to-camera matrices of cameras at one height, read as they are, face one
        # way too.
        trials = [trial for trial in trials if not trial.forward_facing]
    return sorted(trials, key=lambda trial: trial.score)


def _convergence(
    poses: Float[np.ndarray, "views 4 4"], scenes: Int[np.ndarray, "views"], off_axis_degrees: float
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
    common = rig_focus(poses)
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
        if length > 0.97 and np.median(np.abs(rolls(poses, rig_up(poses).direction))) < _LEVEL:
            along = poses[:, :3, 2] @ (direction / length)
            share = 0.9 * float((along > np.cos(np.radians(off_axis_degrees))).mean())
            if share > best[0]:
                return share, origin, True
    return (*best, False)


def _posture(
    poses: Float[np.ndarray, "views 4 4"],
    scenes: Int[np.ndarray, "views"],
    centre: Float[np.ndarray, "views 3"],
) -> float:
    """How oddly the cameras of a rig would be held: rolled, below the scene, in a world whose up is not z."""
    up = rig_up(poses)
    roll = float(np.quantile(np.abs(rolls(poses, up.direction)), _MOST_ROLLS))
    directions, own_worlds = np.tile(up.direction, (len(poses), 1)), False
    if roll > _LEVEL and scenes.max() > 0:
        own = np.zeros((len(poses), 3))
        for scene in range(int(scenes.max()) + 1):
            here = scenes == scene
            own[here] = rig_up(poses[here]).direction
        own_roll = float(np.quantile(np.abs(rolls(poses, own)), _MOST_ROLLS))
        # As many ups as scenes fit better as a matter of course.
        if own_roll < 0.5 * roll:
            roll, directions, own_worlds = own_roll, own, True
    offset = poses[:, :3, 3] - centre
    height = np.einsum("ni,ni->n", offset, directions)
    below = float((height < -0.1 * np.linalg.norm(offset, axis=1)).mean()) > 0.5
    tilts = np.degrees(np.arccos(np.clip(directions @ np.array(list(UP_DIRECTIONS.values())).T, -1.0, 1.0)))
    near = np.median(tilts, axis=0) < max(5.0, min(3.0 * up.uncertainty_degrees, _MOST_UNCERTAIN))
    axis = next((name for name, close in zip(UP_DIRECTIONS, near, strict=True) if close), None)
    world = {"z": 0.0, "y": 0.3, "-y": 0.3}.get(axis or "", 0.5)
    # One world for all scenes is likelier than one for each, unless it is the only one that fits.
    world += 0.6 if own_worlds else 0.0
    return min(1.5, max(0.0, roll - _LEVEL) / 20.0) + (0.8 if below else 0.0) + world


# What each view looks at


def _gather_rig(
    poses: Float[np.ndarray, "views 4 4"],
    scenes: Int[np.ndarray, "views"],
    n_scenes: int,
    regular: Bool[np.ndarray, "views"],
    off_axis_degrees: float,
) -> _Rig:
    """What the cameras of each scene look at: the origin, a point of all scenes, or one of its own.

    Where all cameras of a scene look at the same of these, nothing contradicts any of them. Else the point
    is the one that most of its cameras look at.
    """
    n = len(poses)
    points = [np.zeros(3)]
    spread = np.unique(np.linspace(0, n - 1, min(n, 2000)).astype(int))
    spread = spread[regular[spread]]
    if len(spread) >= 2:
        points.append(rig_focus(poses[spread]).point)
    angles = np.stack([off_axis_angles(poses, point[None]) for point in points])
    fits = (angles < off_axis_degrees) | ~regular
    firm = np.array([row[regular].mean() >= 0.6 for row in fits])
    all_fit = np.ones((len(points), n_scenes), dtype=bool)
    for row, fit in zip(all_fit, fits, strict=True):
        np.logical_and.at(row, scenes, fit)
    chosen = all_fit.argmax(axis=0)
    of_view = chosen[scenes]
    angle = angles[of_view, np.arange(n)]
    rig = _Rig(poses.copy(), scenes, n_scenes, np.array(points)[of_view], angle, firm[of_view], 0.0)
    for scene in np.flatnonzero(~all_fit.any(axis=0)):
        _find_scene_centre(rig, int(scene), points, firm, regular, off_axis_degrees)
    typical = float(np.median(rig.angle[regular])) if regular.any() else 0.0
    rig.limit = max(off_axis_degrees, 4.0 * typical)
    return rig


def _find_scene_centre(
    rig: _Rig,
    scene: int,
    points: list[Float[np.ndarray, "3"]],
    firm: Bool[np.ndarray, "points"],
    regular: Bool[np.ndarray, "views"],
    off_axis_degrees: float,
) -> None:
    """The point that most cameras of a scene look at; ``known`` where at least three others do."""
    here = np.flatnonzero(rig.scenes == scene)
    voters = here[regular[here]]
    candidates = [(point, bool(good)) for point, good in zip(points, firm, strict=True) if good]
    if len(voters) >= 2:
        candidates.append((rig_focus(rig.poses[voters]).point, False))
    best = -1.0
    for point, is_firm in candidates:
        angle = off_axis_angles(rig.poses[here], point[None])
        fit = (angle < off_axis_degrees) & regular[here]
        # One more camera must look at a point of the scene's own: three lines nearly meet somewhere.
        votes = float(fit.sum()) + (1.0 if is_firm else 0.0)
        if votes > best:
            best = votes
            others = fit.sum() - fit
            told = is_firm or (others >= 3) & (others > 0.5 * (len(voters) - 1))
            rig.centre[here], rig.angle[here], rig.known[here] = point, angle, told


# Which way is up


def _level_world(
    rig: _Rig, convention: Convention, good: Bool[np.ndarray, "views"], roll_degrees: float
) -> World:
    """Measure the world's up from the cameras: for all scenes, or for each where they don't agree."""
    chosen = np.flatnonzero(good)
    spread = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), 2000)).astype(int))]
    poses = convention.upright(rig.poses[spread])
    up = rig_up(poses)
    against_z = float(np.median(np.abs(rolls(poses))))
    roll = float(np.median(np.abs(rolls(poses, up.direction))))
    turns = np.tile(np.eye(3), (rig.n_scenes, 1, 1))
    if min(roll, against_z) > _LEVEL and len(np.unique(rig.scenes[spread])) > 1:
        upright = convention.upright(rig.poses)
        own = _own_worlds(upright, rig.scenes, good, min(roll, against_z), turns, roll_degrees)
        if own is not None:
            return own
    name, tilt, direction = _name_up(up.direction, up.uncertainty_degrees, roll_degrees)
    if name != "z":
        turns[:] = turn_to_z(direction)
    return World(turns, direction, name, tilt, up.uncertainty_degrees)


def _own_worlds(
    poses: Float[np.ndarray, "views 4 4"],
    scenes: Int[np.ndarray, "views"],
    good: Bool[np.ndarray, "views"],
    together: float,
    turns: Float[np.ndarray, "scenes 3 3"],
    roll_degrees: float,
) -> World | None:
    """A turn for each scene; None where the cameras are no more upright for it than ``together``."""
    tilts, uncertain, own_rolls = [], [], []
    for scene in np.unique(scenes[good]):
        views = np.flatnonzero(good & (scenes == scene))
        if len(views) < 3:
            continue
        up = rig_up(poses[views])
        name, tilt, direction = _name_up(up.direction, up.uncertainty_degrees, roll_degrees)
        tilts.append(tilt)
        uncertain.append(up.uncertainty_degrees)
        own_rolls.append(float(np.median(np.abs(rolls(poses[views], up.direction)))))
        if name != "z":
            turns[scene] = turn_to_z(direction)
    if not own_rolls or float(np.median(own_rolls)) > together / 3.0:
        turns[:] = np.eye(3)
        return None
    return World(turns, None, "own", float(np.median(tilts)), float(np.median(uncertain)))


def _name_up(
    up: Float[np.ndarray, "3"], uncertainty: float, roll_degrees: float
) -> tuple[str, float, Float[np.ndarray, "3"]]:
    """The axis that was meant to be up, or ``tilted``; the angle to z; and the direction, without noise."""
    allowed = {"z": max(roll_degrees, min(3.0 * uncertainty, _MOST_UNCERTAIN))}
    tilt = float(np.degrees(np.arccos(np.clip(up[2], -1.0, 1.0))))
    for name, axis in UP_DIRECTIONS.items():
        angle = float(np.degrees(np.arccos(np.clip(axis @ up, -1.0, 1.0))))
        if angle <= allowed.get(name, max(_SNAP, min(2.0 * uncertainty, roll_degrees))):
            return name, tilt, axis
    return "tilted", tilt, up


# Single views


def _judge_single_views(
    rig: _Rig,
    matrices: Float[np.ndarray, "views 4 4"],
    convention: Convention,
    world: World,
    good: Bool[np.ndarray, "views"],
    odd: Bool[np.ndarray, "views"],
) -> None:
    """Find the convention of views that the others contradict, and correct them in place.

    Args:
        good: views that look where the others do.
        odd: views whose determinant has another sign than the dataset's.
    """
    if not good.any():
        return
    ups = world.turns[rig.scenes][:, 2]
    roll = np.abs(rolls(convention.upright(rig.poses), ups))
    typical = float(np.median(rig.angle[good])), float(np.median(roll[good]))
    over = max(_ROLLED_OVER, _ROLLED_TIMES * typical[1])
    distance = np.linalg.norm(rig.poses[:, :3, 3] - rig.centre, axis=1)
    for position in np.flatnonzero(rig.known & ((rig.angle > rig.limit) | (roll > over) | odd)):
        same = good & (rig.scenes == rig.scenes[position])
        usual = float(np.median(distance[same if same.any() else good]))
        limits = min(max(5.0, 4.0 * typical[0]), 0.75 * rig.limit), max(6.0, 4.0 * typical[1])
        if odd[position]:
            _turn_one_axis(rig, int(position), matrices[position], convention, ups[position])
            continue
        for own in _single_trials(convention):
            pose = own.undo(matrices[position][None])
            away = float(np.linalg.norm(pose[0, :3, 3] - rig.centre[position]))
            angle = float(off_axis_angles(pose, rig.centre[position][None])[0])
            height = float((pose[0, :3, 3] - rig.centre[position]) @ ups[position])
            level = abs(float(rolls(convention.upright(pose), ups[position])[0])) < limits[1]
            if angle < limits[0] and level and height > -0.1 * away and 0.5 * usual < away < 2.0 * usual:
                rig.single[int(position)] = own
                rig.poses[position], rig.angle[position] = pose[0], angle
                break


def _single_trials(convention: Convention) -> list[Convention]:
    """What a single view among good ones is tried for. Few and likely ones: of all conventions some would
    fit a random pose by chance."""
    layouts: tuple[Layout, ...] = ("stored", "inverted", "transposed")
    trials = [replace(RIGHT, held=convention.held)]
    for axes in dict.fromkeys((convention.axes, 0, _OPENGL)):
        trials += [replace(convention, layout=layout, axes=axes) for layout in layouts]
    trials = [trial for trial in dict.fromkeys(trials) if trial != convention]
    # A rotation that is transposed or inverted comes with its dataset's axes.
    return [t for t in trials if t.layout == "stored" or t.axes == convention.axes or t.layout == "inverted"]


def _turn_one_axis(
    rig: _Rig,
    position: int,
    matrix: Float[np.ndarray, "4 4"],
    convention: Convention,
    up: Float[np.ndarray, "3"],
) -> None:
    """Turn that camera axis of a mirrored matrix round after which it looks at the centre, upright."""
    best = np.inf
    for axis in range(3):
        base = convention.undo_layout(matrix[None])
        base[:, :3, axis] *= -1.0
        pose = replace(convention, layout="stored").undo(base)
        angle = float(off_axis_angles(pose, rig.centre[position][None])[0])
        roll = abs(float(rolls(convention.upright(pose), up)[0]))
        if angle + roll < best:
            best = angle + roll
            rig.turned_round[position] = axis
            rig.poses[position], rig.angle[position] = pose[0], angle
    if rig.angle[position] > rig.limit:
        del rig.turned_round[position]


def common_layouts(conventions: dict[int, Convention]) -> list[tuple[Convention, list[int]]]:
    """Views grouped by their convention, most frequent first."""
    counts = Counter(conventions.values())
    return [
        (convention, sorted(view for view, own in conventions.items() if own == convention))
        for convention, _ in counts.most_common()
    ]
