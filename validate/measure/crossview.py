"""Does one view's depth agree with another's? Un-project, project, compare.

A point that view A sees and that lands in view B's picture either agrees with B's depth there, or lies behind
what B sees (hidden: says nothing), or lies in front of it: B looked through a place where A saw a surface.
That is a contradiction, and right depth, poses and intrinsics hardly give any.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

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
        lenses: of each view, as ``Lenses.numbers``.
        poses: ``world_from_camera``, OpenCV axes.
    """

    depth: Float32[np.ndarray, "views rows columns"]
    rows: Int[np.ndarray, " rows"]
    columns: Int[np.ndarray, " columns"]
    size: tuple[int, int]
    lenses: Float[np.ndarray, "views 4"]
    poses: Float[np.ndarray, "views 4 4"]

    @property
    def offsets(self) -> tuple[Float[np.ndarray, "views columns"], Float[np.ndarray, "views rows"]]:
        """x of each column and y of each row at depth 1, in each view's camera frame."""
        focal, centre = self.focal, self.centre
        x = (self.columns - centre[:, :1]) / focal[:, :1]
        y = (self.rows - centre[:, 1:]) / focal[:, 1:]
        return x, y

    @property
    def focal(self) -> Float[np.ndarray, "views 2"]:
        """fx and fy of each view, in pixels."""
        return self.lenses[:, :2] * self.size

    @property
    def centre(self) -> Float[np.ndarray, "views 2"]:
        """Column and row of each view's principal point."""
        size = np.array(self.size)
        return (size - 1) / 2 + self.lenses[:, 2:] * size


@lru_cache(maxsize=64)
def thinning(height: int, width: int) -> int:
    """Every so many values across and down are kept of a depth map."""
    return max(1, int(np.ceil(np.sqrt(height * width / _LATTICE))))


def stack_depths(
    thinned: Float32[np.ndarray, "views rows columns"],
    size: tuple[int, int],
    lenses: Float[np.ndarray, "views 4"],
    poses: Float[np.ndarray, "views 4 4"],
) -> DepthStack:
    """Put depth maps of one size, of which every ``thinning`` values are kept, together with their cameras.

    Args:
        size: width and height of the whole maps.
        lenses: of each view, as ``Lenses.numbers``.
    """
    width, height = size
    step = thinning(height, width)
    return DepthStack(
        depth=thinned,
        rows=np.arange(0, height, step),
        columns=np.arange(0, width, step),
        size=size,
        lenses=lenses,
        poses=poses,
    )


@lru_cache(maxsize=256)
def _pair_up(counts: tuple[int, ...]) -> tuple[Int[np.ndarray, "pairs 2"], Int[np.ndarray, " pairs"]]:
    """Pairs (source, target) within groups of consecutive views.

    Returns:
        The pairs, and which of its source's partners the target is: 0, 1, ...
    """
    pairs, numbers = [], []
    start = 0
    for count in counts:
        for number in range(min(_PARTNERS, count - 1)):
            pairs += [(start + view, start + (view + number + 1) % count) for view in range(count)]
            numbers += [number] * count
        start += count
    return np.array(pairs, dtype=np.intp).reshape(-1, 2), np.array(numbers, dtype=np.intp)


def compare_depths(
    stack: DepthStack,
    counts: tuple[int, ...],
    numbers: Int[np.ndarray, " views"],
    rows: Shaped[np.ndarray, "all"],
    tolerance: float,
) -> None:
    """Compare views with each other and fill in the figures of their rows.

    ``landed``, ``agree`` and ``contradict`` count points of a view in other views. ``pair_agree`` and
    ``pair_contradict`` are the medians of the shares over the pairs that a view is part of, in either role:
    one bad view spoils all of its own pairs and only a minority of any other view's.

    Args:
        counts: how many views each group has, one group after the other; views of different groups are not
            compared, nor is one alone in its group.
        numbers: the row of each view.
        tolerance: relative difference at which two depths agree.
    """
    pairs, partner = _pair_up(counts)
    if not len(pairs):
        return
    source, target = pairs.T
    found = count_pairs(stack, pairs, tolerance)
    compared = np.unique(source)
    totals = np.zeros((len(stack.depth), 3), dtype=np.int64)
    np.add.at(totals, source, found)
    chosen = numbers[compared]
    for column, name in enumerate(("landed", "agree", "contradict")):
        rows[name][chosen] = totals[compared, column]
    # A view is in at most two pairs with its partners of each number, once in either role.
    landed = found[:, 0] >= MIN_LANDED
    for column, name in ((1, "pair_agree"), (2, "pair_contradict")):
        shares = np.full((len(stack.depth), 2 * _PARTNERS), np.nan)
        share = np.where(landed, found[:, column] / np.maximum(found[:, 0], 1), np.nan)
        shares[source, 2 * partner] = share
        shares[target, 2 * partner + 1] = share
        rows[name][chosen] = _medians(shares[compared])


def _medians(values: Float[np.ndarray, "views shares"]) -> Float[np.ndarray, " views"]:
    """Median of the values of each row that are no nan; nan where there is none."""
    ordered = np.sort(values, axis=1)
    n = np.count_nonzero(~np.isnan(ordered), axis=1)
    each = np.arange(len(values))
    return (ordered[each, np.maximum(n - 1, 0) // 2] + ordered[each, n // 2]) / 2


def count_pairs(
    stack: DepthStack, pairs: Sequence[tuple[int, int]] | Int[np.ndarray, "pairs 2"], tolerance: float
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
    x, y = x[:, None, start::step], y[:, start::step, None]
    near = depth[:, start::step, start::step].astype(np.float64)
    known = (near > 0) & (near < np.inf)
    if not known.all():
        near[~known] = 1.0

    source, target = np.asarray(pairs).T
    # Straight from camera to camera: target_from_source as one rotation and one offset a pair. Components
    # apart: several times faster than products of many small matrices.
    back = rotation[target].swapaxes(1, 2)
    turn = (back @ rotation[source]).transpose(1, 2, 0)[..., None, None]
    offset = (back @ (position[source] - position[target])[..., None]).transpose(1, 2, 0)[..., None, None]
    near, x, y = near[source], x[source], y[source]
    carried = []
    for axis in range(3):
        ray = turn[axis, 0] * x + (turn[axis, 1] * y + turn[axis, 2])
        ray *= near
        ray += offset[axis, 0]
        carried.append(ray.reshape(len(source), -1))
    known = known.reshape(len(depth), -1)
    z = carried[2]
    ahead = known[source] & (z > 1e-6)
    inverse = 1.0 / np.where(ahead, z, 1.0)
    across = float(stack.columns[1] - stack.columns[0]) if width > 1 else 1.0
    down = float(stack.rows[1] - stack.rows[0]) if height > 1 else 1.0
    # + 0.5 and cut: rounded to the nearest value.
    focal, centre = stack.focal[target] / (across, down), stack.centre[target] / (across, down) + 0.5
    u = carried[0] * inverse * focal[:, :1] + centre[:, :1]
    v = carried[1] * inverse * focal[:, 1:] + centre[:, 1:]
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
