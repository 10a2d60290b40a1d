"""Cameras on a shell about the origin, pairwise apart, all looking at it."""

import numpy as np
from jaxtyping import Float

from generation.plan.placement import PlacementError
from generation.plan.preset import CameraRules
from objnerf.dataset.cameras import look_at
from objnerf.errors import InputError

#: Random azimuths are tried this often before the views are spread evenly.
_TRIES = 100


def max_views(rules: CameraRules) -> int:
    """How many views surely fit on the shell with ``min_angle`` between their optical axes.

    Two axes at elevation e whose azimuths differ by a make an angle v with sin(v/2) = cos(e) sin(a/2).
    """
    reach = np.sin(np.radians(rules.min_angle) / 2) / np.cos(np.radians(rules.elevation[1]))
    if reach <= 0:
        return 10**9
    if reach > 1:
        return 1
    return max(1, int(np.floor(np.pi / np.arcsin(reach))))


def check_views(rules: CameraRules, views: int) -> None:
    """Refuse more views than fit.

    Raises:
        InputError: they cannot be ``min_angle`` apart.
    """
    most = max_views(rules)
    if views > most:
        raise InputError(
            f"--views {views}: at most {most} views fit on the preset's shell when their optical axes are at "
            f"least {rules.min_angle:g}° apart; lower cameras.min_angle in a copy of the preset"
        )


def plan_cameras(rules: CameraRules, views: int, rng: np.random.Generator) -> Float[np.ndarray, "views 4 4"]:
    """``world_from_camera`` (OpenCV axes) of cameras that look at the origin.

    Raises:
        PlacementError: no set of cameras was found whose axes are far enough apart.
    """
    for attempt in range(_TRIES):
        if attempt < _TRIES // 2:
            azimuths = rng.uniform(0, 2 * np.pi, views)
        else:
            # Many views: random azimuths jam long before evenly spread ones do.
            azimuths = rng.uniform(0, 2 * np.pi) + rng.permutation(views) * 2 * np.pi / views
        elevations = np.radians(rng.uniform(*rules.elevation, views))
        distances = rng.uniform(*rules.distance, views)
        directions = np.stack(
            [
                np.cos(elevations) * np.cos(azimuths),
                np.cos(elevations) * np.sin(azimuths),
                np.sin(elevations),
            ],
            axis=-1,
        )
        cosines = np.clip(directions @ directions.T, -1, 1)[np.triu_indices(views, 1)]
        if np.all(cosines <= np.cos(np.radians(rules.min_angle))):
            # Rounded, so that the last bits of a machine's sine don't travel into plans.
            positions = np.round(directions * distances[:, None], 9)
            return np.stack([look_at(position, np.zeros(3)) for position in positions])
    raise PlacementError("no cameras far enough apart")
