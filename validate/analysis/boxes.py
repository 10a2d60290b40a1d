"""How the locality box lies in the views."""

import numpy as np
from jaxtyping import Float

from validate.analysis.model import Analysis
from validate.settings import Settings

#: Rays a view, across and down, on which box shares are measured: 4:3, a share is good to about 1 %.
_GRID = (24, 18)

#: Views handled at once, so that memory does not grow with the dataset.
_BATCH = 64


def box_shares(
    analysis: Analysis, half: float | None = None
) -> tuple[Float[np.ndarray, " usable"], Float[np.ndarray, " usable"]]:
    """How the locality box lies in the views.

    Args:
        half: half side of the box; the settings' own when left out.
    Returns:
        For each usable view the share of its rays that meet the box, and the share of the rays' way through
        the box that lies outside near … far. Measured on a lattice of rays.
    """
    settings = analysis.settings
    half = settings.obj_scale if half is None else half
    known = analysis.box_shares.get(half)
    if known is not None:
        return known
    usable = analysis.diagnosis.usable
    poses = analysis.world_poses[usable]
    shares, clipped = np.zeros(len(poses)), np.zeros(len(poses))
    lenses, lens_of = np.unique(analysis.lenses.numbers[usable], axis=0, return_inverse=True)
    for number, lens in enumerate(lenses):
        alike = lens_of.reshape(-1) == number
        shares[alike], clipped[alike] = _shares_through(lens, poses[alike], half, settings)
    analysis.box_shares[half] = shares, clipped
    return shares, clipped


def _shares_through(
    lens: Float[np.ndarray, "4"], poses: Float[np.ndarray, "views 4 4"], half: float, settings: Settings
) -> tuple[Float[np.ndarray, " views"], Float[np.ndarray, " views"]]:
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
