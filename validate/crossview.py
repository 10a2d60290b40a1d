"""Does one view's depth agree with another's? Un-project, project, compare.

A point that view A sees and that lands in view B's picture either agrees with B's depth there, or lies behind
what B sees (hidden: says nothing), or lies in front of it: B looked through a place where A saw a surface.
That is a contradiction, and right depth, poses and intrinsics hardly give any.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped

#: Points a view that are carried into other views.
_POINTS = 300

#: Other views that a view is compared with, at most.
_PARTNERS = 3

#: Fewer landed points than this in a pair say nothing.
MIN_LANDED = 20


@dataclass(frozen=True)
class DepthView:
    """A (thinned) planar depth map with its camera.

    Attributes:
        depth: values, world units.
        rows, columns: pixel positions of the values in the whole picture, evenly spaced.
        size: width and height of the whole picture.
        focal: (fx, fy) in pixels.
        pose: ``world_from_camera``, OpenCV axes.
    """

    depth: Float32[np.ndarray, "rows columns"]
    rows: Int[np.ndarray, "rows"]
    columns: Int[np.ndarray, "columns"]
    size: tuple[int, int]
    focal: tuple[float, float]
    pose: Float[np.ndarray, "4 4"]


def compare_depths(
    views: Sequence[DepthView | None], rows: Shaped[np.ndarray, "views"], tolerance: float
) -> None:
    """Compare the views of a scene with each other and fill in the figures of their rows.

    ``landed``, ``agree`` and ``contradict`` count points of a view in other views. ``pair_agree`` and
    ``pair_contradict`` are the medians of the shares over the pairs that a view is part of, in either role:
    one bad view spoils all of its own pairs and only a minority of any other view's.
    """
    present = [position for position, view in enumerate(views) if view is not None]
    pairs = [
        (source, present[(place + step) % len(present)])
        for place, source in enumerate(present)
        for step in range(1, min(_PARTNERS, len(present) - 1) + 1)
    ]
    if not pairs:
        return
    counts = (
        count_pairs(
            [view for view in views if view is not None],
            [(present.index(a), present.index(b)) for a, b in pairs],
            tolerance,
        )
        if len(present) < 2000
        else np.zeros((len(pairs), 3), dtype=np.int64)
    )
    shares: dict[int, list[tuple[float, float]]] = {position: [] for position in present}
    for (source, target), (landed, agree, contradict) in zip(pairs, counts.tolist(), strict=True):
        rows[source]["landed"] += landed
        rows[source]["agree"] += agree
        rows[source]["contradict"] += contradict
        # Nothing landing at all, where others do, is as telling as contradiction: see the check.
        if landed >= MIN_LANDED:
            for view in (source, target):
                shares[view].append((agree / landed, contradict / landed))
    for position, pairs_of_view in shares.items():
        rows[position]["pair_agree"] = np.median([a for a, _ in pairs_of_view]) if pairs_of_view else np.nan
        rows[position]["pair_contradict"] = (
            np.median([c for _, c in pairs_of_view]) if pairs_of_view else np.nan
        )


def count_pairs(
    views: Sequence[DepthView], pairs: Sequence[tuple[int, int]], tolerance: float
) -> Int[np.ndarray, "pairs 3"]:
    """Landed, agreeing and contradicting points of each (source, target) pair.

    Args:
        views: all with the same shape of lattice, or compared one by one when not.
        tolerance: relative difference at which two depths agree.
    """
    points = [_points(view) for view in views]
    counts = np.zeros((len(pairs), 3), dtype=np.int64)
    by_target: dict[int, list[int]] = {}
    for index, (_, target) in enumerate(pairs):
        by_target.setdefault(target, []).append(index)
    for target, indices in by_target.items():
        world = np.concatenate([points[pairs[index][0]] for index in indices])
        owner = np.repeat(np.arange(len(indices)), [len(points[pairs[index][0]]) for index in indices])
        state = _land(world, views[target], tolerance)
        for slot, wanted in enumerate((1, 2, 4)):
            counts[indices, slot] = np.bincount(owner[(state & wanted) > 0], minlength=len(indices))
    return counts


def _points(view: DepthView) -> Float[np.ndarray, "points 3"]:
    """World points of an even sample of a depth map."""
    step = max(1, int(np.sqrt(view.depth.size / _POINTS)))
    # Not at the very edge, where rounding decides whether a point lands.
    start = step // 2
    z = view.depth[start::step, start::step].astype(np.float64)
    rows, columns = view.rows[start::step], view.columns[start::step]
    x = (columns - (view.size[0] - 1) / 2) / view.focal[0]
    y = (rows - (view.size[1] - 1) / 2) / view.focal[1]
    z_flat = z.ravel()
    camera = np.stack([(z * x[None, :]).ravel(), (z * y[:, None]).ravel(), z_flat], axis=1)
    camera = camera[np.isfinite(z_flat) & (z_flat > 0)]
    return camera @ view.pose[:3, :3].T + view.pose[:3, 3]


def _land(
    points: Float[np.ndarray, "points 3"], view: DepthView, tolerance: float
) -> Int[np.ndarray, "points"]:
    """For each point: bit 0 it lands in the picture, bit 1 it agrees with its depth, bit 2 it contradicts "
    "it."""
    camera = (points - view.pose[:3, 3]) @ view.pose[:3, :3]
    z = camera[:, 2]
    ahead = z > 1e-6
    inverse = 1.0 / np.where(ahead, z, 1.0)
    u = camera[:, 0] * inverse * view.focal[0] + (view.size[0] - 1) / 2
    v = camera[:, 1] * inverse * view.focal[1] + (view.size[1] - 1) / 2
    across = view.columns[1] - view.columns[0] if len(view.columns) > 1 else 1
    down = view.rows[1] - view.rows[0] if len(view.rows) > 1 else 1
    # Far outside, a pixel number may not fit an integer: clip before rounding.
    column = np.rint(np.clip(u / across, -9.0, len(view.columns) + 9.0)).astype(np.int64)
    row = np.rint(np.clip(v / down, -9.0, len(view.rows) + 9.0)).astype(np.int64)
    lands = ahead & (column >= 0) & (column < len(view.columns)) & (row >= 0) & (row < len(view.rows))
    seen = view.depth[np.where(lands, row, 0), np.where(lands, column, 0)].astype(np.float64)
    usable = lands & np.isfinite(seen) & (seen > 0)
    with np.errstate(invalid="ignore"):
        difference = (z - seen) / np.where(usable, seen, 1.0)
        agrees = usable & (np.abs(difference) <= tolerance)
        contradicts = usable & (difference < -tolerance)
    return usable.astype(np.int64) + 2 * agrees + 4 * contradicts
