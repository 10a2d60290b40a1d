"""The plane that a scene stands on, found in 3D points on its surfaces."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

#: How far from the middle points count, and how near a plane they must lie, as shares of the cameras'
#: distance.
_RADIUS, _ABOVE, _BELOW, _THICKNESS = 0.6, 0.1, 0.6, 0.01
#: A plane that is steeper is a wall or a slope, degrees.
_STEEPEST = 15.0
#: Of the points that count, so many lie in the plane at least.
_LEAST_SHARE = 0.2
_FEWEST_POINTS = 50
_TRIES = 500


@dataclass(frozen=True)
class Ground:
    """A plane through ``point`` with the unit ``normal`` upwards.

    Attributes:
        share: of the points around the middle that lie in it.
    """

    point: Float[np.ndarray, "3"]
    normal: Float[np.ndarray, "3"]
    share: float


def find_ground(
    points: Float[np.ndarray, "points 3"], middle: Float[np.ndarray, "3"], distance: float
) -> Ground | None:
    """The plane below a point that most points lie in, and few below (RANSAC: Fischler and Bolles 1981).

    Args:
        points: on surfaces, in a world that is levelled to within 15 degrees, z up.
        middle: what the cameras look at.
        distance: of the cameras from it; sets what is near.
    Returns:
        The plane, refined by least squares, taken at the foot of ``middle``; None when there is none.
    """
    off = points - middle
    near = (
        (np.hypot(off[:, 0], off[:, 1]) < _RADIUS * distance)
        & (off[:, 2] < _ABOVE * distance)
        & (off[:, 2] > -_BELOW * distance)
    )
    points = points[near]
    if len(points) < _FEWEST_POINTS:
        return None
    # Equal points give equal planes.
    triples = points[np.random.default_rng(0).integers(0, len(points), (_TRIES, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    usable = np.abs(normals[:, 2]) > np.cos(np.radians(_STEEPEST)) * np.maximum(lengths, 1e-12)
    if not usable.any():
        return None
    triples, normals = triples[usable], (normals / np.maximum(lengths, 1e-12)[:, None])[usable]
    normals *= np.sign(normals[:, 2:])
    thickness = _THICKNESS * distance
    sample = points[:: max(1, len(points) // 2000)]
    heights = sample @ normals.T - np.einsum("ni,ni->n", triples[:, 0], normals)
    votes = (np.abs(heights) < thickness).sum(axis=0) - (heights < -3 * thickness).sum(axis=0)
    normal, point = normals[votes.argmax()], triples[votes.argmax(), 0]
    inside = np.abs((points - point) @ normal) < thickness
    for _ in range(3):
        point = points[inside].mean(axis=0)
        normal = np.linalg.svd(points[inside] - point, full_matrices=False)[2][2]
        normal = normal * np.sign(normal[2])
        inside = np.abs((points - point) @ normal) < thickness
    share = float(inside.mean())
    if share < _LEAST_SHARE or normal[2] < np.cos(np.radians(_STEEPEST)):
        return None
    foot = middle - ((middle - point) @ normal) * normal
    return Ground(foot, normal, share)
