"""Feature matches between pictures against the epipolar geometry of the stored poses."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from objnerf.dataset.cameras import Intrinsics
from objnerf.errors import InputError
from validate.checks.images import opened
from validate.checks.registry import check
from validate.decoding import decode_image
from validate.findings import Finding
from validate.pictures import READ
from validate.reading import Unreadable, read_bytes
from validate.survey import Survey

#: Scenes that are looked at, and views in each, all pairs of which are matched.
_SCENES, _VIEWS = 40, 5

#: Pictures are enlarged to at least this width: SIFT finds little on small ones.
_WORK_WIDTH = 640

#: Fewer consistent matches than this in a scene say nothing.
_MIN_MATCHES = 16


@dataclass(frozen=True)
class Matches:
    """Matched pixel positions (column, row) of two views, at the pictures' own size."""

    first: Float[np.ndarray, "matches 2"]
    second: Float[np.ndarray, "matches 2"]


@check(
    "PHOTO",
    "E",
    "feature matches fit the epipolar lines of the poses",
    needs="photo",
    limits=("photo_inliers",),
)
def photo(survey: Survey) -> Iterator[Finding]:
    cv2 = _opencv()
    rows = opened(survey).rows
    ready = survey.diagnosis.usable & (rows["image"] == READ)
    ids = [scene for scene, block in survey.scene_blocks.items() if ready[block].sum() > 1]
    chosen = (
        [ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, min(_SCENES, len(ids))).astype(int))]
        if ids
        else []
    )
    fitting: dict[int, tuple[int, int]] = {}
    for scene in chosen:
        views = [int(view) for view in np.arange(len(rows))[survey.scene_blocks[scene]] if ready[view]]
        fitting[scene] = _scene_matches(cv2, survey, views)
    telling = {scene: counts for scene, counts in fitting.items() if counts[1] >= _MIN_MATCHES}
    if not telling:
        yield Finding(
            "PHOTO",
            "W",
            f"none of the {len(chosen)} scenes looked at has {_MIN_MATCHES} feature matches that agree with "
            "each "
            "other: too little texture, or views too far apart, to compare pictures with poses",
            "render depth, which is compared instead, or use textured surfaces",
            unit="scenes",
            count=len(chosen),
            total=survey.n_scenes,
        )
        return
    limit = survey.limits.photo_inliers
    poor = [scene for scene, (fit, total) in telling.items() if fit < limit * total]
    if not poor:
        return
    fit = sum(telling[scene][0] for scene in poor)
    total = sum(telling[scene][1] for scene in poor)
    whole = len(poor) > 0.5 * len(telling) and len(telling) > 1
    yield survey.on_scenes(
        "PHOTO",
        "E",
        poor,
        f"of {total} feature matches between the views {100 * fit / total:.0f} % fit the epipolar lines of "
        "the stored "
        f"poses in front of both cameras, expected over {100 * limit:g} % ({len(telling)} scenes looked at): "
        + ("mirrored pictures, or poses of other pictures" if whole else "poses of other pictures"),
        "compare the poses of these scenes with their pictures; check the focal ratio",
    )


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            "--photo needs OpenCV: install the extra with pip install 'objnerf[photo]'"
        ) from error
    return cv2


def _scene_matches(cv2: Any, survey: Survey, views: list[int]) -> tuple[int, int]:
    """Matches of a scene that fit its poses, and all matches that are consistent with some pose."""
    features: dict[int, Any] = {}
    size: dict[int, tuple[int, int]] = {}
    detector = cv2.SIFT_create(1500)
    for view in views:
        try:
            image = decode_image(read_bytes(survey.views[view].image_path)).image.convert("L")
        except Unreadable:
            continue
        size[view] = image.size
        factor = max(1, round(_WORK_WIDTH / image.size[0]))
        grey = cv2.resize(np.asarray(image), None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        points, descriptors = detector.detectAndCompute(grey, None)
        if descriptors is not None and len(points) >= 8:
            # Pixel centres: enlarging moves the centre of pixel u to factor u + (factor - 1) / 2.
            places = (np.array([point.pt for point in points]) - (factor - 1) / 2) / factor
            features[view] = places, descriptors
    fit = total = 0
    # Which views are near each other is asked of the pictures: the poses are on trial.
    for first, second in itertools.combinations(sorted(features)[:_VIEWS], 2):
        if size[first] != size[second]:
            continue
        matches = _match(cv2, features[first], features[second])
        if len(matches.first) < 8:
            continue
        intrinsics = Intrinsics.from_focal_ratio(survey.settings.focal_ratio, *size[first])
        tolerance = max(1.0, 0.006 * size[first][0])
        consistent = _consistent(cv2, matches, intrinsics, tolerance)
        good = fits_poses(
            matches, intrinsics, survey.world_poses[first], survey.world_poses[second], tolerance
        )
        total += int(consistent.sum())
        fit += int((consistent & good).sum())
    return fit, total


def _match(cv2: Any, first: Any, second: Any) -> Matches:
    """Mutual nearest neighbours that are clearly nearer than the second nearest."""
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    forward = {
        a.queryIdx: a.trainIdx
        for a, *rest in matcher.knnMatch(first[1], second[1], k=2)
        if rest and a.distance < 0.8 * rest[0].distance
    }
    backward = {m[0].queryIdx: m[0].trainIdx for m in matcher.knnMatch(second[1], first[1], k=1) if m}
    pairs = [(a, b) for a, b in forward.items() if backward.get(b) == a]
    index = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Matches(first[0][index[:, 0]], second[0][index[:, 1]])


def _consistent(
    cv2: Any, matches: Matches, intrinsics: Intrinsics, tolerance: float
) -> Bool[np.ndarray, "matches"]:
    """Matches that some fundamental matrix explains: what is left are mismatches, whatever the poses."""
    cv2.setRNGSeed(0)
    _, mask = cv2.findFundamentalMat(matches.first, matches.second, cv2.FM_RANSAC, tolerance, 0.999, 2000)
    if mask is None or mask.shape[0] != len(matches.first):
        return np.zeros(len(matches.first), dtype=bool)
    inliers = mask.ravel().astype(bool)
    # Eight matches can always be explained; only a clear surplus is evidence.
    return inliers if inliers.sum() >= 12 else np.zeros_like(inliers)


def fits_poses(
    matches: Matches,
    intrinsics: Intrinsics,
    world_from_first: Float[np.ndarray, "4 4"],
    world_from_second: Float[np.ndarray, "4 4"],
    tolerance: float,
) -> Bool[np.ndarray, "matches"]:
    """Which matches lie near the epipolar lines of two poses (OpenCV axes), in front of both cameras.

    Args:
        tolerance: distance from the line, pixels (Sampson's approximation).
    """
    second_from_first = np.linalg.inv(world_from_second) @ world_from_first
    rotation, translation = second_from_first[:3, :3], second_from_first[:3, 3]
    cross = np.array(
        [
            [0.0, -translation[2], translation[1]],
            [translation[2], 0.0, -translation[0]],
            [-translation[1], translation[0], 0.0],
        ]
    )
    essential = cross @ rotation
    inverse = np.linalg.inv(
        np.array([[intrinsics.fx, 0.0, intrinsics.cx], [0.0, intrinsics.fy, intrinsics.cy], [0.0, 0.0, 1.0]])
    )
    fundamental = inverse.T @ essential @ inverse
    ones = np.ones((len(matches.first), 1))
    a, b = np.hstack([matches.first, ones]), np.hstack([matches.second, ones])
    line_b, line_a = a @ fundamental.T, b @ fundamental
    error = (b * line_b).sum(axis=1) ** 2
    scale = (line_b[:, :2] ** 2).sum(axis=1) + (line_a[:, :2] ** 2).sum(axis=1)
    near = error <= tolerance**2 * np.maximum(scale, 1e-18)
    # Depths along both rays: ray_a s + t = ray_b u, by least squares.
    ray_a, ray_b = a @ inverse.T @ rotation.T, b @ inverse.T
    aa, bb, ab = (ray_a**2).sum(axis=1), (ray_b**2).sum(axis=1), (ray_a * ray_b).sum(axis=1)
    at, bt = ray_a @ translation, ray_b @ translation
    determinant = aa * bb - ab**2
    depth_a = (ab * bt - bb * at) / np.maximum(determinant, 1e-12)
    depth_b = (aa * bt - ab * at) / np.maximum(determinant, 1e-12)
    return near & (depth_a > 0) & (depth_b > 0)
