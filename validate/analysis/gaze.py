"""What each camera looks at, and the single views that the others of their scene contradict."""

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from objnerf.dataset.rigid import estimate_focus
from validate.analysis.convention import OPENGL, RIGHT, Convention, Layout
from validate.analysis.up import World
from validate.measure.geometry import off_axis_angles, rolls
from validate.measure.spread import spread_evenly

#: Views, spread evenly, from which a point of all scenes is measured; more would not change it.
_COMMON_VIEWS = 2000

#: A view's roll is a contradiction from here on, degrees, and from this multiple of what is typical.
_ROLLED_OVER_DEGREES, _ROLLED_TIMES = 8.0, 5.0


@dataclass
class Gaze:
    """Poses with the convention undone, and what the others look at, for each view.

    Attributes:
        poses: ``world_from_camera`` of the valid views.
        scenes: scene of each, of ``n_scenes``.
        centre: what the cameras of the view's scene look at.
        angle: between each optical axis and it, degrees.
        known: where the others tell ``centre`` without the view itself.
        limit: an angle beyond this contradicts the others, degrees.
    """

    poses: Float[np.ndarray, "views 4 4"]
    scenes: Int[np.ndarray, " views"]
    n_scenes: int
    centre: Float[np.ndarray, "views 3"]
    angle: Float[np.ndarray, " views"]
    known: Bool[np.ndarray, " views"]
    limit: float
    single: dict[int, Convention] = field(default_factory=dict)
    turned_round: dict[int, int] = field(default_factory=dict)


def find_gaze(
    poses: Float[np.ndarray, "views 4 4"],
    scenes: Int[np.ndarray, " views"],
    n_scenes: int,
    regular: Bool[np.ndarray, " views"],
    off_axis_degrees: float,
) -> Gaze:
    """What the cameras of each scene look at: the origin, a point of all scenes, or one of its own.

    Where all cameras of a scene look at the same of these, nothing contradicts any of them. Else the point
    is the one that most of its cameras look at.
    """
    n = len(poses)
    points = [np.zeros(3)]
    spread = spread_evenly(np.arange(n), _COMMON_VIEWS)
    spread = spread[regular[spread]]
    if len(spread) >= 2:
        points.append(estimate_focus(poses[spread]).point)
    angles = np.stack([off_axis_angles(poses, point[None]) for point in points])
    fits = (angles < off_axis_degrees) | ~regular
    firm = np.array([row[regular].mean() >= 0.6 for row in fits])
    all_fit = np.ones((len(points), n_scenes), dtype=bool)
    for row, fit in zip(all_fit, fits, strict=True):
        np.logical_and.at(row, scenes, fit)
    chosen = all_fit.argmax(axis=0)
    of_view = chosen[scenes]
    angle = angles[of_view, np.arange(n)]
    gaze = Gaze(poses.copy(), scenes, n_scenes, np.array(points)[of_view], angle, firm[of_view], 0.0)
    for scene in np.flatnonzero(~all_fit.any(axis=0)):
        _find_scene_centre(gaze, int(scene), points, firm, regular, off_axis_degrees)
    typical = float(np.median(gaze.angle[regular])) if regular.any() else 0.0
    gaze.limit = max(off_axis_degrees, 4.0 * typical)
    return gaze


def _find_scene_centre(
    gaze: Gaze,
    scene: int,
    points: list[Float[np.ndarray, "3"]],
    firm: Bool[np.ndarray, " points"],
    regular: Bool[np.ndarray, " views"],
    off_axis_degrees: float,
) -> None:
    """The point that most cameras of a scene look at; ``known`` where at least three others do."""
    here = np.flatnonzero(gaze.scenes == scene)
    voters = here[regular[here]]
    candidates = [(point, bool(good)) for point, good in zip(points, firm, strict=True) if good]
    if len(voters) >= 2:
        candidates.append((estimate_focus(gaze.poses[voters]).point, False))
    best = -1.0
    for point, is_firm in candidates:
        angle = off_axis_angles(gaze.poses[here], point[None])
        fit = (angle < off_axis_degrees) & regular[here]
        # One more camera must look at a point of the scene's own: three lines nearly meet somewhere.
        votes = float(fit.sum()) + (1.0 if is_firm else 0.0)
        if votes > best:
            best = votes
            others = fit.sum() - fit
            known = is_firm or (others >= 3) & (others > 0.5 * (len(voters) - 1))
            gaze.centre[here], gaze.angle[here], gaze.known[here] = point, angle, known


def judge_single_views(
    gaze: Gaze,
    matrices: Float[np.ndarray, "views 4 4"],
    convention: Convention,
    world: World,
    good: Bool[np.ndarray, " views"],
    odd: Bool[np.ndarray, " views"],
) -> None:
    """Find the convention of views that the others contradict, and correct them in place.

    Args:
        good: views that look where the others do.
        odd: views whose determinant has another sign than the dataset's.
    """
    if not good.any():
        return
    ups = world.turns[gaze.scenes][:, 2]
    roll = np.abs(rolls(convention.upright(gaze.poses), ups))
    typical = float(np.median(gaze.angle[good])), float(np.median(roll[good]))
    over = max(_ROLLED_OVER_DEGREES, _ROLLED_TIMES * typical[1])
    distance = np.linalg.norm(gaze.poses[:, :3, 3] - gaze.centre, axis=1)
    for position in np.flatnonzero(gaze.known & ((gaze.angle > gaze.limit) | (roll > over) | odd)):
        same = good & (gaze.scenes == gaze.scenes[position])
        usual = float(np.median(distance[same if same.any() else good]))
        limits = min(max(5.0, 4.0 * typical[0]), 0.75 * gaze.limit), max(6.0, 4.0 * typical[1])
        if odd[position]:
            _turn_one_axis(gaze, int(position), matrices[position], convention, ups[position])
            continue
        for own in _single_trials(convention):
            pose = own.undo(matrices[position][None])
            away = float(np.linalg.norm(pose[0, :3, 3] - gaze.centre[position]))
            angle = float(off_axis_angles(pose, gaze.centre[position][None])[0])
            height = float((pose[0, :3, 3] - gaze.centre[position]) @ ups[position])
            level = abs(float(rolls(convention.upright(pose), ups[position])[0])) < limits[1]
            if angle < limits[0] and level and height > -0.1 * away and 0.5 * usual < away < 2.0 * usual:
                gaze.single[int(position)] = own
                gaze.poses[position], gaze.angle[position] = pose[0], angle
                break


def _single_trials(convention: Convention) -> list[Convention]:
    """What a single view among good ones is tried for. Few and likely ones: of all conventions some would
    fit a random pose by chance."""
    layouts: tuple[Layout, ...] = ("stored", "inverted", "transposed")
    trials = [replace(RIGHT, held=convention.held)]
    for axes in dict.fromkeys((convention.axes, 0, OPENGL)):
        trials += [replace(convention, layout=layout, axes=axes) for layout in layouts]
    trials = [trial for trial in dict.fromkeys(trials) if trial != convention]
    # A rotation that is transposed or inverted comes with its dataset's axes.
    return [t for t in trials if t.layout == "stored" or t.axes == convention.axes or t.layout == "inverted"]


def _turn_one_axis(
    gaze: Gaze,
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
        angle = float(off_axis_angles(pose, gaze.centre[position][None])[0])
        roll = abs(float(rolls(convention.upright(pose), up)[0]))
        if angle + roll < best:
            best = angle + roll
            gaze.turned_round[position] = axis
            gaze.poses[position], gaze.angle[position] = pose[0], angle
    if gaze.angle[position] > gaze.limit:
        del gaze.turned_round[position]
