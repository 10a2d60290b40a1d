"""Feature matches between the pictures of a scene; the poses are not asked."""

import itertools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from objnerf.dataset.untrusted import Unreadable, read_bytes
from objnerf.errors import InputError
from validate.read import decode_thumbnail

#: Of so many views all pairs are tried with their strongest features; of more, neighbours in the order of
#: the names.
_ALL_PAIRS = 64

#: Features a view for that trial.
_STRONGEST = 150

#: Partners that each view is matched with in full, at least.
_PARTNERS = 4

#: Pictures are brought to about this width: SIFT finds little on small ones, and is slow on large ones.
_WORK_WIDTH = 640


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


def match_views(paths: Mapping[int, Path]) -> SceneMatches:
    """Match the pictures of a scene with each other.

    Args:
        paths: the picture of each view.
    Raises:
        InputError: OpenCV is not installed.
    """
    cv2 = _opencv()
    # OpenCV lets go of Python's lock: threads are enough.
    with ThreadPoolExecutor() as pool:
        detected = list(pool.map(lambda path: _detect(cv2, path), paths.values()))
        features = {view: found for view, found in zip(paths, detected, strict=True) if found is not None}
        pairs = _choose_pairs(cv2, pool, features)
        matched = pool.map(lambda pair: _match_pair(cv2, pair, features), pairs)
        return SceneMatches(list(paths), [pair for pair in matched if pair is not None])


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            "--photo needs OpenCV: install the extra with pip install 'objnerf[photo]'"
        ) from error
    return cv2


def _detect(cv2: Any, path: Path) -> Features | None:
    try:
        image, size = decode_thumbnail(read_bytes(path), 2 * _WORK_WIDTH)
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
    consistent = _consistent(cv2, matches, match_tolerance(first.size))
    if not consistent.any():
        return None
    kept = Matches(matches.first[consistent], matches.second[consistent])
    return PairMatches(pair, kept, first.size)


def match_tolerance(size: tuple[int, int]) -> float:
    """How far from its epipolar line a match may lie in pictures of this width and height, pixels."""
    return max(1.0, 0.006 * size[0])


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


def _consistent(cv2: Any, matches: Matches, tolerance: float) -> Bool[np.ndarray, " matches"]:
    """Matches that some fundamental matrix explains: what is left are mismatches, whatever the poses."""
    _, mask = cv2.findFundamentalMat(matches.first, matches.second, cv2.FM_RANSAC, tolerance, 0.999, 2000)
    if mask is None or mask.shape[0] != len(matches.first):
        return np.zeros(len(matches.first), dtype=bool)
    inliers = mask.ravel().astype(bool)
    # Eight matches can always be explained; only a clear surplus says anything.
    return inliers if inliers.sum() >= 12 else np.zeros_like(inliers)
