"""Objects on the ground: apart by their convex footprints, wholly inside the locality box."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Float

from generation.assets.mesh import Extent
from generation.plan.preset import PlacementRules


class PlacementError(Exception):
    """This attempt at a scene came to nothing; the next one may not."""


@dataclass(frozen=True)
class Placed:
    """Where an object stands: centre of its bounding box on the ground (world units) and yaw (radians)."""

    x: float
    y: float
    yaw: float


def placed_footprint(
    footprint: Float[np.ndarray, "corners 2"], spot: Placed, scale: float
) -> Float[np.ndarray, "corners 2"]:
    """A shape's footprint in the world."""
    cos, sin = np.cos(spot.yaw), np.sin(spot.yaw)
    rotation = np.array([[cos, -sin], [sin, cos]])
    corners: np.ndarray = scale * footprint @ rotation.T + np.array([spot.x, spot.y])
    return corners


def place(
    rules: PlacementRules,
    obj_scale: float,
    extents: Sequence[Extent],
    scales: Sequence[float],
    rng: np.random.Generator,
) -> list[Placed]:
    """Find a spot for every object, in order.

    Two objects are apart when their convex footprints are at least ``rules.gap`` apart: since the hull
    holds the whole object at every height, nothing can touch.

    Args:
        rules: spread, gap and number of tries.
        obj_scale: half side of the locality box; every vertex stays inside it.
        extents: size and footprint of each shape (diagonal-1 units).
        scales: world units of each shape's diagonal.
        rng: draws positions and yaws.
    Raises:
        PlacementError: an object found no place, or is higher than the box.
    """
    spots: list[Placed] = []
    standing: list[Float[np.ndarray, "corners 2"]] = []
    for extent, scale in zip(extents, scales, strict=True):
        spot = place_one(rules, obj_scale, extent, scale, standing, rng)
        spots.append(spot)
        standing.append(placed_footprint(extent.footprint, spot, scale))
    return spots


def place_one(
    rules: PlacementRules,
    obj_scale: float,
    extent: Extent,
    scale: float,
    standing: Sequence[Float[np.ndarray, "_ 2"]],
    rng: np.random.Generator,
    yaw: float | None = None,
) -> Placed:
    """Find a spot for one object beside those that stand already; as `place`.

    Args:
        standing: their footprints in the world.
        yaw: None to draw one.
    """
    if extent.size[2] * scale > obj_scale:
        raise PlacementError("an object is higher than the locality box")
    others = [shapely.Polygon(corners) for corners in standing]
    for _ in range(rules.tries):
        x, y = rng.uniform(-rules.spread, rules.spread, 2)
        turn = float(rng.uniform(0, 2 * np.pi)) if yaw is None else yaw
        # Rounded, so that the plan's JSON is short and says exactly what was tested.
        spot = Placed(round(float(x), 6), round(float(y), 6), round(turn, 6))
        corners = placed_footprint(extent.footprint, spot, scale)
        if np.abs(corners).max() > obj_scale:
            continue
        polygon = shapely.Polygon(corners)
        if all(polygon.distance(other) >= rules.gap for other in others):
            return spot
    raise PlacementError(f"no place for object {len(standing) + 1}")
