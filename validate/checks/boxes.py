"""Checks on the locality box and on near and far."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from validate.checks.depths import depths_are_poor, pixel_aspect, suspects
from validate.checks.images import opened
from validate.checks.registry import check
from validate.checks.world import scale_is_off
from validate.findings import Finding
from validate.settings import Settings
from validate.survey import Survey

#: Rays a view, across and down, on which box shares are measured: 4:3, a share is good to about 1 %.
_GRID = (24, 18)

#: Views handled at once, so that memory does not grow with the dataset.
_BATCH = 64


def box_shares(
    survey: Survey, half: float | None = None
) -> tuple[Float[np.ndarray, "usable"], Float[np.ndarray, "usable"]]:
    """How the locality box lies in the views.

    Args:
        half: half side of the box; the settings' own when left out.
    Returns:
        For each usable view the share of its rays that meet the box, and the share of the rays' way through
        the box that lies outside near … far. Measured on a lattice of rays.
    """
    settings = survey.settings
    half = settings.obj_scale if half is None else half
    known = survey.measured.get(half)
    if known is not None:
        return known
    usable = survey.diagnosis.usable
    poses = survey.world_poses[usable]
    shares, clipped = np.zeros(len(poses)), np.zeros(len(poses))
    lenses, lens_of = np.unique(survey.lenses.numbers[usable], axis=0, return_inverse=True)
    for number, lens in enumerate(lenses):
        alike = lens_of.reshape(-1) == number
        shares[alike], clipped[alike] = _shares_through(lens, poses[alike], half, settings)
    survey.measured[half] = shares, clipped
    return shares, clipped


def _shares_through(
    lens: Float[np.ndarray, "4"], poses: Float[np.ndarray, "views 4 4"], half: float, settings: Settings
) -> tuple[Float[np.ndarray, "views"], Float[np.ndarray, "views"]]:
    """``box_shares`` of views that have one lens (a row of ``Lenses.numbers``)."""
    across, down = _GRID
    u = ((np.arange(across) + 0.5) / across - 0.5 - lens[2]) / lens[0]
    v = ((np.arange(down) + 0.5) / down - 0.5 - lens[3]) / lens[1]
    directions = np.stack([*np.meshgrid(u, v), np.ones((down, across))], axis=-1).reshape(-1, 3)
    directions = directions.T.astype(np.float32)
    shares, clipped = np.zeros(len(poses)), np.zeros(len(poses))
    for start in range(0, len(poses), _BATCH):
        batch = slice(start, start + _BATCH)
        rotation, position = poses[batch, :3, :3].astype(np.float32), poses[batch, :3, 3].astype(np.float32)
        # Components apart and in float32, batch by batch in the cache: several times faster than
        # ray_box on whole arrays, and exact to the lattice.
        enter = np.zeros((len(rotation), directions.shape[1]), dtype=np.float32)
        leave = np.full_like(enter, np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            for axis in range(3):
                inverse = np.float32(1.0) / (rotation[:, axis] @ directions)
                low = (np.float32(-half) - position[:, axis : axis + 1]) * inverse
                high = (np.float32(half) - position[:, axis : axis + 1]) * inverse
                np.maximum(enter, np.fmin(low, high), out=enter)
                np.minimum(leave, np.fmax(low, high), out=leave)
        met = leave > enter
        shares[batch] = met.mean(axis=1)
        way = np.where(met, leave - enter, 0).sum(axis=1)
        np.clip(enter, settings.near, settings.far, out=enter)
        np.clip(leave, settings.near, settings.far, out=leave)
        inside = np.where(met, leave - enter, 0).sum(axis=1)
        clipped[batch] = np.where(way > 0, 1.0 - inside / np.maximum(way, 1e-12), 0.0)
    return shares, clipped


@check("BOX-PIXELS", "W", "most pixels' rays meet the locality box", limits=("box_pixels",))
def box_pixels(survey: Survey) -> Iterator[Finding]:
    usable = np.flatnonzero(survey.diagnosis.usable)
    if not len(usable) or not survey.diagnosis.known or scale_is_off(survey):
        return
    shares, _ = box_shares(survey)
    few = shares < survey.limits.box_pixels
    if not few.any():
        return
    median, least = float(np.median(shares)), float(shares.min())
    message = (
        f"the rays of {100 * least:.0f} % of a view's pixels meet the locality box "
        f"±{survey.settings.obj_scale:g} "
        f"(minimum; median over all views {100 * median:.0f} %), expected at least "
        f"{100 * survey.limits.box_pixels:.0f} %: foreground slots get too little to explain"
    )
    if few.mean() > 0.5:
        fix = "pass a larger --obj-scale (see the suggestion), or render from nearer"
    else:
        fix = "these cameras are further away or look elsewhere than the others: check their poses"
    yield survey.on_views(
        "BOX-PIXELS", "W", usable[few], message, fix, suffix="_RT.txt", mendable=bool(few.mean() > 0.5)
    )


@check(
    "BOX-OBJECTS", "E", "the objects lie inside the locality box", needs="pictures", limits=("box_objects",)
)
def box_objects(survey: Survey) -> Iterator[Finding]:
    rows = opened(survey).rows
    seen = np.zeros(survey.n_scenes)
    inside = np.zeros(survey.n_scenes)
    # A depth map that contradicts its neighbours says nothing about where objects are.
    sound = np.ones(len(rows), dtype=bool)
    sound[suspects(survey)] = False
    np.add.at(seen, survey.scene_index, np.where(sound, rows["objects_seen"], 0))
    np.add.at(inside, survey.scene_index, np.where(sound, rows["objects_inside"], 0))
    # Where depth, scale or convention is wrong, where the objects lie is not known.
    if (
        not seen.any()
        or (depths_are_poor(survey) and pixel_aspect(survey) is None)
        or survey.depth_explanation is not None
        or scale_is_off(survey)
        or not survey.diagnosis.known
    ):
        return
    with np.errstate(invalid="ignore", divide="ignore"):
        share = inside / seen
    outside = np.flatnonzero((seen >= 50) & (share < survey.limits.box_objects))
    if not len(outside):
        return
    ids = np.array(list(survey.dataset.scenes))
    reach = float(rows["objects_extent"][np.isin(survey.scene_index, outside)].max())
    yield survey.on_scenes(
        "BOX-OBJECTS",
        "E",
        [int(ids[scene]) for scene in outside],
        f"{100 * share[outside].min():.0f} % of the foreground lies inside the locality box "
        f"±{survey.settings.obj_scale:g}, expected at least {100 * survey.limits.box_objects:g} %: objects "
        "reach out "
        f"to {reach:.3g}, where foreground slots may have no density early in training",
        "pass a larger --obj-scale (see the suggestion), or place objects nearer to the centre",
        mendable=True,
    )


@check(
    "NEAR-FAR", "E", "near and far enclose what is seen", needs="pictures", limits=("clip_share", "clip_box")
)
def near_far(survey: Survey) -> Iterator[Finding]:
    settings, limits = survey.settings, survey.limits
    if settings.far <= settings.near:
        yield Finding(
            "NEAR-FAR",
            "E",
            f"far ({settings.far:g}) is not beyond near ({settings.near:g})",
            "correct near and far in dataset.yaml (--fix writes the suggested ones)",
            path="dataset.yaml",
            unit="files",
            mendable=True,
        )
        return
    if not survey.diagnosis.known or scale_is_off(survey) or survey.depth_explanation is not None:
        return
    rows = opened(survey).rows
    measured = np.flatnonzero(rows["depth_high"] > 0)
    if len(measured):
        yield from _against_depth(survey, measured)
        return
    usable = np.flatnonzero(survey.diagnosis.usable)
    _, clipped = box_shares(survey)
    cut = clipped > limits.clip_box
    if cut.any():
        yield survey.on_views(
            "NEAR-FAR",
            "W",
            usable[cut],
            f"up to {100 * clipped.max():.0f} % of the rays' way through the locality box lies outside near "
            f"{settings.near:g} … far {settings.far:g}, expected at most {100 * limits.clip_box:g} %: "
            "objects there "
            "are never sampled",
            "pass the suggested near and far",
            suffix="_RT.txt",
            mendable=bool(cut.mean() > 0.5),
        )


def _against_depth(survey: Survey, measured: np.ndarray) -> Iterator[Finding]:
    settings, limits = survey.settings, survey.limits
    rows = opened(survey).rows[measured]
    objects = rows["objects_seen"] >= 20
    cut_near = objects & (rows["objects_near"] < settings.near)
    cut_far = objects & (rows["objects_far"] > settings.far)
    if (cut_near | cut_far).any():
        cut = cut_near | cut_far
        nearest, farthest = rows["objects_near"][objects].min(), rows["objects_far"][objects].max()
        yield survey.on_views(
            "NEAR-FAR",
            "W",
            measured[cut],
            f"objects are seen at depths {nearest:.3g} … {farthest:.3g}, outside near {settings.near:g} … "
            "far "
            f"{settings.far:g}: what lies outside is never sampled",
            "pass the suggested near and far",
            suffix="_depth.npy",
            mendable=True,
        )
        return
    outside = rows["before_near"] + rows["beyond_far"]
    cut = outside > limits.clip_share
    if cut.any():
        yield survey.on_views(
            "NEAR-FAR",
            "W",
            measured[cut],
            f"up to {100 * outside.max():.0f} % of a view's depth lies outside near {settings.near:g} … far "
            f"{settings.far:g}, expected at most {100 * limits.clip_share:g} %; depth runs from "
            f"{rows['depth_low'].min():.3g} to {rows['depth_high'].max():.3g}",
            "pass the suggested near and far",
            suffix="_depth.npy",
            mendable=True,
        )
