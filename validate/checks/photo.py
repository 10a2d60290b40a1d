"""Feature matches between pictures against the epipolar geometry of the stored poses."""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from objnerf.console import Progress, no_progress
from objnerf.dataset.cameras import Intrinsics
from objnerf.errors import InputError
from validate.checks.images import opened
from validate.checks.registry import check
from validate.decoding import decode_thumbnail
from validate.findings import Finding
from validate.pictures import READ
from validate.reading import Unreadable, read_bytes
from validate.survey import Survey

#: Scenes that are looked at, and views of all of them together, spread evenly.
_SCENES, _VIEWS = 40, 800

#: Scenes on which readings of the poses are decided.
_TRIAL_SCENES, _TRIAL_VIEWS = 6, 12

#: Of so many views all pairs are tried with their strongest features; of more, neighbours in the order of
#: the names.
_ALL_PAIRS = 64

#: Features a view for that trial.
_STRONGEST = 150

#: Partners that each view is matched with in full, at least.
_PARTNERS = 4

#: Pictures are brought to about this width: SIFT finds little on small ones, and is slow on large ones.
_WORK_WIDTH = 640

#: Fewer consistent matches than this say nothing about a scene, or about a view.
_MIN_MATCHES = 16


class Features(NamedTuple):
    """Features of a picture.

    Attributes:
        places: pixel positions (column, row) at the picture's own size.
        descriptors: a row a feature; strongest first.
        size: width and height of the picture.
    """

    places: Float[np.ndarray, "features 2"]
    descriptors: Any
    size: tuple[int, int]


@dataclass(frozen=True)
class Matches:
    """Matched pixel positions (column, row) of two views, at the pictures' own size."""

    first: Float[np.ndarray, "matches 2"]
    second: Float[np.ndarray, "matches 2"]


@dataclass(frozen=True)
class PairMatches:
    """Matches of two views (index) that agree with each other, whatever the poses."""

    views: tuple[int, int]
    matches: Matches
    size: tuple[int, int]


@dataclass(frozen=True)
class SceneMatches:
    """The matches of a scene.

    Attributes:
        views: those that were looked at.
        pairs: those of them that have matches.
    """

    views: list[int]
    pairs: list[PairMatches]


@dataclass(frozen=True)
class _Verdict:
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


@check(
    "PHOTO",
    "E",
    "feature matches fit the epipolar lines of the poses",
    needs="photo",
    limits=("photo_inliers",),
)
def photo(survey: Survey) -> Iterator[Finding]:
    chosen = _choose_scenes(survey, _SCENES)
    share = max(2, _VIEWS // max(1, len(chosen)))
    matched = {scene: _matches_of(survey, scene, share) for scene in chosen}
    verdicts = {scene: _judge(survey, found) for scene, found in matched.items()}
    looked = sum(len(found.views) for found in matched.values())
    judged = {scene: v for scene, v in verdicts.items() if len(v.unjudged) < len(matched[scene].views)}
    unjudged = sum(len(verdict.unjudged) for verdict in verdicts.values())
    _remark(survey, len(chosen), looked, unjudged, sum(len(found.pairs) for found in matched.values()))
    if not judged:
        yield Finding(
            "PHOTO",
            "W",
            f"none of the {len(chosen)} scenes looked at has {_MIN_MATCHES} feature matches that agree with "
            "each other: too little texture, or views too far apart, to compare pictures with poses",
            "render depth, which is compared instead, or use textured surfaces",
            unit="scenes",
            count=len(chosen),
            total=survey.n_scenes,
        )
        return
    limit = 100 * survey.limits.photo_inliers
    poor = [scene for scene, verdict in judged.items() if verdict.whole]
    if poor:
        fit = sum(judged[scene].fit for scene in poor)
        total = sum(judged[scene].total for scene in poor)
        most = len(poor) > 0.5 * len(judged) and len(judged) > 1
        yield survey.on_scenes(
            "PHOTO",
            "E",
            poor,
            f"of {total} feature matches between the views {100 * fit / total:.0f} % fit the epipolar lines "
            f"of the stored poses in front of both cameras, expected over {limit:g} % ({len(judged)} scenes "
            "looked at): "
            + ("mirrored pictures, or poses of other pictures" if most else "poses of other pictures"),
            "compare the poses of these scenes with their pictures; check the focal ratio",
        )
    odd = [judged[scene] for scene in judged if judged[scene].bad and not judged[scene].whole]
    if odd:
        fit, total = sum(verdict.fit for verdict in odd), sum(verdict.total for verdict in odd)
        yield survey.on_views(
            "PHOTO",
            "E",
            sorted(view for verdict in odd for view in verdict.bad),
            f"the picture does not fit its pose: of {total} feature matches with other views "
            f"{100 * fit / total:.0f} % fit the epipolar lines of the poses, expected over {limit:g} %, "
            "while the rest of the scene fits; the pose belongs to another picture",
            "compare the poses of these views with their pictures, and export them again",
        )


def agreement_of_matches(surveys: Sequence[Survey], progress: Progress = no_progress) -> list[float] | None:
    """Share of feature matches that fit the poses, under each reading of them.

    Args:
        surveys: one dataset under several readings.
    Returns:
        None where there are too few matches.
    """
    chosen = _choose_scenes(surveys[0], _TRIAL_SCENES)
    counts = np.zeros((len(surveys), 2))
    for done, scene in enumerate(chosen, start=1):
        found = _matches_of(surveys[0], scene, _TRIAL_VIEWS)
        for count, survey in zip(counts, surveys, strict=True):
            count += np.sum([_fitting(survey, pair) for pair in found.pairs], axis=0) if found.pairs else 0
        progress(done, len(chosen), "comparing readings of the poses with the pictures")
    if counts[:, 1].max() < _MIN_MATCHES:
        return None
    return [float(fit / total) if total else 0.0 for fit, total in counts]


def _choose_scenes(survey: Survey, most: int) -> list[int]:
    """Scenes (ids) with two views or more to compare, spread over the dataset."""
    ready = _ready(survey)
    ids = [scene for scene, block in survey.scene_blocks.items() if ready[block].sum() > 1]
    if not ids:
        return []
    return [ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, min(most, len(ids))).astype(int))]


def _ready(survey: Survey) -> Bool[np.ndarray, "views"]:
    usable = survey.diagnosis.usable
    return usable if survey.pictures is None else usable & (opened(survey).rows["image"] == READ)


def _remark(survey: Survey, scenes: int, views: int, unjudged: int, pairs: int) -> None:
    """Say in the report what was looked at."""
    with_views = sum(int(_ready(survey)[block].sum()) for block in survey.scene_blocks.values())
    words = (
        f"PHOTO looked at {scenes} of {survey.n_scenes} scenes: {views} of {with_views} views, matched in "
        f"{pairs} pairs"
    )
    if unjudged:
        words += f"; {unjudged} of these views have too few matches to be judged"
    survey.remarks.append(words)


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            "--photo needs OpenCV: install the extra with pip install 'objnerf[photo]'"
        ) from error
    return cv2


def _matches_of(survey: Survey, scene: int, most: int) -> SceneMatches:
    """The matches of a scene, from at most so many of its views, spread evenly."""
    known = survey.photo_matches.get((scene, most))
    if known is not None:
        found: SceneMatches = known
        return found
    cv2 = _opencv()
    block = survey.scene_blocks[scene]
    ready = np.flatnonzero(_ready(survey)[block]) + block.start
    views = ready[np.unique(np.linspace(0, len(ready) - 1, min(len(ready), most)).astype(int))].tolist()
    # OpenCV lets go of Python's lock: threads are enough.
    with ThreadPoolExecutor() as pool:
        detected = list(pool.map(lambda view: _detect(cv2, survey, view), views))
        features = {view: found for view, found in zip(views, detected, strict=True) if found is not None}
        pairs = _choose_pairs(cv2, pool, features)
        matched = pool.map(lambda pair: _match_pair(cv2, pair, features), pairs)
        result = SceneMatches(views, [pair for pair in matched if pair is not None])
    survey.photo_matches[scene, most] = result
    return result


def _detect(cv2: Any, survey: Survey, view: int) -> Features | None:
    try:
        image, size = decode_thumbnail(read_bytes(survey.views[view].image_path), 2 * _WORK_WIDTH)
    except Unreadable:
        return None
    grey = np.asarray(image.convert("L"))
    factor = _WORK_WIDTH / grey.shape[1]
    factor = float(max(1, round(factor))) if factor >= 0.75 else factor
    if factor != 1.0:
        method = cv2.INTER_CUBIC if factor > 1.0 else cv2.INTER_AREA
        grey = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=method)
    points, descriptors = cv2.SIFT_create(1500).detectAndCompute(grey, None)
    if descriptors is None or len(points) < 8:
        return None
    order = np.argsort([-point.response for point in points], kind="stable")
    places = np.array([points[place].pt for place in order])
    # Pixel centres: scaling by s moves the centre of pixel u to s u + (s - 1) / 2.
    scale = np.array([grey.shape[1] / size[0], grey.shape[0] / size[1]])
    return Features((places - (scale - 1) / 2) / scale, descriptors[order], size)


def _choose_pairs(cv2: Any, pool: ThreadPoolExecutor, features: dict[int, Features]) -> list[tuple[int, int]]:
    """Which pairs to match in full: for each view the partners that it has most in common with.

    That is asked of the pictures, by their strongest features: the poses are on trial.
    """
    views = sorted(features)
    if len(views) <= _ALL_PAIRS:
        tried = list(itertools.combinations(views, 2))
    else:
        steps = (1, 2, 3, 5, 8, 13)
        tried = [(views[i], views[i + step]) for step in steps for i in range(len(views) - step)]
    tried = [pair for pair in tried if features[pair[0]].size == features[pair[1]].size]
    if len(views) <= 2 * _PARTNERS:
        return tried

    strongest = {
        view: Features(found.places[:_STRONGEST], found.descriptors[:_STRONGEST], found.size)
        for view, found in features.items()
    }

    def in_common(pair: tuple[int, int]) -> int:
        return len(_match(cv2, strongest[pair[0]], strongest[pair[1]]).first)

    strength = dict(zip(tried, pool.map(in_common, tried), strict=True))
    chosen: set[tuple[int, int]] = set()
    for view in views:
        own = sorted((pair for pair in tried if view in pair), key=lambda pair: (-strength[pair], pair))
        chosen.update(own[:_PARTNERS])
    return sorted(chosen)


def _match_pair(cv2: Any, pair: tuple[int, int], features: dict[int, Features]) -> PairMatches | None:
    """The matches of two views that agree with each other; None where too few do."""
    first, second = features[pair[0]], features[pair[1]]
    matches = _match(cv2, first, second)
    if len(matches.first) < 8:
        return None
    consistent = _consistent(cv2, matches, _tolerance(first.size))
    if not consistent.any():
        return None
    kept = Matches(matches.first[consistent], matches.second[consistent])
    return PairMatches(pair, kept, first.size)


def _tolerance(size: tuple[int, int]) -> float:
    return max(1.0, 0.006 * size[0])


def _fitting(survey: Survey, pair: PairMatches) -> tuple[int, int]:
    """Matches of a pair that fit the poses, and all of them."""
    cameras = [survey.lenses.intrinsics(view, *pair.size) for view in pair.views]
    poses = survey.world_poses[list(pair.views)]
    if not np.isfinite(poses).all():
        return 0, len(pair.matches.first)
    good = fits_poses(pair.matches, cameras, poses, _tolerance(pair.size))
    return int(good.sum()), len(good)


def _judge(survey: Survey, scene: SceneMatches) -> _Verdict:
    """Which views of a scene don't go with the rest: the worst is taken out until the others fit."""
    limit = survey.limits.photo_inliers
    n = len(scene.views)
    place = {view: position for position, view in enumerate(scene.views)}
    fit, total = np.zeros((n, n)), np.zeros((n, n))
    for pair in scene.pairs:
        a, b = (place[view] for view in pair.views)
        fit[a, b], total[a, b] = _fitting(survey, pair)
        fit[b, a], total[b, a] = fit[a, b], total[a, b]
    judged = total.sum(axis=1) >= _MIN_MATCHES
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
    return _Verdict(
        [view for view, is_bad in zip(scene.views, bad, strict=True) if is_bad],
        [view for view, is_open in zip(scene.views, unjudged, strict=True) if is_open],
        whole,
        fits,
        all_of,
    )


def _match(cv2: Any, first: Features, second: Features) -> Matches:
    """Mutual nearest neighbours that are clearly nearer than the second nearest."""
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    forward = {
        a.queryIdx: a.trainIdx
        for a, *rest in matcher.knnMatch(first.descriptors, second.descriptors, k=2)
        if rest and a.distance < 0.8 * rest[0].distance
    }
    backward = {
        m[0].queryIdx: m[0].trainIdx
        for m in matcher.knnMatch(second.descriptors, first.descriptors, k=1)
        if m
    }
    pairs = [(a, b) for a, b in forward.items() if backward.get(b) == a]
    index = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Matches(first.places[index[:, 0]], second.places[index[:, 1]])


def _consistent(cv2: Any, matches: Matches, tolerance: float) -> Bool[np.ndarray, "matches"]:
    """Matches that some fundamental matrix explains: what is left are mismatches, whatever the poses."""
    _, mask = cv2.findFundamentalMat(matches.first, matches.second, cv2.FM_RANSAC, tolerance, 0.999, 2000)
    if mask is None or mask.shape[0] != len(matches.first):
        return np.zeros(len(matches.first), dtype=bool)
    inliers = mask.ravel().astype(bool)
    # Eight matches can always be explained; only a clear surplus is evidence.
    return inliers if inliers.sum() >= 12 else np.zeros_like(inliers)


def fits_poses(
    matches: Matches,
    cameras: Sequence[Intrinsics],
    world_from_camera: Float[np.ndarray, "2 4 4"],
    tolerance: float,
) -> Bool[np.ndarray, "matches"]:
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
