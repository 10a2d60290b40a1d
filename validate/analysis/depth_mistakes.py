"""Why do the depths of different views contradict each other? Try the likely mistakes, as with poses.

Works on a few scenes, whose depth maps it reads again; it is only called when the comparison failed.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from objnerf.dataset import names
from objnerf.dataset.untrusted import Unreadable, read_bytes
from validate.analysis.depth_agreement import MIN_POINTS
from validate.analysis.model import Analysis, Explanation, Kind
from validate.measure.crossview import DepthStack, count_pairs, stack_depths, thinning
from validate.measure.pictures import ROW
from validate.measure.spread import spread_evenly
from validate.read import decode_depth

#: Scenes and views a scene that are tried.
_SCENES, _VIEWS = 12, 4

#: Views of a scene that are compared pair by pair.
_MANY = 12

#: Focal ratios that differ by less, fx and fy together, are the same.
_SAME_RATIO = 1e-3

#: Factors on the focal length and on depth that are searched.
_FACTORS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.05, 1.1, 1.15, 1.2, 1.25, 4 / 3, 1.5, 1.75, 2.0)


#: Part of the tolerance within which explanations are distinguished.
_SHARP = 0.25


def load_depths(analysis: Analysis, views: Sequence[int]) -> tuple[list[int], DepthStack] | None:
    """Read the depth maps of some views of a scene again.

    Returns:
        The views that could be used (all of one size) and their depth; None for fewer than two.
    """
    by_shape: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
    for view in views:
        if (
            names.DEPTH_SUFFIX not in analysis.scan.views[view].companions
            or not analysis.diagnosis.usable[view]
        ):
            continue
        try:
            content = read_bytes(
                analysis.scan.dataset.root / f"{analysis.scan.views[view].stem}{names.DEPTH_SUFFIX}"
            )
            depth = decode_depth(content).values
        except Unreadable:
            continue
        if depth is not None:
            by_shape.setdefault(depth.shape, []).append((view, depth))
    alike = max(by_shape.values(), key=len, default=[])
    if len(alike) < 2:
        return None
    kept = [view for view, _ in alike]
    height, width = alike[0][1].shape
    step = thinning(height, width)
    thinned = np.stack([depth[::step, ::step] for _, depth in alike])
    return kept, stack_depths(
        thinned, (width, height), analysis.lenses.numbers[kept], analysis.world_poses[kept]
    )


def explain_contradictions(analysis: Analysis) -> Explanation | None:
    """The likeliest single mistake that explains contradicting depths; None when none does."""
    rows = analysis.pictures.rows if analysis.pictures is not None else np.zeros(0, dtype=ROW)
    measured = np.unique(
        analysis.scan.scene_index[np.flatnonzero(rows["landed"] + (rows["depth_high"] > 0) > 0)]
    )
    chosen = spread_evenly(measured, _SCENES)
    loaded = (
        load_depths(analysis, np.flatnonzero(analysis.scan.scene_index == scene)[:_VIEWS].tolist())
        for scene in chosen
    )
    scenes = [found[1] for found in loaded if found is not None]
    if not scenes:
        return None
    tolerance = analysis.limits.depth_tolerance
    stored = _shares(scenes, lambda stack: stack, tolerance)
    fitting: list[tuple[Explanation, float]] = []
    for trial in _trials(analysis, scenes):
        agree, contradict = _shares(scenes, trial.undo, tolerance)
        # Much more agreement, or much less contradiction without losing agreement.
        better = agree > stored[0] + 0.1 or (contradict < 0.4 * stored[1] and agree > stored[0] - 0.02)
        if contradict < 0.05 and agree > 0.5 and better:
            # What is nearly right agrees within the tolerance, and only what is right within a part of it.
            sharp = _shares(scenes, trial.undo, _SHARP * tolerance)
            explanation = Explanation(
                trial.kind, trial.words, agree, contradict, trial.focal_ratio, trial.factor
            )
            fitting.append((explanation, sharp[0] - sharp[1]))
    if not fitting:
        return None
    most = max(score for _, score in fitting)
    # Of what explains as much the likeliest, which is tried first.
    return next(explanation for explanation, score in fitting if score > most - 0.05)


def agreement_of_depths(analyses: Sequence[Analysis]) -> list[float] | None:
    """How well the depth maps of different views agree under each reading of the poses.

    It is the share of points that agree less that of points that contradict: a flat ground agrees with its
    own mirror image, objects that stand on it do not.

    Args:
        analyses: one dataset under several readings.
    Returns:
        None where there is no depth to compare.
    """
    analysis = analyses[0]
    with_depth = [names.DEPTH_SUFFIX in view.companions for view in analysis.scan.views]
    scenes = np.unique(analysis.scan.scene_index[with_depth])
    if not len(scenes):
        return None
    chosen = spread_evenly(scenes, _SCENES)
    totals = np.zeros((len(analyses), 3))
    for scene in chosen:
        loaded = load_depths(analysis, np.flatnonzero(analysis.scan.scene_index == scene)[:_VIEWS].tolist())
        if loaded is None:
            continue
        views, stack = loaded
        pairs = list(itertools.permutations(range(len(views)), 2))
        for total, reading in zip(totals, analyses, strict=True):
            posed = replace(stack, poses=reading.world_poses[views])
            # Rays' lengths, and other mistakes of depth, cost all readings the same: a loose tolerance.
            total += count_pairs(posed, pairs, 2.0 * analysis.limits.depth_tolerance).sum(axis=0)
    if totals[:, 0].max() < MIN_POINTS:
        return None
    # Of the points that could land, not only of those that do: a wrong reading may look past the scene.
    return [float((total[1] - total[2]) / totals[:, 0].max()) for total in totals]


Change = Callable[[DepthStack], DepthStack]


@dataclass(frozen=True)
class _Trial:
    """A mistake that is undone on trial; the other fields are those of ``Explanation``."""

    kind: Kind
    words: str
    undo: Change
    focal_ratio: tuple[float, float] | None = None
    factor: float | None = None


def _trials(analysis: Analysis, scenes: list[DepthStack]) -> list[_Trial]:
    """Mistakes to try, the likelier ones first."""
    return [
        _Trial("ray", "the length of the ray is stored as depth", planar_from_ray_length),
        *_focal_trials(analysis.settings.focal_ratio, scenes[0].size),
        *_unit_trials(scenes),
        *(_Trial("depth", _not_one_unit(f), _scaled(f), factor=f) for f in _FACTORS),
        _Trial("depth", "depth maps are upside down", lambda s: replace(s, depth=s.depth[:, ::-1])),
        _Trial(
            "depth", "depth maps are mirrored left to right", lambda s: replace(s, depth=s.depth[:, :, ::-1])
        ),
        _Trial("depth", "the inverse of depth (disparity) is stored", _from_inverse),
    ]


def _focal_trials(ratio: tuple[float, float], size: tuple[int, int]) -> list[_Trial]:
    """Other focal ratios, for pictures of ``size`` (width, height)."""
    width, height = size
    focals = [
        ((ratio[0], ratio[0] * width / height), "pixels are square with the same fx"),
        ((ratio[1] * height / width, ratio[1]), "pixels are square with the same fy"),
        ((ratio[0], ratio[0] * 4 / 3), "the image was squashed from 4:3"),
        ((ratio[0], ratio[1] * 3 / 4), "fy was 4/3 too long"),
        *(((ratio[0] * f, ratio[1] * f), f"the focal length is {f:.3g} times as long") for f in _FACTORS),
    ]

    def with_focal(new: tuple[float, float]) -> Change:
        # Where cameras differ each one's is changed in proportion.
        factors = np.array([new[0] / ratio[0], new[1] / ratio[1], 1.0, 1.0])
        return lambda stack: replace(stack, lenses=stack.lenses * factors)

    return [
        _Trial("focal", words, with_focal(new), focal_ratio=new)
        for new, words in focals
        if abs(new[0] - ratio[0]) + abs(new[1] - ratio[1]) > _SAME_RATIO
    ]


def _unit_trials(scenes: list[DepthStack]) -> list[_Trial]:
    """Depth in another unit than the poses, by the power of ten that brings it to the cameras' distance."""
    distances = [np.linalg.norm(stack.poses[:, :3, 3], axis=1) for stack in scenes]
    distance = float(np.median(np.concatenate(distances)))
    middle = float(np.median([np.nanmedian(stack.depth) for stack in scenes]))
    power = 10.0 ** round(np.log10(distance / middle)) if middle > 0 and distance > 0 else 1.0
    if power == 1.0:
        return []
    scaled = _scaled(power)
    words = f"depth is in another unit than the poses, by {1 / power:g}"
    return [
        _Trial("depth", words, scaled, factor=power),
        _Trial(
            "depth",
            "the ray's length is stored, in another unit",
            lambda stack: planar_from_ray_length(scaled(stack)),
        ),
    ]


def _scaled(factor: float) -> Change:
    return lambda stack: replace(stack, depth=stack.depth * np.float32(factor))


def _not_one_unit(factor: float) -> str:
    """Depth and poses alone don't tell which of the two is off."""
    percent = 100 * abs(1 / factor - 1)
    less = "small" if factor > 1 else "large"
    more = "large" if factor > 1 else "small"
    return f"depth is {percent:.3g} % too {less}, or the cameras' positions are too {more} by as much"


def planar_from_ray_length(stack: DepthStack) -> DepthStack:
    """The views with their depth taken for ray lengths and turned into planar depth."""
    x, y = stack.offsets
    # Length of the ray to depth 1.
    stretch = np.sqrt(1.0 + x[:, None, :] ** 2 + y[:, :, None] ** 2)
    planar: Float32[np.ndarray, "views rows columns"] = (stack.depth / stretch).astype(np.float32)
    return replace(stack, depth=planar)


def _from_inverse(stack: DepthStack) -> DepthStack:
    with np.errstate(divide="ignore", invalid="ignore"):
        return replace(stack, depth=(np.float32(1.0) / stack.depth).astype(np.float32))


def _shares(scenes: list[DepthStack], change: Change, tolerance: float) -> tuple[float, float]:
    """Agreeing and contradicting shares over all pairs of views of the scenes."""
    total = np.zeros(3)
    for stack in scenes:
        pairs = list(itertools.permutations(range(len(stack.depth)), 2))
        total += count_pairs(change(stack), pairs, tolerance).sum(axis=0)
    if total[0] < MIN_POINTS:
        return 0.0, 1.0
    return float(total[1] / total[0]), float(total[2] / total[0])


def bad_views_of_scene(analysis: Analysis, views: Sequence[int], level: float) -> list[int]:
    """The views of a scene that do not go with the others: what is left outside the largest set of views
    that agree with each other pair by pair.

    Args:
        level: share of contradiction up to which a pair agrees.
    Returns:
        Empty when no majority of the views agrees.
    """
    loaded = load_depths(analysis, list(views)[:_MANY])
    if loaded is None or len(loaded[0]) < 3:
        return []
    usable, stack = loaded
    n = len(usable)
    pairs = list(itertools.permutations(range(n), 2))
    counts = count_pairs(stack, pairs, analysis.limits.depth_tolerance)
    fits = np.eye(n, dtype=bool)
    for a, b in itertools.combinations(range(n), 2):
        both = counts[[pairs.index((a, b)), pairs.index((b, a))]].sum(axis=0)
        fits[a, b] = fits[b, a] = both[0] > 0 and both[2] <= level * both[0] and both[1] >= 0.25 * both[0]
    best: set[int] = set()
    for start in range(n):
        group = {start}
        for other in np.argsort(-fits.sum(axis=1)):
            if all(fits[other, member] for member in group):
                group.add(int(other))
        if len(group) > len(best):
            best = group
    if len(best) < 2 or len(best) <= n // 2:
        return []
    return [usable[position] for position in range(n) if position not in best]
