"""Why do the depths of different views contradict each other? Try the likely mistakes, as with poses.

Works on a few scenes, whose depth maps it reads again; it is only called when the comparison failed.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32

from objnerf.dataset import names
from validate.crossview import DepthView, count_pairs
from validate.pictures import ROW, decode_depth
from validate.reading import Unreadable, read_bytes
from validate.survey import Survey

#: Scenes and views a scene that are tried.
_SCENES, _VIEWS = 12, 4

#: A thinned depth map's values, about.
_LATTICE = 20_000

#: Factors on the focal length and on depth that are searched.
_FACTORS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.05, 1.1, 1.15, 1.2, 1.25, 4 / 3, 1.5, 1.75, 2.0)

Kind = Literal["ray", "focal", "depth"]


@dataclass(frozen=True)
class Explanation:
    """A mistake after whose mending the depths agree.

    Attributes:
        kind: ``ray`` (ray length as z), ``focal`` (intrinsics) or ``depth`` (another change of depth).
        words: what the mistake is.
        focal_ratio: the focal ratio that fits, for ``focal``.
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


def load_depth_views(survey: Survey, views: Sequence[int]) -> list[DepthView]:
    """Read and thin the depth maps of some views; those that cannot be used are left out."""
    loaded = []
    for view in views:
        pose = survey.world_poses[view]
        if names.DEPTH_SUFFIX not in survey.views[view].companions or not np.isfinite(pose).all():
            continue
        try:
            content = read_bytes(survey.dataset.root / f"{survey.views[view].stem}{names.DEPTH_SUFFIX}")
            depth = decode_depth(content, np.zeros(1, dtype=ROW)[0])
        except Unreadable:
            continue
        if depth is None:
            continue
        height, width = depth.shape
        step = max(1, int(np.ceil(np.sqrt(depth.size / _LATTICE))))
        focal = (survey.settings.focal_ratio[0] * width, survey.settings.focal_ratio[1] * height)
        loaded.append(
            DepthView(
                depth[::step, ::step],
                np.arange(0, height, step),
                np.arange(0, width, step),
                (width, height),
                focal,
                pose,
            )
        )
    return loaded


def explain_contradictions(survey: Survey) -> Explanation | None:
    """The likeliest single mistake that explains contradicting depths; None when none does."""
    rows = survey.pictures.rows if survey.pictures is not None else np.zeros(0, dtype=ROW)
    measured = np.unique(survey.scene_index[np.flatnonzero(rows["landed"] + (rows["depth_high"] > 0) > 0)])
    chosen = measured[np.unique(np.linspace(0, len(measured) - 1, min(_SCENES, len(measured))).astype(int))]
    scenes = [
        load_depth_views(survey, np.flatnonzero(survey.scene_index == scene)[:_VIEWS].tolist())
        for scene in chosen
    ]
    scenes = [views for views in scenes if len(views) > 1]
    if not scenes:
        return None
    tolerance = survey.limits.depth_tolerance
    stored = _shares(scenes, lambda view: view, tolerance)
    best: Explanation | None = None
    for kind, words, change, ratio, factor in _trials(survey, scenes):
        agree, contradict = _shares(scenes, change, tolerance)
        # Much more agreement, or much less contradiction without losing agreement.
        better = agree > stored[0] + 0.1 or (contradict < 0.4 * stored[1] and agree > stored[0] - 0.02)
        good = contradict < 0.05 and agree > 0.5 and better
        if good and (best is None or agree - contradict > best.agree - best.contradict + 0.03):
            best = Explanation(kind, words, agree, contradict, ratio, factor)
    return best


Change = Callable[[DepthView], DepthView]


def _trials(
    survey: Survey, scenes: list[list[DepthView]]
) -> list[tuple[Kind, str, Change, tuple[float, float] | None, float | None]]:
    ratio = survey.settings.focal_ratio
    width, height = scenes[0][0].size
    trials: list[tuple[Kind, str, Change, tuple[float, float] | None, float | None]] = [
        ("ray", "the length of the ray is stored as depth", planar_from_ray_length, None, None)
    ]

    def with_focal(new: tuple[float, float]) -> Change:
        return lambda view: replace(view, focal=(new[0] * view.size[0], new[1] * view.size[1]))

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
        return lambda view: replace(view, depth=(view.depth * np.float32(factor)))

    distance = float(np.median([np.linalg.norm(view.pose[:3, 3]) for views in scenes for view in views]))
    middle = float(np.median([np.nanmedian(view.depth) for views in scenes for view in views]))
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
            ("depth", ratio_words, lambda view: planar_from_ray_length(scaled(power)(view)), None, None)
        )
    trials += [("depth", f"depth is {1 / f:.3g} times too large", scaled(f), None, f) for f in _FACTORS]
    trials += [
        (
            "depth",
            "depth maps are upside down",
            lambda view: replace(view, depth=view.depth[::-1]),
            None,
            None,
        ),
        (
            "depth",
            "depth maps are mirrored left to right",
            lambda view: replace(view, depth=view.depth[:, ::-1]),
            None,
            None,
        ),
        ("depth", "the inverse of depth (disparity) is stored", _from_inverse, None, None),
    ]
    return trials


def ray_stretch(view: DepthView) -> Float[np.ndarray, "rows columns"]:
    """Length of the ray to depth 1, for every value of a depth map."""
    x = (view.columns - (view.size[0] - 1) / 2) / view.focal[0]
    y = (view.rows - (view.size[1] - 1) / 2) / view.focal[1]
    return np.sqrt(1.0 + x[None, :] ** 2 + y[:, None] ** 2)


def planar_from_ray_length(view: DepthView) -> DepthView:
    """The view with its depth taken for ray lengths and turned into planar depth."""
    planar: Float32[np.ndarray, "rows columns"] = (view.depth / ray_stretch(view)).astype(np.float32)
    return replace(view, depth=planar)


def _from_inverse(view: DepthView) -> DepthView:
    with np.errstate(divide="ignore", invalid="ignore"):
        return replace(view, depth=(np.float32(1.0) / view.depth).astype(np.float32))


def _shares(scenes: list[list[DepthView]], change: Change, tolerance: float) -> tuple[float, float]:
    """Agreeing and contradicting shares over all pairs of views of the scenes."""
    total = np.zeros(3)
    for views in scenes:
        changed = [change(view) for view in views]
        pairs = [(a, b) for a in range(len(views)) for b in range(len(views)) if a != b]
        total += count_pairs(changed, pairs, tolerance).sum(axis=0)
    if total[0] < 50:
        return 0.0, 1.0
    return float(total[1] / total[0]), float(total[2] / total[0])


def bad_views_of_scene(survey: Survey, views: Sequence[int]) -> list[int]:
    """The views of a scene that do not go with the others: what is left outside the largest set of views
    that agree with each other pair by pair."""
    usable = [
        view
        for view in views
        if names.DEPTH_SUFFIX in survey.views[view].companions and np.isfinite(survey.world_poses[view]).all()
    ][:12]
    loaded = load_depth_views(survey, usable)
    if len(loaded) != len(usable) or len(loaded) < 3:
        return []
    n = len(loaded)
    pairs = [(a, b) for a in range(n) for b in range(n) if a != b]
    counts = count_pairs(loaded, pairs, survey.limits.depth_tolerance)
    fits = np.eye(n, dtype=bool)
    for a, b in itertools.combinations(range(n), 2):
        both = counts[[pairs.index((a, b)), pairs.index((b, a))]].sum(axis=0)
        fits[a, b] = fits[b, a] = both[0] > 0 and both[2] <= 0.05 * both[0] and both[1] >= 0.25 * both[0]
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
