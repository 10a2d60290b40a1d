"""Checks on where the cameras are in the world: its centre, its scale, and how far apart the views are."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from objnerf.dataset.card import UORF_CAMERA_DISTANCE, UORF_SCALE
from objnerf.dataset.names import POSE_SUFFIX
from validate.analysis.model import Analysis
from validate.analysis.scale import camera_distances
from validate.checks.check import check
from validate.findings import Finding, on_scenes, on_views

#: A camera this many times nearer or farther than the median one may be in another unit.
_SPREAD = 3.0


@check(
    "WORLD-CENTRE",
    "E",
    "the cameras look at the world's origin",
    limits=("centre_warn", "centre_error", "centre_jitter", "off_axis_degrees"),
)
def world_centre(analysis: Analysis) -> Iterator[Finding]:
    diagnosis = analysis.diagnosis
    limits = analysis.limits
    astray = sorted(diagnosis.astray)
    if astray:
        worst = max(diagnosis.astray.values())
        yield on_views(
            analysis.scan,
            "WORLD-CENTRE",
            "E",
            astray,
            f"the camera looks {worst:.0f}° past the point that the other cameras of its scene look at, "
            f"expected under {limits.off_axis_degrees:g}°; the pose belongs to another view or is broken",
            "export the pose of this view again",
            suffix=POSE_SUFFIX,
        )
    if not diagnosis.usable.any():
        return
    if not diagnosis.known:
        yield _no_common_point(analysis)
    elif diagnosis.forward_facing:
        yield from _facing_past_origin(analysis)
    else:
        yield from _off_centre(analysis)


def _no_common_point(analysis: Analysis) -> Finding:
    """The cameras fit together in no known convention."""
    usable = np.flatnonzero(analysis.diagnosis.usable)
    miss = analysis.diagnosis.miss
    by = ""
    if miss > analysis.limits.off_axis_degrees:
        by = (
            f": half of the optical axes pass the best one by over {miss:.0f}°, expected under "
            f"{analysis.limits.off_axis_degrees:g}°"
        )
    return on_views(
        analysis.scan,
        "WORLD-CENTRE",
        "E",
        usable,
        f"the cameras look at no common point{by}; no convention of axes, inversion or transposition "
        "explains it, wherever the world's centre is",
        "export the poses again, and compare a few with their images (--photo): they may be of other "
        "views, or of cameras that look outwards, which this format has no place for",
        suffix=POSE_SUFFIX,
    )


def _facing_past_origin(analysis: Analysis) -> Iterator[Finding]:
    """Cameras that look in one direction: the origin should lie before them."""
    subtract = analysis.centring.subtract
    if not np.abs(subtract).max() > 0:
        return
    point = np.median(subtract, axis=0)
    yield Finding(
        "WORLD-CENTRE",
        "E",
        "the cameras look in one direction and not at the origin: their optical axes are (nearly) parallel, "
        "so that how far away the scene is cannot be known from the poses",
        f"subtract {_coordinates(point)} from the positions, which puts the origin before the cameras, half "
        "way from near to far (--fix does; pass --near and --far that suit the scene)",
        count=analysis.scan.n_scenes,
        total=analysis.scan.n_scenes,
        unit="scenes",
        fixable=True,
    )


def _off_centre(analysis: Analysis) -> Iterator[Finding]:
    """Cameras that look at another point than the origin: all scenes at one, or single scenes."""
    centring, limits = analysis.centring, analysis.limits
    if centring.odd_views:
        worst = max(centring.odd_views.values())
        yield on_views(
            analysis.scan,
            "WORLD-CENTRE",
            "W",
            sorted(centring.odd_views),
            f"the camera looks {worst:.0f}° past the origin, which all others of its scene look at; the pose "
            "may belong to another view",
            "compare the pose with its image (--photo)",
            suffix=POSE_SUFFIX,
        )
    share = centring.share
    off = np.flatnonzero(np.isfinite(share) & (np.nan_to_num(share) > limits.centre_warn))
    if not len(off):
        return
    if centring.together is not None:
        middle = centring.together
        part = float(np.median(share[off]))
        yield Finding(
            "WORLD-CENTRE",
            "E" if part > limits.centre_error else "W",
            f"the cameras look at {_coordinates(middle)}, expected the origin: "
            f"{_off_by(analysis, part)}; the world was not centred on the scene",
            "subtract that point from the camera positions (--fix does)",
            count=len(off),
            total=analysis.scan.n_scenes,
            unit="scenes",
            views=tuple(int(v) for v in np.flatnonzero(np.isin(analysis.scan.scene_index, off[:2]))[:8]),
            fixable=True,
        )
        return
    ids = np.array(list(analysis.scan.dataset.scenes))
    for severity, chosen in (
        ("E", off[share[off] > limits.centre_error]),
        ("W", off[share[off] <= limits.centre_error]),
    ):
        if not len(chosen):
            continue
        worst_scene = chosen[np.argmax(share[chosen])]
        yield on_scenes(
            analysis.scan,
            "WORLD-CENTRE",
            "E" if severity == "E" else "W",
            [int(ids[scene]) for scene in chosen],
            f"the cameras of scene {ids[worst_scene]} look at {_coordinates(centring.focus[worst_scene])}, "
            f"expected the origin: {_off_by(analysis, float(share[worst_scene]))}",
            "subtract the point from the camera positions of each scene (--fix does)",
            fixable=True,
        )


def _coordinates(point: Float[np.ndarray, "3"]) -> str:
    """A point, to a thousandth of its size."""
    size = max(float(np.abs(point).max()), 1e-12)
    digits = max(0, 3 - int(np.floor(np.log10(size))) - 1)
    return "(" + ", ".join(f"{value:.{min(max(digits, 2), 6)}f}" for value in point) + ")"


def _off_by(analysis: Analysis, part: float) -> str:
    unit, obj_scale = analysis.centring.unit, analysis.settings.obj_scale
    half = f"obj_scale ({obj_scale:g})" if unit == obj_scale else f"what suits as obj_scale ({unit:.3g})"
    return f"off by {part:.2f} × {half}, allowed are {analysis.limits.centre_warn:g}"


@check(
    "WORLD-SCALE",
    "E",
    "camera distances suit near, far and nss_scale",
    limits=("scale_low", "scale_high"),
)
def world_scale(analysis: Analysis) -> Iterator[Finding]:
    distances = camera_distances(analysis)
    settings = analysis.settings
    if not len(distances) or settings.far <= settings.near:
        # NEAR-FAR says so.
        return
    outside = (distances <= settings.near) | (distances >= settings.far)
    if outside.mean() > 0.5:
        yield _other_scale(analysis, distances, outside)
        return
    yield from _odd_distances(analysis, distances, outside)
    limits, median = analysis.limits, float(np.median(distances))
    ratio = median / settings.nss_scale
    if not limits.scale_low <= ratio <= limits.scale_high:
        yield Finding(
            "WORLD-SCALE",
            "W",
            f"camera distance / nss_scale is {ratio:.2g}, expected {limits.scale_low:g} … "
            f"{limits.scale_high:g}: a network's position encoding sees coordinates of the wrong size",
            f"pass --nss-scale {median * UORF_SCALE.nss_scale / UORF_CAMERA_DISTANCE:.3g}",
            count=len(distances),
            total=len(analysis.scan.views),
            fixable=True,
        )


def _other_scale(analysis: Analysis, distances: np.ndarray, outside: np.ndarray) -> Finding:
    """Most cameras are nearer than near or beyond far."""
    settings, median = analysis.settings, float(np.median(distances))
    side = "nearer than near" if median <= settings.near else "beyond far"
    unit = ""
    for factor, word in ((100.0, "centimetres"), (1000.0, "millimetres"), (0.01, "hundreds of units")):
        if 0.5 < median / (UORF_CAMERA_DISTANCE * factor) < 2.0:
            unit = f"; it may be in {word}"
    return Finding(
        "WORLD-SCALE",
        "E",
        f"the scene's centre is {side}: cameras are {median:.3g} units away (median), near is "
        f"{settings.near:g} and far {settings.far:g}; the world has another scale than the settings{unit}",
        "pass the suggested near, far, nss_scale and obj_scale, or scale the world (positions and depth) "
        "instead",
        count=int(outside.sum()),
        total=len(analysis.scan.views),
        fixable=True,
    )


def _odd_distances(analysis: Analysis, distances: np.ndarray, outside: np.ndarray) -> Iterator[Finding]:
    """Single cameras outside near … far, or at quite another distance than the others."""
    settings, median = analysis.settings, float(np.median(distances))
    usable = np.flatnonzero(analysis.diagnosis.usable)
    if outside.any():
        yield on_views(
            analysis.scan,
            "WORLD-SCALE",
            "E",
            usable[outside],
            f"the camera is {distances[outside][0]:.3g} units from the centre, outside near "
            f"{settings.near:g} … far {settings.far:g}; the others are at {median:.3g} (median)",
            "check the positions of these cameras, or widen near and far",
            suffix=POSE_SUFFIX,
        )
    spread = ((distances < median / _SPREAD) | (distances > median * _SPREAD)) & ~outside
    if spread.any():
        yield on_views(
            analysis.scan,
            "WORLD-SCALE",
            "W",
            usable[spread],
            f"the camera is {distances[spread][0]:.3g} units from the centre, the others are at {median:.3g} "
            "(median)",
            "check whether these poses are in the same unit",
            suffix=POSE_SUFFIX,
        )


@check("VIEWS-SPREAD", "W", "the views of a scene differ", limits=("spread_degrees",))
def views_spread(analysis: Analysis) -> Iterator[Finding]:
    usable = analysis.diagnosis.usable
    poses, index = analysis.diagnosis.poses[usable], analysis.scan.scene_index[usable]
    if not len(poses):
        return
    distance = np.linalg.norm(poses[:, :3, 3], axis=1)
    typical = np.maximum(np.median(distance), 1e-9)
    n = analysis.scan.n_scenes
    count = np.bincount(index, minlength=n)
    widest = np.zeros(n)
    # Parallax needs cameras that moved: their spread seen from the scene, plus turning on the spot.
    for column in (poses[:, :3, 3] / typical, poses[:, :3, 2]):
        low = np.full((n, 3), np.inf)
        high = np.full((n, 3), -np.inf)
        np.minimum.at(low, index, column)
        np.maximum.at(high, index, column)
        with np.errstate(invalid="ignore"):
            widest = np.maximum(
                widest, np.linalg.norm(np.where(count[:, None] > 1, high - low, np.inf), axis=1)
            )
    degrees = np.degrees(widest)
    close = np.flatnonzero((count > 1) & (degrees < analysis.limits.spread_degrees))
    if len(close):
        ids = np.array(list(analysis.scan.dataset.scenes))
        yield on_scenes(
            analysis.scan,
            "VIEWS-SPREAD",
            "W",
            [int(ids[scene]) for scene in close],
            f"the views of a scene hardly differ: their cameras span {degrees[close].max():.2g}° at most, "
            f"expected over {analysis.limits.spread_degrees:g}°; without parallax nothing can be learnt "
            "about depth",
            "render the views from further apart",
        )
