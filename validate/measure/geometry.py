"""Geometry of many poses at once: what the checks and the diagnosis are computed with.

All poses are ``world_from_camera`` in OpenCV axes (x right, y down, z forward) unless a name says otherwise.
Lengths are world units.
"""

import itertools

import numpy as np
from jaxtyping import Bool, Float, Int

#: Signed permutations of the camera's axes with determinant 1: 24 matrices whose columns are the true
#: right, down and forward axes in terms of the stored ones. The first is the identity.
AXIS_CONVENTIONS: Float[np.ndarray, "24 3 3"] = np.array(
    sorted(
        (
            np.eye(3)[:, list(order)] * np.array(signs)
            for order in itertools.permutations(range(3))
            for signs in itertools.product((1.0, -1.0), repeat=3)
            if np.linalg.det(np.eye(3)[:, list(order)] * np.array(signs)) > 0
        ),
        # Fewest changes first: a tie between conventions goes to the simpler one.
        key=lambda m: (-(np.trace(m)), -abs(m[2, 2]), tuple(m.ravel())),
    )
)

#: The axes that a world may have up, likeliest first.
UP_DIRECTIONS: dict[str, Float[np.ndarray, "3"]] = {
    "z": np.array([0.0, 0.0, 1.0]),
    "y": np.array([0.0, 1.0, 0.0]),
    "-y": np.array([0.0, -1.0, 0.0]),
    "-z": np.array([0.0, 0.0, -1.0]),
    "x": np.array([1.0, 0.0, 0.0]),
    "-x": np.array([-1.0, 0.0, 0.0]),
}


def off_axis_angles(
    poses: Float[np.ndarray, "views 4 4"], centre: Float[np.ndarray, "*#views 3"]
) -> Float[np.ndarray, " views"]:
    """Angle in degrees between each optical axis and the direction to ``centre``; 180 is straight behind."""
    offset = centre - poses[:, :3, 3]
    length = np.linalg.norm(offset, axis=1)
    along = np.einsum("ni,ni->n", offset, poses[:, :3, 2])
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = np.where(length > 0, along / length, -1.0)
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def rolls(
    poses: Float[np.ndarray, "views 4 4"], up: Float[np.ndarray, "*#views 3"] | None = None
) -> Float[np.ndarray, " views"]:
    """Roll about the optical axis in degrees, -180 … 180, against ``up`` (unit vectors; z when left out).

    0 for a camera whose right axis is horizontal and whose down axis points downwards. A camera that looks
    straight up or down has no roll: 0.
    """
    if up is None:
        right_up, down_up = poses[:, 2, 0], poses[:, 2, 1]
    else:
        directions = np.broadcast_to(up, (len(poses), 3))
        right_up = np.einsum("ni,ni->n", poses[:, :3, 0], directions)
        down_up = np.einsum("ni,ni->n", poses[:, :3, 1], directions)
    roll = np.degrees(np.arctan2(right_up, -down_up))
    return np.where(np.hypot(right_up, down_up) < 0.02, 0.0, roll)


def scene_focuses(
    poses: Float[np.ndarray, "views 4 4"], scene_index: Int[np.ndarray, " views"], n_scenes: int
) -> tuple[Float[np.ndarray, "scenes 3"], Float[np.ndarray, "scenes 3 3"], Float[np.ndarray, " scenes"]]:
    """Least-squares focus of the optical axes of every scene at once.

    Args:
        poses: finite rigid poses.
        scene_index: which of the ``n_scenes`` scenes each view belongs to.
    Returns:
        The focus of each scene (about the cameras' centroid where it is undetermined), the normal matrices
        Σ (1 - d dᵀ), and the root mean square distance of the axes from the focus. Scenes with fewer than
        two views have nan.
    """
    axes = poses[:, :3, 2]
    centres = poses[:, :3, 3]
    count = np.bincount(scene_index, minlength=n_scenes)
    centroid = _scene_sum(centres, scene_index, n_scenes) / np.maximum(count, 1)[:, None]
    projectors = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    normal = _scene_sum(projectors, scene_index, n_scenes)
    relative_centres = centres - centroid[scene_index]
    right_hand = _scene_sum(np.einsum("nij,nj->ni", projectors, relative_centres), scene_index, n_scenes)
    solution = np.einsum("sij,sj->si", np.linalg.pinv(normal, rcond=1e-7, hermitian=True), right_hand)
    focus = centroid + solution
    missed = np.einsum("nij,nj->ni", projectors, focus[scene_index] - centres)
    residual = np.sqrt(_scene_sum((missed**2).sum(axis=1), scene_index, n_scenes) / np.maximum(count, 1))
    few = count < 2
    focus[few] = np.nan
    residual[few] = np.nan
    return focus, normal, residual


def axis_misses(
    poses: Float[np.ndarray, "views 4 4"], centre: Float[np.ndarray, "*#views 3"]
) -> Float[np.ndarray, " views"]:
    """Distance of each optical axis (as a line) from ``centre``."""
    offset = centre - poses[:, :3, 3]
    along = np.einsum("ni,ni->n", offset, poses[:, :3, 2])
    return np.linalg.norm(offset - along[:, None] * poses[:, :3, 2], axis=1)


def azimuth_rotations(
    poses: Float[np.ndarray, "views 4 4"],
) -> tuple[Float[np.ndarray, "views 3 3"], Bool[np.ndarray, " views"]]:
    """The format's azimuth rotation of every pose, and where it is defined (not looking straight down)."""
    forward = poses[:, :2, 2]
    norm = np.linalg.norm(forward, axis=1)
    defined = norm > 0.02
    x, y = (forward / np.where(defined, norm, 1.0)[:, None]).T
    rotation = np.zeros((len(poses), 3, 3))
    rotation[:, 0, 0] = y
    rotation[:, 0, 1] = x
    rotation[:, 1, 0] = -x
    rotation[:, 1, 1] = y
    rotation[:, 2, 2] = 1.0
    return rotation, defined


def _scene_sum(
    values: Float[np.ndarray, " views *rest"], scene_index: Int[np.ndarray, " views"], n_scenes: int
) -> Float[np.ndarray, " scenes *rest"]:
    total = np.zeros((n_scenes, *values.shape[1:]))
    np.add.at(total, scene_index, values)
    return total
