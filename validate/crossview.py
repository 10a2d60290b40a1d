"""Does one view's depth agree with another's? Un-project, project, compare.

A point that view A sees and that lands in view B's picture either agrees with B's depth there, or lies behind
what B sees (hidden: says nothing), or lies in front of it: B looked through a place where A saw a surface.
That is a contradiction, and right depth, poses and intrinsics hardly give any.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped

#: Points a view that are carried into other views.
_POINTS = 220

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
    present = [view for view in views if view is not None]
    positions = [position for position, view in enumerate(views) if view is not None]
    n = len(present)
    pairs = [(a, (a + step) % n) for a in range(n) for step in range(1, min(_PARTNERS, n - 1) + 1)]
    if not pairs:
        return
    counts = count_pairs(present, pairs, tolerance).tolist()
    shares: list[list[tuple[float, float]]] = [[] for _ in present]
    totals = [[0, 0, 0] for _ in present]
    for (source, target), (landed, agree, contradict) in zip(pairs, counts, strict=True):
        total = totals[source]
        total[0] += landed
        total[1] += agree
        total[2] += contradict
        if landed >= MIN_LANDED:
            share = (agree / landed, contradict / landed)
            shares[source].append(share)
            shares[target].append(share)
    for position, total, own in zip(positions, totals, shares, strict=True):
        row = rows[position]
        row["landed"], row["agree"], row["contradict"] = total
        row["pair_agree"] = median(agree for agree, _ in own) if own else np.nan
        row["pair_contradict"] = median(contradict for _, contradict in own) if own else np.nan


def count_pairs(
    views: Sequence[DepthView], pairs: Sequence[tuple[int, int]], tolerance: float
) -> Int[np.ndarray, "pairs 3"]:
    """Landed, agreeing and contradicting points of each (source, target) pair.

    Args:
        views: all with the same shape of lattice, or compared one by one when not.
        tolerance: relative difference at which two depths agree.
    """
    if len({(view.depth.shape, view.size) for view in views}) == 1:
        return _count_alike(views, pairs, tolerance)
    counts = np.zeros((len(pairs), 3), dtype=np.int64)
    points = [_points(view) for view in views]
    by_target: dict[int, list[int]] = {}
    for index, (_, target) in enumerate(pairs):
        by_target.setdefault(target, []).append(index)
    for target, indices in by_target.items():
        landing = [points[pairs[index][0]] for index in indices]
        usable, difference = _land(np.concatenate(landing), views[target])
        start = 0
        for index, own in zip(indices, landing, strict=True):
            piece = difference[start : start + len(own)][usable[start : start + len(own)]]
            counts[index, 0] = len(piece)
            counts[index, 1] = np.count_nonzero(np.abs(piece) <= tolerance)
            counts[index, 2] = np.count_nonzero(piece < -tolerance)
            start += len(own)
    return counts


def _count_alike(
    views: Sequence[DepthView], pairs: Sequence[tuple[int, int]], tolerance: float
) -> Int[np.ndarray, "pairs 3"]:
    """``count_pairs`` of views that share size and lattice: all pairs at once, which is much faster."""
    one = views[0]
    height, width = one.depth.shape
    step = max(1, int(np.sqrt(one.depth.size / _POINTS)))
    start = step // 2
    depth = np.stack([view.depth for view in views])
    focal = np.array([view.focal for view in views])
    rotation = np.stack([view.pose[:3, :3] for view in views])
    position = np.stack([view.pose[:3, 3] for view in views])

    z = depth[:, start::step, start::step].astype(np.float64)
    middle_u, middle_v = (one.size[0] - 1) / 2, (one.size[1] - 1) / 2
    camera = np.empty((*z.shape, 3))
    camera[..., 0] = z * ((one.columns[start::step] - middle_u) / focal[:, :1])[:, None, :]
    camera[..., 1] = z * ((one.rows[start::step] - middle_v) / focal[:, 1:])[:, :, None]
    camera[..., 2] = z
    camera = camera.reshape(len(views), -1, 3)
    known = (camera[..., 2] > 0) & (camera[..., 2] < np.inf)
    camera[~known] = 1.0
    world = camera @ np.swapaxes(rotation, 1, 2) + position[:, None]

    source, target = np.array(pairs).T
    seen_from = (world[source] - position[target][:, None]) @ rotation[target]
    z = seen_from[..., 2]
    ahead = known[source] & (z > 1e-6)
    inverse = 1.0 / np.where(ahead, z, 1.0)
    across = float(one.columns[1] - one.columns[0]) if width > 1 else 1.0
    down = float(one.rows[1] - one.rows[0]) if height > 1 else 1.0
    u = seen_from[..., 0] * inverse * (focal[target, :1] / across) + (middle_u / across + 0.5)
    v = seen_from[..., 1] * inverse * (focal[target, 1:] / down) + (middle_v / down + 0.5)
    lands = ahead & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    column, row = np.where(lands, u, 0).astype(np.intp), np.where(lands, v, 0).astype(np.intp)
    seen = depth[target[:, None], row, column].astype(np.float64)
    usable = lands & (seen > 0) & (seen < np.inf)
    difference = (z - seen) / np.where(usable, seen, 1.0)
    return np.stack(
        [
            usable.sum(axis=1),
            (usable & (np.abs(difference) <= tolerance)).sum(axis=1),
            (usable & (difference < -tolerance)).sum(axis=1),
        ],
        axis=1,
    )


def _points(view: DepthView) -> Float[np.ndarray, "points 3"]:
    """World points of an even sample of a depth map."""
    step = max(1, int(np.sqrt(view.depth.size / _POINTS)))
    # Not at the very edge, where rounding decides whether a point lands.
    start = step // 2
    z = view.depth[start::step, start::step].astype(np.float64)
    rows, columns = view.rows[start::step], view.columns[start::step]
    camera = np.empty((*z.shape, 3))
    camera[..., 0] = z * ((columns - (view.size[0] - 1) / 2) / view.focal[0])
    camera[..., 1] = z * ((rows - (view.size[1] - 1) / 2) / view.focal[1])[:, None]
    camera[..., 2] = z
    flat = camera.reshape(-1, 3)
    if not 0 < z.min() <= z.max() < np.inf:
        flat = flat[np.isfinite(flat[:, 2]) & (flat[:, 2] > 0)]
    return flat @ view.pose[:3, :3].T + view.pose[:3, 3]


def _land(
    points: Float[np.ndarray, "points 3"], view: DepthView
) -> tuple[Bool[np.ndarray, "points"], Float[np.ndarray, "points"]]:
    """Which points land on a depth of a view, and how much deeper they are than it, relative to it."""
    camera = (points - view.pose[:3, 3]) @ view.pose[:3, :3]
    z = camera[:, 2]
    ahead = z > 1e-6
    inverse = 1.0 / np.where(ahead, z, 1.0)
    height, width = view.depth.shape
    across = float(view.columns[1] - view.columns[0]) if width > 1 else 1.0
    down = float(view.rows[1] - view.rows[0]) if height > 1 else 1.0
    # + 0.5 and cut: rounded to the nearest value; -1 and below is outside.
    u = camera[:, 0] * inverse * (view.focal[0] / across) + ((view.size[0] - 1) / 2 / across + 0.5)
    v = camera[:, 1] * inverse * (view.focal[1] / down) + ((view.size[1] - 1) / 2 / down + 0.5)
    lands = ahead & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    column = np.where(lands, u, 0).astype(np.intp)
    row = np.where(lands, v, 0).astype(np.intp)
    seen = view.depth[row, column].astype(np.float64)
    usable = lands & (seen > 0) & (seen < np.inf)
    return usable, (z - seen) / np.where(usable, seen, 1.0)
