"""What a set of poses says of its world, whichever way its world is turned, shifted and scaled: pure numpy.

Camera poses are known up to a similarity of the world. Which way is up, what the cameras look at, and whether
two sets of poses are the same but for a similarity are questions whose answers move with the world; nothing
here assumes that z is up or that the origin is the centre.

All poses are ``world_from_camera`` in OpenCV axes (x right, y down, z forward); lengths are world units.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

#: Camera rolls below this are rounding of files with few digits, radians.
_LEAST_ROLL = np.radians(0.1)

#: Roll to expect where too few cameras show it: of two, or of one, radians.
_EXPECTED_ROLL = np.radians(3.0)

#: How far up lies from the mean of the cameras' own ups, for want of anything better, radians:
#: cameras look down on scenes, all of them by about the same angle.
_EXPECTED_PITCH = np.radians(35.0)

#: Optical axes cross in a point when their normal matrix's least eigenvalue is over this share of the views.
_PARALLEL = 1e-4


@dataclass(frozen=True)
class UpEstimate:
    """Which way is up in the world, estimated from camera poses.

    Attributes:
        direction: unit vector in the world of the poses.
        roll_degrees: typical (root mean square, without outliers) roll of the cameras against it.
        uncertainty_degrees: standard deviation of the direction along its least certain axis.
    """

    direction: Float[np.ndarray, "3"]
    roll_degrees: float
    uncertainty_degrees: float


def estimate_up(world_from_camera: Float[np.ndarray, "views 4 4"]) -> UpEstimate:
    """Measure the world's up from cameras that were held upright, more or less.

    An upright camera's right axis is horizontal: up is the direction that is, in weighted least squares,
    orthogonal to all right axes. Weights fall off with the roll (Huber's), so that single rolled or wrong
    views hardly count. Where the right axes leave a direction open (all cameras on one side) the mean of the
    cameras' own ups decides: up is the least eigenvector u of

        Σ w_i x_i x_iᵀ / roll² + (1 - m mᵀ) / pitch²,

    with right axes x, m the mean of the cameras' ups, and pitch the 35° by which cameras may look down.

    Args:
        world_from_camera: at least one pose, OpenCV axes, any world.
    Returns:
        The direction with its spread. Where the cameras' ups cancel, its uncertainty is 90° or more.
    Raises:
        ValueError: there is no pose.
    """
    if not len(world_from_camera):
        raise ValueError("at least one pose is needed to measure which way is up")
    right, up = world_from_camera[:, :3, 0], -world_from_camera[:, :3, 1]
    mean, strength = _mean_direction(up)
    prior = strength * (np.eye(3) - np.outer(mean, mean)) / _EXPECTED_PITCH**2
    direction, weights, roll = mean, np.ones(len(right)), _EXPECTED_ROLL
    off = np.zeros(len(right))
    for _ in range(40):
        normal = np.einsum("n,ni,nj->ij", weights, right, right)
        found = np.linalg.eigh(normal / roll**2 + prior)[1][:, 0]
        found = found if found @ mean >= 0 else -found
        moved = float(np.abs(found - direction).max())
        direction = found
        off = np.arcsin(np.clip(right @ direction, -1.0, 1.0))
        # A camera on its head has a level right axis as well: it does not vote.
        upright = (up @ direction) > 0
        cut = 1.345 * max(1.4826 * float(np.median(np.abs(off))), _LEAST_ROLL)
        weights = np.where(upright, np.minimum(1.0, cut / np.maximum(np.abs(off), 1e-12)), 0.0)
        if not upright.any():
            weights = np.ones(len(right))
        roll = _typical_roll(off[weights > 0.2])
        if moved < 1e-10:
            break
    kept = weights > 0.2
    information = np.einsum("ni,nj->ij", right[kept], right[kept]) / roll**2 + prior
    values = np.linalg.eigvalsh(information)
    uncertain = float(np.degrees(1.0 / np.sqrt(max(values[1] - values[0], 1e-12))))
    return UpEstimate(direction, float(np.degrees(np.sqrt((off[kept] ** 2).mean()))), uncertain)


def _typical_roll(off: Float[np.ndarray, " n"]) -> float:
    """Standard deviation of rolls of which two parameters were fitted, radians.

    Few cameras cannot tell their own roll: the expected one stands in as a twentieth of a camera.
    """
    free = max(len(off) - 2, 0)
    squares = float((off**2).sum()) + 0.05 * _EXPECTED_ROLL**2
    return max(float(np.sqrt(squares / (free + 0.05))), float(_LEAST_ROLL))


def _mean_direction(vectors: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "3"], float]:
    """Unit vector of the mean, and its length (0 where the vectors cancel)."""
    mean = vectors.mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:
        return np.array([0.0, 0.0, 1.0]), 0.0
    return mean / length, length


def turn_to_z(up: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The smallest rotation that brings ``up`` to +z; half a turn about x where it is -z.

    Raises:
        ValueError: ``up`` is zero.
    """
    length = float(np.linalg.norm(up))
    if not length > 0.0:
        raise ValueError("a direction of length 0 has no rotation to z")
    x, y, z = np.asarray(up, np.float64) / length
    if z < -1.0 + 1e-12:
        return np.diag([1.0, -1.0, -1.0])
    # Rodrigues' formula about the axis up × z = (y, -x, 0), whose length is the angle's sine.
    return np.array(
        [
            [1.0 - x * x / (1.0 + z), -x * y / (1.0 + z), -x],
            [-x * y / (1.0 + z), 1.0 - y * y / (1.0 + z), -y],
            [x, y, z],
        ]
    )


@dataclass(frozen=True)
class FocusEstimate:
    """What cameras look at.

    Attributes:
        point: nearest, in weighted least squares, to all optical axes.
        residual: typical (weighted root mean square) distance of an axis from it.
        distance: median distance of the cameras from it.
        ahead: share of the cameras that have it before them.
        is_crossing: False for axes that are (nearly) parallel: the point is then the cameras' own middle.
    """

    point: Float[np.ndarray, "3"]
    residual: float
    distance: float
    ahead: float
    is_crossing: bool


def estimate_focus(world_from_camera: Float[np.ndarray, "views 4 4"]) -> FocusEstimate:
    """The point that most cameras look at; those that look elsewhere don't pull it (Cauchy weights).

    Args:
        world_from_camera: at least two poses, OpenCV axes, any world.
    Raises:
        ValueError: fewer than two poses.
    """
    if len(world_from_camera) < 2:
        raise ValueError(f"at least two views are needed to find a focus, got {len(world_from_camera)}")
    axes, centres = world_from_camera[:, :3, 2], world_from_camera[:, :3, 3]
    centroid = centres.mean(axis=0)
    projectors = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    moments = np.einsum("nij,nj->ni", projectors, centres - centroid)
    weights = np.ones(len(axes))
    point, misses = centroid, np.zeros(len(axes))
    normal = projectors.sum(axis=0)
    for _ in range(12):
        normal = np.einsum("n,nij->ij", weights, projectors)
        solution = np.linalg.pinv(normal, rcond=1e-9, hermitian=True) @ (weights[:, None] * moments).sum(0)
        moved = float(np.linalg.norm(centroid + solution - point))
        point = centroid + solution
        offset = point - centres
        misses = np.linalg.norm(np.einsum("nij,nj->ni", projectors, offset), axis=1)
        scale = 1.4826 * float(np.median(misses)) + 1e-12 + 1e-6 * float(np.median(np.abs(offset)))
        weights = 1.0 / (1.0 + (misses / (2.0 * scale)) ** 2)
        if moved < 1e-9 * (1.0 + float(np.abs(offset).max())):
            break
    offset = point - centres
    along = np.einsum("ni,ni->n", offset, axes)
    return FocusEstimate(
        point,
        float(np.sqrt((weights * misses**2).sum() / weights.sum())),
        float(np.median(np.linalg.norm(offset, axis=1))),
        float((along > 0).mean()),
        bool(np.linalg.eigvalsh(normal)[0] > _PARALLEL * weights.sum()),
    )


@dataclass(frozen=True)
class Similarity:
    """``x → scale * rotation @ x + shift``: turns, shifts and scales a world.

    Attributes:
        rotation: orthonormal; its determinant is -1 where the world is mirrored.
    """

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, "3"]

    def apply(self, world_from_camera: Float[np.ndarray, "views 4 4"]) -> Float[np.ndarray, "views 4 4"]:
        """The poses in the new world. Rotation blocks are turned and not scaled; a mirrored world gives
        them the determinant -1."""
        moved = world_from_camera.copy()
        moved[:, :3, :3] = self.rotation @ world_from_camera[:, :3, :3]
        moved[:, :3, 3] = self.scale * world_from_camera[:, :3, 3] @ self.rotation.T + self.shift
        return moved


@dataclass(frozen=True)
class SimilarityFit:
    """The similarity that brings one set of poses nearest to another, and what it leaves.

    Attributes:
        similarity: maps the source's world to the target's.
        angles: what is left between the orientations of each view, degrees.
        distances: what is left between the positions, in multiples of the extent of the target's cameras.
    """

    similarity: Similarity
    angles: Float[np.ndarray, " views"]
    distances: Float[np.ndarray, " views"]

    def is_exact(self, degrees: float = 0.02, share: float = 1e-4) -> bool:
        """Both sets are the same poses, within the digits of a pose file."""
        return bool((self.angles <= degrees).all() and (self.distances <= share).all())


def fit_similarity(
    source: Float[np.ndarray, "views 4 4"], target: Float[np.ndarray, "views 4 4"], mirrored: bool = False
) -> SimilarityFit:
    """Least-squares similarity between two sets of poses of the same views (Umeyama 1991, with orientations).

    The rotation comes from orientations and positions together (orthogonal Procrustes), so that a single
    view, or cameras on one line, suffice; scale and shift come from the positions.

    Args:
        source, target: poses of the same cameras in two worlds, same camera axes.
        mirrored: look for one that mirrors the world (determinant -1). The orientations then have to be
            given as the world's mirror leaves them: ``rotation @ source`` is compared with ``target``.
    Raises:
        ValueError: there is no view.
    """
    if not len(source):
        raise ValueError("at least one view is needed to fit a similarity")
    from_points, to_points = source[:, :3, 3], target[:, :3, 3]
    from_middle, to_middle = from_points.mean(axis=0), to_points.mean(axis=0)
    before, after = from_points - from_middle, to_points - to_middle
    extent_before = float(np.sqrt((before**2).sum(axis=1).mean()))
    extent = float(np.sqrt((after**2).sum(axis=1).mean()))
    covariance = np.einsum("nik,njk->ij", target[:, :3, :3], source[:, :3, :3])
    if extent_before > 0.0 and extent > 0.0:
        covariance = covariance + after.T @ before / (extent_before * extent)
    left, _, right = np.linalg.svd(covariance)
    wanted = -1.0 if mirrored else 1.0
    flip = np.diag([1.0, 1.0, wanted * float(np.sign(np.linalg.det(left @ right)))])
    rotation = left @ flip @ right
    turned = before @ rotation.T
    spread = float((turned**2).sum())
    scale = float((turned * after).sum()) / spread if spread > 0.0 else 1.0
    similarity = Similarity(scale, rotation, to_middle - scale * rotation @ from_middle)
    moved = similarity.apply(source)
    # ‖A - B‖² = 8 sin²(angle / 2) for two rotations: exact for small angles, unlike the trace's arccosine.
    apart = np.linalg.norm(moved[:, :3, :3] - target[:, :3, :3], axis=(1, 2))
    angles = np.degrees(2.0 * np.arcsin(np.clip(apart / np.sqrt(8.0), 0.0, 1.0)))
    distances = np.linalg.norm(moved[:, :3, 3] - to_points, axis=1) / (extent if extent > 0.0 else 1.0)
    return SimilarityFit(similarity, angles, distances)
