"""Do feature matches fit the poses? Matches against the epipolar geometry of two poses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from objnerf.console import Progress, no_progress
from objnerf.dataset.cameras import Intrinsics
from validate.analysis.model import Analysis
from validate.measure.matches import Matches, PairMatches, SceneMatches, match_tolerance, match_views
from validate.measure.pictures import READ
from validate.measure.spread import spread_evenly

#: Scenes on which readings of the poses are decided, and views of each.
_TRIAL_SCENES, _TRIAL_VIEWS = 6, 12

#: Fewer consistent matches than this say nothing about a scene, or about a view.
MIN_MATCHES = 16


@dataclass(frozen=True)
class Verdict:
    """What the matches say about a scene's poses.

    Attributes:
        bad: views whose matches don't fit, with their share of fitting ones; all that could be judged, where
            the scene as a whole does not fit.
        unjudged: views with too few matches.
        whole: no views are left that go together.
        fit, total: matches that fit, and all, of the bad views.
    """

    bad: list[int]
    unjudged: list[int]
    whole: bool
    fit: int
    total: int


def agreement_of_matches(
    analyses: Sequence[Analysis], progress: Progress = no_progress
) -> list[float] | None:
    """Share of feature matches that fit the poses, under each reading of them.

    Args:
        analyses: one dataset under several readings.
    Returns:
        None where there are too few matches.
    """
    chosen = choose_scenes(analyses[0], _TRIAL_SCENES)
    counts = np.zeros((len(analyses), 2))
    for done, scene in enumerate(chosen, start=1):
        found = scene_matches(analyses[0], scene, _TRIAL_VIEWS)
        for count, analysis in zip(counts, analyses, strict=True):
            count += np.sum([_fitting(analysis, pair) for pair in found.pairs], axis=0) if found.pairs else 0
        progress(done, len(chosen), "comparing readings of the poses with the images")
    if counts[:, 1].max() < MIN_MATCHES:
        return None
    return [float(fit / total) if total else 0.0 for fit, total in counts]


def choose_scenes(analysis: Analysis, most: int) -> list[int]:
    """Scenes (ids) with two views or more to compare, spread over the dataset."""
    ready = comparable_views(analysis)
    ids = [scene for scene, block in analysis.scan.scene_blocks.items() if ready[block].sum() > 1]
    return spread_evenly(np.array(ids, dtype=np.int64), most).tolist()


def comparable_views(analysis: Analysis) -> Bool[np.ndarray, " views"]:
    """Views with a pose and, once pictures were opened, a readable picture."""
    usable = analysis.diagnosis.usable
    return usable if analysis.pictures is None else usable & (analysis.rows["image"] == READ)


def scene_matches(analysis: Analysis, scene: int, most: int) -> SceneMatches:
    """The matches of a scene (id), from at most so many of its views, spread evenly."""
    known = analysis.photo_matches.get((scene, most))
    if known is None:
        block = analysis.scan.scene_blocks[scene]
        ready = np.flatnonzero(comparable_views(analysis)[block]) + block.start
        views = spread_evenly(ready, most).tolist()
        known = match_views({view: analysis.scan.views[view].image_path for view in views})
        analysis.photo_matches[scene, most] = known
    return known


def _fitting(analysis: Analysis, pair: PairMatches) -> tuple[int, int]:
    """Matches of a pair that fit the poses, and all of them."""
    cameras = [analysis.lenses.intrinsics(view, *pair.size) for view in pair.views]
    poses = analysis.world_poses[list(pair.views)]
    if not np.isfinite(poses).all():
        return 0, len(pair.matches.first)
    good = fits_poses(pair.matches, cameras, poses, match_tolerance(pair.size))
    return int(good.sum()), len(good)


def judge_scene(analysis: Analysis, scene: SceneMatches) -> Verdict:
    """Which views of a scene don't go with the rest: the worst is taken out until the others fit."""
    limit = analysis.limits.photo_inliers
    n = len(scene.views)
    place = {view: position for position, view in enumerate(scene.views)}
    fit, total = np.zeros((n, n)), np.zeros((n, n))
    for pair in scene.pairs:
        a, b = (place[view] for view in pair.views)
        fit[a, b], total[a, b] = _fitting(analysis, pair)
        fit[b, a], total[b, a] = fit[a, b], total[a, b]
    judged = total.sum(axis=1) >= MIN_MATCHES
    kept = judged.copy()
    while kept.any():
        matches = total[:, kept].sum(axis=1)
        share = np.where(matches > 0, fit[:, kept].sum(axis=1) / np.maximum(matches, 1), np.inf)
        share[~kept] = np.inf
        worst = int(share.argmin())
        if share[worst] >= limit:
            break
        kept[worst] = False
    # A view that is left with nothing but views that were taken out was judged by them alone.
    lonely = kept & (total[:, kept].sum(axis=1) == 0)
    whole = bool(judged.any() and (kept & ~lonely).sum() < max(2, 0.25 * judged.sum()))
    bad = judged if whole else judged & ~kept
    among = bad[:, None] | bad[None, :]
    fits, all_of = int((fit * among).sum() / 2), int((total * among).sum() / 2)
    unjudged = ~judged | (lonely & (not whole))
    return Verdict(
        [view for view, is_bad in zip(scene.views, bad, strict=True) if is_bad],
        [view for view, is_open in zip(scene.views, unjudged, strict=True) if is_open],
        whole,
        fits,
        all_of,
    )


def fits_poses(
    matches: Matches,
    cameras: Sequence[Intrinsics],
    world_from_camera: Float[np.ndarray, "2 4 4"],
    tolerance: float,
) -> Bool[np.ndarray, " matches"]:
    """Which matches lie near the epipolar lines of two poses, in front of both cameras.

    Args:
        matches: pixel positions in the first and the second view.
        cameras: of the first and the second view.
        world_from_camera: their poses, OpenCV axes.
        tolerance: distance from the line, pixels (Sampson's approximation).
    """
    second_from_first = np.linalg.inv(world_from_camera[1]) @ world_from_camera[0]
    rotation, translation = second_from_first[:3, :3], second_from_first[:3, 3]
    cross = np.array(
        [
            [0.0, -translation[2], translation[1]],
            [translation[2], 0.0, -translation[0]],
            [-translation[1], translation[0], 0.0],
        ]
    )
    essential = cross @ rotation
    from_pixel_a, from_pixel_b = (np.linalg.inv(_camera_matrix(camera)) for camera in cameras)
    fundamental = from_pixel_b.T @ essential @ from_pixel_a
    ones = np.ones((len(matches.first), 1))
    a, b = np.hstack([matches.first, ones]), np.hstack([matches.second, ones])
    line_b, line_a = a @ fundamental.T, b @ fundamental
    error = (b * line_b).sum(axis=1) ** 2
    scale = (line_b[:, :2] ** 2).sum(axis=1) + (line_a[:, :2] ** 2).sum(axis=1)
    near = error <= tolerance**2 * np.maximum(scale, 1e-18)
    # Depths along both rays: ray_a s + t = ray_b u, by least squares.
    ray_a, ray_b = a @ from_pixel_a.T @ rotation.T, b @ from_pixel_b.T
    aa, bb, ab = (ray_a**2).sum(axis=1), (ray_b**2).sum(axis=1), (ray_a * ray_b).sum(axis=1)
    at, bt = ray_a @ translation, ray_b @ translation
    determinant = aa * bb - ab**2
    depth_a = (ab * bt - bb * at) / np.maximum(determinant, 1e-12)
    depth_b = (aa * bt - ab * at) / np.maximum(determinant, 1e-12)
    return near & (depth_a > 0) & (depth_b > 0)


def _camera_matrix(camera: Intrinsics) -> Float[np.ndarray, "3 3"]:
    return np.array([[camera.fx, 0.0, camera.cx], [0.0, camera.fy, camera.cy], [0.0, 0.0, 1.0]])
