"""Checks on the locality box and on near and far."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from objnerf.dataset.cameras import ray_box
from validate.checks.registry import check
from validate.findings import Finding
from validate.survey import Survey

#: Rays a view, across and down, on which box shares are measured: 4:3, a share is good to about 1 %.
_GRID = (32, 24)

#: Views handled at once, so that memory does not grow with the dataset.
_BATCH = 256


def box_shares(
    survey: Survey, half: float | None = None
) -> tuple[Float[np.ndarray, "usable"], Float[np.ndarray, "usable"]]:
    """For each usable view, the share of its rays that meet the locality box, and the share of the rays' way
    through the box that lies outside near … far."""
    settings = survey.settings
    half = settings.obj_scale if half is None else half
    poses = survey.world_poses[survey.diagnosis.usable]
    across, down = _GRID
    u = ((np.arange(across) + 0.5) / across - 0.5) / settings.focal_ratio[0]
    v = ((np.arange(down) + 0.5) / down - 0.5) / settings.focal_ratio[1]
    directions = np.stack([*np.meshgrid(u, v), np.ones((down, across))], axis=-1).reshape(-1, 3)
    shares, clipped = np.zeros(len(poses)), np.zeros(len(poses))
    for start in range(0, len(poses), _BATCH):
        batch = poses[start : start + _BATCH]
        world = directions @ np.swapaxes(batch[:, :3, :3], 1, 2)
        enter, leave = ray_box(batch[:, None, :3, 3], world, half)
        enter = np.maximum(enter, 0.0)
        met = leave > enter
        shares[start : start + _BATCH] = met.mean(axis=1)
        way = np.where(met, leave - enter, 0.0)
        inside = np.minimum(leave, settings.far) - np.maximum(enter, settings.near)
        inside = np.where(met, np.maximum(inside, 0.0), 0.0)
        total = way.sum(axis=1)
        clipped[start : start + _BATCH] = np.where(
            total > 0, 1.0 - inside.sum(axis=1) / np.maximum(total, 1e-12), 0.0
        )
    return shares, clipped


@check("BOX-PIXELS", "W", "most pixels' rays meet the locality box", limits=("box_pixels",))
def box_pixels(survey: Survey) -> Iterator[Finding]:
    usable = np.flatnonzero(survey.diagnosis.usable)
    if not len(usable) or not survey.diagnosis.known:
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
