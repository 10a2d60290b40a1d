"""Checks on where the cameras are in the world: its centre, its scale, and how far apart the views are."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from validate.checks.registry import check
from validate.findings import Finding
from validate.geometry import axis_misses, off_axis_angles
from validate.survey import Survey


@check(
    "WORLD-CENTRE",
    "E",
    "the cameras look at the world's origin",
    limits=("centre_warn", "centre_error", "centre_jitter", "off_axis_degrees"),
)
def world_centre(survey: Survey) -> Iterator[Finding]:
    diagnosis = survey.diagnosis
    obj_scale = survey.settings.obj_scale
    limits = survey.limits
    astray = sorted(diagnosis.astray)
    if astray:
        worst = max(diagnosis.astray.values())
        yield survey.on_views(
            "WORLD-CENTRE",
            "E",
            astray,
            f"the camera looks {worst:.0f}° past the point that the other cameras look at, expected under "
            f"{limits.off_axis_degrees:g}°; the pose belongs to another view or is broken",
            "export the pose of this view again",
            suffix="_RT.txt",
        )
    if not diagnosis.usable.any():
        return
    if not diagnosis.known:
        usable = np.flatnonzero(diagnosis.usable)
        angle = off_axis_angles(diagnosis.poses[usable], np.zeros((1, 3)))
        away = usable[angle > limits.off_axis_degrees]
        yield survey.on_views(
            "WORLD-CENTRE",
            "E",
            away if len(away) else usable,
            "the cameras look at no common point near the origin: the median angle between an optical axis "
            "and the "
            f"direction to the origin is {np.median(angle):.0f}°, expected under "
            f"{limits.off_axis_degrees:g}°; no "
            "convention of axes, inversion or transposition explains it",
            "centre the scene on the origin; where that is done, look for poses of other views or another "
            "dataset",
            suffix="_RT.txt",
        )
        return
    centring = survey.centring
    share = centring.share
    measured = np.isfinite(share)
    off = np.flatnonzero(measured & (np.nan_to_num(share) > limits.centre_warn))
    if not len(off):
        return
    if centring.together is not None:
        middle = centring.together
        part = float(np.median(share[off]))
        yield Finding(
            "WORLD-CENTRE",
            "E" if part > limits.centre_error else "W",
            f"the cameras look at ({middle[0]:.2f}, {middle[1]:.2f}, {middle[2]:.2f}), expected the origin: "
            "off by "
            f"{part:.2f} × obj_scale ({obj_scale:g}), allowed are {limits.centre_warn:g}; the world was not "
            "centred on the scene",
            "subtract that point from the camera positions (--fix does)",
            count=len(off),
            total=survey.n_scenes,
            unit="scenes",
            views=tuple(int(v) for v in np.flatnonzero(np.isin(survey.scene_index, off[:2]))[:8]),
            mendable=True,
        )
        return
    ids = np.array(list(survey.dataset.scenes))
    for severity, chosen in (
        ("E", off[share[off] > limits.centre_error]),
        ("W", off[share[off] <= limits.centre_error]),
    ):
        if not len(chosen):
            continue
        worst_scene = chosen[np.argmax(share[chosen])]
        point = centring.focus[worst_scene]
        usable = np.flatnonzero(diagnosis.usable & (survey.scene_index == worst_scene))
        misses = axis_misses(diagnosis.poses[usable], np.zeros((1, 3)))
        blame = ""
        if len(usable) > 2:
            order = np.argsort(misses)
            if misses[order[-1]] > 3 * misses[order[-2]] + 0.1 * obj_scale:
                blame = f"; it is {survey.views[usable[order[-1]]].stem} that looks elsewhere"
        yield survey.on_scenes(
            "WORLD-CENTRE",
            "E" if severity == "E" else "W",
            [int(ids[scene]) for scene in chosen],
            f"the cameras of scene {ids[worst_scene]} look at ({point[0]:.2f}, {point[1]:.2f}, "
            f"{point[2]:.2f}), "
            f"expected the origin: off by {share[worst_scene]:.2f} × obj_scale ({obj_scale:g}), allowed are "
            f"{limits.centre_warn:g}{blame}",
            "centre the scene on the origin (--fix does), unless one of its poses is wrong",
            mendable=not blame,
        )


@check(
    "WORLD-SCALE",
    "E",
    "camera distances suit near, far and nss_scale",
    limits=("scale_low", "scale_high"),
)
def world_scale(survey: Survey) -> Iterator[Finding]:
    distances = camera_distances(survey)
    settings, limits = survey.settings, survey.limits
    if not len(distances) or settings.far <= settings.near:
        # NEAR-FAR says so.
        return
    usable = np.flatnonzero(survey.diagnosis.usable)
    median = float(np.median(distances))
    outside = (distances <= settings.near) | (distances >= settings.far)
    ratio = median / settings.nss_scale
    if outside.mean() > 0.5:
        side = "nearer than near" if median <= settings.near else "beyond far"
        unit = ""
        for factor, word in ((100.0, "centimetres"), (1000.0, "millimetres"), (0.01, "hundreds of units")):
            if 0.5 < median / (12.4 * factor) < 2.0:
                unit = f"; it may be in {word}"
        yield Finding(
            "WORLD-SCALE",
            "E",
            f"the scene's centre is {side}: cameras are {median:.3g} units away (median), near is "
            f"{settings.near:g} "
            f"and far {settings.far:g}; the world has another scale than the settings{unit}",
            "pass the suggested near, far, nss_scale and obj_scale, or scale the world (positions and depth) "
            "instead",
            count=int(outside.sum()),
            total=len(survey.views),
            mendable=True,
        )
        return
    if outside.any():
        chosen = usable[outside]
        yield survey.on_views(
            "WORLD-SCALE",
            "E",
            chosen,
            f"the camera is {distances[outside][0]:.3g} units from the centre, outside near "
            f"{settings.near:g} … far "
            f"{settings.far:g}; the others are at {median:.3g} (median)",
            "check the positions of these cameras, or widen near and far",
            suffix="_RT.txt",
        )
    if not limits.scale_low <= ratio <= limits.scale_high:
        yield Finding(
            "WORLD-SCALE",
            "W",
            f"camera distance / nss_scale is {ratio:.2g}, expected {limits.scale_low:g} … "
            f"{limits.scale_high:g}: a "
            "network's position encoding sees coordinates of the wrong size",
            f"pass --nss-scale {median * 7.0 / 12.39:.3g}",
            count=len(distances),
            total=len(survey.views),
            mendable=True,
        )
    spread = np.flatnonzero((distances < median / 3) | (distances > median * 3))
    spread = spread[~outside[spread]]
    if len(spread):
        yield survey.on_views(
            "WORLD-SCALE",
            "W",
            usable[spread],
            f"the camera is {distances[spread[0]]:.3g} units from the centre, the others are at {median:.3g} "
            "(median)",
            "check whether these poses are in the same unit",
            suffix="_RT.txt",
        )


def scale_is_off(survey: Survey) -> bool:
    """The world has another scale than the settings: then nothing else that depends on the scale is news."""
    distances = camera_distances(survey)
    settings = survey.settings
    if settings.far <= settings.near:
        return False
    return bool(len(distances)) and bool(
        ((distances <= settings.near) | (distances >= settings.far)).mean() > 0.5
    )


def camera_distances(survey: Survey) -> Float[np.ndarray, "usable"]:
    """Distances of the usable cameras from the scene's centre."""
    return np.linalg.norm(survey.world_poses[survey.diagnosis.usable][:, :3, 3], axis=1)


@check("VIEWS-SPREAD", "W", "the views of a scene differ", limits=("spread_degrees",))
def views_spread(survey: Survey) -> Iterator[Finding]:
    usable = survey.diagnosis.usable
    poses, index = survey.diagnosis.poses[usable], survey.scene_index[usable]
    if not len(poses):
        return
    distance = np.linalg.norm(poses[:, :3, 3], axis=1)
    typical = np.maximum(np.median(distance), 1e-9)
    n = survey.n_scenes
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
    close = np.flatnonzero((count > 1) & (degrees < survey.limits.spread_degrees))
    if len(close):
        ids = np.array(list(survey.dataset.scenes))
        yield survey.on_scenes(
            "VIEWS-SPREAD",
            "W",
            [int(ids[scene]) for scene in close],
            f"the views of a scene hardly differ: their cameras span {degrees[close].max():.2g}° at most, "
            "expected over "
            f"{survey.limits.spread_degrees:g}°; without parallax nothing can be learnt about depth",
            "render the views from further apart",
        )
