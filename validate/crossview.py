"""Does one view's depth agree with another's? Un-project, project, compare.

A point that view A sees and that lands in view B's picture either agrees with B's depth there, or lies behind
what B sees (hidden: says nothing), or lies in front of it: B looked through a place where A saw a surface.
That is a contradiction, and right depth, poses and intrinsics hardly give any.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped

#: Points a view that are carried into other views.
_POINTS = 120

#: Views after it that a view is carried into, in a circle: with two, all pairs of four views are compared.
_PARTNERS = 2

#: Fewer landed points than this in a pair say nothing.
MIN_LANDED = 20

#: Depth maps are thinned to about this many values.
_LATTICE = 20_000


@dataclass(frozen=True)
class DepthStack:
    """(Thinned) planar depth maps of several views of a scene, all of one size, with their cameras.

    Attributes:
        depth: values, world units.
        rows, columns: pixel positions of the values in the whole picture, evenly spaced.
        size: width and height of the whole picture.
        focal: (fx, fy) in pixels.
        poses: ``world_from_camera``, OpenCV axes.
    """

    depth: Float32[np.ndarray, "views rows columns"]
    rows: Int[np.ndarray, "rows"]
    columns: Int[np.ndarray, "columns"]
    size: tuple[int, int]
    focal: tuple[float, float]
    poses: Float[np.ndarray, "views 4 4"]

    @property
    def offsets(self) -> tuple[Float[np.ndarray, "columns"], Float[np.ndarray, "rows"]]:
        """x of each column and y of each row at depth 1, in the camera frame."""
        x = (self.columns - (self.size[0] - 1) / 2) / self.focal[0]
        y = (self.rows - (self.size[1] - 1) / 2) / self.focal[1]
        return x, y


def stack_depths(
    depths: Sequence[Float32[np.ndarray, "height width"]],
    focal_ratio: tuple[float, float],
    poses: Float[np.ndarray, "views 4 4"],
) -> DepthStack:
    """Thin depth maps of one size and put them together with their cameras."""
    height, width = depths[0].shape
    step = max(1, int(np.ceil(np.sqrt(height * width / _LATTICE))))
    return DepthStack(
        depth=np.stack([depth[::step, ::step] for depth in depths]),
        rows=np.arange(0, height, step),
        columns=np.arange(0, width, step),
        size=(width, height),
        focal=(focal_ratio[0] * width, focal_ratio[1] * height),
        poses=poses,
    )


def compare_depths(stack: DepthStack, rows: Sequence[Shaped[np.void, ""]], tolerance: float) -> None:
    """Compare the views of a scene with each other and fill in the figures of their rows.

    ``landed``, ``agree`` and ``contradict`` count points of a view in other views. ``pair_agree`` and
    ``pair_contradict`` are the medians of the shares over the pairs that a view is part of, in either role:
    one bad view spoils all of its own pairs and only a minority of any other view's.
    """
    n = len(stack.depth)
    pairs = [(a, (a + step) % n) for a in range(n) for step in range(1, min(_PARTNERS, n - 1) + 1)]
    if not pairs:
        return
    shares: list[list[tuple[float, float]]] = [[] for _ in range(n)]
    totals = [[0, 0, 0] for _ in range(n)]
    for (source, target), counts in zip(pairs, count_pairs(stack, pairs, tolerance).tolist(), strict=True):
        landed, agree, contradict = counts
        totals[source] = [sum(both) for both in zip(totals[source], counts, strict=True)]
        if landed >= MIN_LANDED:
            share = (agree / landed, contradict / landed)
            shares[source].append(share)
            shares[target].append(share)
    for row, total, own in zip(rows, totals, shares, strict=True):
        row["landed"], row["agree"], row["contradict"] = total
        row["pair_agree"] = median(agree for agree, _ in own) if own else np.nan
        row["pair_contradict"] = median(contradict for _, contradict in own) if own else np.nan


def count_pairs(
    stack: DepthStack, pairs: Sequence[tuple[int, int]], tolerance: float
) -> Int[np.ndarray, "pairs 3"]:
    """Landed, agreeing and contradicting points of each (source, target) pair.

    Args:
        tolerance: relative difference at which two depths agree.
    """
    depth = stack.depth
    height, width = depth.shape[1:]
    step = max(1, int(np.sqrt(height * width / _POINTS)))
    # Not at the very edge, where rounding decides whether a point lands.
    start = step // 2
    rotation, position = stack.poses[:, :3, :3], stack.poses[:, :3, 3]

    x, y = stack.offsets
    z = depth[:, start::step, start::step].astype(np.float64)
    camera = np.empty((*z.shape, 3))
    camera[..., 0] = z * x[start::step]
    camera[..., 1] = z * y[start::step, None]
    camera[..., 2] = z
    camera = camera.reshape(len(depth), -1, 3)
    known = (camera[..., 2] > 0) & (camera[..., 2] < np.inf)
    if not known.all():
        camera[~known] = 1.0

    source, target = np.array(pairs).T
    # Straight from camera to camera: target_from_source as one rotation and one offset a pair.
    back = rotation[target].swapaxes(1, 2)
    turned = camera[source] @ (back @ rotation[source]).swapaxes(1, 2)
    offset = back @ (position[source] - position[target])[..., None]
    z = turned[..., 2] + offset[:, 2]
    ahead = known[source] & (z > 1e-6)
    inverse = 1.0 / np.where(ahead, z, 1.0)
    across = float(stack.columns[1] - stack.columns[0]) if width > 1 else 1.0
    down = float(stack.rows[1] - stack.rows[0]) if height > 1 else 1.0
    # + 0.5 and cut: rounded to the nearest value.
    u = (turned[..., 0] + offset[:, 0]) * inverse * (stack.focal[0] / across) + (
        (stack.size[0] - 1) / 2 / across + 0.5
    )
    v = (turned[..., 1] + offset[:, 1]) * inverse * (stack.focal[1] / down) + (
        (stack.size[1] - 1) / 2 / down + 0.5
    )
    lands = ahead & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    column, row = np.where(lands, u, 0).astype(np.intp), np.where(lands, v, 0).astype(np.intp)
    seen = depth[target[:, None], row, column].astype(np.float64)
    usable = lands & (seen > 0) & (seen < np.inf)
    difference = (z - seen) / np.where(usable, seen, 1.0)
    counts = np.empty((len(pairs), 3), dtype=np.int64)
    counts[:, 0] = usable.sum(axis=1)
    counts[:, 1] = (usable & (np.abs(difference) <= tolerance)).sum(axis=1)
    counts[:, 2] = (usable & (difference < -tolerance)).sum(axis=1)
    return counts
