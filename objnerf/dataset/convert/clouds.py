"""Coloured points on the surfaces of a scene, made from its depth maps: where splatting begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from objnerf.dataset import names
from objnerf.dataset.cameras import unproject
from objnerf.dataset.convert.posed import PosedScene, PosedScenes, PosedView, depth_map, pixels

#: Points of a scene, at most: as many as 3D Gaussian splatting begins with where it has none.
MOST_POINTS = 100_000
_GREY = 128


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points in world units with their colours, RGB."""

    points: Float[np.ndarray, "points 3"]
    colours: UInt8[np.ndarray, "points 3"]


def scene_cloud(posed: PosedScenes, scene: PosedScene, views: Sequence[PosedView]) -> Cloud | None:
    """The surfaces of a scene as points: from depth, else the source's own in grey; None without either.

    Of the pixels of all views with depth, ``MOST_POINTS`` at most are taken, evenly.

    Args:
        views: the scene's, as ``counted`` made them ready.
    """
    with_depth = [view for view in views if names.DEPTH_SUFFIX in view.companions]
    if not with_depth:
        known = np.zeros((0, 3)) if scene.points is None else scene.points()
        return Cloud(known, np.full(known.shape, _GREY, np.uint8)) if len(known) else None
    points, colours = [], []
    for view in with_depth:
        depth = depth_map(view.companions[names.DEPTH_SUFFIX]).astype(np.float64)
        measured = np.isfinite(depth) & (depth > 0)
        surface = unproject(np.where(measured, depth, 0.0), posed.intrinsics_of(view), view.world_from_camera)
        points.append(surface[measured])
        colours.append(pixels(view.image)[measured])
    found = Cloud(np.concatenate(points), np.concatenate(colours))
    count = len(found.points)
    if count == 0:
        return None
    taken = np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(np.int64)
    return Cloud(found.points[taken], found.colours[taken])


def write_ply(path: Path, cloud: Cloud) -> None:
    """Write points as a binary PLY with the colours red, green, blue."""
    import trimesh

    content: Any = trimesh.PointCloud(cloud.points, colors=cloud.colours).export(file_type="ply")
    path.write_bytes(content)
