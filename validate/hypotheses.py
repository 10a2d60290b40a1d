"""Why do the depths of different views contradict each other? Try the likely mistakes, as with poses.

Works on a few scenes, whose depth maps it reads again; it is only called when the comparison failed.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float32

from objnerf.dataset import names
from validate.crossview import DepthStack, count_pairs, stack_depths, thinning
from validate.decoding import decode_depth
from validate.pictures import ROW
from validate.reading import Unreadable, read_bytes
from validate.survey import Survey

#: Scenes and views a scene that are tried.
_SCENES, _VIEWS = 12, 4

#: Views of a scene that are compared pair by pair.
_MANY = 12

#: Factors on the focal length and on depth that are searched.
_FACTORS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.05, 1.1, 1.15, 1.2, 1.25, 4 / 3, 1.5, 1.75, 2.0)

#: Part of the tolerance within which explanations are told from each other.
_SHARP = 0.25

Kind = Literal["ray", "focal", "depth"]


@dataclass(frozen=True)
class Explanation:
    """A mistake after whose mending the depths agree.

    Attributes:
        kind: ``ray`` (ray length as z), ``focal`` (intrinsics) or ``depth`` (another change of depth).
        words: what the mistake is.
        focal_ratio: the focal ratio that fits, for ``focal``; where cameras differ each one's is off by the
            same factors.
        factor: what to multiply depth by, for a wrong unit.
        agree, contradict: shares of landed points after mending.
    """

    kind: Kind
    words: str
    agree: float
    contradict: float
    focal_ratio: tuple[float, float] | None = None
    factor: float | None = None

    @property
    def is_unit(self) -> bool:
        """Depth is in another unit, by a power of ten: beyond doubt, so that it can be mended."""
        if self.kind != "depth" or self.factor is None:
            return False
        power = math.log10(self.factor)
        return abs(power - round(power)) < 1e-9 and round(power) != 0


def load_depths(survey: Survey, views: Sequence[int]) -> tuple[list[int], DepthStack] | None:
    """Read the depth maps of some views of a scene again.

    Returns:
        The views that could be used (all of one size) and their depth; None for fewer than two.
    """
    by_shape: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
    for view in views:
        if names.DEPTH_SUFFIX not in survey.views[view].companions or not survey.diagnosis.usable[view]:
            continue
        try:
            content = read_bytes(survey.dataset.root / f"{survey.views[view].stem}{names.DEPTH_SUFFIX}")
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
    return kept, stack_depths(thinned, (width, height), survey.lenses.numbers[kept], survey.world_poses[kept])


def explain_contradictions(survey: Survey) -> Explanation | None:
    """The likeliest single mistake that explains contradicting depths; None when none does."""
    rows = survey.pictures.rows if survey.pictures is not None else np.zeros(0, dtype=ROW)
    measured = np.unique(survey.scene_index[np.flatnonzero(rows["landed"] + (rows["depth_high"] > 0) > 0)])
    chosen = measured[np.unique(np.linspace(0, len(measured) - 1, min(_SCENES, len(measured))).astype(int))]
    loaded = (
        load_depths(survey, np.flatnonzero(survey.scene_index == scene)[:_VIEWS].tolist()) for scene in chosen
    )
    scenes = [found[1] for found in loaded if found is not None]
    if not scenes:
        return None
    tolerance = survey.limits.depth_tolerance
    stored = _shares(scenes, lambda stack: stack, tolerance)
    fitting: list[tuple[Explanation, float]] = []
    for kind, words, change, ratio, factor in _trials(survey, scenes):
        agree, contradict = _shares(scenes, change, tolerance)
        # Much more agreement, or much less contradiction without losing agreement.
        better = agree > stored[0] + 0.1 or (contradict < 0.4 * stored[1] and agree > stored[0] - 0.02)
        if contradict < 0.05 and agree > 0.5 and better:
            # What is nearly right agrees within the tolerance, and only what is right within a part of it.
            sharp = _shares(scenes, change, _SHARP * tolerance)
            fitting.append((Explanation(kind, words, agree, contradict, ratio, factor), sharp[0] - sharp[1]))
    if not fitting:
        return None
    most = max(score for _, score in fitting)
    # Of what explains as much the likeliest, which is tried first.
    return next(explanation for explanation, score in fitting if score > most - 0.05)


def agreement_of_depths(surveys: Sequence[Survey]) -> list[float] | None:
    """How well the depth maps of different views agree under each reading of the poses.

    It is the share of points that agree less that of points that contradict: a flat ground agrees with its
    own mirror image, objects that stand on it do not.

    Args:
        surveys: one dataset under several readings.
    Returns:
        None where there is no depth to compare.
    """
    survey = surveys[0]
    with_depth = [names.DEPTH_SUFFIX in view.companions for view in survey.views]
    scenes = np.unique(survey.scene_index[with_depth])
    if not len(scenes):
        return None
    chosen = scenes[np.unique(np.linspace(0, len(scenes) - 1, min(_SCENES, len(scenes))).astype(int))]
    totals = np.zeros((len(surveys), 3))
    for scene in chosen:
        loaded = load_depths(survey, np.flatnonzero(survey.scene_index == scene)[:_VIEWS].tolist())
        if loaded is None:
            continue
        views, stack = loaded
        pairs = list(itertools.permutations(range(len(views)), 2))
        for total, reading in zip(totals, surveys, strict=True):
            posed = replace(stack, poses=reading.world_poses[views])
            # Rays' lengths, and other mistakes of depth, cost all readings the same: a loose tolerance.
            total += count_pairs(posed, pairs, 2.0 * survey.limits.depth_tolerance).sum(axis=0)
    if totals[:, 0].max() < 50:
        return None
    # Of the points that could land, not only of those that do: a wrong reading may look past the scene.
    return [float((total[1] - total[2]) / totals[:, 0].max()) for total in totals]


Change = Callable[[DepthStack], DepthStack]


def _trials(
    survey: Survey, scenes: list[DepthStack]
) -> list[tuple[Kind, str, Change, tuple[float, float] | None, float | None]]:
    ratio = survey.settings.focal_ratio
    width, height = scenes[0].size
    trials: list[tuple[Kind, str, Change, tuple[float, float] | None, float | None]] = [
        ("ray", "the length of the ray is stored as depth", planar_from_ray_length, None, None)
    ]

    def with_focal(new: tuple[float, float]) -> Change:
        # Where cameras differ each one's is changed in proportion.
        factors = np.array([new[0] / ratio[0], new[1] / ratio[1], 1.0, 1.0])
        return lambda stack: replace(stack, lenses=stack.lenses * factors)

    focals = [
        ((ratio[0], ratio[0] * width / height), "pixels are square with the same fx"),
        ((ratio[1] * height / width, ratio[1]), "pixels are square with the same fy"),
        ((ratio[0], ratio[0] * 4 / 3), "the picture was squashed from 4:3"),
        ((ratio[0], ratio[1] * 3 / 4), "fy was 4/3 too long"),
    ]
    focals += [((ratio[0] * f, ratio[1] * f), f"the focal length is {f:.3g} times as long") for f in _FACTORS]
    for new, words in focals:
        if abs(new[0] - ratio[0]) + abs(new[1] - ratio[1]) > 1e-3:
            trials.append(("focal", words, with_focal(new), new, None))

    def scaled(factor: float) -> Change:
        return lambda stack: replace(stack, depth=stack.depth * np.float32(factor))

    distance = float(
        np.median(np.concatenate([np.linalg.norm(stack.poses[:, :3, 3], axis=1) for stack in scenes]))
    )
    middle = float(np.median([np.nanmedian(stack.depth) for stack in scenes]))
    power = 10.0 ** round(np.log10(distance / middle)) if middle > 0 and distance > 0 else 1.0
    if power != 1.0:
        trials.append(
            (
                "depth",
                f"depth is in another unit than the poses, by {1 / power:g}",
                scaled(power),
                None,
                power,
            )
        )
        ratio_words = "the ray's length is stored, in another unit"
        trials.append(
            ("depth", ratio_words, lambda stack: planar_from_ray_length(scaled(power)(stack)), None, None)
        )
    trials += [("depth", _not_one_unit(f), scaled(f), None, f) for f in _FACTORS]
    trials += [
        (
            "depth",
            "depth maps are upside down",
            lambda stack: replace(stack, depth=stack.depth[:, ::-1]),
            None,
            None,
        ),
        (
            "depth",
            "depth maps are mirrored left to right",
            lambda stack: replace(stack, depth=stack.depth[:, :, ::-1]),
            None,
            None,
        ),
        ("depth", "the inverse of depth (disparity) is stored", _from_inverse, None, None),
    ]
    return trials


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
    if total[0] < 50:
        return 0.0, 1.0
    return float(total[1] / total[0]), float(total[2] / total[0])


def bad_views_of_scene(survey: Survey, views: Sequence[int], level: float) -> list[int]:
    """The views of a scene that do not go with the others: what is left outside the largest set of views
    that agree with each other pair by pair.

    Args:
        level: share of contradiction up to which a pair agrees.
    Returns:
        Empty when no majority of the views agrees.
    """
    loaded = load_depths(survey, list(views)[:_MANY])
    if loaded is None or len(loaded[0]) < 3:
        return []
    usable, stack = loaded
    n = len(usable)
    pairs = list(itertools.permutations(range(n), 2))
    counts = count_pairs(stack, pairs, survey.limits.depth_tolerance)
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
